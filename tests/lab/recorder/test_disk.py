# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that are full, read-only or gone, seen from the media database."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from test_bank import DEVICE, OTHER, Machine, payload

from tandem_lab.recorder.media import caches, layout
from tandem_lab.recorder.media.store import MediaStore


def make(folder, **options):
    folder.mkdir(exist_ok=True)
    machine = Machine(folder, **options)
    machine.start()
    return machine


def disk(machine, state):
    machine.store.disk_changed(machine.drive, state, machine.clock)


def refused(machine, track, number, code):
    with pytest.raises(OSError) as error:
        track.append(machine.clock, payload(number))
    assert error.value.errno == code
    track.end()


def spans(machine):
    return asyncio.run(machine.store.timeline(DEVICE).sequences(layout.SEQUENCES))


def contents(machine):
    return {path: path.read_bytes() for path in sorted(machine.path.rglob("*")) if path.is_file()}


def test_a_full_disk_takes_no_media_but_tables_are_finished(tmp_path):
    machine = make(tmp_path)
    track = machine.record(range(10))
    end = machine.clock - 200
    disk(machine, "full")
    refused(machine, track, 10, 28)
    assert machine.bank.available
    assert machine.lines[-1] == "ERROR Storage 'Local default': There is not enough space on the disk. Recording to it stops"
    machine.clock += 30_000
    machine.store.tick(machine.clock)
    assert len(machine.names()) == 1 == len(machine.archives())
    refused(machine, track, 11, 28)
    assert machine.played() == list(range(10))
    disk(machine, None)
    again = machine.clock
    machine.record(range(20, 25))
    assert machine.played() == [*range(10), *range(20, 25)]
    assert spans(machine)[0][1] == end and spans(machine)[1][0] == again  # nothing is claimed for the time between
    assert machine.lines[-1].endswith("there is space on the disk again")


def test_a_disk_that_stays_full_costs_the_oldest_tables(tmp_path):
    machine = make(tmp_path, disk_check_seconds=60)
    for device in (DEVICE, OTHER):
        machine.record(range(5), device)
    for _ in range(3):
        machine.clock += 11_000
        machine.store.tick(machine.clock)
        for device in (DEVICE, OTHER):
            machine.record(range(5), device)
    machine.store.tick(machine.clock)
    before = machine.names()
    disk(machine, "full")
    machine.clock += 59_000
    machine.store.tick(machine.clock)
    closed = machine.names()
    assert set(before) <= set(closed)
    machine.clock += 2_000
    machine.store.tick(machine.clock)
    assert len(machine.names()) == len(closed) - 2 and machine.archives() == machine.names()
    assert any("2 oldest tables were deleted" in line for line in machine.lines)
    disk(machine, None)
    machine.clock += 120_000
    kept = machine.names()
    machine.store.tick(machine.clock)
    assert machine.names() == kept


@pytest.mark.parametrize(("state", "code"), [("read-only", 30), ("gone", 19)])
def test_nothing_is_written_to_a_blocked_disk_and_all_is_there_afterwards(tmp_path, state, code):
    machine = make(tmp_path)
    machine.record(range(10))
    machine.clock += 11_000
    machine.store.tick(machine.clock)
    track = machine.record(range(10, 20))
    end = machine.clock - 200
    disk(machine, state)
    before = contents(machine)
    refused(machine, track, 20, code)
    machine.clock += 60_000
    machine.store.tick(machine.clock)
    machine.store.tick(machine.clock + 5_000)
    assert contents(machine) == before and not machine.bank.available
    assert machine.played() == ([] if state == "gone" else list(range(10)))
    disk(machine, None)
    assert machine.bank.available and machine.played() == list(range(20))
    again = machine.clock
    machine.record(range(30, 35))
    assert machine.played() == [*range(20), *range(30, 35)]
    assert spans(machine)[-2][1] == end and spans(machine)[-1][0] == again
    machine.store.close(machine.clock)
    assert machine.archives() == machine.names()
    assert sum("unavailable" in line or "available again" in line for line in machine.lines) == 2


def test_a_drive_that_changes_its_fault_comes_back_whole(tmp_path):
    machine = make(tmp_path)
    machine.record(range(10))
    for state in ("read-only", "gone", "read-only", "gone", "full"):
        disk(machine, state)
    assert machine.bank.available and machine.played() == list(range(10))
    disk(machine, None)
    machine.record(range(10, 15))
    assert machine.played() == list(range(15))


@pytest.mark.parametrize("reloads", [False, True])
def test_what_came_meanwhile_is_read_only_if_a_remount_reloads(tmp_path, reloads):
    machine = make(tmp_path / "own", remount_reloads_tables=reloads)
    partner = make(tmp_path / "partner")
    machine.record(range(5))
    machine.store.close(machine.clock)
    partner.clock += 100_000
    partner.record(range(50, 55))
    partner.store.close(partner.clock)
    disk(machine, "gone")
    (name,) = partner.names()
    shutil.copytree(partner.path / name, machine.path / name)
    (machine.path / caches.ARCHIVES).unlink()

    async def come_back():
        disk(machine, None)
        await asyncio.gather(*machine.store._rebuilds)

    asyncio.run(come_back())
    assert machine.played() == ([*range(5), *range(50, 55)] if reloads else list(range(5)))


def test_a_start_without_its_disk(tmp_path):
    machine = make(tmp_path)
    machine.record(range(5))
    machine.store.close(machine.clock)
    store = MediaStore(lambda level, text: machine.lines.append(f"{level} {text}"), str)
    store.disk_changed(machine.drive, "gone", machine.clock)
    store.configure([machine.storage()], machine.clock)
    machine.store = store
    for step in range(5):
        store.tick(machine.clock + step * 6_000)
    assert not machine.bank.available and machine.played() == []
    assert sum("is offline" in line for line in machine.lines) == 1
    disk(machine, None)
    store.tick(machine.clock + 60_000)
    assert machine.bank.available and machine.played() == list(range(5))
