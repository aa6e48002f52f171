# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Banks: caches, closing, crashes between two steps, imports, retention."""

from __future__ import annotations

import asyncio
import os
import shutil
import time

import pytest

from tandem_lab.recorder.media import caches, layout
from tandem_lab.recorder.media.bank import Storage
from tandem_lab.recorder.media.store import MediaStore

STORAGE = "444b824b-0000-4000-8000-000000000001"
DEVICE = "b01d0219-36ee-4720-afb2-025cfa3bd231"
OTHER = "e227d322-9fba-426a-92bc-7e05290eda00"
T0 = 1_800_000_000_000


def payload(number: int) -> bytes:
    return b"\xff\xd8" + f"picture {number:06d}".encode() + b"\xff\xd9"


class Machine:
    """The media store of one recorder, without the recorder."""

    def __init__(self, folder, **options):
        self.drive = folder
        self.lines = []
        self.options = {"table_seconds": 10, **options}
        self.clock = T0
        self.retain_minutes = 60.0
        self.max_size_mb = 1000

    def storage(self):
        folder = self.drive / "MediaDatabase"
        return Storage(STORAGE, "Local default", "D:\\MediaDatabase", folder, self.drive, self.retain_minutes, self.max_size_mb)

    def start(self) -> MediaStore:
        self.store = MediaStore(lambda level, text: self.lines.append(f"{level} {text}"), lambda ms: time.strftime(
            "%Y-%m-%d_%H-%M-%S", time.gmtime(ms / 1000)), **self.options)

        async def configure():
            self.store.configure([self.storage()], self.clock)
            await asyncio.gather(*self.store._rebuilds)

        asyncio.run(configure())
        return self.store

    @property
    def bank(self):
        return self.store.banks[STORAGE]

    @property
    def path(self):
        return self.drive / "MediaDatabase" / STORAGE.upper()

    def record(self, numbers, device=DEVICE):
        track = self.store.track(device, "Entrance", STORAGE, self.clock)
        track.begin(self.clock)
        for number in numbers:
            track.append(self.clock, payload(number))
            self.clock += 200
        return track

    def played(self, device=DEVICE) -> list[int]:
        numbers, timeline = [], self.store.timeline(device)
        picture = timeline.first()
        while picture is not None:
            numbers.append(int(picture.frame.read()[10:16]))
            if picture.next == picture.time:
                break
            picture = timeline.next(picture.time)
        return numbers

    def names(self):
        return sorted(path.name for path in self.path.iterdir() if layout.CLOSED_NAME.match(path.name))

    def archives(self):
        return sorted(entry.name for entry in caches.read(self.path / caches.ARCHIVES))


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    machine.start()
    return machine


def crash_and_start(machine) -> None:
    """What a killed process leaves behind: the files as they are."""
    machine.start()


def test_a_new_bank_has_all_its_documents(machine):
    config = (machine.path / caches.CONFIG).read_text()
    assert f'<bank id="{STORAGE.upper()}" version="1.2">' in config and "<max_minutes>60</max_minutes>" in config
    assert caches.read(machine.path / caches.LIVE) == caches.read(machine.path / caches.ARCHIVES) == []
    assert len((machine.path / caches.SYNCKEY).read_text()) == 36
    before = {path.name: path.read_bytes() for path in machine.path.iterdir()}
    machine.start()
    assert {path.name: path.read_bytes() for path in machine.path.iterdir()} == before


def test_tables_split_in_time_and_sequences_touch(machine):
    machine.record(range(50))
    machine.store.tick(machine.clock)
    machine.record(range(50, 70))
    machine.store.close(machine.clock)
    assert machine.names() == machine.archives() and len(machine.names()) == 2
    assert machine.played() == list(range(70))
    assert asyncio.run(machine.store.timeline(DEVICE).sequences(layout.SEQUENCES)) == [(T0, T0 + 69 * 200)]
    first, second = (entry.column(layout.SEQUENCES) for entry in sorted(caches.read(machine.path / caches.ARCHIVES), key=lambda e: e.name))
    assert first.end == second.begin


def test_one_cache_names_all_tables_that_are_closed_together(machine, monkeypatch):
    machine.record(range(60))
    machine.clock = T0
    machine.record(range(60), OTHER)
    written = []
    real = caches.replace
    monkeypatch.setattr(caches, "replace", lambda path, data: (written.append(path.name), real(path, data)))
    machine.store.tick(machine.clock)
    assert written.count(caches.ARCHIVES) == 1 and len(machine.archives()) == 2


