# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two whole guards with real TLS in one process: every way to become attached and to stop being it."""
from __future__ import annotations

import shutil
import time

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.client import TandemClient
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import attachment
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import BANK, DEVICE, RECORDER, FakePair, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.guard_scenes import (
    adopted, only_attached, recording, refusal, start, status, verb,
)


@pytest.fixture
def pair(tmp_path):
    pair = FakePair(tmp_path)
    yield pair
    pair.close()


def test_adopt_opens_the_permit_before_the_fence_and_takes_the_address_over(pair):
    start(pair)
    result = verb(pair.a, "adopt")
    assert result["changed"] and result["epoch"] == 1
    assert [step["step"] for step in result["steps"]] == ["epoch", "permit", "address", "fence"]
    assert "fence installed" in [what for _at, what in pair.a.host.journal]
    assert pair.a.host.addresses()[pair.service_address] is not None, "the static address has a lifetime now"
    only_attached(pair, pair.a)
    assert verb(pair.a, "adopt") == {"changed": False, "epoch": 1, "steps": []}
    assert refusal(lambda: verb(pair.b, "adopt")).code in ("partner_attached", "already_adopted")


def test_adopt_is_refused_without_the_partner_unless_forced(pair):
    pair.a.start_guard()
    wait_until(lambda: status(pair.a)["recorder"]["attach_state"] == "Attached", "a's recorder is known to be attached")
    assert refusal(lambda: verb(pair.a, "adopt")).code == "partner_silent"
    assert verb(pair.a, "adopt", force="b is not built yet")["epoch"] == 1
    assert "b is not built yet" in pair.a.log()


def test_failed_fence_of_an_adoption_is_made_up_for(pair):
    start(pair)
    pair.a.host.fail["fence_install"] = HostError("access denied", 5)
    assert refusal(lambda: verb(pair.a, "adopt")).code == "fence_failed"
    assert pair.a.host.permit_open(), "the machine goes on serving"
    pair.a.host.fail.clear()
    again = verb(pair.a, "adopt")
    assert again["changed"] and [step["step"] for step in again["steps"]] == ["fence"]


def test_switchover_there_and_back(pair):
    adopted(pair)
    result = verb(pair.a, "release", successor="pair1-b")
    assert result["changed"] and result["epoch"] == 2 and result["recorder_attached"]
    assert [step["step"] for step in result["steps"]] == ["detach", "epoch", "permit", "address", "hand_over", "recorder_attached"]
    only_attached(pair, pair.b)
    assert pair.a.state_on_disk() | {"since_ms": 0, "reason": "", "incarnation": ""} == {
        "epoch": 2, "claim": "none", "since_ms": 0, "reason": "", "incarnation": ""}
    again = verb(pair.a, "release", successor="pair1-b")
    assert again["changed"] is False and again["successor"] == "pair1-b"
    assert verb(pair.b, "release", successor="pair1-a")["epoch"] == 3
    only_attached(pair, pair.a)


def test_permit_opens_within_50_ms_of_the_take_request(pair):
    adopted(pair)
    with TandemClient(pair.a.host, pair.a.settings) as partner:
        partner.call("status")
        verb(pair.a, "detach")
        fastest = 1.0
        for _attempt in range(20):  # a busy machine is late now and then, a slow guard always
            epoch = status(pair.b)["epoch"] + 1
            asked = time.monotonic()
            partner.call("take", epoch=epoch)
            fastest = min(fastest, pair.b.host.at("permit opened") - asked)
            verb(pair.b, "detach")
            if fastest < 0.05:
                break
    assert fastest < 0.05


def test_release_is_refused_by_reason(pair):
    adopted(pair)
    assert refusal(lambda: verb(pair.a, "release", successor="somebody")).code == "not_partner"
    assert refusal(lambda: verb(pair.b, "release", successor="somebody")).code == "not_attached"
    pair.b.host.service_stop(RECORDER)
    wait_until(lambda: status(pair.b)["recorder"]["service_state"] == "stopped", "b's guard sees the stopped recorder")
    error = refusal(lambda: verb(pair.a, "release", successor="pair1-b"))
    assert error.code == "not_recording" and "stopped" in error.message
    pair.isolate(pair.a, management=False)
    assert refusal(lambda: verb(pair.a, "release", successor="pair1-b")).code == "partner_unreachable"
    assert status(pair.a)["state"] == "attached"


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
    assert refusal(lambda: verb(pair.a, "release", successor="pair1-b")).code == "not_recording"
    pair.a.recorder.writing = False
    pair.a.host.service_stop(RECORDER)
    wait_until(lambda: status(pair.a)["recorder"]["service_state"] == "stopped", "a's guard sees the stopped recorder")
    error = refusal(lambda: verb(pair.a, "release", successor="pair1-b", fetches=True))
    assert error.code == "not_recording" and "of this node its recorder service is stopped" in error.message
    pair.a.host.service_start(RECORDER)
    pair.a.recorder.writing = True
    wait_until(lambda: recording(pair.a), "a records again")
    assert verb(pair.a, "release", successor="pair1-b", fetches=True)["epoch"] == 2
    only_attached(pair, pair.b)


