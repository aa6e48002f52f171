# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches all pairs: takes in what nodes say, looks for silence five times a second, and turns changes into events."""

from __future__ import annotations

import typing as t

from ..host.base import Host
from . import judgement
from .book import Book
from .events import Events
from .judgement import Change, PairJudgement
from .settings import PairDefinition

#: A look that comes so much later than it should means that this process (or its machine) stood still.
STOOD_STILL = 1.0


class Watch:
    def __init__(self, host: Host, events: Events):
        self.judgements: dict[str, PairJudgement] = {}
        self.suspect = False
        self.latest_look_late = 0.0  # seconds, the worst so far
        self._host = host
        self._events = events
        self._held_back_until = 0.0
        self._last_look: float | None = None

    def add(self, definition: PairDefinition) -> None:
        self.judgements[definition.pair] = PairJudgement(definition.pair, definition.names, self._host.monotonic())
        self._events.add("pair_added", f"pair {definition.pair} is watched", definition.pair)

    def remove(self, definition: PairDefinition) -> None:
        self.judgements.pop(definition.pair, None)
        self._events.add("pair_removed", f"pair {definition.pair} is no longer watched", definition.pair)

    def heard(self, pair: str, node: str, report: t.Any) -> None:
        found = self.judgements.get(pair)
        if found is not None and node in found.nodes:
            self._tell(pair, found.heard(node, report, self._host.monotonic()))

    def look(self, book: Book) -> None:
        now, wall_ms = self._host.monotonic(), self._host.wall() * 1000
        self._notice_standstill(now)
        if now >= self._held_back_until:
            self._look_at_itself(now)
        quiet = self.suspect and len(self.judgements) >= judgement.MANY
        for pair, found in self.judgements.items():
            entry = book.entries.get(pair)
            voting = entry is not None and entry.voter.record.voting
            self._tell(pair, found.look(now, wall_ms, voting, quiet, self._held_back_until))

    def _notice_standstill(self, now: float) -> None:
        """What the nodes said meanwhile waits in the sockets: it has to be read before anybody is called silent."""
        last, self._last_look = self._last_look, now
        if last is None:
            return
        late = now - last - judgement.LOOK
        self.latest_look_late = max(self.latest_look_late, late)
        if late >= STOOD_STILL:
            self._held_back_until = now + judgement.SILENT_AFTER
            self._events.add("witness_stood_still", f"the witness stood still for {late:.1f} s", seconds=round(late, 2))

    def _look_at_itself(self, now: float) -> None:
        suspect = judgement.suspects_itself(self.judgements.values(), now)
        if suspect == self.suspect:
            return
        self.suspect = suspect
        if suspect:
            self._events.add("witness_suspect", "the witness hears no node of most of its pairs: it may be cut off itself",
                             pairs=len(self.judgements))
        else:
            self._events.add("witness_clear", "the witness hears its pairs again")

    def _tell(self, pair: str, changes: list[Change]) -> None:
        for change in changes:
            self._events.add(change.kind, f"pair {pair}: {change.message}", pair, change.node, **change.details)

    # -- for readers ---------------------------------------------------------------------------------------------------
    def describe(self, pair: str) -> dict | None:
        found = self.judgements.get(pair)
        return None if found is None else found.describe(self._host.monotonic(), self._host.wall() * 1000)

    def summary(self) -> list[dict]:
        wall_ms = self._host.wall() * 1000
        rows = []
        for pair, found in sorted(self.judgements.items()):
            state, reasons = found.state(wall_ms)
            rows.append({"pair": pair, "state": state, "reasons": reasons})
        return rows
