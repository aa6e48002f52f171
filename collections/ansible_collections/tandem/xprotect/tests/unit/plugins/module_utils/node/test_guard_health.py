# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a node's health is judged, when it gives way to its partner, and why a candidate is refused. All of it pure."""
from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import health
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.comparison import Comparison
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.health_terms import (
    RECORDS_NOTHING, Cause, ClockView, Device, DriveState, Health, Observation, Policy, Standing)

NOW = 1000.0
POLICY = Policy()
IDS = [f"b01d0219-0000-4000-8000-{number:012d}" for number in range(10)]
DEVICES = frozenset(IDS)
STEADY = {guid: Device(NOW - 1, True) for guid in IDS}
WELL = Observation(at=NOW, service_state="running", running_since=10.0, answered_at=NOW - 1, known=DEVICES, devices=STEADY,
                   last_write=NOW - 1, drives=(DriveState("D:", "ok", 100 << 30),))
PARTNER = Standing(NOW - 1, "running", writing=DEVICES)


def seen(**changes) -> Observation:
    return dataclasses.replace(WELL, **changes)


def still(ago: float, wrote: bool = True, steady: bool = True) -> dict[str, Device]:
    return {guid: Device(NOW - ago if wrote else None, steady) for guid in IDS}


def missed(ago: float, count: int = 10) -> dict[str, float]:
    return dict.fromkeys(IDS[:count], NOW - ago)


def other(standing: Standing = PARTNER, **changes) -> Standing:
    return dataclasses.replace(standing, **changes)


def judged(observation: Observation, partner: Standing | None = PARTNER, policy: Policy = POLICY) -> tuple[dict[str, int], bool]:
    found = health.assess(observation, partner, policy, NOW)
    return {cause.code: cause.points for cause in found.causes}, found.serving_fit


QUIET = {"devices": still(30), "last_write": NOW - 30}


