# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's parts alone: frames, durable state, availability journal, log."""
from __future__ import annotations

import dataclasses
import json
import socket
import threading
import time

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import settings, store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import heartbeat, log, state, wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import ATTACHED, Epoch
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeHost


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path, "machine", ["127.20.0.11"])
    store.make_folder(host, store.GUARD_FOLDER)
    return host


@pytest.fixture
def ends():
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()


# -- frames ------------------------------------------------------------------------------------------------------------

def test_frame_arrives_whole_from_small_pieces(ends):
    left, right = ends
    data = wire.encode({"op": "status", "text": "Überwachung"})
    threading.Thread(target=lambda: [left.sendall(data[i:i + 1]) for i in range(len(data))], daemon=True).start()
    assert wire.receive(right) == {"op": "status", "text": "Überwachung"}


@pytest.mark.parametrize(("raw", "code"), [
    ((wire.MAX_FRAME + 1).to_bytes(4, "big"), "oversized"), (b"\xff\xff\xff\xff", "oversized"),
    (b"\x00\x00\x00\x03{x}", "bad_frame"), (b"\x00\x00\x00\x02[]", "bad_frame"), (b"\x00\x00\x00\x01\xff", "bad_frame"),
    (b"\x00\x00\x00\x09{}", "closed"), (b"\x00\x00", "closed"),
])
def test_bad_frames_are_named(ends, raw, code):
    left, right = ends
    left.sendall(raw)
    left.shutdown(socket.SHUT_WR)
    with pytest.raises(wire.WireError) as caught:
        wire.receive(right, 2.0)
    assert caught.value.code == code


def test_end_between_frames_is_clean_and_slow_frames_time_out(ends):
    left, right = ends
    left.sendall(b"\x00\x00\x00\x09{")
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        wire.receive(right, 0.2)
    assert time.monotonic() - started < 5.0
    left.close()
    with pytest.raises(wire.Closed) as caught:
        wire.receive(right, 1.0)
    assert caught.value.clean


def test_message_that_does_not_fit_is_not_sent():
    with pytest.raises(wire.WireError):
        wire.encode({"data": "x" * wire.MAX_FRAME})


# -- state -------------------------------------------------------------------------------------------------------------

SETTINGS = settings.parse({
    "pair": "pair1", "recorder_id": "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c", "node": "pair1-a", "address": "127.20.0.11",
    "partner": {"name": "pair1-b", "address": "127.20.0.12"}, "tandem_port": 11443,
    "service_address": {"address": "127.20.0.10", "prefix": 24}, "management_addresses": ["127.20.0.2"],
    "witness": {"name": "witness-1", "address": "127.20.0.20", "port": 11444}})


def test_state_is_on_the_disk_before_it_counts(host):
    host.generation = "g1"
    file = state.StateFile(host, SETTINGS)
    first = file.record
    assert (first.voting, first.generation, first.membership.nodes) == (False, "g1", ("pair1-a", "pair1-b"))
    file.note_detach(1.5)
    file.note_detach(0.5)
    voted = dataclasses.replace(first, epoch=Epoch(4, "pair1-a", first.incarnation), claim=ATTACHED, reason="test")
    file.store(voted)
    host.fail["replace_file"] = OSError(28, "full")
    with pytest.raises(store.NodeError):
        file.store(dataclasses.replace(voted, epoch=Epoch(5, "pair1-b", "x")))
    assert file.record == voted
    again = state.StateFile(host, SETTINGS)
    assert (again.record, again.lost, again.slowest_detach) == (voted, None, 1.5)


def test_the_time_of_a_state_is_that_of_its_last_change(host, monkeypatch):
    moments = iter(range(1000, 9000, 1000))
    monkeypatch.setattr(state, "_now_ms", lambda: next(moments))
    file = state.StateFile(host, SETTINGS)
    file.store(dataclasses.replace(file.record, claim=ATTACHED))
    changed = file.since_ms
    file.store(dataclasses.replace(file.record, reason="another one"))
    assert changed > 1000 and file.since_ms == changed == state.StateFile(host, SETTINGS).since_ms


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b"[" * 100_000])
def test_lost_state_gives_a_new_incarnation_without_a_vote_and_keeps_the_damaged_file(host, damage):
    before = state.StateFile(host, SETTINGS).record.incarnation
    path = host.path(state.STATE_FILE)
    path.write_bytes(damage)
    file = state.StateFile(host, SETTINGS)
    assert file.lost and file.record.epoch.number == 0 and file.record.incarnation != before and not file.record.voting
    assert [kept.read_bytes() for kept in path.parent.glob("state.json.broken-*")] == [damage]


