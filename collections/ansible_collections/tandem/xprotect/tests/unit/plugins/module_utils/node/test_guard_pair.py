# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two whole guards with real TLS in one process and no witness: every way to become attached and to stop being it."""
from __future__ import annotations

import shutil

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import follow, handover
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.client import TandemClient
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import Answer
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import attachment
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import BANK, DEVICE, RECORDER, FakePair, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.guard_scenes import (
    adopted, attached, disk_full, later, never_both, noted, only_attached, recording, refusal, start, status, switched_off, verb, votes,
)

A, B = "pair1-a", "pair1-b"


@pytest.fixture
def pair(tmp_path):
    pair = FakePair(tmp_path)
    yield pair
    pair.close()
    never_both(pair)


# -- adoption ----------------------------------------------------------------------------------------------------------

def test_adopt_opens_the_permit_before_the_fence_and_takes_the_address_over(pair):
    start(pair)
    result = verb(pair.a, "adopt")
    assert result["changed"] and result["epoch"] == 1
    assert [step["step"] for step in result["steps"]] == ["votes", "permit", "address", "fence"]
    assert "fence installed" in [what for _at, what in pair.a.host.journal]
    assert pair.a.host.addresses()[pair.service_address] is not None, "the static address has a lifetime now"
    only_attached(pair, pair.a)
    assert verb(pair.a, "adopt") == {"changed": False, "epoch": 1, "steps": []}
    wait_until(lambda: pair.b.state_on_disk()["epoch"] == 1, "b knows epoch 1")
    assert refusal(lambda: verb(pair.b, "adopt")).code == "already_adopted"


def test_adopt_without_the_partner_needs_force_and_leaves_the_partner_out(pair):
    pair.a.start_guard()
    wait_until(lambda: status(pair.a)["recorder"]["attach_state"] == "Attached", "a's recorder is known to be attached")
    assert refusal(lambda: verb(pair.a, "adopt")).code == "partner_silent"
    assert verb(pair.a, "adopt", force="b is not built yet")["epoch"] == 1
    assert "b is not built yet" in pair.a.log()
    assert status(pair.a)["membership"] == {"number": 2, "voters": [A]}
    pair.b.host.rules = pair.b.settings.fence_rules()
    pair.b.start_guard()
    wait_until(lambda: pair.b.state_on_disk()["membership"]["number"] == 2, "b learns that it is not a voter")
    assert refusal(lambda: verb(pair.b, "take", force="I insist")).code == "partner_answers"
    assert verb(pair.a, "rejoin")["changed"] and not verb(pair.a, "rejoin")["changed"]
    wait_until(lambda: votes(pair.b, A, B), "b votes")
    wait_until(lambda: recording(pair.b), "b records")
    only_attached(pair, pair.a)
    assert verb(pair.a, "release", successor=B)["changed"]
    only_attached(pair, pair.b)


def test_failed_fence_of_an_adoption_is_made_up_for(pair):
    start(pair)
    pair.a.host.fail["fence_install"] = HostError("access denied", 5)
    assert refusal(lambda: verb(pair.a, "adopt")).code == "fence_failed"
    assert pair.a.host.permit_open(), "the machine goes on serving"
    pair.a.host.fail.clear()
    again = verb(pair.a, "adopt")
    assert again["changed"] and [step["step"] for step in again["steps"]] == ["fence"]


# -- planned -----------------------------------------------------------------------------------------------------------

def test_switchover_there_and_back(pair):
    adopted(pair)
    result = verb(pair.a, "release", successor=B)
    assert result["changed"] and result["epoch"] == 2 and result["recorder_attached"] and result["successor"] == B
    assert [step["step"] for step in result["steps"]] == ["detach", "permit", "address", "hand_over", "recorder_attached"]
    only_attached(pair, pair.b)
    record = pair.a.state_on_disk()
    assert (record["epoch"], record["holder"], record["claim"], record["voting"]) == (2, B, "none", True)
    again = verb(pair.a, "release", successor=B)
    assert again["changed"] is False and again["successor"] == B and again["recorder_attached"]
    back = verb(pair.b, "release", successor=A)
    assert back["epoch"] == 3 and [step["step"] for step in back["steps"]] == [step["step"] for step in result["steps"]]
    only_attached(pair, pair.a)


