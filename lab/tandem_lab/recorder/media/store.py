# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All banks of the recorder and the timelines of its devices."""

from __future__ import annotations

import asyncio
import typing as t
from pathlib import Path

from . import layout
from .bank import Bank, Log, Storage
from .disk import FULL, Disk
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
        remount_reloads_tables: bool = False,
        disk_check_seconds: float = 60.0,
        max_block_bytes: int = layout.MAX_BLOCK_BYTES,
    ) -> None:
        self.banks: dict[str, Bank] = {}
        self._log = log
        self._local_time = local_time
        self._table_ms = int(table_seconds * 1000)
        self._play_once = play_once
        self._rebuild_missing_cache = rebuild_missing_cache
        self._remount_reloads_tables = remount_reloads_tables
        self._disk_check_ms = int(disk_check_seconds * 1000)
        self._max_block_bytes = max_block_bytes
        self._disks: dict[Path, Disk] = {}
        self._load_errors: dict[str, str] = {}
        self._next_room: dict[str, int] = {}
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
                bank = self.banks[storage.id] = Bank(
                    storage, self._local_time, self._log, self._max_block_bytes, self._disk(storage.drive)
                )
                bank.on_add = self._add
                bank.on_remove = self._remove
                self._load(bank, now)
            bank.storage = storage

    def _load(self, bank: Bank, now: int) -> None:
        try:
            bank.load(now, self._rebuild_missing_cache)
        except OSError as error:
            if self._load_errors.get(bank.storage.id) != str(error):  # it is tried again and again: say it once
                self._load_errors[bank.storage.id] = str(error)
                self._log("ERROR", f"Storage {bank.storage.name!r} is offline: {error}")
            return
        if self._load_errors.pop(bank.storage.id, None):
            self._log("INFO", f"Storage {bank.storage.name!r} is available")
        self._rebuild_if_needed(bank)

    def _rebuild_if_needed(self, bank: Bank) -> None:
        if bank.rebuilding:
            task = asyncio.get_running_loop().create_task(self._rebuild(bank))
            self._rebuilds.add(task)
            task.add_done_callback(self._rebuilds.discard)

    async def _rebuild(self, bank: Bank) -> None:
        try:
            await bank.rebuild()
        except OSError as error:
            self._log("ERROR", f"Bank {bank.path.name}: the rebuild of its cache failed: {error}")

    # ---- disks

    def _disk(self, drive: Path) -> Disk:
        return self._disks.setdefault(drive, Disk())

    def disk_changed(self, drive: Path, state: str | None, now: int) -> None:
        """A drive is full, read-only or gone, or (None) well again."""
        disk = self._disk(drive)
        before, was_blocked, disk.state = disk.state, disk.blocked, state
        for bank in self.banks.values():
            if bank.disk is disk and state != before:
                self._bank_disk_changed(bank, before, was_blocked, now)

    def _bank_disk_changed(self, bank: Bank, before: str | None, was_blocked: bool, now: int) -> None:
        name, disk = bank.storage.name, bank.disk
        self._next_room[bank.storage.id] = now + self._disk_check_ms
        if not bank.loaded:
            self._next_load = now  # it may be possible to read it now
        elif disk.blocked:
            bank.lost()
            self._log("ERROR", f"Storage {name!r} is unavailable: {disk.reason}")
        elif was_blocked:
            self._found_again(bank, now)
        if disk.state == FULL:
            self._log("ERROR", f"Storage {name!r}: {disk.reason}. Recording to it stops")
        elif before == FULL and not disk.blocked:
            self._log("INFO", f"Storage {name!r}: there is space on the disk again")

    def _found_again(self, bank: Bank, now: int) -> None:
        try:
            bank.found_again(now, self._remount_reloads_tables, self._rebuild_missing_cache)
        except OSError as error:
            self._log("ERROR", f"Storage {bank.storage.name!r} is back and cannot be used: {error}")
            return
        self._log("INFO", f"Storage {bank.storage.name!r} is available again")
        self._rebuild_if_needed(bank)

    def _make_room(self, bank: Bank, now: int) -> None:
        """Each time the disk is looked at, about one table of each camera goes."""
        self._next_room[bank.storage.id] = now + self._disk_check_ms
        count = bank.make_room(max(1, sum(track.bank is bank for track in self._tracks.values())))
        if count:
            self._log("WARNING", f"Bank {bank.path.name}: the disk is full, the {count} oldest tables were deleted")

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
        self._next_load = min(self._next_load, now + LOAD_RETRY_MS)  # the clock may have been set back
        self._next_expire = min(self._next_expire, now + EXPIRE_EVERY_MS)
        if now >= self._next_load:
            self._next_load = now + LOAD_RETRY_MS
            for bank in self.banks.values():
                if not bank.loaded:
                    self._load(bank, now)
        for bank in self.banks.values():
            if bank.available:
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
            if bank.disk.state == FULL and now >= self._next_room.setdefault(bank.storage.id, now + self._disk_check_ms):
                self._make_room(bank, now)
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