@pytest.mark.parametrize(("observation", "partner", "causes", "fit"), [
    (WELL, PARTNER, {}, True),
    (WELL, None, {}, True),
    (seen(at=NOW - 16), PARTNER, {"storage_hangs": 100}, False),
    (seen(service_state="stopped"), PARTNER, {"recorder_stopped": 100}, False),
    (seen(service_state="start_pending"), PARTNER, {"recorder_starting": 100}, False),
    (seen(service_state="unknown (access denied)"), PARTNER, {"recorder_unknown": 40}, True),
    (Observation(NOW), PARTNER, {}, False),  # before the first look
    (seen(storage_error="gone"), PARTNER, {"storage_unreadable": 100}, False),
    # hung: silent and nothing written; a closed port alone is none, and who never answered is not known to
    (seen(**QUIET, unanswered=3), None, {"recorder_hung": 100}, False),
    (seen(**QUIET, unanswered=3, missed=missed(20)), PARTNER, {"recorder_hung": 100}, False),
    (seen(**QUIET, unanswered=2), other(writing=frozenset()), {}, True),
    (seen(unanswered=3), PARTNER, {"recorder_not_answering": 40}, True),
    (seen(unanswered=9, refused=True), PARTNER, {}, True),
    (seen(unanswered=9, answered_at=None), PARTNER, {}, True),
    (seen(unanswered=9, answered_at=None, devices={}, last_write=None), other(writing=frozenset()), {}, True),
    # nothing written at all
    (seen(**QUIET, missed=missed(11)), PARTNER, {"cameras_unreachable": 100}, False),
    (seen(**QUIET, missed=missed(9)), PARTNER, {}, True),
    (seen(**QUIET, missed=missed(11), unanswered=1), PARTNER, {"not_recording": 100}, False),
    (seen(**QUIET, missed=missed(11), drives=(DriveState("D:", "gone"),)), PARTNER, {"not_recording": 100, "disk_gone": 60}, False),
    (seen(**QUIET), other(writing=frozenset()), {}, True),  # the schedule ended for both
    (seen(**QUIET), None, {"cameras_unreachable": 100}, True),  # suspicious, but it may be the only one
    (seen(**QUIET), other(heard_at=NOW - 6), {"cameras_unreachable": 100}, True),
    (seen(devices=still(30, steady=False), last_write=NOW - 30), None, {}, True),
    (seen(devices=still(700, steady=False), last_write=NOW - 700), None, {"cameras_unreachable": 100}, False),
    (seen(**QUIET), other(service_state="stopped", writing=frozenset()), {"cameras_unreachable": 100}, False),
    (seen(known=frozenset(), devices={}, last_write=None), None, {}, True),  # a new machine
    (seen(known=frozenset(), devices={}, last_write=None, missed=missed(60)), PARTNER, {"devices_missing": 80}, True),
    # some devices
    (seen(missed=missed(11, 1)), PARTNER, {"devices_stopped": 10}, True),
    (seen(missed=missed(11, 5)), PARTNER, {"devices_stopped": 40}, True),
    (seen(missed=missed(9, 5)), PARTNER, {}, True),
    (seen(devices={**STEADY, IDS[0]: Device(NOW - 20)}, missed=missed(29, 1)), PARTNER, {}, True),  # motion, found by the partner only
    (seen(devices={**STEADY, IDS[0]: Device(NOW - 31)}, missed=missed(30, 1)), PARTNER, {"devices_stopped": 10}, True),
    (seen(known=frozenset(IDS[2:]), devices={guid: STEADY[guid] for guid in IDS[2:]}, missed=missed(30, 2)), PARTNER,
     {"devices_missing": 16}, True),
    # disks and clocks
    (seen(drives=(DriveState("D:", "read-only", 1 << 40),)), PARTNER, {"disk_read_only": 60}, True),
    (seen(drives=(DriveState("D:", "ok", 249 << 20),)), PARTNER, {"disk_full": 40}, True),
    (seen(drives=(DriveState("D:", "ok", 1023 << 20), DriveState("E:", "ok", None))), PARTNER, {"disk_low": 5}, True),
    (seen(clock=ClockView(management=-5.1)), PARTNER, {"clock_off": 30}, True),
    (seen(clock=ClockView(management=4.9, partner=60.0)), PARTNER, {}, True),  # then the partner's is off
    (seen(clock=ClockView(partner=6.0)), PARTNER, {"clocks_disagree": 5}, True),
])
def test_causes(observation, partner, causes, fit):
    assert judged(observation, partner) == (causes, fit)


def test_causes_name_what_happened_and_which_devices():
    found = health.assess(seen(missed=missed(11, 2), clock=ClockView(management=-7.0, by_partner=True)), PARTNER, POLICY, NOW)
    assert [cause.code for cause in found.causes] == ["clock_off", "devices_stopped"] and found.score == 54
    assert found.causes[1].devices == tuple(IDS[:2]) and "2 of 10" in found.causes[1].message
    assert "7.0 s behind" in found.causes[0].message and "as its partner measured it" in found.causes[0].message


def test_score_never_falls_below_nothing():
    assert health.assess(seen(service_state="stopped", drives=(DriveState("D:", "gone"),)), PARTNER, POLICY, NOW).score == 0


# -- what is remembered from look to look ------------------------------------------------------------------------------

def run(comparison: Comparison, begin: float, end: float, own=(), theirs=(), partner: bool = True) -> dict[str, Device]:
    """A look a second; `own` and `theirs` are written all the time."""
    now, devices, wrote = begin, {}, {}
    while now <= end:
        wrote |= dict.fromkeys(own, now)
        standing = Standing(now, "running", writing=frozenset(theirs)) if partner else None
        devices = comparison.look(wrote, standing, now)
        now += 1.0
    return devices


def test_device_written_without_a_pause_is_steady_and_one_by_motion_is_not():
    comparison = Comparison()
    assert not any(device.steady for device in run(comparison, 0, 29, IDS[:1], IDS[:1]).values())
    assert run(comparison, 30, 31, IDS[:1], IDS[:1])[IDS[0]].steady
    for begin in range(100, 400, 40):
        assert not run(comparison, begin, begin + 20, IDS[1:2])[IDS[1]].steady