@pytest.mark.parametrize("change", [{"pair": "pair2"}, {"node": "pair1-b"}, {"partner": "pair1-c"}, {"recorder_id": "another"},
                                    {"record": None}, {"record": {"incarnation": "x"}}])
def test_state_of_another_pair_or_without_its_fields_is_lost_as_well(host, change):
    state.StateFile(host, SETTINGS)
    document = store.read_json(host, state.STATE_FILE)
    store.write_json(host, state.STATE_FILE, {**document, **change})
    file = state.StateFile(host, SETTINGS)
    assert file.lost and file.record.incarnation != document["record"]["incarnation"]


# -- availability ------------------------------------------------------------------------------------------------------

def test_intervals_end_where_recording_was_last_seen(host):
    journal = heartbeat.Journal(host)
    for second in range(10):
        journal.look(second * 1000, recording=2 <= second < 6)
    assert heartbeat.availability(host) == [[2000, 5000]]
    journal.look(10_000, True)
    journal.look(11_000, True)
    assert heartbeat.availability(host) == [[2000, 5000], [10_000, 11_000]]
    journal.close()
    assert store.read_lines(host, heartbeat.JOURNAL_FILE) == [{"from_ms": 2000, "to_ms": 5000}, {"from_ms": 10_000, "to_ms": 11_000}]


def test_interval_that_fades_out_ends_at_the_last_write(host):
    journal = heartbeat.Journal(host)
    for second in range(8):
        journal.look(second * 1000, True, 2500)
    journal.look(8000, False, 2500)
    assert heartbeat.availability(host) == [[0, 2500]]


def test_crash_ends_the_open_interval_at_the_last_heartbeat_once(host):
    journal = heartbeat.Journal(host)
    for second in range(5):
        journal.look(second * 1000, True)
    for _restart in range(2):
        heartbeat.Journal(host)
        assert heartbeat.availability(host) == [[0, 4000]]
    assert store.read_lines(host, heartbeat.JOURNAL_FILE) == [{"from_ms": 0, "to_ms": 4000}]


def test_pause_and_clock_steps_split_intervals(host):
    journal = heartbeat.Journal(host)
    for moment in (0, 1000, 2000, 60_000, 61_000, 30_000, 31_000):
        journal.look(moment, True)
    journal.close()
    assert heartbeat.availability(host) == [[0, 2000], [30_000, 31_000], [60_000, 61_000]]


def test_torn_heartbeat_and_torn_lines_are_left_out(host):
    store.append_line(host, heartbeat.JOURNAL_FILE, {"from_ms": 1, "to_ms": 5})
    with open(host.path(heartbeat.JOURNAL_FILE), "ab") as file:
        file.write(b'{"from_ms": 10, "to')
    host.path(heartbeat.HEARTBEAT_FILE).write_bytes(b"{")
    store.append_line(host, heartbeat.JOURNAL_FILE, {"from_ms": 20, "to_ms": 25})
    assert heartbeat.availability(host) == [[1, 5], [20, 25]]
    journal = heartbeat.Journal(host)
    journal.look(100, True)
    assert json.loads(host.path(heartbeat.HEARTBEAT_FILE).read_bytes())["open_from_ms"] == 100


# -- log ---------------------------------------------------------------------------------------------------------------

def test_log_is_bounded_and_never_fails(host, monkeypatch):
    monkeypatch.setattr(log, "_MAX_BYTES", 2000)
    written = log.GuardLog(host)
    for number in range(200):
        written(f"line {number} {'x' * 50}")
    path = host.path(log.LOG_FILE)
    assert path.stat().st_size < 2100 and path.with_name("guard.log.1").stat().st_size < 2100
    assert "line 199" in path.read_text()
    before = path.read_text()
    written.seldom("key", "once")
    written.seldom("key", "once")
    assert path.read_text().count("once") == before.count("once") + 1
    path.unlink()
    path.mkdir()
    written("this cannot be written")
    assert path.is_dir()