def test_the_live_cache_names_open_tables(machine):
    machine.record(range(5))
    machine.store.tick(machine.clock)
    (entry,) = caches.read(machine.path / caches.LIVE)
    media, sequences, motion = (entry.column(column) for column in layout.COLUMNS)
    assert (entry.name, media.begin, media.end) == (DEVICE, T0, T0 + 800)
    assert (sequences.begin, sequences.end, motion.size) == (T0, T0 + 800, 24)
    assert media.size == sum(path.stat().st_size for path in (machine.path / DEVICE / layout.MEDIA).iterdir())
    machine.store.close(machine.clock)
    assert caches.read(machine.path / caches.LIVE) == []


def test_a_taken_name_gets_seconds_added(machine):
    moment = T0 + 5_000
    for offset in (0, 1):
        (machine.path / f"{DEVICE}_LOCAL_{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime(moment // 1000 + offset))}").mkdir()
    machine.record(range(3))
    machine.store.close(moment)
    assert machine.archives() == [f"{DEVICE}_LOCAL_{time.strftime('%Y-%m-%d_%H-%M-%S', time.gmtime(moment // 1000 + 2))}"]


def test_a_crash_while_recording(machine):
    machine.record(range(7))
    with (machine.path / DEVICE / layout.MEDIA / "block0.blk").open("ab") as block:
        block.write(layout.pack_frame_head(machine.clock, 7, 500) + b"half a pict")
    crash_and_start(machine)
    assert machine.played() == list(range(7))
    assert machine.names() == machine.archives() and len(machine.names()) == 1
    assert any("is repaired and closed" in line for line in machine.lines)


def die(*_):
    raise KeyboardInterrupt


def test_a_crash_between_the_cache_and_the_rename(machine, monkeypatch):
    machine.record(range(7))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "rename", die)
        machine.store.close(machine.clock)
    assert len(machine.archives()) == 1 and machine.names() == []
    crash_and_start(machine)
    assert machine.names() == machine.archives() and machine.played() == list(range(7))


def test_a_crash_before_the_cache_is_written(machine, monkeypatch):
    machine.record(range(7))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(caches, "replace", die)
        machine.store.close(machine.clock)
    assert machine.archives() == [] and machine.names() == []
    crash_and_start(machine)
    assert machine.names() == machine.archives() and machine.played() == list(range(7))


def test_a_crash_after_the_rename(machine, monkeypatch):
    machine.record(range(7))
    machine.store.tick(machine.clock)
    real = caches.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(caches, "replace", lambda path, data: real(path, data) if path.name == caches.ARCHIVES else die())
        machine.store.close(machine.clock)
    crash_and_start(machine)
    assert machine.names() == machine.archives() and machine.played() == list(range(7))
    assert caches.read(machine.path / caches.LIVE) == []


def import_tables(machine, partner, names):
    for name in names:
        shutil.copytree(partner.path / name, machine.path / name)


@pytest.fixture
def partner(tmp_path):
    """The same device on the other machine, which kept recording while the first did not."""
    (tmp_path / "partner").mkdir()
    partner = Machine(tmp_path / "partner")
    partner.clock = T0 + 3_003
    partner.start()
    partner.record(range(15, 45))
    partner.store.close(partner.clock)
    return partner


def record_with_a_gap(machine):
    machine.record(range(20))
    machine.store.close(machine.clock)
    machine.clock = T0 + 200 * 40
    machine.record(range(40, 50))
    machine.store.close(machine.clock)
    assert machine.played() == [*range(20), *range(40, 50)]


def test_imported_tables_are_read_when_the_cache_is_moved_away(machine, partner):
    record_with_a_gap(machine)
    import_tables(machine, partner, partner.names())
    (machine.path / caches.ARCHIVES).rename(machine.path / "archives_cache.xml.old")
    machine.start()
    assert machine.played() == list(range(50))
    assert machine.archives() == machine.names() and len(machine.names()) == 3
    assert asyncio.run(machine.store.timeline(DEVICE).sequences(layout.SEQUENCES)) == [(T0, T0 + 49 * 200)]
    imported = next(entry for entry in caches.read(machine.path / caches.ARCHIVES) if entry.name == partner.names()[0])
    assert imported == caches.read(partner.path / caches.ARCHIVES)[0]


def test_imported_tables_are_not_read_while_the_cache_is_there(machine, partner):
    record_with_a_gap(machine)
    import_tables(machine, partner, partner.names())
    machine.start()
    assert machine.played() == [*range(20), *range(40, 50)]
    assert len(machine.archives()) == 2
    assert any("1 tables on disk are not in archives_cache.xml and are not read" in line for line in machine.lines)


def test_a_missing_cache_is_not_rebuilt_when_the_lab_is_told_so(tmp_path, partner):
    machine = Machine(tmp_path / "partner", rebuild_missing_cache=False)
    (machine.path / caches.ARCHIVES).unlink()
    machine.start()
    assert machine.archives() == [] and machine.played() == []


