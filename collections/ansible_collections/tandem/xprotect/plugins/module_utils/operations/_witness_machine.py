# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operation about the machine of a witness gets: it belongs to no pair, so it is no `Context`."""

from __future__ import annotations

import typing as t

from ..errors import TandemError
from ..local_runtime import LocalSession
from ..winrm import NodeSession

Progress = t.Callable[[t.Optional[str], dict[str, t.Any]], None]


class WitnessContext:
    def __init__(self, params: dict[str, t.Any], check_mode: bool = False, diff: bool = False, progress: Progress | None = None):
        self.params = params
        self.check_mode = check_mode
        self.diff = diff
        self.warnings: list[str] = []
        witness = params["witness"]
        self.name, self.address = str(witness["name"]), str(witness["address"])
        self.way = str(witness.get("connection") or "winrm")
        self._session: NodeSession | LocalSession | None = None
        self._progress = progress

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)

    def report(self, node: str | None, event: dict[str, t.Any]) -> None:
        if self._progress:
            self._progress(node, event)

    @property
    def session(self) -> NodeSession | LocalSession:
        """The kept connection. Nothing is sent before the first use."""
        if self._session is None:
            def listener(event: dict[str, t.Any]) -> None:
                self.report(self.name, event)
            if self.way == "none":
                raise TandemError("the witness is not managed from this controller (connection none)", pair=self.name, code="no_witness",
                                  next_step="use the role witness on that machine, or give winrm or local as its connection.")
            if self.way == "local":
                self._session = LocalSession(self.name, self.name, on_progress=listener)
            else:
                self._session = NodeSession(self.params["witness"], self.name, on_progress=listener)
        return self._session

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()
