# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one expected exception of the node runtime."""

from __future__ import annotations


class NodeError(Exception):
    """A verb cannot do what it was asked. `code` is for programs, `message` and `next` are for people.

    `message` says what happened, `next` what to do about it. `details` must be JSON.
    """

    def __init__(self, code: str, message: str, next: str = "", details: dict | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.next = next
        self.details = dict(details or {})

    def as_dict(self) -> dict:
        return {"code": self.code, "message": self.message, "next": self.next, "details": self.details}

    @classmethod
    def from_dict(cls, error: object) -> NodeError:
        """The exception that another node described; texts are cut to a sane length."""
        if not isinstance(error, dict):
            error = {}
        details = error.get("details")
        return cls(str(error.get("code") or "unknown")[:64], str(error.get("message") or "no reason given")[:4000],
                   str(error.get("next") or "")[:4000], details if isinstance(details, dict) else {})
