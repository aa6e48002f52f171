# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two whole guards and a whole witness in one process: what silence, partition, force and lost states come to with three voters."""
from __future__ import annotations

import time

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import RECORDER, FakeNode, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.guard_scenes import (
    WitnessedPair, adopted, attached, later, never_both, noted, only_attached, recording, refusal, start, status, switched_off, verb, votes,
)

A, B, WITNESS = "pair1-a", "pair1-b", "witness"
ALL = (A, B, WITNESS)
QUICK_TO_YIELD = {"stand": 0, "better_for": 0, "between": 300}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    pair = WitnessedPair(tmp_path, monkeypatch)
    yield pair
    pair.close()
    never_both(pair)


@pytest.fixture
def automatic(tmp_path, monkeypatch):
    """The same, with unattended promotion, a quick policy of health and a fence agent."""
    pair = WitnessedPair(tmp_path, monkeypatch, promotion="automatic", health=QUICK_TO_YIELD,
                         fence_agent={"command": ["C:\\agent.exe", "off"], "timeout": 5.0})
    yield pair
    pair.close()
    never_both(pair)


def renewed_by(node: FakeNode, *voters: str) -> bool:
    """Have these voters acknowledged the node's lease just now?"""
    told = status(node)["voters"]
    return all((told[voter]["acknowledged_ago"] if told[voter]["acknowledged_ago"] is not None else 99.0) < 1.5 for voter in voters)


def settled(pair: WitnessedPair) -> None:
    """a is attached, both others renew its lease, and the witness, which is new, votes without reserve."""
    adopted(pair)
    pair.pass_time(pair.a.settings.lease_ttl)
    wait_until(lambda: renewed_by(pair.a, B, WITNESS), "both voters renew a's lease")


# -- planned -----------------------------------------------------------------------------------------------------------

def test_the_witness_is_taken_in_after_the_adoption(pair):
    start(pair)
    assert refusal(lambda: verb(pair.a, "witness")).code == "not_attached"
    assert verb(pair.a, "adopt")["epoch"] == 1
    assert status(pair.a)["membership"]["voters"] == [A, B]
    assert verb(pair.a, "witness")["membership"]["voters"] == sorted(ALL)
    wait_until(lambda: all(votes(node, *ALL) for node in pair.nodes) and pair.witness.votes()["voting"], "all three vote")
    only_attached(pair, pair.a)
    lease = status(pair.a)["lease"]
    assert 0 < lease["deadline_in"] <= lease["ttl"] - lease["margin"]
    assert status(pair.a)["witness"]["name"] == "witness-1" and status(pair.a)["holder"] == A


def test_switchover_there_and_back(pair):
    settled(pair)
    result = verb(pair.a, "release", successor=B)
    assert result["epoch"] == 2 and result["recorder_attached"]
    assert [step["step"] for step in result["steps"]] == ["detach", "permit", "address", "hand_over", "recorder_attached"]
    only_attached(pair, pair.b)
    assert verb(pair.b, "release", successor=A)["epoch"] == 3
    only_attached(pair, pair.a)


def test_switchover_without_the_witness(pair):
    settled(pair)
    pair.witness.stop()
    assert verb(pair.a, "release", successor=B)["epoch"] == 2
    wait_until(lambda: renewed_by(pair.b, A), "a renews b's lease")
    only_attached(pair, pair.b)


# -- a node that is gone -----------------------------------------------------------------------------------------------

def test_failover_waits_for_the_lease_and_tells_for_how_long(pair):
    settled(pair)
    switched_off(pair.a)
    asked = time.monotonic()
    error = refusal(lambda: verb(pair.b, "take"))
    assert error.code == "lease_not_free" and 0 < error.details["wait"] <= pair.a.settings.lease_ttl
    assert refusal(lambda: verb(pair.b, "take", wait=error.details["wait"] / 4)).code == "lease_not_free"
    result = verb(pair.b, "take", wait=30)
    assert result["changed"] and result["epoch"] == 2 and result["recorder_attached"]
    assert [step["step"] for step in result["steps"]] == ["permit_wait", "votes", "permit", "address", "recorder_attached"]
    assert pair.b.host.at("permit opened") >= asked + error.details["wait"] - 0.5
    assert verb(pair.b, "take")["changed"] is False
    pair.heal()
    pair.a.start_guard()
    wait_until(lambda: pair.a.state_on_disk()["holder"] == B and pair.a.state_on_disk()["claim"] == "none", "a accepts epoch 2")
    only_attached(pair, pair.b)


