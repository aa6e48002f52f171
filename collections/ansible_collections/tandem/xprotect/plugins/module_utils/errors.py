# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception of the controller's code.

Whatever goes wrong with a pair, a node or the Management Server becomes a `TandemError`: what happened, on which node of
which pair, and what to do next. Modules and action plugins turn it into a failed result in one place.
"""

from __future__ import annotations

import typing as t


class TandemError(Exception):
    """Something a person has to know about. `str()` is the whole sentence, ready to be shown."""

    def __init__(self, message: str, pair: str | None = None, node: str | None = None, next_step: str | None = None, *,
                 code: str | None = None, details: dict[str, t.Any] | None = None):
        super().__init__(message)
        self.message = message
        self.pair = pair
        self.node = node
        self.next_step = next_step
        self.code = code  # short and stable, for example "busy": what callers compare
        self.details = details or {}

    def at(self, pair: str | None = None, node: str | None = None) -> t.Self:
        """The same error with the place filled in where it was unknown so far."""
        self.pair = self.pair or pair
        self.node = self.node or node
        return self

    @property
    def place(self) -> str:
        parts = [f"{word} {name}" for word, name in (("pair", self.pair), ("node", self.node)) if name]
        return ", ".join(parts)

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        if not self.next_step:
            return text
        return f"{text if text.endswith(('.', '!', '?')) else text + '.'} Next: {self.next_step}"

    def as_result(self) -> dict[str, t.Any]:
        """What a failed task returns beside ``failed`` and ``msg``."""
        found = {"pair": self.pair, "node": self.node, "next_step": self.next_step, "error_code": self.code,
                 "error_details": self.details}
        return {key: value for key, value in found.items() if value}


class RuntimeMissing(TandemError):
    """The node has no Python or no runtime of this collection's version."""


class NodeUnreachable(TandemError):
    """Nothing that speaks WinRM answered: machine off, network, firewall, service."""


class VerbError(TandemError):
    """The runtime on the node ran and refused. `code` and `details` are the runtime's own."""


class SeveralErrors(TandemError):
    """More than one node failed. All of them are named, because the second is often the cause of the first."""

    def __init__(self, errors: dict[str, TandemError], pair: str | None = None):
        text = " | ".join(f"node {name}: {_sentence(error)}" for name, error in errors.items())
        codes = {error.code for error in errors.values()}
        super().__init__(text, pair=pair, code=codes.pop() if len(codes) == 1 else "several",
                         details={name: error.as_result() for name, error in errors.items()})
        self.errors = errors


def _sentence(error: TandemError) -> str:
    """What happened and what to do, without the place."""
    return str(TandemError(error.message, next_step=error.next_step))