def test_release_to_a_partner_that_cannot_open_its_permit_goes_back(pair):
    adopted(pair)
    pair.b.host.fail["open_permit"] = HostError("the filter engine does not run", 1062)
    error = refusal(lambda: verb(pair.a, "release", successor="pair1-b"))
    assert error.code == "handover_failed" and error.details["epoch"] == 3
    only_attached(pair, pair.a)
    assert status(pair.a)["epoch"] == 3 and pair.b.state_on_disk()["epoch"] == 3


def test_release_whose_answer_is_lost_is_recognised_as_done(pair, monkeypatch):
    adopted(pair)
    original = TandemClient.call

    def lossy(self, op, timeout=5.0, **fields):
        result = original(self, op, timeout, **fields)
        if op == "take" and self._peer == "partner":
            self.close()
            raise NodeError("partner_unreachable", "the answer was lost")
        return result

    monkeypatch.setattr(TandemClient, "call", lossy)
    assert verb(pair.a, "release", successor="pair1-b")["epoch"] == 2
    only_attached(pair, pair.b)


def test_unknown_hand_over_stays_headless_and_comes_back_by_itself(pair, monkeypatch):
    adopted(pair)
    original = TandemClient.call

    def cut(self, op, timeout=5.0, **fields):
        if op == "take" and self._peer == "partner":
            pair.isolate(pair.a, management=False)
            self.close()
            raise NodeError("partner_unreachable", "the wire was cut")
        return original(self, op, timeout, **fields)

    monkeypatch.setattr(TandemClient, "call", cut)
    assert refusal(lambda: verb(pair.a, "release", successor="pair1-b")).code == "handover_unknown"
    assert status(pair.a)["state"] == "headless" and pair.a.state_on_disk()["claim"] == "released"
    pair.heal()
    wait_until(lambda: status(pair.a)["state"] == "attached", "a comes back when b proves that it did not take over")
    assert status(pair.a)["epoch"] == 3
    with TandemClient(pair.a.host, pair.a.settings) as late:
        monkeypatch.setattr(TandemClient, "call", original)
        assert refusal(lambda: late.call("take", epoch=2)).code == "higher_epoch", "the late take is refused"


def test_lost_consent_to_come_back_is_asked_for_again(pair, monkeypatch):
    adopted(pair)
    original, lost = TandemClient.call, []

    def unlucky(self, op, timeout=5.0, **fields):
        if self._peer == "partner" and op == "take":
            pair.isolate(pair.a, management=False)
            raise NodeError("partner_unreachable", "the wire was cut")
        result = original(self, op, timeout, **fields)
        if self._peer == "partner" and op == "resume" and not lost:
            lost.append(fields["epoch"])
            wait_until(lambda: pair.b.state_on_disk()["epoch"] == 3, "b agreed")
            wait_until(lambda: pair.a.resident.guard.partner.epoch == 3, "a hears of it before it gets the answer")
            raise NodeError("partner_unreachable", "the answer was lost")
        return result

    monkeypatch.setattr(TandemClient, "call", unlucky)
    assert refusal(lambda: verb(pair.a, "release", successor="pair1-b")).code == "handover_unknown"
    pair.heal()
    wait_until(lambda: status(pair.a)["state"] == "attached", "a comes back")
    assert lost == [3] and status(pair.a)["epoch"] == 3
    only_attached(pair, pair.a)


def test_failover_waits_for_the_partners_permit(pair):
    adopted(pair)
    pair.a.host.isolated = {pair.b.settings.address}
    pair.a.stop_guard()  # its last word does not get through
    asked = time.monotonic()
    error = refusal(lambda: verb(pair.b, "take", mode="failover"))
    assert error.code == "permit_may_be_open" and 0 < error.details["wait"] <= 3.0
    result = verb(pair.b, "take", mode="failover", wait=30)
    assert result["changed"] and result["epoch"] == 2 and result["recorder_attached"]
    assert [step["step"] for step in result["steps"]] == ["permit_wait", "epoch", "permit", "address", "recorder_attached"]
    assert pair.b.host.at("permit opened") - asked >= error.details["wait"] - 0.05
    assert verb(pair.b, "take")["changed"] is False