def test_release_is_refused_by_reason(pair):
    adopted(pair)
    assert refusal(lambda: verb(pair.a, "release", successor="somebody")).code == "not_partner"
    assert refusal(lambda: verb(pair.b, "release", successor="somebody")).code == "not_attached"
    pair.b.host.service_stop(RECORDER)
    wait_until(lambda: status(pair.b)["recorder"]["service_state"] == "stopped", "b's guard sees the stopped recorder")
    error = refusal(lambda: verb(pair.a, "release", successor=B))
    assert error.code == "not_recording" and "stopped" in error.message
    pair.isolate(pair.a)
    assert refusal(lambda: verb(pair.a, "release", successor=B)).code == "partner_unreachable"
    assert attached(pair.a)


def test_a_worse_partner_is_taken_when_the_reason_is_accepted_by_name(pair):
    adopted(pair)
    pair.b.host.free_bytes = 100 << 20  # a drive below the limit at which the recorder stops writing
    wait_until(lambda: status(pair.b)["health"]["score"] <= 80, "b's guard sees the full disk")
    error = refusal(lambda: verb(pair.a, "release", successor=B))
    assert error.code == "worse" and "health" in error.next and attached(pair.a)
    assert refusal(lambda: verb(pair.a, "release", successor=B, accept=["coverage"])).code == "worse"
    assert verb(pair.a, "release", successor=B, accept=["health"])["epoch"] == 2
    only_attached(pair, pair.b)


def test_a_partner_without_configuration_is_let_in_to_fetch_it_while_this_node_records(pair):
    """Node b has media from before and writes nothing: it has no configuration."""
    bank = pair.b.host.path(f"D:\\MediaDatabase\\{BANK}")
    with pair.b.recorder.lock:
        pair.b.recorder.writing = False
        shutil.rmtree(bank, ignore_errors=True)
        (bank / f"{DEVICE.format(1)}_LOCAL_2026-01-01_00-00-00").mkdir(parents=True)
    for node in pair.nodes:
        node.start_guard()
    wait_until(lambda: recording(pair.a) and status(pair.b)["recorder"]["known_devices"] == 1, "a records, b has old media")
    verb(pair.a, "adopt")
    pair.b.host.rules = pair.b.settings.fence_rules()
    assert refusal(lambda: verb(pair.a, "release", successor=B)).code == "not_recording"
    pair.a.recorder.writing = False
    pair.a.host.service_stop(RECORDER)
    wait_until(lambda: status(pair.a)["recorder"]["service_state"] == "stopped", "a's guard sees the stopped recorder")
    error = refusal(lambda: verb(pair.a, "release", successor=B, fetches=True))
    assert error.code == "not_recording" and "of this node its recorder service is stopped" in error.message
    pair.a.host.service_start(RECORDER)
    pair.a.recorder.writing = True
    wait_until(lambda: recording(pair.a), "a records again")
    assert verb(pair.a, "release", successor=B, fetches=True)["epoch"] == 2
    only_attached(pair, pair.b)


def test_release_to_a_partner_that_cannot_open_its_permit_goes_back(pair):
    adopted(pair)
    pair.b.host.fail["open_permit"] = HostError("the filter engine does not run", 1062)
    error = refusal(lambda: verb(pair.a, "release", successor=B))
    assert error.code == "handover_failed" and "epoch 3" in error.message
    only_attached(pair, pair.a)
    assert status(pair.a)["epoch"] == 3
    wait_until(lambda: pair.b.state_on_disk()["epoch"] == 3, "b knows epoch 3")


