# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The independent checker, against evidence made by hand: what must pass, and above all what must not."""

from __future__ import annotations

import dataclasses
import math

import pytest

from tandem_lab.chaos.checker import INVARIANTS, Bounds, check
from tandem_lab.chaos.evidence import Evidence, Fault, Frames, Machine, Record, Session
from tandem_lab.chaos.spans import Span

A, B, WITNESS = "pair1-a", "pair1-b", "witness-1"
BEGIN, END = 1_000_000.0, 1_100_000.0
TTL = 4.0
BOUNDS = Bounds(TTL * 1000)
STEP = 200.0


def seconds(value: float) -> float:
    return BEGIN + value * 1000


def span(begin: float, end: float) -> Span:
    return Span(seconds(begin), seconds(end))


def fault(kind: str, *parties: str, begin: float, end: float, **details) -> Fault:
    return Fault(kind, parties, span(begin, end), details)


def counters(begin: float, end: float) -> set[int]:
    """The frames that a camera made in a span of the scenario's seconds; frame 0 is of its begin."""
    return set(range(math.ceil(begin * 1000 / STEP), math.ceil(end * 1000 / STEP)))


def camera(held_a: set[int], held_b: set[int], number: int = 1) -> Frames:
    return Frames(f"Camera {number}", number, BEGIN, STEP, counters(0, 100), {A: held_a, B: held_b})


def evidence(**changes) -> Evidence:
    """A failover as it should be: a is killed at 10 s, b is attached from 16 s on, a is back at 50 s and records from 55 s on."""
    good = Evidence(
        span=Span(BEGIN, END), ttl=TTL,
        machines={A: Machine(permits=[Span(0, seconds(10))], fence_since=0, attachments=[3, 5]),
                  B: Machine(permits=[span(16, 1000)], fence_since=0, attachments=[4, 6])},
        faults=[fault("power_off", A, begin=10, end=50)],
        sessions=[Session(A, Span(500, seconds(10))), Session(B, span(16.3, 1000))],
        records=[Record(BEGIN - 5, A, 5, A), Record(BEGIN - 5, B, 5, A), Record(BEGIN - 5, WITNESS, 5, A),
                 Record(seconds(15), WITNESS, 6, B), Record(seconds(16), B, 6, B), Record(seconds(60), A, 6, B)],
        frames=[camera(counters(0, 9.6) | counters(55, 100), counters(0, 100))],
        fingerprint_before="same", fingerprint_after="same")
    return dataclasses.replace(good, **changes)


def broken(given: Evidence) -> set[str]:
    return {finding.invariant for finding in check(given, BOUNDS).findings}


def machines(permits_a: list[Span], permits_b: list[Span]) -> dict[str, Machine]:
    return {A: Machine(permits=permits_a, fence_since=0), B: Machine(permits=permits_b, fence_since=0)}


def test_a_good_failover_passes_with_its_figures():
    verdict = check(evidence(), BOUNDS)
    assert verdict.findings == [] and verdict.kept
    assert verdict.figures == {
        "overlap_ms": 0, "unattached_ms": 6000, "epochs": [5, 6], "recorder_stops": 0,
        "frames_expected": 500, "frames_missing": 0, "frames_neither_could_record": 0}


def test_every_invariant_has_evidence_that_breaks_it():
    """So that none can be added without one."""
    assert {name for name, _changes in BREAKING} == set(INVARIANTS)


BREAKING = [
    ("never two attached", {"machines": machines([Span(0, seconds(16.1))], [span(16, 1000)]), "faults": [], "sessions": []}),
    ("the Management Server never has two", {
        "machines": machines([Span(0, seconds(20))], [span(16, 1000)]),
        "sessions": [Session(A, Span(500, seconds(20))), Session(B, span(17, 1000))]}),
    ("the fence holds", {"sessions": [Session(B, span(12, 1000))]}),
    ("the epoch never falls", {"records": [Record(BEGIN, B, 6, B), Record(seconds(1), B, 5, A)]}),
    ("no recorder is stopped", {"machines": {
        A: Machine(permits=[Span(0, seconds(10))], fence_since=0),
        B: Machine(permits=[span(16, 1000)], fence_since=0, recorder_stops=[(seconds(15), "stop_pending")])}}),
    ("a healthy node records", {"frames": [camera(counters(0, 100), counters(0, 40) | counters(44, 100))], "faults": []}),
    ("no frame is missing", {"frames": []}),
    ("no frame is missing", {"frames": [camera(counters(0, 9.6) | counters(55, 100), counters(0, 100) - {100})]}),
    ("the identity stays", {"fingerprint_after": "another"}),
    ("media is never deleted", {"vanished": [f"{A}: bank/table"]}),
]