def test_failover_at_once_by_force_or_after_a_farewell(pair):
    adopted(pair)
    pair.a.host.isolated = {pair.b.settings.address}
    pair.a.stop_guard()
    assert verb(pair.b, "take", force="the power plug is in my hand")["epoch"] == 2
    assert "power plug" in pair.b.log() + pair.b.state_on_disk()["reason"]
    pair.heal()
    pair.a.start_guard()
    wait_until(lambda: pair.a.state_on_disk()["epoch"] == 2 and pair.a.state_on_disk()["claim"] == "none", "a accepts epoch 2")
    only_attached(pair, pair.b)
    pair.b.stop_guard()  # this time in order: the partner is told that the permit is closed
    assert verb(pair.a, "take")["epoch"] == 3


def test_failover_is_refused_while_the_partner_serves_or_nothing_is_recorded(pair):
    adopted(pair)
    assert refusal(lambda: verb(pair.b, "take")).code == "partner_answers"
    assert refusal(lambda: verb(pair.b, "take", force="I insist")).code == "partner_answers"
    pair.a.stop_guard()
    pair.b.host.service_stop(RECORDER)
    wait_until(lambda: status(pair.b)["recorder"]["service_state"] == "stopped", "b's guard sees the stopped recorder")
    assert refusal(lambda: verb(pair.b, "take", wait=30)).code == "not_recording"
    assert not pair.b.host.permit_open()


def test_failover_to_another_version_is_refused(pair):
    adopted(pair)
    pair.b.stop_guard()
    config = pair.b.host.path("C:\\ProgramData\\Milestone\\XProtect Recording Server\\RecorderConfig.xml")
    config.write_bytes(config.read_bytes().replace(b"25.1.0.2", b"24.2.0.1"))
    pair.b.start_guard()
    wait_until(lambda: recording(pair.b), "b records")
    assert refusal(lambda: verb(pair.a, "release", successor="pair1-b")).code == "wrong_version"
    pair.a.stop_guard()
    assert refusal(lambda: verb(pair.b, "take", wait=30)).code == "wrong_version"


def test_headless_partner_consents_to_a_failover(pair):
    adopted(pair)
    verb(pair.a, "detach")
    assert verb(pair.b, "take")["epoch"] == 2
    only_attached(pair, pair.b)
    assert pair.a.state_on_disk()["epoch"] == 2


def test_restarted_holder_resumes_with_the_same_epoch(pair):
    adopted(pair)
    pair.a.stop_guard()
    assert not pair.a.host.permit_open()
    pair.a.start_guard()
    wait_until(lambda: status(pair.a)["state"] == "attached", "a resumes")
    assert status(pair.a)["epoch"] == 1
    only_attached(pair, pair.a)


def test_restarted_holder_does_not_resume_without_its_partner_nor_against_a_higher_epoch(pair):
    adopted(pair)
    pair.a.host.isolated = {pair.b.settings.address}
    pair.a.stop_guard()
    pair.b.stop_guard()
    pair.a.start_guard()
    wait_until(lambda: status(pair.a)["recorder"]["recording"], "a records")
    time.sleep(1.0)  # several rounds of asking; nothing can be waited for, because nothing may happen
    assert status(pair.a)["state"] == "headless" and pair.a.state_on_disk()["claim"] == "attached"
    pair.b.start_guard()
    wait_until(lambda: status(pair.b)["recorder"]["recording"], "b records")
    pair.b.host.isolated = {pair.a.settings.address}
    verb(pair.b, "take", wait=30)
    pair.heal()
    wait_until(lambda: pair.a.state_on_disk()["claim"] == "none", "a gives its claim up")
    assert pair.a.state_on_disk()["epoch"] == 2
    only_attached(pair, pair.b)


def test_higher_epoch_closes_the_permit(pair):
    adopted(pair)
    pair.isolate(pair.a, management=False)  # a reaches the Management Server and holds on
    wait_until(lambda: status(pair.b)["partner"]["permit_may_be_open_for"] == 0, "the silence is long enough")
    assert status(pair.a)["state"] == "attached"
    verb(pair.b, "take")
    pair.heal()
    wait_until(lambda: not pair.a.host.permit_open(), "a closes its permit")
    assert "higher" in status(pair.a)["reason"]
    only_attached(pair, pair.b)
    assert pair.a.state_on_disk()["epoch"] == 2 and pair.a.state_on_disk()["claim"] == "none"


