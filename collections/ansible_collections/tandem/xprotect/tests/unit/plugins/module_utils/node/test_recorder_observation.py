# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is seen of the recorder from outside: its configuration, its words, its open tables."""
from __future__ import annotations

import os
import time

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import recorder_local, recorder_tables
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import (
    BANK, COLUMN, DEVICE, RECORDER, FakeHost, FakeRecorder, recorder_config, wait_until,
)

ADDRESS = "127.20.1.11"


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path, "machine", [ADDRESS])
    host.services[RECORDER] = {"state": "running", "start_type": "auto", "pid": 1}
    config = host.path(recorder_local.CONFIG_FILE)
    config.parent.mkdir(parents=True)
    config.write_bytes(recorder_config(7563))
    return host


def test_config_fields(host):
    config = recorder_local.read_config(host)
    assert config["id"] == "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c" and config["version"] == "25.1.0.2"
    assert (config["web_server_port"], config["web_api_port"], config["server_address"]) == ("7563", "9001", "lab-ms")


@pytest.mark.parametrize(("document", "code"), [
    (None, "config_missing"), (recorder_config(7563)[:200], "config_unreadable"), (b"", "config_unreadable"),
    (b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "aaaa">]><recorderconfig><version>&a;</version></recorderconfig>', "config_unreadable"),
    (b"x" * (8 * 1024 * 1024 + 1), "file_too_large"),
])
def test_config_that_cannot_be_read_is_named(host, document, code):
    path = host.path(recorder_local.CONFIG_FILE)
    path.unlink()
    if document is not None:
        path.write_bytes(document)
    with pytest.raises(NodeError) as caught:
        recorder_local.read_config(host)
    assert caught.value.code == code and "RecorderConfig.xml" in caught.value.message


def test_media_folders_come_from_both_places_once(host):
    assert recorder_local.media_folders(host) == ["D:\\MediaDatabase"]
    host.registry[recorder_local.INSTALLATION_KEY, "MediaDBFolder"] = "d:\\mediadatabase\\; E:\\Archive ;"
    assert recorder_local.media_folders(host) == ["d:\\mediadatabase", "E:\\Archive"]


@pytest.mark.parametrize(("answer", "expected"), [
    (b"<AttachState>Attached</AttachState><ConnectionState>Connected</ConnectionState>", True),
    (b"<a:AttachState xmlns:a='x'> attached </a:AttachState><a:ConnectionState>CONNECTED</a:ConnectionState>", True),
    (b"<AttachState>Detached</AttachState><ConnectionState>Disconnected</ConnectionState>", False),
    (b"<AttachState>NotAttached</AttachState><ConnectionState>Connected</ConnectionState>", False),
    (b"<AttachState>Attached</AttachState><ConnectionState>Disconnected</ConnectionState>", False),
    (b"<AttachState>Attached</AttachState>", None),
    (b"<soap:Fault><faultstring>No token supplied</faultstring></soap:Fault>", None), (b"", None),
])
def test_only_the_exact_words_mean_attached(answer, expected):
    state = recorder_local.parse_status(answer)
    assert (None if state is None else state.attached) is expected


def test_status_of_a_running_a_stopped_and_a_silent_recorder(host):
    recorder = FakeRecorder(host, ADDRESS, 0)
    port = recorder._listener.getsockname()[1]
    host.path(recorder_local.CONFIG_FILE).write_bytes(recorder_config(port))
    probe = recorder_local.StatusProbe.find(host, None)
    assert probe.ask().attached
    recorder.connected = False
    assert probe.ask() == recorder_local.RecorderState("Detached", "Disconnected")
    host.service_stop(RECORDER)
    assert probe.ask() is None
    recorder.stop()
    assert probe.ask() is None
    silent = host.listen(ADDRESS, port)
    started = time.monotonic()
    assert probe.ask(0.3) is None and time.monotonic() - started < 5.0
    silent.close()


# -- tables ------------------------------------------------------------------------------------------------------------

class Bank:
    def __init__(self, host: FakeHost):
        self.now = 1000.0
        self.root = host.path("D:\\MediaDatabase") / BANK
        self.root.mkdir(parents=True)
        self.watch = recorder_tables.TableWatch(host, lambda: ["D:\\MediaDatabase"], lambda: self.now)

    def table(self, name: str, old: bool = True):
        folder = self.root / name / COLUMN
        folder.mkdir(parents=True)
        file = folder / "block0.blk"
        file.write_bytes(b"x")
        if old:
            os.utime(file, (1, 1))
        return file

    def look(self, seconds: float = 1.0) -> tuple[int, int, int]:
        self.now += seconds
        self.watch.look()
        return self.watch.devices, self.watch.known, self.watch.writing()


def test_growing_tables_are_counted_and_quiet_ones_are_not(host):
    bank = Bank(host)
    growing, quiet = bank.table(DEVICE.format(1)), bank.table(DEVICE.format(2))
    bank.table(DEVICE.format(3) + "_LOCAL_2026-03-01_10-00-00")
    assert bank.look() == (2, 3, 0)
    growing.write_bytes(b"xx")
    assert bank.look() == (2, 3, 1)
    assert bank.look(recorder_tables.WRITING_WINDOW + 0.1) == (2, 3, 0)
    os.utime(quiet, (5, 5))  # a block that was created at full size does not grow
    assert bank.look() == (2, 3, 1)
    bank.watch.forget_changes()
    assert bank.watch.writing() == 0 and bank.watch.last_change is None


def test_fresh_files_count_at_the_first_look(host):
    bank = Bank(host)
    bank.table(DEVICE.format(1), old=False)
    bank.table(DEVICE.format(2), old=True)
    assert bank.look() == (2, 2, 1)


def test_closing_a_table_and_opening_the_next_is_followed(host):
    bank = Bank(host)
    bank.table(DEVICE.format(1))
    assert bank.look() == (1, 1, 0)
    (bank.root / DEVICE.format(1)).rename(bank.root / (DEVICE.format(1) + "_LOCAL_2026-03-01_10-00-00"))
    assert bank.look() == (0, 1, 0)
    bank.table(DEVICE.format(1), old=False)
    assert bank.look() == (1, 1, 1)


def test_foreign_folders_are_not_tables(host):
    bank = Bank(host)
    for name in ("System Volume Information", "temp", DEVICE.format(1) + ".bak", "x" + DEVICE.format(1)):
        bank.table(name)
    (bank.root.parent / "not a bank" / DEVICE.format(2)).mkdir(parents=True)
    assert bank.look() == (0, 0, 0) and bank.watch.error is None


def test_lost_storage_is_an_error_and_an_unused_folder_is_not(host):
    watch = recorder_tables.TableWatch(host, lambda: ["D:\\MediaDatabase"])
    watch.look()
    assert watch.error
    host.path("D:\\MediaDatabase").mkdir()
    wait_until(lambda: watch.look() or watch.error is None, "the folder is there")
    bank = Bank(host)
    bank.table(DEVICE.format(1))
    both = recorder_tables.TableWatch(host, lambda: ["E:\\Never used", "D:\\MediaDatabase"])
    both.look()
    assert both.error is None and both.known == 1