def test_no_failover_without_partner_and_witness_but_by_a_force_of_its_own(pair):
    settled(pair)
    switched_off(pair.a)
    pair.witness.stop()
    later(pair.b)
    assert refusal(lambda: verb(pair.b, "take")).code == "no_majority"
    error = refusal(lambda: verb(pair.b, "take", force="a is off"))
    assert error.code == "no_majority" and "force_without_witness" in error.next
    assert not pair.b.host.permit_open()
    assert verb(pair.b, "take", force="a is off", without_witness=True)["epoch"] >= 2
    assert status(pair.b)["membership"]["voters"] == [B]


def test_force_with_the_witness_does_not_wait_and_the_partner_rejoins(pair):
    settled(pair)
    switched_off(pair.a)
    result = verb(pair.b, "take", force="the power plug is in my hand")
    assert result["epoch"] == 2 and "permit_wait" not in [step["step"] for step in result["steps"]]
    assert status(pair.b)["membership"]["voters"] == [B, WITNESS]
    pair.heal()
    pair.a.start_guard()
    wait_until(lambda: pair.a.state_on_disk()["membership"]["voters"] == [B, WITNESS], "a learns that it was left out")
    assert not votes(pair.a) and pair.a.state_on_disk()["claim"] == "none"
    only_attached(pair, pair.b)
    assert verb(pair.b, "rejoin")["changed"]
    wait_until(lambda: votes(pair.a, *ALL) and recording(pair.a), "a votes again")
    only_attached(pair, pair.b)
    wait_until(lambda: renewed_by(pair.b, A, WITNESS), "a renews b's lease")
    assert verb(pair.b, "release", successor=A)["changed"]
    only_attached(pair, pair.a)


def test_rejoin_of_a_partner_that_never_heard_of_its_removal(pair):
    settled(pair)
    switched_off(pair.a)
    verb(pair.b, "take", force="a is off")
    assert verb(pair.b, "rejoin")["changed"]
    number = status(pair.b)["membership"]["number"]
    wait_until(lambda: pair.witness.votes()["membership"]["number"] == number, "the witness knows the new membership")
    opened = pair.b.host.at("permit opened")
    pair.heal()
    pair.a.start_guard()
    wait_until(lambda: votes(pair.a, *ALL) and pair.a.state_on_disk()["membership"]["number"] == number, "a votes again")
    wait_until(lambda: renewed_by(pair.b, A, WITNESS), "a and the witness renew b's lease")
    only_attached(pair, pair.b)
    assert pair.b.host.at("permit opened") == opened, "b was attached all the time"


def test_restarted_holder_resumes_with_the_witness_alone(pair):
    settled(pair)
    switched_off(pair.b)
    pair.a.stop_guard()
    pair.a.start_guard()
    wait_until(lambda: attached(pair.a), "a resumes")
    assert status(pair.a)["epoch"] == 1


def test_restarted_witness_costs_nothing(pair):
    settled(pair)
    opened = pair.a.host.at("permit opened")
    pair.witness.stop()
    pair.witness.start()
    wait_until(lambda: renewed_by(pair.a, B, WITNESS), "the witness renews a's lease again")
    assert pair.a.host.at("permit opened") == opened and attached(pair.a)


# -- partitions --------------------------------------------------------------------------------------------------------

def test_holder_without_its_partner_goes_on_with_the_witness(pair):
    settled(pair)
    pair.isolate(pair.a)
    wait_until(lambda: (status(pair.a)["partner"]["heard_ago"] or 0) > pair.a.settings.lease_ttl, "the silence is longer than a lease")
    assert attached(pair.a) and renewed_by(pair.a, WITNESS)
    error = refusal(lambda: verb(pair.b, "take"))
    assert error.code == "lease_not_free" and "witness" in error.message
    pair.heal()
    only_attached(pair, pair.a)