@pytest.mark.parametrize(("invariant", "changes"), BREAKING)
def test_what_breaks_an_invariant_is_found(invariant, changes):
    assert invariant in broken(evidence(**changes))


# -- the stated exception ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["freeze", "pause"])
def test_a_machine_that_stood_still_may_overlap_within_the_bound(kind):
    """Its permit is open on paper all the time; only from the thaw on it counts."""
    inside = seconds(50) + BOUNDS.exception - 1
    given = evidence(machines=machines([Span(0, inside)], [span(16, 1000)]), faults=[fault(kind, A, begin=10, end=50)], sessions=[])
    verdict = check(given, BOUNDS)
    assert verdict.findings == [] and verdict.figures["overlap_ms"] == round(BOUNDS.exception - 1)


@pytest.mark.parametrize("kind", ["freeze", "pause"])
def test_but_not_beyond_the_bound(kind):
    beyond = seconds(50) + BOUNDS.exception + 1
    given = evidence(machines=machines([Span(0, beyond)], [span(16, 1000)]), faults=[fault(kind, A, begin=10, end=50)], sessions=[])
    assert broken(given) == {"never two attached"}


def test_the_exception_is_only_for_what_comes_right_after_the_standstill():
    late = machines([Span(0, seconds(50.5)), span(60, 60.5)], [span(16, 1000)])
    assert broken(evidence(machines=late, faults=[fault("freeze", A, begin=10, end=50)], sessions=[])) == {"never two attached"}


@pytest.mark.parametrize("kind", ["clock_step", "clock_drift", "partition", "freeze_process", "loss", "power_off"])
def test_no_other_fault_excuses_an_overlap(kind):
    both = machines([Span(0, seconds(50.5))], [span(49.9, 1000)])
    given = evidence(machines=both, faults=[fault(kind, A, begin=10, end=50)], sessions=[])
    assert "never two attached" in broken(given)


def test_the_standstill_of_the_witness_excuses_nothing():
    given = evidence(machines=machines([Span(0, seconds(50.5))], [span(50.1, 1000)]), faults=[fault("freeze", WITNESS, begin=10, end=50)],
                     sessions=[], frames=[camera(counters(0, 100), counters(0, 100))])
    assert broken(given) == {"never two attached"}


def test_what_lies_outside_the_scenario_is_not_judged():
    assert check(evidence(machines=machines([Span(0, seconds(-5)), span(200, 300)], [Span(1, seconds(-5)), span(16, 1000)]), sessions=[]),
                 BOUNDS).figures["overlap_ms"] == 0


# -- sessions ------------------------------------------------------------------------------------------------------------
def test_a_session_that_the_server_has_not_noticed_the_end_of_is_no_second_one():
    assert broken(evidence(sessions=[Session(A, Span(500, seconds(18))), Session(B, span(16.3, 1000))])) == set()


def test_before_the_fence_was_there_sessions_need_no_permit():
    given = evidence(sessions=[Session(B, span(12, 1000))])
    given.machines[B].fence_since = seconds(14)
    assert "the fence holds" not in broken(given)


# -- epochs --------------------------------------------------------------------------------------------------------------
def test_a_disk_that_was_turned_back_may_know_less():
    given = evidence(records=[Record(BEGIN, B, 6, B), Record(seconds(20), B, 4, A)],
                     faults=[*evidence().faults, fault("revert", B, begin=19.5, end=19.6)])
    assert "the epoch never falls" not in broken(given)
    given.faults[-1] = fault("revert", A, begin=19.5, end=19.6)
    assert "the epoch never falls" in broken(given)