def test_release_to_a_partner_that_declines_goes_back_at_once_and_names_its_reason(pair, monkeypatch):
    adopted(pair)
    monkeypatch.setattr(pair.b.resident.guard, "fit", lambda invited, fetches: Answer(False, "not_recording", "its cameras are gone"))
    error = refusal(lambda: verb(pair.a, "release", successor=B))
    assert error.code == "handover_failed" and "its cameras are gone" in error.message and error.details["cause"]["code"] == "not_recording"
    only_attached(pair, pair.a)


def test_release_whose_answer_is_lost_is_recognised_as_done(pair, monkeypatch):
    adopted(pair)
    original, lost = TandemClient.call, []

    def lossy(self, op, timeout=5.0, **fields):
        result = original(self, op, timeout, **fields)
        if op == "vote.release" and fields.get("successor") == B and len(lost) < 2:
            lost.append(op)
            self.close()
            raise NodeError("partner_unreachable", "the answer was lost")
        return result

    monkeypatch.setattr(TandemClient, "call", lossy)
    assert verb(pair.a, "release", successor=B)["epoch"] == 2
    assert lost
    only_attached(pair, pair.b)


def test_unknown_hand_over_stays_headless_and_comes_back_by_itself(pair, monkeypatch):
    adopted(pair)
    monkeypatch.setattr(handover, "OUTCOME_SECONDS", 1.0)
    original = TandemClient.call

    def cut(self, op, timeout=5.0, **fields):
        if op == "vote.release":
            pair.isolate(pair.a)
            self.close()
            raise NodeError("partner_unreachable", "the wire was cut")
        return original(self, op, timeout, **fields)

    monkeypatch.setattr(TandemClient, "call", cut)
    assert refusal(lambda: verb(pair.a, "release", successor=B)).code == "handover_unknown"
    assert not attached(pair.a) and pair.a.state_on_disk()["claim"] == "released"
    monkeypatch.setattr(TandemClient, "call", original)
    pair.heal()
    wait_until(lambda: attached(pair.a) or attached(pair.b), "the hand-over ends, one way or the other")
    holder = pair.a if attached(pair.a) else pair.b
    only_attached(pair, holder)
    assert status(holder)["epoch"] >= 2


# -- failover ----------------------------------------------------------------------------------------------------------

def test_without_a_witness_silence_is_no_proof_and_force_leaves_the_partner_out(pair):
    adopted(pair)
    switched_off(pair.a)
    later(pair.b, 3600.0)
    error = refusal(lambda: verb(pair.b, "take"))
    assert error.code == "lease_not_free" and "wait" not in error.details and "force" in error.next
    assert status(pair.b)["lease"]["free_in"] is None, "it never comes free by time"
    result = verb(pair.b, "take", force="the power plug is in my hand")
    assert result["epoch"] == 2 and [step["step"] for step in result["steps"]] == ["votes", "permit", "address", "recorder_attached"]
    assert verb(pair.b, "take")["changed"] is False
    assert "power plug" in status(pair.b)["reason"] and status(pair.b)["membership"] == {"number": 2, "voters": [B]}
    pair.heal()
    pair.a.start_guard()
    wait_until(lambda: pair.a.state_on_disk()["membership"]["number"] == 2, "a learns that it was left out")
    assert pair.a.state_on_disk()["claim"] == "none" and not pair.a.state_on_disk()["voting"]
    only_attached(pair, pair.b)
    switched_off(pair.b)
    assert refusal(lambda: verb(pair.a, "take", force="b is off")).code == "removed"
    pair.heal()
    pair.b.start_guard()
    wait_until(lambda: attached(pair.b), "b resumes by itself: nobody else votes")
    verb(pair.b, "rejoin", node=A)
    wait_until(lambda: votes(pair.a, A, B) and recording(pair.a), "a votes again")
    wait_until(lambda: status(pair.b)["running_for"] > pair.b.settings.lease_ttl, "b votes without reserve")
    assert verb(pair.b, "release", successor=A)["epoch"] == 3
    only_attached(pair, pair.a)


