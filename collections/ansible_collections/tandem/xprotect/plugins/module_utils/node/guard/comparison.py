# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares, look by look, what this node writes with what its partner writes. No clock, no disk, no network.

It remembers what one look cannot tell: which devices are recorded all the time, and since when a device is written by the
partner alone. Both outlive a restart of the recorder's process.
"""

from __future__ import annotations

import typing as t

from .health import fresh
from .health_terms import STEADY_AFTER, STEADY_KEPT, WINDOW, Device, Standing


class Comparison:
    def __init__(self) -> None:
        self.last_write: float | None = None  # of any device, by any process
        self.missed: dict[str, float] = {}  # devices that only the partner writes -> since when
        self._runs: dict[str, tuple[float, float]] = {}  # device -> begin and end of its last unbroken run of writing
        self._steady: set[str] = set()
        self._theirs: dict[str, float] = {}  # devices that the partner writes -> since when

    def look(self, wrote: t.Mapping[str, float], partner: Standing | None, now: float) -> dict[str, Device]:
        """`wrote`: when each device's files were last seen to change, by the recorder's process of now."""
        for guid, at in wrote.items():
            self._extend(guid, at)
        self._compare(fresh(partner, now), now)
        for guid in [guid for guid in self._steady if guid not in self.missed and now - self._runs[guid][1] > STEADY_KEPT]:
            self._steady.discard(guid)
        return {guid: Device(wrote.get(guid), guid in self._steady) for guid in {*wrote, *self._steady}}

    def _extend(self, guid: str, at: float) -> None:
        begin, end = self._runs.get(guid, (at, at))
        begin = at if at - end > WINDOW else begin
        self._runs[guid] = (begin, max(at, end))
        if at - begin >= STEADY_AFTER:
            self._steady.add(guid)
        self.last_write = at if self.last_write is None else max(self.last_write, at)

    def _compare(self, partner: Standing | None, now: float) -> None:
        """A partner that says nothing proves nothing: then nothing is missed."""
        theirs = (partner.writing if partner is not None else None) or frozenset()
        self._theirs = {guid: self._theirs.get(guid, now) for guid in theirs}
        own = {guid: end for guid, (_begin, end) in self._runs.items()}
        self.missed = {guid: max(since, own.get(guid, since)) for guid, since in self._theirs.items()
                       if guid not in own or now - own[guid] > WINDOW}