def test_a_damaged_cache_is_kept_aside_and_rebuilt(machine):
    record_with_a_gap(machine)
    (machine.path / caches.ARCHIVES).write_bytes(b"<bank><table>")
    machine.start()
    assert machine.played() == [*range(20), *range(40, 50)]
    assert (machine.path / "archives_cache.xml.damaged").read_bytes() == b"<bank><table>"


def test_a_damaged_table_is_left_out_of_the_rebuilt_cache(machine, partner):
    record_with_a_gap(machine)
    import_tables(machine, partner, partner.names())
    os.truncate(machine.path / partner.names()[0] / layout.MEDIA / "block0.blk", 99)
    (machine.path / caches.ARCHIVES).unlink()
    machine.start()
    assert machine.played() == [*range(20), *range(40, 50)]
    assert partner.names()[0] not in machine.archives()
    assert (machine.path / partner.names()[0]).exists()


def test_recording_goes_on_while_the_cache_is_rebuilt(machine):
    record_with_a_gap(machine)
    (machine.path / caches.ARCHIVES).unlink()
    bank = machine.bank
    bank.closed.clear()
    bank.rebuilding = True

    async def rebuild_and_record():
        rebuild = asyncio.ensure_future(bank.rebuild())
        machine.clock += 60_000
        machine.record(range(50, 60))
        machine.store.drop_track(DEVICE, machine.clock)
        assert not (machine.path / caches.ARCHIVES).exists()  # a cache that is not whole is never shown
        await rebuild

    asyncio.run(rebuild_and_record())
    assert machine.archives() == machine.names() and len(machine.names()) == 3


def test_entries_without_a_table_are_dropped(machine):
    record_with_a_gap(machine)
    shutil.rmtree(machine.path / machine.names()[0])
    machine.start()
    assert machine.archives() == machine.names() and len(machine.names()) == 1
    assert machine.played() == list(range(40, 50))


def test_retention_deletes_old_tables_and_no_others(machine):
    record_with_a_gap(machine)
    limit = T0 + 60 * 60_000
    machine.store.tick(limit + 19 * 200)
    assert len(machine.names()) == 2
    machine.store.tick(limit + 19 * 200 + 30_000)
    assert len(machine.names()) == 0 and machine.archives() == []
    assert machine.store.timeline(DEVICE).first() is None


def test_nothing_is_deleted_while_the_cache_is_rebuilt(machine):
    record_with_a_gap(machine)
    machine.bank.rebuilding = True
    machine.store.tick(T0 + 10 * 60 * 60_000)
    assert len(machine.names()) == 2


def test_a_bank_that_is_too_large_loses_its_oldest_tables(machine):
    machine.max_size_mb = 1
    machine.store.configure([machine.storage()], machine.clock)
    for number in range(3):
        track = machine.record([number])
        track.append(machine.clock + 100, payload(number + 10) + bytes(500_000))
        machine.store.drop_track(DEVICE, machine.clock + 1000)
        machine.clock += 5_000
    machine.store.tick(machine.clock + 60_000)
    assert machine.played() == [1, 11, 2, 12] and machine.archives() == machine.names()


def test_a_drive_that_is_missing_is_tried_again(tmp_path):
    machine = Machine(tmp_path / "D")
    machine.start()
    assert not machine.bank.loaded and any("is offline" in line for line in machine.lines)
    with pytest.raises(OSError):
        machine.record([1])
    machine.drive.mkdir()
    machine.store.tick(machine.clock + 10_000)
    machine.store.track(DEVICE, "Entrance", STORAGE, machine.clock).end()
    machine.record([2, 3])
    assert machine.played() == [2, 3]


def test_a_table_that_cannot_be_repaired_is_kept_under_another_name(machine, monkeypatch):
    machine.record(range(3))
    monkeypatch.setattr("tandem_lab.recorder.media.repair.repair", lambda path: (_ for _ in ()).throw(OSError(5, "bad sector")))
    crash_and_start(machine)
    (kept,) = machine.names()
    assert layout.CLOSED_NAME.match(kept).group(2) == "DAMAGED" and machine.archives() == []
    machine.record(range(3, 6))
    assert machine.played() == [3, 4, 5]


def test_a_device_moves_to_another_storage_without_losing_a_frame(machine):
    other = machine.storage()._replace(id="444b824b-0000-4000-8000-000000000002")
    machine.store.configure([machine.storage(), other], machine.clock)
    machine.record(range(5))
    track = machine.store.track(DEVICE, "Entrance", other.id, machine.clock)
    for number in range(5, 9):
        track.append(machine.clock, payload(number))
        machine.clock += 200
    machine.store.close(machine.clock)
    assert machine.played() == list(range(9))
    assert len(machine.store.banks[other.id].closed) == len(machine.bank.closed) == 1
    assert asyncio.run(machine.store.timeline(DEVICE).sequences(layout.SEQUENCES)) == [(T0, T0 + 8 * 200)]