def test_isolated_holder_detaches_in_time_and_resumes_when_nobody_took_over(pair):
    settled(pair)
    cut = time.monotonic()
    pair.isolate(pair.a, witness=True)
    wait_until(lambda: not pair.a.host.permit_open(), "a detaches")
    assert pair.a.host.at("permit closed") <= cut + pair.a.settings.lease_ttl
    wait_until(lambda: pair.service_address not in pair.a.host.addresses(), "the address is gone")
    assert "the lease ran out" in status(pair.a)["reason"]
    pair.heal()
    wait_until(lambda: attached(pair.a), "a resumes")
    assert status(pair.a)["epoch"] == 1


def test_isolated_holder_finds_that_its_partner_took_over(pair):
    settled(pair)
    pair.isolate(pair.a, witness=True)
    assert verb(pair.b, "take", wait=30)["epoch"] == 2
    assert not pair.a.host.permit_open()
    pair.heal()
    wait_until(lambda: pair.a.state_on_disk()["claim"] == "none" and pair.a.state_on_disk()["epoch"] == 2, "a accepts epoch 2")
    only_attached(pair, pair.b)


def test_isolated_partner_is_left_aside(pair):
    settled(pair)
    pair.isolate(pair.b, witness=True)
    later(pair.b)
    assert refusal(lambda: verb(pair.b, "take")).code == "no_majority"
    assert attached(pair.a)
    pair.heal()
    wait_until(lambda: renewed_by(pair.a, B, WITNESS), "b renews again")
    only_attached(pair, pair.a)


# -- clocks and states -------------------------------------------------------------------------------------------------

def test_clock_that_jumps_detaches_and_the_node_resumes(pair):
    settled(pair)
    pair.a.host.wall_skew += 5.0
    wait_until(lambda: "the clock jumped by +5.0 s" in pair.a.log(), "a detaches")
    wait_until(lambda: attached(pair.a), "a resumes")
    assert status(pair.a)["epoch"] == 1


def test_machine_that_stood_still_longer_than_its_lease_is_not_attached_afterwards(pair):
    settled(pair)
    pair.a.host.skew += 60.0  # its monotonic clock counts while it sleeps
    wait_until(lambda: noted(pair.a, "permit closed"), "a detaches")
    wait_until(lambda: attached(pair.a), "nobody took over: a resumes")
    assert status(pair.a)["epoch"] == 1


def test_holder_whose_state_was_lost_is_headless_until_the_lease_is_over(pair):
    settled(pair)
    pair.a.stop_guard()
    pair.a.host.path(store.GUARD_FOLDER + "\\state.json").unlink()
    pair.a.start_guard()
    wait_until(lambda: votes(pair.a, *ALL), "a is readmitted")
    assert not attached(pair.a) and pair.a.state_on_disk()["epoch"] == 1
    wait_until(lambda: recording(pair.a), "a records")
    assert verb(pair.a, "take", wait=60)["epoch"] >= 2
    only_attached(pair, pair.a)


def test_state_turned_back_does_not_bring_an_old_epoch_back(pair):
    settled(pair)
    pair.a.stop_guard()
    path = pair.a.host.path(store.GUARD_FOLDER + "\\state.json")
    old = path.read_bytes()
    pair.a.start_guard()
    wait_until(lambda: attached(pair.a), "a resumes")
    wait_until(lambda: status(pair.a)["running_for"] > pair.a.settings.lease_ttl, "a votes again without reserve")
    verb(pair.a, "release", successor=B)
    pair.a.stop_guard()
    path.write_bytes(old)  # it says: attached with epoch 1
    pair.a.start_guard()
    wait_until(lambda: pair.a.state_on_disk()["epoch"] == 2, "a hears of epoch 2")
    only_attached(pair, pair.b)


# -- the witness comes later -------------------------------------------------------------------------------------------

