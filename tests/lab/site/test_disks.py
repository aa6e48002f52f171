# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looking at a machine's disk while its recorder closes tables, which renames them."""

from __future__ import annotations

import pathlib
import struct
import time

import pytest

from tandem_lab import disks

CAMERA = "11111111-2222-4333-8444-555555555555"
MACHINE = "pair1-a"


class OneDisk:
    def __init__(self, folder: pathlib.Path):
        self.folder = folder

    def machine_directory(self, _name):
        return self.folder

    def describe(self):
        return {"cameras": [{"id": CAMERA, "recording_mode": "always"}]}


@pytest.fixture
def site(tmp_path):
    return OneDisk(tmp_path)


def table(site, counters, suffix="", at_ms=None):
    folder = site.folder / "D" / "MediaDatabase" / "BANK" / f"{CAMERA}{suffix}"
    (folder / disks.MEDIA_COLUMN).mkdir(parents=True)
    at_ms = int(time.time() * 1000) if at_ms is None else at_ms
    payloads = [b'TANDEM1 {"counter": %d}' % counter for counter in counters]
    packets = [struct.pack(">HI14xQ4x", 0x0010, disks.HEADER + len(payload), at_ms) + payload for payload in payloads]
    (folder / disks.MEDIA_COLUMN / "block0.blk").write_bytes(b"".join(packets))
    return folder


def closed(folder):
    return folder.rename(folder.with_name(f"{folder.name}_LOCAL_2026-01-01_00-00-00"))


def test_a_table_that_is_closed_while_it_is_read_is_counted(site, monkeypatch):
    folder = table(site, [1, 2])
    listed = disks.tables

    def listing(*arguments):
        found = listed(*arguments)
        if folder.exists() and not folder.with_name(f"{folder.name}_LOCAL_2026-01-01_00-00-00").exists():
            closed(folder)
            table(site, [3])
        return found

    monkeypatch.setattr(disks, "tables", listing)
    assert disks.counters(site, MACHINE)[CAMERA] >= {1, 2}


def test_between_two_tables_a_recorder_records(site):
    now = int(time.time() * 1000)
    closed(table(site, [1]))
    assert disks.recording(site, MACHINE, now - 2000)


def test_a_table_that_was_brought_from_elsewhere_is_no_recording(site):
    now = int(time.time() * 1000)
    closed(table(site, [1], at_ms=now - 60_000))
    assert not disks.recording(site, MACHINE, now - 2000)
    table(site, [2])
    assert disks.recording(site, MACHINE, now - 2000)
