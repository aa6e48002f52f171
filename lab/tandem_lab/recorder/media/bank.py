# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bank: the storage folder with the tables of its devices, and the caches that say which of them count.

Order of a close: the new ``archives_cache.xml`` first, the rename of the folder second. A crash between the two leaves an entry
without a folder (dropped at the next start) and an open folder (repaired and closed then), so nothing gets lost.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import typing as t
import uuid
from pathlib import Path

from . import caches, layout, repair
from .disk import GONE, Disk
from .table import Table
from .track import Track
from .writer import TableWriter

Log = t.Callable[[str, str], None]
TAG = "LOCAL"
REBUILD_SLICE = 40


class Storage(t.NamedTuple):
    """What the configuration says about a bank."""

    id: str
    name: str
    disk_path: str  # as Windows names the folder that holds the bank
    path: Path
    drive: Path
    retain_minutes: float
    max_size_mb: int


class Bank:
    def __init__(
        self,
        storage: Storage,
        local_time: t.Callable[[int], str],
        log: Log,
        max_block_bytes: int = layout.MAX_BLOCK_BYTES,
        disk: Disk | None = None,
    ) -> None:
        self.storage = storage
        self.path = storage.path / storage.id.upper()
        self.disk = disk or Disk()
        self.closed: dict[str, Table] = {}
        self.tracks: dict[str, Track] = {}  # with an open table here, by device
        self.loaded = False
        self.rebuilding = False
        self._gone = False  # its drive went while it was in use
        self.on_add: t.Callable[[Table], None] = lambda table: None
        self.on_remove: t.Callable[[Table], None] = lambda table: None
        self._local_time = local_time
        self._log = log
        self._max_block_bytes = max_block_bytes
        self._fragments: dict[str, str] = {}  # of archives_cache.xml, for closed tables never change
        self._live: bytes | None = None

    # ---- start

    def load(self, now: int, rebuild_missing_cache: bool = True) -> None:
        """Read the bank. A missing or damaged ``archives_cache.xml`` is left to `rebuild`."""
        self._create()
        names = {entry.name for entry in os.scandir(self.path) if entry.is_dir()}
        archives = self.path / caches.ARCHIVES
        changed = False
        if not archives.exists():
            self.rebuilding = rebuild_missing_cache
        else:
            try:
                changed = self._load_archives(caches.read(archives), names)
            except caches.CacheDamaged as error:
                self._log("ERROR", f"{archives} cannot be read ({error}); it is set aside and rebuilt")
                os.replace(archives, archives.with_name(archives.name + ".damaged"))
                self.rebuilding = True
        for name in sorted(names):
            if layout.OPEN_NAME.match(name):
                changed = self._close_leftover(self.path / name, now) or changed
        self.loaded = True
        if not self.rebuilding and (changed or not archives.exists()):
            self._write_archives()
        self.write_live(force=True)

    def _create(self) -> None:
        self.disk.check_write()
        if not self.storage.drive.is_dir():
            raise FileNotFoundError(2, "the drive of the storage is not there", str(self.storage.drive))
        self.path.mkdir(parents=True, exist_ok=True)
        if not (self.path / caches.CONFIG).exists():
            storage, password = self.storage, os.urandom(46).hex().upper()
            text = caches.bank_config(storage.id.upper(), storage.name, storage.max_size_mb, storage.retain_minutes, password)
            caches.replace(self.path / caches.CONFIG, text)
        if not (self.path / caches.SYNCKEY).exists():
            caches.replace(self.path / caches.SYNCKEY, str(uuid.uuid4()).upper().encode())
            # A new bank has no closed tables; without a cache it would look like one that waits for its rebuild.
            if not any(layout.CLOSED_NAME.match(name) for name in os.listdir(self.path)):
                caches.replace(self.path / caches.ARCHIVES, caches.document(()))

    def _load_archives(self, entries: list[caches.TableEntry], names: set[str]) -> bool:
        gone = 0
        for entry in entries:
            if entry.name in names and layout.CLOSED_NAME.match(entry.name):
                self._add(entry)
            else:
                gone += 1
        strangers = sum(1 for name in names if layout.CLOSED_NAME.match(name) and name not in self.closed)
        if gone:
            self._log("WARNING", f"Bank {self.path.name}: {gone} tables of {caches.ARCHIVES} are gone and were dropped")
        if strangers:
            self._log("WARNING", f"Bank {self.path.name}: {strangers} tables on disk are not in {caches.ARCHIVES} and are not read")
        return gone > 0

    def _close_leftover(self, path: Path, now: int) -> bool:
        """Repair and close a table that was open when the recorder died."""
        try:
            entry = repair.repair(path)
        except (OSError, layout.TableDamaged) as error:
            aside = self._free_name(path.name, now, "DAMAGED")
            self._log("ERROR", f"Table {path.name} cannot be repaired ({error}); it is kept as {aside}")
            os.rename(path, self.path / aside)
            return False
        if entry is None:
            self._log("WARNING", f"Table {path.name} was left open without one whole frame; it is removed")
            shutil.rmtree(path)
            return False
        name = self._free_name(path.name, now)
        entry = caches.TableEntry(name, entry.size, entry.description, entry.columns)
        self._log("WARNING", f"Table {path.name} was left open; it is repaired and closed as {name}")
        self._fragments[name] = entry.xml()
        if not self.rebuilding:
            self._write_archives()
        os.rename(path, self.path / name)
        self._add(entry)
        return True

    async def rebuild(self) -> None:
        """Read all closed tables from disk and write ``archives_cache.xml`` anew. Recording goes on meanwhile."""
        names = sorted(name for name in os.listdir(self.path) if layout.CLOSED_NAME.match(name))
        damaged = 0
        for number, name in enumerate(names):
            if name not in self.closed:
                try:
                    self._add(repair.inspect(self.path / name))
                except layout.TableDamaged as error:
                    damaged += 1
                    self._log("ERROR", f"Table {name} is not read: {error}")
            if number % REBUILD_SLICE == REBUILD_SLICE - 1:
                await asyncio.sleep(0)
        self.rebuilding = False
        self._write_archives()
        counts = f"{len(self.closed)} tables, {damaged} damaged ones left out"
        self._log("INFO", f"Bank {self.path.name}: {caches.ARCHIVES} rebuilt with {counts}")

    def _add(self, entry: caches.TableEntry) -> None:
        media = entry.column(layout.MEDIA)
        if media is None or media.begin is None or media.end is None:
            return
        table = Table(self.path / entry.name, media.begin, media.end, entry)
        self.closed[entry.name] = table
        self._fragments[entry.name] = entry.xml()
        self.on_add(table)

    # ---- the disk

    @property
    def available(self) -> bool:
        return self.loaded and not self.disk.blocked

    def lost(self) -> None:
        """Nothing can be written any more; when the drive is gone, nothing can be played either."""
        for track in list(self.tracks.values()):
            writer = track.abandon()
            if writer is not None:
                self.on_remove(writer.table)
        self.tracks.clear()
        if self.disk.state == GONE and not self._gone:
            self._gone = True
            for table in self.closed.values():
                table.forget_files()
                self.on_remove(table)

    def found_again(self, now: int, reload: bool, rebuild_missing_cache: bool = True) -> None:
        """The drive is back. Without `reload` closed tables are those from before, whatever lies on the drive now."""
        was_gone, self._gone = self._gone, False
        if was_gone and reload:
            self.closed.clear()
            self._fragments.clear()
            self.loaded = False
            self.load(now, rebuild_missing_cache)
            return
        if was_gone:
            for table in self.closed.values():
                self.on_add(table)
        for name in sorted(os.listdir(self.path)):
            if layout.OPEN_NAME.match(name) and name not in self.tracks:
                self._close_leftover(self.path / name, now)
        self.write_live(force=True)

    def make_room(self, count: int) -> int:
        """The disk is full: delete the oldest closed tables, as documented. Their number."""
        doomed = [] if self.rebuilding else sorted(self.closed.values(), key=lambda table: table.end)[:count]
        if doomed:
            self._delete(doomed)
        return len(doomed)

    # ---- recording

    def open_table(self, track: Track, first_time: int) -> TableWriter:
        path = self.path / track.device
        if not self.loaded:
            raise FileNotFoundError(2, "the storage is offline", str(self.path))
        self.disk.check_room()
        if path.exists():
            self._close_leftover(path, first_time)  # closing it failed before
        writer = TableWriter(path, track.description, first_time, self._max_block_bytes)
        self.tracks[track.device] = track
        self.on_add(writer.table)
        return writer

    def close_tables(self, tracks: t.Iterable[Track], now: int) -> None:
        """Close the open tables of some devices in one step: one new cache for all of them."""
        done: list[tuple[Track, TableWriter, caches.TableEntry]] = []
        for track in tracks:
            writer = track.writer
            if writer is None:
                continue
            track.writer = None
            self.tracks.pop(track.device, None)
            name = self._free_name(track.device, now)
            if not writer.table.frames:
                self._discard(writer)
                continue
            try:
                entry = writer.finish(track.carry_over(now), name)
            except OSError as error:
                writer.abandon()
                self.on_remove(writer.table)
                self._log("ERROR", f"Table {track.device} could not be finished ({error}); it is repaired when it is opened again")
                continue
            self._fragments[name] = entry.xml()
            done.append((track, writer, entry))
        if done:
            self._finish_close(done)

    def _discard(self, writer: TableWriter) -> None:
        """A table that never got a frame, for the disk refused it."""
        writer.abandon()
        self.on_remove(writer.table)
        shutil.rmtree(writer.table.path, ignore_errors=True)

    def _finish_close(self, done: list[tuple[Track, TableWriter, caches.TableEntry]]) -> None:
        if not self.rebuilding:
            self._write_archives()
        for _, writer, entry in done:
            try:
                os.rename(writer.table.path, self.path / entry.name)
            except OSError as error:
                del self._fragments[entry.name]
                self.on_remove(writer.table)
                self._log("ERROR", f"Table {writer.table.name} could not be renamed to {entry.name} ({error})")
                continue
            writer.table.close(self.path / entry.name, entry)
            self.closed[entry.name] = writer.table
            self.on_add(writer.table)
        self.write_live()

    def _free_name(self, device: str, now: int, tag: str = TAG) -> str:
        """The closed name for this moment in local time; seconds are added until it is free."""
        while True:
            name = f"{layout.device_of(device)}_{tag}_{self._local_time(now)}"
            if name not in self._fragments and not (self.path / name).exists():
                return name
            now += 1000

    # ---- caches

    def write_live(self, force: bool = False) -> None:
        """``cache.xml``: the live tables. Only written when it changes."""
        entries = [track.writer.live_entry() for track in self.tracks.values() if track.writer is not None]
        data = caches.document(entry.xml() for entry in sorted(entries, key=lambda entry: entry.name))
        if force or data != self._live:
            self.disk.check_write()
            caches.replace(self.path / caches.LIVE, data)
            self._live = data

    def _write_archives(self) -> None:
        self.disk.check_write()
        caches.replace(self.path / caches.ARCHIVES, caches.document(self._fragments[name] for name in sorted(self._fragments)))

    # ---- retention

    def expire(self, now: int, at_most: int = 50) -> int:
        """Delete closed tables past their retention, and the oldest ones while the bank is larger than it may be."""
        if self.rebuilding:
            return 0
        oldest = sorted(self.closed.values(), key=lambda table: table.end)
        limit = now - self.storage.retain_minutes * 60_000
        surplus = sum(table.entry.size for table in oldest if table.entry) - self.storage.max_size_mb * 1024 * 1024
        doomed: list[Table] = []
        for table in oldest[:at_most]:
            if table.end >= limit and surplus <= 0:
                break
            surplus -= table.entry.size if table.entry else 0
            doomed.append(table)
        if doomed:
            self._delete(doomed)
        return len(doomed)

    def _delete(self, doomed: list[Table]) -> None:
        for table in doomed:
            del self.closed[table.name], self._fragments[table.name]
            self.on_remove(table)
        self._write_archives()
        for table in doomed:
            table.forget_files()
            shutil.rmtree(table.path, ignore_errors=True)

    def used_bytes(self) -> int:
        closed = sum(table.entry.size for table in self.closed.values() if table.entry)
        return closed + sum(track.writer.media.block_bytes for track in self.tracks.values() if track.writer)