def test_rejoin_is_asked_of_the_attached_node_and_about_its_partner(pair):
    adopted(pair)
    assert refusal(lambda: verb(pair.a, "rejoin", node="somebody")).code == "not_partner"
    switched_off(pair.a)
    verb(pair.b, "take", force="a is off")
    verb(pair.b, "detach")
    assert refusal(lambda: verb(pair.b, "rejoin")).code == "not_attached"


def test_failover_is_refused_while_the_partner_serves_or_nothing_is_recorded(pair):
    adopted(pair)
    assert refusal(lambda: verb(pair.b, "take")).code == "partner_answers"
    assert refusal(lambda: verb(pair.b, "take", force="I insist")).code == "partner_answers"
    switched_off(pair.a)
    pair.b.host.service_stop(RECORDER)
    wait_until(lambda: status(pair.b)["recorder"]["service_state"] == "stopped", "b's guard sees the stopped recorder")
    assert refusal(lambda: verb(pair.b, "take", wait=30, force="a is off")).code == "not_recording"
    assert not pair.b.host.permit_open()


def test_failover_to_another_version_is_refused(pair):
    adopted(pair)
    pair.b.stop_guard()
    config = pair.b.host.path("C:\\ProgramData\\Milestone\\XProtect Recording Server\\RecorderConfig.xml")
    config.write_bytes(config.read_bytes().replace(b"25.1.0.2", b"24.2.0.1"))
    pair.b.start_guard()
    wait_until(lambda: recording(pair.b), "b records")
    assert refusal(lambda: verb(pair.a, "release", successor=B)).code == "wrong_version"
    verb(pair.a, "detach")
    assert refusal(lambda: verb(pair.b, "take", wait=30)).code == "wrong_version"


def test_headless_partner_consents_to_a_failover(pair):
    adopted(pair)
    assert verb(pair.a, "detach")["changed"] and not verb(pair.a, "detach")["changed"]
    assert verb(pair.b, "take")["epoch"] == 2
    only_attached(pair, pair.b)
    assert pair.a.state_on_disk()["epoch"] == 2


def test_a_fuse_that_does_not_start_keeps_the_permit_closed(pair, monkeypatch):
    start(pair)
    pair.a.host.fail["start_runtime"] = HostError("access denied", 5)
    pair.a.stop_guard()
    pair.a.start_guard()
    wait_until(lambda: votes(pair.a) and recording(pair.a), "a votes")
    assert refusal(lambda: verb(pair.a, "adopt")).code == "fuse_missing"
    assert not pair.a.host.permit_open() and status(pair.a)["fuse"]["alive"] is False


# -- restarts, silence, state ------------------------------------------------------------------------------------------

def test_restarted_holder_resumes_with_the_same_epoch(pair):
    adopted(pair)
    pair.a.stop_guard()
    assert not pair.a.host.permit_open()
    pair.a.start_guard()
    wait_until(lambda: attached(pair.a), "a resumes")
    assert status(pair.a)["epoch"] == 1
    only_attached(pair, pair.a)


def test_switchover_right_after_a_restart_of_the_holder(pair):
    adopted(pair)
    pair.a.stop_guard()
    pair.a.start_guard()
    wait_until(lambda: attached(pair.a) and recording(pair.a), "a resumes")
    assert verb(pair.a, "release", successor=B)["changed"]
    only_attached(pair, pair.b)


def test_restarted_holder_does_not_resume_without_its_partner(pair):
    adopted(pair)
    switched_off(pair.a)
    pair.a.start_guard()
    wait_until(lambda: status(pair.a)["running_for"] > 2.0, "a has asked several times in vain")
    assert not attached(pair.a) and pair.a.state_on_disk()["claim"] == "attached"
    pair.heal()
    wait_until(lambda: attached(pair.a), "a resumes when its partner says that it has no higher epoch")


