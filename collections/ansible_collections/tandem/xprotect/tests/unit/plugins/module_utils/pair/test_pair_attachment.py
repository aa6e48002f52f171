# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.attachment import plan_attachment, silent_in
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, a_pair, silent, views

A, B = "north-a", "north-b"
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
GOOD = views(ATTACHED, HEADLESS)


def health(score, *causes, fit=True):
    return {"score": score, "serving_fit": fit,
            "causes": [{"code": code, "message": message, "devices": devices} for code, message, *devices in causes]}


@pytest.mark.parametrize(("found", "mode", "wanted", "target", "holder", "changed"), [
    (GOOD, "switchover", None, B, A, True),
    (GOOD, "switchover", B, B, A, True),
    (GOOD, "switchover", "NORTH-A", A, A, False),
    (GOOD, "failover", A, A, A, False),
    (views(silent(A), HEADLESS), "failover", None, B, None, True),
    (views(silent(A), HEADLESS), "failover", B, B, None, True),
    (views(silent(A), ATTACHED), "failover", None, B, B, False),
    (views(HEADLESS, HEADLESS), "failover", A, A, None, True),
    # The old node answers, its guard is down and its fence stands: the permit died with the guard.
    (views({"fenced": True}, HEADLESS), "failover", B, B, None, True),
])
def test_what_is_planned(found, mode, wanted, target, holder, changed):
    plan = plan_attachment(a_pair(), found, mode, wanted)
    assert (plan.target, plan.holder, plan.changed) == (target, holder, changed)


@pytest.mark.parametrize(("found", "mode", "wanted", "codes", "told"), [
    (views(silent(A, "no route"), HEADLESS), "switchover", B, ["holder_unreachable"], "node north-a does not answer (no route)"),
    (views(HEADLESS, HEADLESS), "switchover", B, ["nobody_attached"], "no node is attached that could hand over"),
    (views({"attach_state": "Attached", "fenced": False}, HEADLESS), "switchover", B, ["not_guarded"], "serves without a guard"),
    (GOOD, "failover", None, ["partner_answers"], "node north-a answers and is attached with epoch 4"),
    (views({"attach_state": "Attached", "fenced": False}, HEADLESS), "failover", B, ["partner_answers"], "its recorder is connected"),
    (views({"fenced": False}, HEADLESS), "failover", B, ["partner_not_fenced"], "there is no fence around it"),
    (views(dataclasses.replace(silent(A, "login refused"), alive=True), HEADLESS), "failover", B, ["partner_unknown"], "login refused"),
    (views(ATTACHED, silent(B, "no route")), "switchover", B, ["target_unreachable"], "node north-b does not answer: no route"),
    (views(ATTACHED, {**HEADLESS, "recorder_id": OTHER}), "switchover", None, ["wrong_identity"], OTHER),
    (views(ATTACHED, {**HEADLESS, "recorder__config_error": "cut off"}), "switchover", None, ["config_unreadable"], "cut off"),
    (views(ATTACHED, {}), "switchover", None, ["guard_down"], "its service is missing"),
    (views(ATTACHED, {**HEADLESS, "fenced": False}), "switchover", None, ["not_fenced"], "has no fence"),
    (views(ATTACHED, {**HEADLESS, "recorder__version": "26.1"}), "switchover", None, ["version"], "26.1 on node north-b"),
    (views(ATTACHED, {**HEADLESS, "guard__status__recorder__writing": 0}), "switchover", None, ["not_recording"], "records nothing while"),
    (views(silent(A), {**HEADLESS, "running": False}), "failover", None, ["recorder_stopped"], "it is stopped"),
    (views(ATTACHED, {**HEADLESS, "guard__status__membership": {"number": 2, "voters": [A, "witness"]}}), "switchover", None, ["removed"],
     "was removed from the pair's voters"),
    (views(ATTACHED, {**HEADLESS, "guard__status__health": health(20, ("hung", "the recorder hangs"), fit=False)}), "switchover", None,
     ["health"], "the recorder hangs"),
    (views(ATTACHED, {**HEADLESS, "guard__status__health": health(80, ("clock_off", "the clock is off"))}), "switchover", None, ["health"],
     "the clock is off"),
    (views(ATTACHED, {**HEADLESS, "guard__status__health": health(50, ("devices_stopped", "1 device stopped", "d1"))}), "switchover", None,
     ["coverage"], "does not record 1 devices that node north-a records: d1"),
])
def test_why_it_is_refused(found, mode, wanted, codes, told):
    with pytest.raises(TandemError) as caught:
        plan_attachment(a_pair(), found, mode, wanted)
    assert [refusal["code"] for refusal in caught.value.details["refusals"]] == codes
    assert caught.value.code == codes[0]
    assert told in str(caught.value)
    assert str(caught.value).startswith("pair north, node north-b: ") and "Next: " in str(caught.value)