def test_isolated_holder_detaches_within_its_ttl_and_resumes_later(pair):
    adopted(pair)
    cut = time.monotonic()
    pair.isolate(pair.a, management=True)
    wait_until(lambda: not pair.a.host.permit_open(), "a detaches")
    assert cut <= pair.a.host.at("permit closed") <= cut + pair.a.settings.permit_ttl
    assert pair.service_address not in pair.a.host.addresses()
    assert "neither the partner nor the Management Server" in status(pair.a)["reason"]
    pair.heal()
    wait_until(lambda: status(pair.a)["state"] == "attached", "a resumes")
    assert status(pair.a)["epoch"] == 1


def test_holder_stays_attached_when_only_the_partner_is_gone(pair):
    adopted(pair)
    pair.b.stop_guard()
    until = time.monotonic() + 2 * pair.a.settings.permit_ttl
    while time.monotonic() < until:
        assert pair.a.host.permit_open()
        time.sleep(0.05)


def test_epoch_never_falls_when_a_node_lost_its_state(pair):
    adopted(pair)
    verb(pair.a, "release", successor="pair1-b")
    pair.a.stop_guard()
    before = pair.a.state_on_disk()
    pair.a.host.path(store.GUARD_FOLDER + "\\state.json").write_bytes(b"{ torn")
    pair.a.start_guard()
    wait_until(lambda: pair.a.state_on_disk()["epoch"] == 2, "a learns the epoch from its partner")
    assert pair.a.state_on_disk()["incarnation"] != before["incarnation"]
    assert "state was lost" in pair.a.log()
    only_attached(pair, pair.b)
    assert verb(pair.b, "release", successor="pair1-a")["epoch"] == 3


def test_no_attachment_when_the_disk_refuses_the_epoch(pair):
    adopted(pair)
    verb(pair.a, "detach")
    pair.b.host.fail["replace_file"] = OSError(28, "No space left on device")
    assert refusal(lambda: verb(pair.b, "take")).code == "file_unwritable"
    assert not pair.b.host.permit_open()


def test_full_disk_does_not_keep_the_fence_open(pair):
    adopted(pair)
    pair.a.host.fail["replace_file"] = OSError(28, "No space left on device")
    assert verb(pair.a, "detach")["changed"]
    assert not pair.a.host.permit_open() and status(pair.a)["claim"] == "none"
    assert pair.a.state_on_disk()["claim"] == "attached"
    pair.a.host.fail.clear()
    wait_until(lambda: pair.a.state_on_disk()["claim"] == "none", "the state is written later")


def test_address_that_cannot_be_held_is_reported_and_tried_again(pair):
    adopted(pair)
    pair.a.host.fail["hold_address"] = HostError("duplicate address", 5010)
    wait_until(lambda: status(pair.a)["service_address"]["error"] == "duplicate address", "the trouble is reported")
    assert status(pair.a)["state"] == "attached"
    pair.a.host.fail.clear()
    wait_until(lambda: status(pair.a)["service_address"]["held"], "the address is held again")


def test_recorder_is_restarted_once_when_it_does_not_connect(pair, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import handover
    monkeypatch.setattr(handover, "ATTACH_LIMIT", 0.5)
    adopted(pair)
    pair.b.recorder.connected = False

    def connect_after_restart(name, state):
        pair.b.recorder.connected = pair.b.recorder.connected or state == "running"

    pair.b.host.on_service = connect_after_restart
    monkeypatch.setattr(attachment, "CONNECT_LIMIT", 1.0)
    result = verb(pair.a, "release", successor="pair1-b")
    assert result["recorder_attached"] is True
    assert [what for _at, what in pair.b.host.journal if what.startswith(RECORDER)] == [f"{RECORDER} stopped", f"{RECORDER} running"]
    ledger = store.read_lines(pair.b.host, store.LEDGER_FILE)
    assert len(ledger) == 1 and ledger[0]["cause"] == "promotion" and ledger[0]["end"] >= ledger[0]["begin"]


def test_promotion_completes_without_a_management_server(pair, monkeypatch):
    adopted(pair)
    monkeypatch.setattr(attachment, "CONNECT_LIMIT", 0.3)
    pair.b.recorder.connected = False
    pair.b.host.isolated = {pair.management}
    result = verb(pair.a, "release", successor="pair1-b")
    assert result["changed"] and result["recorder_attached"] is False and "clients wait" in result["warnings"][0]
    assert status(pair.b)["state"] == "attached"