def test_steady_is_forgotten_when_nobody_writes_it_and_kept_while_only_the_partner_does():
    for theirs, kept in (((), False), (IDS[:1], True)):
        comparison = Comparison()
        run(comparison, 0, 40, IDS[:1], theirs)
        devices = run(comparison, 41, 110, (), theirs)
        assert (IDS[0] in devices and devices[IDS[0]].steady) is kept


def test_only_what_the_partner_alone_writes_is_missed_and_since_when():
    comparison = Comparison()
    run(comparison, 0, 40, IDS[:3], IDS[:2])
    run(comparison, 41, 50, IDS[:1], IDS[:2] + IDS[5:6])
    assert comparison.missed == {IDS[1]: 40.0, IDS[5]: 41.0}  # since the own last write, or since the partner began
    run(comparison, 51, 52, IDS[:2], IDS[:2])
    assert comparison.missed == {}
    run(comparison, 60, 70, IDS[:1], IDS[:2])
    run(comparison, 71, 72, IDS[:1], partner=False)
    assert comparison.missed == {}
    assert comparison.last_write == 72.0


# -- giving way --------------------------------------------------------------------------------------------------------

ILL = Health((Cause("cameras_unreachable", "no media", 100),), False)
POOR = Health((Cause("devices_stopped", "half of them", 40, tuple(IDS[:5])),))


class Scene:
    """Looks once a second, as the guard does."""

    def __init__(self, policy: Policy = POLICY):
        self.policy = policy
        self.history = health.History()
        self.now = 0.0

    def pass_(self, seconds: int, own: Health = ILL, partner: Health | None = Health(), **changes) -> str:
        for _second in range(seconds):
            self.now += 1.0
            standing = None if partner is None else Standing(self.now, "running", partner, **changes)
            self.history.look(own, standing, self.policy, self.now)
            verdict = health.should_yield(own, standing, self.history, self.policy, self.now)
            if verdict.ok:
                return "yield"
        return verdict.code


def test_healthy_node_never_yields():
    assert Scene().pass_(100, Health()) == "not_worse"


def test_cause_must_stand_and_the_partner_must_be_better_for_ten_seconds():
    scene = Scene()
    assert scene.pass_(10) == "not_worse" and scene.pass_(1) == "yield" and scene.now == 11.0
    scene = Scene()
    assert scene.pass_(60, ILL, ILL) == "partner_unfit"  # the same trouble on both nodes
    assert scene.pass_(9) == "not_yet" and scene.pass_(2) == "yield"


def test_cause_that_comes_and_goes_never_moves_attachment():
    scene = Scene()
    for _round in range(50):
        assert scene.pass_(8) != "yield" and scene.pass_(2, Health()) != "yield"


@pytest.mark.parametrize(("own", "partner", "expected"), [
    (POOR, Health(), "yield"),
    (POOR, Health((Cause("disk_full", "full", 40),)), "not_worse"),
    (Health((Cause("clock_off", "off", 19),)), Health(), "not_worse"),
    (Health((Cause("clock_off", "off", 20),)), Health(), "yield"),
    (ILL, Health((Cause("recorder_stopped", "stopped", 100),), False), "partner_unfit"),
    (ILL, None, "partner_silent"),
    (ILL, Health((Cause("disk_full", "full", 40),)), "yield"),
])
def test_who_is_better(own, partner, expected):
    assert Scene().pass_(30, own, partner) == expected


def test_at_most_one_unattended_hand_over_in_five_minutes():
    scene = Scene()
    scene.history.handed_over(0.0)
    assert scene.pass_(299) == "too_soon" and scene.pass_(2) == "yield"


def test_maintenance_of_either_node_suppresses_it():
    scene = Scene()
    assert scene.pass_(30, maintenance=True) == "maintenance"
    scene.history.look(ILL, None, POLICY, scene.now)
    assert health.should_yield(ILL, Standing(scene.now), scene.history, POLICY, scene.now, maintenance=True).code == "maintenance"


def test_figures_of_the_policy_count():
    scene = Scene(Policy.parse({"stand": 2, "better_for": 2.5, "better_by": 5}))
    assert scene.pass_(10, Health((Cause("disk_low", "low", 5),))) == "yield" and scene.now == 4.0