def test_ended_guard_is_not_attached_again_by_a_late_vote(pair):
    adopted(pair)
    for _round in range(3):
        pair.a.stop_guard()
        assert not pair.a.host.permit_open() and pair.service_address not in pair.a.host.addresses()
        pair.a.start_guard()
        wait_until(lambda: attached(pair.a), "a resumes")


def test_partition_without_a_witness_leaves_the_holder_attached_and_the_partner_headless(pair):
    adopted(pair)
    pair.isolate(pair.a, management=True)
    wait_until(lambda: status(pair.a)["partner"]["heard_ago"] > pair.a.settings.lease_ttl, "the silence is longer than a lease")
    assert attached(pair.a)
    later(pair.b)
    assert refusal(lambda: verb(pair.b, "take")).code == "lease_not_free"
    pair.heal()
    only_attached(pair, pair.a)


def test_holder_stays_attached_when_the_partner_is_gone(pair):
    adopted(pair)
    pair.b.stop_guard()
    wait_until(lambda: status(pair.a)["partner"]["heard_ago"] > pair.a.settings.lease_ttl, "the silence is longer than a lease")
    assert pair.a.host.permit_open() and attached(pair.a)


def test_state_that_a_headless_node_lost_costs_its_vote_until_it_is_readmitted(pair):
    adopted(pair)
    verb(pair.a, "release", successor=B)
    pair.a.stop_guard()
    before = pair.a.state_on_disk()
    pair.a.host.path(store.GUARD_FOLDER + "\\state.json").write_bytes(b"{ torn")
    pair.a.start_guard()
    wait_until(lambda: votes(pair.a), "a is readmitted by its partner")
    after = pair.a.state_on_disk()
    assert after["incarnation"] != before["incarnation"] and after["epoch"] == 2, "the epoch never falls"
    assert "state was lost" in pair.a.log()
    only_attached(pair, pair.b)
    wait_until(lambda: recording(pair.a), "a records")
    assert verb(pair.b, "release", successor=A)["epoch"] == 3


def test_virtual_machine_that_was_turned_back_detaches_and_votes_only_when_readmitted(pair):
    pair.a.host.generation = pair.b.host.generation = "before"
    adopted(pair)
    pair.b.host.isolated = {pair.a.settings.address}  # so that it is a's own look that finds it
    pair.a.host.generation = "after"
    wait_until(lambda: not pair.a.host.permit_open(), "a detaches")
    pair.heal()
    wait_until(lambda: votes(pair.a), "a is readmitted")
    assert not attached(pair.a) and "turned back" in pair.a.log()
    assert pair.a.state_on_disk()["generation"] == "after" and pair.a.state_on_disk()["claim"] == "none"


def test_generation_that_cannot_be_read_is_no_change(pair):
    pair.a.host.generation = pair.b.host.generation = "before"
    adopted(pair)
    pair.a.host.fail["vm_generation"] = HostError("access denied", 5)
    wait_until(lambda: "generation cannot be read" in pair.a.log(), "the trouble is logged")
    assert attached(pair.a) and votes(pair.a)


# -- disk, address, recorder -------------------------------------------------------------------------------------------

def test_no_attachment_when_the_disk_refuses_the_epoch(pair):
    adopted(pair)
    verb(pair.a, "detach")
    pair.b.host.fail["replace_file"] = disk_full()
    error = refusal(lambda: verb(pair.b, "take"))
    assert error.code == "disk" and "No space left" in error.message
    assert not pair.b.host.permit_open()
    pair.b.host.fail.clear()
    assert verb(pair.a, "take", wait=30)["changed"]
    only_attached(pair, pair.a)


def test_detach_that_cannot_be_written_down_is_told_and_taken_back(pair):
    """The fence closes first. A node that cannot keep that it was detached would resume after a restart as well."""
    adopted(pair)
    pair.a.host.fail["replace_file"] = disk_full()
    assert refusal(lambda: verb(pair.a, "detach")).code == "file_unwritable"
    assert noted(pair.a, "permit closed") and pair.a.state_on_disk()["claim"] == "attached"
    wait_until(lambda: attached(pair.a), "a resumes")
    pair.a.host.fail.clear()
    assert verb(pair.a, "detach")["changed"] and not pair.a.host.permit_open()


