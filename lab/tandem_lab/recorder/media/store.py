# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All banks of the recorder and the timelines of its devices."""

from __future__ import annotations

import asyncio
import typing as t

from . import layout
from .bank import Bank, Log, Storage
from .table import Table
from .timeline import Timeline
from .track import Track

LOAD_RETRY_MS = 5_000
EXPIRE_EVERY_MS = 3_000


class MediaStore:
    def __init__(
        self,
        log: Log,
        local_time: t.Callable[[int], str],
        *,
        table_seconds: float = 60.0,
        play_once: bool = True,
        rebuild_missing_cache: bool = True,
        max_block_bytes: int = layout.MAX_BLOCK_BYTES,
    ) -> None:
        self.banks: dict[str, Bank] = {}
        self._log = log
        self._local_time = local_time
        self._table_ms = int(table_seconds * 1000)
        self._play_once = play_once
        self._rebuild_missing_cache = rebuild_missing_cache
        self._max_block_bytes = max_block_bytes
        self._timelines: dict[str, Timeline] = {}
        self._tracks: dict[str, Track] = {}
        self._rebuilds: set[asyncio.Task[None]] = set()
        self._next_load = 0
        self._next_expire = 0

    def configure(self, storages: t.Iterable[Storage], now: int) -> None:
        """Take over the storages of a configuration. A bank that is no longer named stays readable until the next start."""
        for storage in storages:
            bank = self.banks.get(storage.id)
            if bank is None or bank.storage.path != storage.path:
                if bank is not None:
                    bank.close_tables(list(bank.tracks.values()), now)
                bank = self.banks[storage.id] = Bank(storage, self._local_time, self._log, self._max_block_bytes)
                bank.on_add = self._add
                bank.on_remove = self._remove
                self._load(bank, now)
            bank.storage = storage

    def _load(self, bank: Bank, now: int) -> None:
        try:
            bank.load(now, self._rebuild_missing_cache)
        except OSError as error:
            self._log("ERROR", f"Storage {bank.storage.name!r} is offline: {error}")
            return
        if bank.rebuilding:
            task = asyncio.get_running_loop().create_task(self._rebuild(bank))
            self._rebuilds.add(task)
            task.add_done_callback(self._rebuilds.discard)

    async def _rebuild(self, bank: Bank) -> None:
        try:
            await bank.rebuild()
        except OSError as error:
            self._log("ERROR", f"Bank {bank.path.name}: the rebuild of its cache failed: {error}")

    def _add(self, table: Table) -> None:
        self.timeline(table.device).add(table)

    def _remove(self, table: Table) -> None:
        self.timeline(table.device).remove(table)

    def timeline(self, device: str) -> Timeline:
        timeline = self._timelines.get(device)
        if timeline is None:
            timeline = self._timelines[device] = Timeline(device, self._play_once, lambda text: self._log("ERROR", text))
        return timeline

    def track(self, device: str, name: str, storage_id: str, now: int) -> Track | None:
        """The writing side of a device, in the bank that its configuration names; None without such a bank."""
        bank = self.banks.get(storage_id)
        if bank is None:
            return None
        track = self._tracks.get(device)
        if track is None:
            track = self._tracks[device] = Track(device, name, bank)
        elif track.bank is not bank:
            track.bank.close_tables([track], now)
            track.bank = bank
        track.description = name
        return track

    def drop_track(self, device: str, now: int) -> None:
        """The device is recorded no more: close its table."""
        track = self._tracks.pop(device, None)
        if track is not None:
            if track.recording:
                track.end()
            track.bank.close_tables([track], now)

    def tick(self, now: int) -> None:
        """Once a second: keep sequences and live caches current, split tables that are due, delete what is too old."""
        if now >= self._next_load:
            self._next_load = now + LOAD_RETRY_MS
            for bank in self.banks.values():
                if not bank.loaded:
                    self._load(bank, now)
        for bank in self.banks.values():
            if bank.loaded:
                self._tick_bank(bank, now)
        if now >= self._next_expire:
            self._next_expire = now + EXPIRE_EVERY_MS

    def _tick_bank(self, bank: Bank, now: int) -> None:
        try:
            due = [track for track in bank.tracks.values() if track.age_ms(now) >= self._table_ms]
            for track in bank.tracks.values():
                track.flush()
            if due:
                bank.close_tables(due, now)
            bank.write_live()
            if now >= self._next_expire:
                bank.expire(now)
        except OSError as error:
            self._log("ERROR", f"Bank {bank.path.name}: {error}")

    def close(self, now: int) -> None:
        """Close all tables cleanly: the service stops."""
        for track in self._tracks.values():
            if track.recording:
                track.end()
        for bank in self.banks.values():
            try:
                bank.close_tables(list(bank.tracks.values()), now)
            except OSError as error:
                self._log("ERROR", f"Bank {bank.path.name}: its tables could not be closed: {error}")
        for task in self._rebuilds:
            task.cancel()