# -- refusing a candidate ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("candidate", "holder", "names"), [
    (PARTNER, PARTNER, []),
    (other(health=POOR), PARTNER, ["coverage"]),
    (other(health=Health((Cause("disk_full", "its drive is full", 40),))), PARTNER, ["health"]),
    (other(health=Health((Cause("disk_full", "its drive is full", 40),))), other(health=Health((Cause("clock_off", "off", 30),))), []),
    (other(health=Health((*POOR.causes, Cause("disk_full", "its drive is full", 40)))), PARTNER, ["coverage", "health"]),
    (other(health=ILL), PARTNER, ["health"]),
    (None, PARTNER, ["health"]),
    (other(health=Health((Cause("disk_low", "low", 5),))), None, []),
])
def test_worse_candidate_is_refused_with_all_reasons(candidate, holder, names):
    reasons = health.worse(candidate, holder, POLICY)
    assert [reason["name"] for reason in reasons] == names and all(reason["message"] for reason in reasons)


def test_limits_of_the_policy_allow_a_worse_candidate():
    assert health.worse(other(health=POOR), PARTNER, Policy(devices_worse=5)) == []


# -- what comes from outside -------------------------------------------------------------------------------------------

def test_standing_of_a_report_is_what_the_node_said():
    said = health.assess(seen(missed=missed(11, 2)), PARTNER, POLICY, NOW)
    report = {"recorder": {"service_state": "running", "writing_devices": IDS, "clock": {"wall_ms": 5000, "management_offset": -1.5}},
              "health": said.to_document(), "maintenance": {"until_ms": 1}}
    assert Standing.parse(report, 7.0) == Standing(7.0, "running", said, DEVICES, -1.5, 5.0, True)
    nested = {"recorder": {**report["recorder"], "health": report["health"]}}
    assert Standing.parse(nested, 7.0) == Standing(7.0, "running", said, DEVICES, -1.5, 5.0)


@pytest.mark.parametrize("report", [None, [], {}, {"recorder": 5}, {"recorder": {}, "health": []}])
def test_report_without_health_says_nothing(report):
    assert Standing.parse(report, 1.0) is None


def test_hostile_report_is_cut_down():
    cause = {"code": "x" * 999, "points": 10 ** 9, "message": None, "devices": [1] * 999}
    report = {"health": {"score": 9e9, "serving_fit": "yes", "causes": [5, cause] * 99},
              "recorder": {"writing_devices": ["../..", 5, IDS[0], IDS[1].upper()],
                           "clock": {"wall_ms": float("nan"), "management_offset": True}}}
    standing = Standing.parse(report, 1.0)
    assert len(standing.health.causes) == 16 and not standing.health.serving_fit and standing.health.score == 0
    assert len(standing.health.causes[0].code) == 64 and len(standing.health.causes[0].devices) == 100
    assert standing.writing == {IDS[0]} and standing.clock_offset is None and standing.wall is None
    assert Standing.parse({"health": {}, "recorder": {"writing_devices": IDS * 1000}}, 1.0).writing is None


def test_devices_of_a_cause_are_bounded_in_a_report():
    many = tuple(f"b01d0219-0000-4000-8000-{number:012d}" for number in range(500))
    assert len(Cause("devices_stopped", "", 80, many).to_document()["devices"]) == 100


def test_policy_figures_are_checked_together():
    assert Policy.parse(None) == Policy.parse({}) == POLICY
    assert Policy.parse({"stand": 20, "devices_worse": 2}) == Policy(stand=20.0, devices_worse=2)
    with pytest.raises(NodeError) as caught:
        Policy.parse({"stand": True, "better_by": 2.5, "between": -1, "what": 1})
    assert caught.value.code == "node_config_invalid" and len(caught.value.details["problems"]) == 4
    with pytest.raises(NodeError):
        Policy.parse([])


def test_codes_that_mean_nothing_is_recorded_make_a_node_unable():
    for code in RECORDS_NOTHING:
        assert not Standing(NOW, "running", Health((Cause(code, "", 100),))).records
    assert PARTNER.records and not Standing(NOW, "stopped").records
