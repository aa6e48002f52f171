# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Logs as they are written become evidence: torn lines, power cuts without a farewell, a server that went down with its sessions."""

from __future__ import annotations

import json
import math

from tandem_lab.chaos import evidence
from tandem_lab.chaos.evidence import Fault, Session
from tandem_lab.chaos.spans import Span, intersection, subtract, total, union
from tandem_lab.chaos.watcher import Watcher, find_record
from tandem_lab.disks import RECORDER_SERVICE

ADDRESSES = {"127.1.1.11": "pair1-a", "127.1.1.12": "pair1-b"}


def event(moment: float, kind: str, **details) -> dict:
    return {"time_ms": moment, "event": kind, **details}


def connection(moment: float, kind: str, source: str = "127.1.1.11", recorder: str = "r1") -> dict:
    return {"t_ms": moment, "event": kind, "recorder_id": recorder, "from": source}


def test_spans():
    assert union([Span(5, 9), Span(1, 3), Span(3, 5), Span(20, 20), Span(12, 14)]) == [Span(1, 9), Span(12, 14)]
    assert intersection([Span(0, 10), Span(20)], [Span(5, 25)]) == [Span(5, 10), Span(20, 25)]
    assert subtract([Span(0, 10)], [Span(2, 3), Span(9, 12)]) == [Span(0, 2), Span(3, 9)]
    assert total([Span(0, 10), Span(5, 15)]) == 15


# -- machines ----------------------------------------------------------------------------------------------------------
def test_permits_of_two_processes_are_one_span_while_either_is_open():
    machine = evidence.read_machine([event(10, "permit_opened", pid=7), event(15, "permit_opened", pid=8),
                                     event(20, "permit_closed", pid=7), event(30, "permit_closed", pid=8)])
    assert machine.permits == [Span(10, 30)]


def test_a_permit_that_is_open_has_no_end():
    assert evidence.read_machine([event(10, "permit_opened", pid=7)]).permits == [Span(10, math.inf)]


def test_a_power_cut_ends_a_permit_at_the_cut_and_not_at_the_next_boot():
    events = [event(10, "permit_opened", pid=7), event(90, "boot", pid=1), event(95, "permit_opened", pid=9)]
    cut = Fault("power_off", ("pair1-a",), Span(40, 80))
    assert evidence.read_machine(events, [cut]).permits == [Span(10, 40), Span(95, math.inf)]
    assert evidence.read_machine(events).permits == [Span(10, 90), Span(95, math.inf)], "unexplained: as long as it can have been"


def test_a_power_cut_by_somebody_else_is_a_fault_as_well():
    events = [event(10, "permit_opened", pid=7), event(40, "power_cut"), event(90, "boot", pid=1), event(95, "power_cut")]
    assert [(fault.kind, fault.parties, fault.span) for fault in evidence.read_power_cuts("pair1-a", events)] == [
        ("power_off", ("pair1-a",), Span(40, 90)), ("power_off", ("pair1-a",), Span(95, math.inf))]
    assert evidence.read_machine(events).permits == [Span(10, 40)]


def test_the_recorders_ends_and_the_fence():
    machine = evidence.read_machine([
        event(5, "fence_installed", rules={}), event(7, "fence_installed", rules={}),
        event(10, "service_state", service=RECORDER_SERVICE, state="running"),
        event(20, "service_state", service=RECORDER_SERVICE, state="stop_pending"),
        event(21, "service_killed", service=RECORDER_SERVICE, pid=3),
        event(22, "service_state", service="Tandem Guard", state="stopped")])
    assert machine.fence_since == 5
    assert machine.recorder_stops == [(20, "stop_pending"), (21, "service_killed")]


# -- faults ------------------------------------------------------------------------------------------------------------
def test_faults_have_their_end_or_go_on():
    found = evidence.read_faults([
        {"t_ms": 10, "id": 1, "kind": "partition", "parties": ["pair1-a", "pair1-b"], "event": "begin"},
        {"t_ms": 12, "id": 2, "kind": "freeze", "parties": "pair1-a", "event": "begin"},
        {"t_ms": 15, "id": 1, "kind": "partition", "parties": ["pair1-a", "pair1-b"], "event": "end"}])
    assert [(fault.kind, fault.span) for fault in found] == [("partition", Span(10, 15)), ("freeze", Span(12, math.inf))]
    assert found[0].on("pair1-b") and found[1].on("pair1-a") and not found[1].on("pair1-b")


# -- the Management Server ---------------------------------------------------------------------------------------------
def test_sessions():
    found = evidence.read_sessions([
        connection(10, "connected"), connection(20, "disconnected"), connection(21, "connected", "127.1.1.12"),
        connection(22, "connected", recorder="another")], "r1", ADDRESSES, [])
    assert found == [Session("pair1-a", Span(10, 20)), Session("pair1-b", Span(21, math.inf))]


def test_a_server_that_went_down_had_no_sessions_from_then_on():
    down = Fault("management_server_down", (), Span(30, 60))
    found = evidence.read_sessions([connection(10, "connected"), connection(70, "connected", "127.1.1.12")], "r1", ADDRESSES, [down])
    assert found == [Session("pair1-a", Span(10, 30)), Session("pair1-b", Span(70, math.inf))]


# -- files -------------------------------------------------------------------------------------------------------------
def test_a_line_that_is_being_written_is_left_for_the_next_look(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"time_ms": 1}\n\n{"time_ms": 2}\n{"time_')
    assert evidence.lines(path) == [{"time_ms": 1}, {"time_ms": 2}]
    assert evidence.lines(tmp_path / "none") == []


def test_attachments_are_in_the_order_of_the_log_whatever_its_clock_said(tmp_path):
    (tmp_path / "guard.log.1").write_text("2026-01-01 00:00:09.000Z attached with epoch 3: first\n", encoding="utf-8")
    (tmp_path / "guard.log").write_text("2026-01-01 00:00:01.000Z detached: x\n2025-01-01 00:00:01.000Z attached with epoch 12: y\n",
                                        encoding="utf-8")
    assert evidence.read_attachments(tmp_path) == [3, 12]


# -- durable records -----------------------------------------------------------------------------------------------------
def test_a_record_is_found_wherever_a_voter_keeps_it():
    record = {"epoch": [3, "pair1-a", "x"], "voting": True}
    assert find_record(record) == record
    assert find_record({"version": 1, "record": record}) == record
    assert find_record({"epoch": 3}) is None and find_record([]) is None


def test_the_watcher_keeps_changes_only(tmp_path):
    node, witness = tmp_path / "a", tmp_path / "w"
    (node / "C/ProgramData/Tandem/guard").mkdir(parents=True)
    (witness / "C/ProgramData/Tandem/witness/records").mkdir(parents=True)

    def write(epoch: int) -> None:
        for path in (node / "C/ProgramData/Tandem/guard/state.json", witness / "C/ProgramData/Tandem/witness/records/pair1.json"):
            path.write_text(json.dumps({"epoch": [epoch, "a", "x"], "voting": True}), encoding="utf-8")

    watcher = Watcher({"a": node, "w": witness}, "pair1", tmp_path / "records.jsonl")
    write(3)
    watcher.start()
    write(4)
    watcher.stop()
    assert watcher.latest("w")["epoch"][0] == 4
    assert [(row["voter"], row["epoch"]) for row in evidence.lines(tmp_path / "records.jsonl")] == [("a", 3), ("w", 3), ("a", 4), ("w", 4)]
    assert {row["epoch"] for row in watcher.rows(1e15)} == {4}, "before a scenario only the last one counts"