def test_all_reasons_in_one_message():
    found = views(ATTACHED, {"recorder_id": OTHER, "running": False, "fenced": False, "recorder__version": "26.1"})
    with pytest.raises(TandemError) as caught:
        plan_attachment(a_pair(), found, "switchover")
    assert [refusal["code"] for refusal in caught.value.details["refusals"]] == [
        "wrong_identity", "guard_down", "not_fenced", "recorder_stopped", "version"]
    assert caught.value.code == "refused" and caught.value.message.count(";") == 4


def test_force_stands_only_against_a_machine_that_does_not_tell_its_state():
    refusing = views(dataclasses.replace(silent(A, "login refused"), alive=True), HEADLESS)
    assert plan_attachment(a_pair(), refusing, "failover", B, force="its power cable is in my hand").changed
    with pytest.raises(TandemError, match="answers and is attached"):
        plan_attachment(a_pair(), GOOD, "failover", B, force="its power cable is in my hand")


def test_force_is_not_for_a_node_that_votes():
    with pytest.raises(TandemError, match="its guard is headless and votes"):
        plan_attachment(a_pair(), views(HEADLESS, HEADLESS), "failover", B, force="I want it now")


@pytest.mark.parametrize("broken", [{"running": False}, {"guard__status__health": health(0, ("hung", "it hangs"), fit=False)}])
def test_a_holder_that_cannot_serve_hands_over_to_whatever_is_left(broken):
    """Poor is better than nobody: only what cannot serve at all refuses."""
    poor = {**HEADLESS, "guard__status__health": health(10, ("devices_stopped", "most devices stopped", "d1"), ("disk_low", "low"))}
    plan = plan_attachment(a_pair(), views({**ATTACHED, **broken}, poor), "failover")
    assert (plan.by, plan.holder, plan.target, plan.accept) == ("release", A, B, ("coverage", "config_lag", "health"))
    assert plan_attachment(a_pair(), views({**ATTACHED, **broken}, poor), "switchover", lagging=["cache"]).by == "release"
    with pytest.raises(TandemError, match="26.1 on node north-b"):
        plan_attachment(a_pair(), views({**ATTACHED, **broken}, {**poor, "recorder__version": "26.1"}), "failover")


def test_what_lags_can_be_accepted_by_name():
    with pytest.raises(TandemError) as caught:
        plan_attachment(a_pair(), GOOD, "switchover", lagging=["local_configuration_cache"])
    assert caught.value.code == "config_lag" and "accept: [config_lag]" in str(caught.value)
    plan = plan_attachment(a_pair(), GOOD, "switchover", lagging=["local_configuration_cache"], accept=["config_lag"])
    assert plan.changed and "local_configuration_cache" in plan.accepted[0] and plan.accept == ("config_lag",)


@pytest.mark.parametrize(("heard", "free", "force", "seconds"), [
    (60.0, 0, None, 0), (None, 0, None, 0), (1.0, 0, None, 2.0), (60.0, 5.5, None, 5.5), (60.0, None, None, None),
    (60.0, None, "off", 0), (1.0, 5.5, "off", 2.0)])
def test_when_a_machine_counts_as_silent(heard, free, force, seconds):
    target = views(silent(A), {**HEADLESS, "guard__status__partner": {"heard_ago": heard}, "guard__status__lease": {"free_in": free}})
    assert silent_in(target[B], target[A], force) == seconds
    for answering in (dataclasses.replace(silent(A), alive=True), GOOD[A]):
        assert silent_in(target[B], answering, force) is None


@pytest.mark.parametrize(("found", "mode", "code"), [
    (views(HEADLESS, HEADLESS), "failover", "nobody_attached"), (views(HEADLESS, HEADLESS), "switchover", "nobody_attached"),
    (views(silent(A), HEADLESS), "switchover", "nobody_attached"), (views(silent(A), silent(B)), "failover", "node_unreachable")])
def test_the_other_node_is_not_known(found, mode, code):
    with pytest.raises(TandemError) as caught:
        plan_attachment(a_pair(), found, mode)
    assert caught.value.code == code


def test_an_unknown_node():
    with pytest.raises(TandemError, match="north-c"):
        plan_attachment(a_pair(), GOOD, "switchover", "north-c")
