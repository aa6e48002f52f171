# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happened to the pairs, numbered, for readers who ask "what came after number n?".

The last events are kept in memory. Numbers grow and are never used twice, also across restarts: a block of them is reserved on the
disk before it is used. So a reader that missed something is always told, and looks at the pairs afresh.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import typing as t

from ..errors import NodeError
from ..host.base import Host
from ..store import read_json, write_json
from .settings import FOLDER

FILE = FOLDER + "\\events.json"
KEPT = 10_000
BLOCK = 1000
_EARLY = BLOCK // 2  # the next block is reserved when so many numbers are left


@dataclasses.dataclass(frozen=True)
class Event:
    serial: int
    time_ms: int
    pair: str | None
    node: str | None
    kind: str
    message: str
    details: dict = dataclasses.field(default_factory=dict)

    def to_document(self) -> dict:
        return dataclasses.asdict(self)


class Events:
    def __init__(self, host: Host, log: t.Callable[[str], None], kept: int = KEPT, durable: bool = True):
        self._host = host
        self._log = log
        self._durable = durable
        self._events: collections.deque[Event] = collections.deque(maxlen=kept)
        self._reserved = self._last_reserved()
        self.serial = self._reserved  # of the last event
        self._oldest_known = self._reserved  # a reader that knows this one has missed nothing that is kept
        self._changed: asyncio.Event = asyncio.Event()
        self._reserving = False

    def add(self, kind: str, message: str, pair: str | None = None, node: str | None = None, **details: t.Any) -> Event:
        self.serial += 1
        event = Event(self.serial, int(self._host.wall() * 1000), pair, node, kind, message, details)
        if len(self._events) == self._events.maxlen:
            self._oldest_known = self._events[0].serial
        self._events.append(event)
        self._log(f"event {event.serial} {kind}: {message}")
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return event

    def after(self, serial: int, limit: int = 1000) -> tuple[list[Event], dict | None]:
        """Events that came after `serial`, oldest first, and what tells that some are missing before them."""
        missing = None
        if serial > self.serial or serial < self._oldest_known:
            first = self._events[0].serial if self._events else self.serial + 1
            missing = {"after": serial, "first": first,
                       "message": "events are missing: ask for /v1/pairs, which tells how everything stands now"}
            serial = first - 1
        # Serials in the deque have no holes, so the place of the first wanted one is known.
        skip = max(0, serial + 1 - self._events[0].serial) if self._events else 0
        return [self._events[index] for index in range(skip, min(len(self._events), skip + limit))], missing

    async def wait(self, serial: int, timeout: float) -> None:
        """Until there is an event after `serial`, or the time is over."""
        changed = self._changed
        if self.serial > serial:
            return
        try:
            async with asyncio.timeout(timeout):
                await changed.wait()
        except TimeoutError:
            pass

    # -- numbers -------------------------------------------------------------------------------------------------------
    async def reserve(self) -> None:
        """Have enough numbers reserved; called again and again by the service."""
        if self._reserving or self._reserved - self.serial > _EARLY:
            return
        self._reserving = True
        wanted = self.serial + BLOCK
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._write, wanted)
            self._reserved = wanted
        except NodeError as error:
            self._log(f"numbers of events cannot be reserved: {error}")
        finally:
            self._reserving = False

    def close(self) -> None:
        """Give back what was not used."""
        if self._durable:
            try:
                self._write(self.serial)
            except NodeError as error:
                self._log(f"the number of the last event cannot be kept: {error}")

    def _write(self, serial: int) -> None:
        if self._durable:
            write_json(self._host, FILE, {"reserved": serial})

    def _last_reserved(self) -> int:
        try:
            document = read_json(self._host, FILE) if self._durable else None
        except NodeError as error:
            self._log(f"the number of the last event is lost, the numbers start at the time of now: {error}")
            return int(self._host.wall())
        reserved = document.get("reserved") if isinstance(document, dict) else None
        if not isinstance(reserved, int) or isinstance(reserved, bool) or reserved < 0:
            # Seconds since 1970 grow faster than events come, so numbers that were used before are not used again.
            return int(self._host.wall())
        return reserved