def test_full_disk_does_not_end_an_attachment(pair):
    adopted(pair)
    pair.a.host.fail["replace_file"] = disk_full()
    moment = status(pair.a)["running_for"]
    wait_until(lambda: status(pair.a)["running_for"] > moment + 3.0, "some time passes")
    assert attached(pair.a) and status(pair.a)["permit"]["expires_in"] > 0
    pair.a.host.fail.clear()


def test_address_that_cannot_be_held_is_reported_and_tried_again(pair):
    adopted(pair)
    pair.a.host.fail["hold_address"] = HostError("duplicate address", 5010)
    wait_until(lambda: status(pair.a)["service_address"]["error"] == "duplicate address", "the trouble is reported")
    assert attached(pair.a)
    pair.a.host.fail.clear()
    wait_until(lambda: status(pair.a)["service_address"]["held"], "the address is held again")


def test_recorder_is_restarted_once_when_it_does_not_connect(pair, monkeypatch):
    monkeypatch.setattr(follow, "ATTACH_LIMIT", 0.5)
    adopted(pair)
    pair.b.recorder.connected = False

    def connect_after_restart(name, state):
        pair.b.recorder.connected = pair.b.recorder.connected or state == "running"

    pair.b.host.on_service = connect_after_restart
    monkeypatch.setattr(attachment, "CONNECT_LIMIT", 1.0)
    result = verb(pair.a, "release", successor=B)
    assert result["recorder_attached"] is True
    assert [what for _at, what in pair.b.host.journal if what.startswith(RECORDER)] == [f"{RECORDER} stopped", f"{RECORDER} running"]
    ledger = store.read_lines(pair.b.host, store.LEDGER_FILE)
    assert len(ledger) == 1 and ledger[0]["cause"] == "promotion" and ledger[0]["end"] >= ledger[0]["begin"]


def test_promotion_completes_without_a_management_server(pair, monkeypatch):
    adopted(pair)
    monkeypatch.setattr(attachment, "CONNECT_LIMIT", 0.3)
    pair.b.recorder.connected = False
    pair.b.host.isolated = {pair.management}
    result = verb(pair.a, "release", successor=B)
    assert result["changed"] and result["recorder_attached"] is False and "clients wait" in result["warnings"][0]
    assert attached(pair.b)


# -- maintenance -------------------------------------------------------------------------------------------------------

def test_maintenance_is_shown_survives_a_restart_and_ends(pair):
    start(pair)
    assert verb(pair.a, "maintenance", seconds=0)["changed"] is False
    told = verb(pair.a, "maintenance", seconds=600, reason="new disks")
    assert told["changed"] and told["maintenance"]["reason"] == "new disks"
    pair.a.stop_guard()
    pair.a.start_guard()
    assert status(pair.a)["maintenance"] == told["maintenance"]
    pair.a.host.wall_skew += 601.0
    assert status(pair.a)["maintenance"] is None
    verb(pair.a, "maintenance", seconds=600, reason="more disks")
    assert verb(pair.a, "maintenance", seconds=0)["changed"] and status(pair.a)["maintenance"] is None
    assert refusal(lambda: verb(pair.a, "maintenance", seconds=8 * 86400)).code == "bad_request"


def test_damaged_maintenance_file_is_no_maintenance_and_a_far_one_is_shortened(pair):
    path = pair.a.host.path(store.GUARD_FOLDER + "\\maintenance.json")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"{")
    pair.a.start_guard()
    assert status(pair.a)["maintenance"] is None and "No maintenance is assumed" in pair.a.log()
    pair.a.stop_guard()
    path.write_bytes(b'{"until_ms": 99999999999999, "reason": 5}')
    pair.a.start_guard()
    assert status(pair.a)["maintenance"]["until_ms"] <= pair.a.host.wall() * 1000 + 7 * 86400 * 1000
