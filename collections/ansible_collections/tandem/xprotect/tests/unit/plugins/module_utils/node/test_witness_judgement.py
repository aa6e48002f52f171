# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the witness judges its pairs, as tables: no clock, no network."""
from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import judgement
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness.judgement import PairJudgement, Report, suspects_itself

WALL = 1_700_000_000_000.0


def report(state="headless", recording=True, service="running", **more):
    return {"state": state, "epoch": 3, "voting": True, "recorder": {"service_state": service, "recording": recording}, **more}


def cause(code, message=""):
    return {"score": 40, "causes": [{"code": code, "message": message or f"text of {code}", "devices": []}], "serving_fit": False}


def a_pair(now=0.0, a=None, b=None):
    pair = PairJudgement("north", ["a", "b"], now)
    pair.heard("a", a or report("attached"), now)
    pair.heard("b", b or report(), now)
    return pair


def kinds(changes):
    return [f"{change.kind} {change.node}" if change.node else change.kind for change in changes]


def look(pair, now, voting=True, quiet=False, **more):
    return kinds(pair.look(now, WALL, voting, quiet, **more))


@pytest.mark.parametrize(("before", "after", "expected"), [
    (report(), report("attached"), ["attached a"]),
    (report("attached"), report(), ["detached a"]),
    (report(), report(service="stopped"), ["recorder_dead a"]),
    (report(service="stopped"), report(), ["recorder_back a"]),
    (report(), report(recording=False), ["not_recording a"]),
    (report(recording=False), report(), ["recording a"]),
    (report(), report(recording=None), []),
    (report(), report(health=cause("disk_full")), ["health a"]),
    (report(), report(health=cause("recorder_hung")), ["recorder_dead a", "not_recording a", "health a"]),
    (report(), report(health=cause("not_recording")), ["not_recording a", "health a"]),
    (report(health=cause("disk_full")), report(), ["health a"]),
    (report(), report(voting=False), ["not_voting a"]),
    (report(), report(service="start_pending"), []),
    (report(), report(), []),
])
def test_a_report_that_differs_is_told_at_once(before, after, expected):
    pair = a_pair(a=before)
    assert kinds(pair.heard("a", after, 1.0)) == expected


@pytest.mark.parametrize("junk", [None, 7, "x", [], {}, {"state": 5, "epoch": -1, "recorder": [], "health": 3, "maintenance": "no"},
                                  {"health": {"causes": [1, {"code": {}}, {"code": "x" * 10_000}], "score": float("nan")}}])
def test_what_another_machine_sends_is_taken_apart_with_care(junk):
    pair = a_pair()
    pair.heard("a", junk, 1.0)
    described = pair.describe(1.0, WALL)
    assert all(len(item["message"]) <= 300 and len(item["code"]) <= 300
               for item in described["nodes"]["a"]["report"]["health"]["causes"])


def test_a_report_is_kept_small():
    found = Report.parse({"health": {"causes": [{"code": f"c{number}", "message": "m" * 9999} for number in range(500)]}})
    assert len(found.causes) == 16 and all(len(message) == 300 for _code, message in found.causes)


def test_silence_is_told_within_three_seconds_and_once():
    pair = a_pair()
    told = []
    now = 0.0
    while now < 5.0:
        pair.heard("a", report("attached"), now)
        told += [(round(now, 1), kind) for kind in look(pair, now)]
        now += judgement.LOOK
    (at, kind), = told
    assert kind == "node_silent b" and 2.4 <= at <= 3.0
    assert kinds(pair.heard("b", report(), 6.0)) == ["node_back b"]


def test_a_node_that_was_never_heard_has_longer():
    pair = PairJudgement("north", ["a", "b"], 0.0)
    assert pair.state(WALL)[0] == "unknown" and look(pair, 9.0) == []
    assert look(pair, 10.0) == ["node_silent a", "node_silent b"] and pair.state(WALL)[0] == "silent"


@pytest.mark.parametrize(("a", "b", "silent", "state"), [
    (report("attached"), report(), "", "ok"),
    (report("attached"), report(), "b", "degraded"),
    (report("attached"), report(), "a", "nobody_attached"),
    (report("attached"), report(), "ab", "silent"),
    (report(), report(), "", "nobody_attached"),
    (report("attached"), report("attached"), "", "two_attached"),
    (report("attached"), report("attached"), "a", "degraded"),
    (report("attached"), report(recording=False), "", "degraded"),
    (report("attached", health=cause("disk_low")), report(), "", "degraded"),
    (report("attached", maintenance={"until_ms": int(WALL) + 5000, "reason": "patches"}), report(), "b", "maintenance"),
    (report("attached", maintenance={"until_ms": int(WALL) - 5000, "reason": "patches"}), report(), "", "ok"),
])
def test_the_state_of_a_pair(a, b, silent, state):
    pair = a_pair(a=a, b=b)
    for name in set("ab") - set(silent):
        pair.heard(name, {"a": a, "b": b}[name], 10.0)
    pair.look(10.0, WALL, True, False)
    found, reasons = pair.state(WALL)
    assert found == state and bool(reasons) is (state != "ok")


def test_votes_that_are_missing_are_told():
    pair = a_pair()
    assert look(pair, 0.1, voting=False) == []
    pair.heard("a", report("attached"), 5.0)
    assert look(pair, 5.0, voting=False) == ["node_silent b", "no_majority"]
    assert look(pair, 5.1, voting=True) == ["majority_back"]


def test_maintenance_begins_and_ends():
    pair = a_pair()
    pair.heard("a", report("attached", maintenance={"until_ms": int(WALL) + 1000, "reason": "patches"}), 0.1)
    assert look(pair, 0.2) == ["maintenance_begin"]
    assert kinds(pair.look(0.3, WALL + 2000, True, False)) == ["maintenance_end"]


def test_a_witness_that_stood_still_does_not_call_that_silence():
    pair = a_pair()
    assert look(pair, 60.0, held_back_until=62.5) == []
    pair.heard("a", report("attached"), 60.1)
    assert look(pair, 62.6, held_back_until=62.5) == ["node_silent a", "node_silent b"]


def test_a_witness_that_hears_no_node_of_most_pairs_suspects_itself_before_it_calls_them_silent():
    pairs = [a_pair() for _number in range(5)]
    assert not suspects_itself(pairs, 1.6)
    for pair in pairs[:2]:
        pair.heard("a", report("attached"), 1.7)
    assert suspects_itself(pairs, 1.8)
    assert all(look(pair, 3.0, quiet=True) == [] for pair in pairs[2:])
    assert look(pairs[0], 3.0, quiet=True) == ["node_silent b"], "of a pair that is heard, silence is known"
    for pair in pairs[:3]:
        pair.heard("b", report(), 3.1)
    assert not suspects_itself(pairs, 3.2)
    assert look(pairs[4], 3.2) == ["node_silent a", "node_silent b"], "what was held back is told when it is certain"


def test_pairs_that_were_never_heard_prove_nothing():
    assert not suspects_itself([], 100.0)
    assert not suspects_itself([PairJudgement("north", ["a", "b"], 0.0)], 100.0)