@pytest.mark.parametrize(("of_a", "of_b"), [([3, 5, 4], [6]), ([3, 5], [5])])
def test_attachments_with_a_lower_or_the_same_epoch(of_a, of_b):
    given = evidence()
    given.machines[A].attachments, given.machines[B].attachments = of_a, of_b
    assert broken(given) == {"the epoch never falls"}


def test_a_holder_may_resume_its_own_epoch():
    given = evidence()
    given.machines[A].attachments = [3, 5, 5]
    assert broken(given) == set()


# -- recording -----------------------------------------------------------------------------------------------------------
def test_a_recorder_may_end_with_its_machine_or_when_it_is_killed_or_announced():
    given = evidence(faults=[*evidence().faults, fault("kill_process", B, begin=30, end=30, process="recorder")])
    given.machines[A].recorder_stops = [(seconds(10), "stopped")]
    given.machines[B].recorder_stops = [(seconds(30), "stopped"), (seconds(70), "stop_pending")]
    given.machines[B].announced = [span(69, 74)]
    verdict = check(given, BOUNDS)
    assert "no recorder is stopped" not in {finding.invariant for finding in verdict.findings}
    assert verdict.figures["recorder_stops"] == 3


def test_the_death_of_a_guard_is_no_reason_for_a_recorder_to_stop():
    given = evidence(faults=[*evidence().faults, fault("kill_process", B, begin=30, end=30, process="guard")])
    given.machines[B].recorder_stops = [(seconds(30.5), "stop_pending")]
    assert broken(given) == {"no recorder is stopped"}


def test_when_both_are_down_nothing_could_be_recorded():
    both = [fault("power_off", A, begin=10, end=20), fault("power_off", B, begin=10, end=20)]
    held = counters(0, 9) | counters(24, 100)
    verdict = check(evidence(frames=[camera(held, held)], faults=both, machines=machines([Span(0, seconds(10))], [span(26, 1000)]),
                             sessions=[]), BOUNDS)
    assert verdict.findings == [] and verdict.figures["frames_neither_could_record"] == 75


def test_a_recovery_takes_not_for_ever():
    both = [fault("power_off", A, begin=10, end=20), fault("power_off", B, begin=10, end=20)]
    held = counters(0, 9) | counters(20 + BOUNDS.recovery / 1000 + 5, 100)
    given = evidence(frames=[camera(held, held)], faults=both, machines=machines([Span(0, seconds(10))], [span(26, 1000)]), sessions=[])
    assert broken(given) == {"no frame is missing", "a healthy node records"}


def test_a_fault_ends_with_the_first_frame_that_is_recorded_again():
    """A gap after that is not the power cut's any more."""
    held_a = counters(0, 9) | counters(55, 60) | counters(70, 100)
    held_b = counters(0, 60) | counters(70, 100)
    assert broken(evidence(frames=[camera(held_a, held_b)])) == {"no frame is missing", "a healthy node records"}


def test_a_recorder_that_is_silent_for_one_camera_must_record_the_others():
    silent = fault("recorder", A, begin=20, end=40, mode="silent:2")
    gap = counters(0, 20) | counters(41, 100)
    given = evidence(faults=[silent], machines=machines([Span(0, seconds(200))], []), sessions=[])
    given.frames = [camera(gap, counters(0, 100), number=2)]
    assert broken(given) == set()
    given.frames = [camera(gap, counters(0, 100), number=1)]
    assert broken(given) == {"a healthy node records"}


@pytest.mark.parametrize("parties", [(A, B), (A, WITNESS), (A, "management-server"), (A, "clients")])
def test_only_a_partition_from_the_cameras_keeps_a_node_from_recording(parties):
    gap = counters(0, 20) | counters(41, 100)
    given = evidence(faults=[fault("partition", *parties, begin=20, end=40)], machines=machines([Span(0, seconds(200))], []), sessions=[],
                     frames=[camera(gap, counters(0, 100))])
    assert broken(given) == {"a healthy node records"}
    given.faults = [fault("partition", A, "cameras", begin=20, end=40)]
    assert broken(given) == set()