def test_witness_is_added_and_taken_away_while_attached(tmp_path, monkeypatch):
    pair = WitnessedPair(tmp_path, monkeypatch, witness=None)
    try:
        adopted(pair)
        assert status(pair.a)["membership"]["voters"] == [A, B] and status(pair.a)["witness"] is None
        for node in pair.nodes:
            node.stop_guard()
            node.configure(witness=pair.settings_of_witness)
        start(pair)
        wait_until(lambda: attached(pair.a), "a resumes")
        assert refusal(lambda: verb(pair.b, "witness")).code == "not_attached"
        opened = pair.a.host.at("permit opened")
        assert verb(pair.a, "witness")["membership"]["voters"] == sorted(ALL)
        assert verb(pair.a, "witness")["changed"] is False
        wait_until(lambda: pair.witness.votes()["voting"] and votes(pair.b, *ALL), "the witness votes")
        wait_until(lambda: renewed_by(pair.a, B, WITNESS), "both renew")
        assert attached(pair.a) and pair.a.host.at("permit opened") == opened
        for node in pair.nodes:
            node.stop_guard()
            node.configure(witness=None)
        start(pair)
        wait_until(lambda: attached(pair.a), "a resumes")
        assert verb(pair.a, "witness")["membership"]["voters"] == [A, B]
        wait_until(lambda: votes(pair.b, A, B), "b follows")
        only_attached(pair, pair.a)
    finally:
        pair.close()
    never_both(pair)


# -- unattended --------------------------------------------------------------------------------------------------------

def test_nothing_is_attached_unattended_before_the_pair_was_adopted(automatic):
    start(automatic)
    wait_until(lambda: status(automatic.b)["running_for"] > 3.0, "b has had the time to attach itself")
    assert all(status(node)["epoch"] == 0 and not node.host.permit_open() for node in automatic.nodes)
    assert verb(automatic.a, "adopt")["epoch"] == 1


def test_unattended_failover_runs_the_fence_agent_first_and_only_then(automatic):
    settled(automatic)
    switched_off(automatic.a)
    wait_until(lambda: attached(automatic.b), "b takes over by itself")
    assert status(automatic.b)["epoch"] == 2 and automatic.b.host.programs == [["C:\\agent.exe", "off"]]
    assert automatic.b.host.at("run C:\\agent.exe") < automatic.b.host.at("permit opened")
    assert status(automatic.b)["fence_agent"] == f"{A} is off"
    assert automatic.a.host.programs == []


def test_fence_agent_that_fails_does_not_stop_an_unattended_failover(automatic):
    automatic.b.host.program_result = (3, "no such machine")
    settled(automatic)
    switched_off(automatic.a)
    wait_until(lambda: attached(automatic.b), "b takes over by itself")
    assert "failed with 3: no such machine" in status(automatic.b)["fence_agent"]


def test_maintenance_suppresses_what_is_unattended(automatic):
    settled(automatic)
    verb(automatic.b, "maintenance", seconds=600, reason="works on a")
    switched_off(automatic.a)
    automatic.pass_time(30.0, automatic.b)
    wait_until(lambda: status(automatic.b)["lease"]["free_in"] == 0, "the lease is over")
    asked = status(automatic.b)["running_for"]
    wait_until(lambda: status(automatic.b)["running_for"] > asked + 2.0, "b has had the time to take over")
    assert not attached(automatic.b) and automatic.b.host.programs == []
    verb(automatic.b, "maintenance", seconds=0)
    wait_until(lambda: attached(automatic.b), "b takes over by itself")


def test_node_whose_recorder_died_gives_way_to_the_healthy_one_without_a_fence_agent(automatic):
    settled(automatic)
    automatic.a.host.service_stop(RECORDER)
    wait_until(lambda: attached(automatic.b), "b is attached")
    only_attached(automatic, automatic.b)
    assert "healthier" in automatic.a.log() and automatic.a.host.programs == automatic.b.host.programs == []
    automatic.a.host.service_start(RECORDER)
    wait_until(lambda: recording(automatic.a), "a records again")
    automatic.b.host.service_stop(RECORDER)
    wait_until(lambda: status(automatic.b)["health"]["score"] == 0, "b is ill now")
    moment = status(automatic.b)["running_for"]
    wait_until(lambda: status(automatic.b)["running_for"] > moment + 3.0, "b has had the time to give way")
    assert attached(automatic.b), "no second unattended hand-over in five minutes"


def test_playbook_mode_never_moves_by_itself(pair):
    settled(pair)
    switched_off(pair.a)
    pair.pass_time(30.0)
    later(pair.b)
    moment = status(pair.b)["running_for"]
    wait_until(lambda: status(pair.b)["running_for"] > moment + 2.0, "b has had the time to take over")
    assert not attached(pair.b)
    assert verb(pair.b, "take")["epoch"] == 2, "no wait: the lease is over"
