# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Planned maintenance of the pair: until when, and why. While it lasts nothing moves attachment unattended."""

from __future__ import annotations

from ..errors import NodeError
from ..host.base import Host
from ..numbers import is_whole
from ..store import GUARD_FOLDER, read_json, write_json
from .log import GuardLog

FILE = GUARD_FOLDER + "\\maintenance.json"
LONGEST = 7 * 86400


class Maintenance:
    def __init__(self, host: Host, log: GuardLog):
        self._host = host
        self._log = log
        self._until_ms, self._reason = self._read()

    def active(self) -> bool:
        return self._until_ms > self._host.wall() * 1000

    def describe(self) -> dict | None:
        return {"until_ms": self._until_ms, "reason": self._reason} if self.active() else None

    def set(self, seconds: float, reason: str) -> bool:
        """Begin, change or (with 0 seconds) end it. True when that changes anything."""
        now_ms = int(self._host.wall() * 1000)
        if seconds <= 0:
            changed = self.active()
            until_ms, reason = 0, ""
        else:
            changed, until_ms = True, now_ms + int(min(seconds, LONGEST) * 1000)
        if changed:
            write_json(self._host, FILE, {"until_ms": until_ms, "reason": reason})
            self._until_ms, self._reason = until_ms, reason
            self._log(f"planned maintenance for {seconds:.0f} s: {reason}" if seconds > 0 else "the planned maintenance is over")
        return changed

    def _read(self) -> tuple[int, str]:
        try:
            document = read_json(self._host, FILE, 4096)
        except NodeError as error:
            self._log(f"{error.message} No maintenance is assumed.")
            return 0, ""
        fields = document if isinstance(document, dict) else {}
        until = fields.get("until_ms")
        latest = int(self._host.wall() * 1000) + LONGEST * 1000  # a clock that was set back must not suppress promotion for years
        return (min(until, latest), str(fields.get("reason") or "")[:500]) if is_whole(until) else (0, "")
