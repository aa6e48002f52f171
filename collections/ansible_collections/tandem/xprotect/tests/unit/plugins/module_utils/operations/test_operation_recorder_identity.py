# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import identity as node_identity
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import recorder_identity
from ansible_collections.tandem.xprotect.plugins.module_utils.pair import identity
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, RECORDER, Site

A, B = "north-a", "north-b"
KEY = "SOFTWARE\\WOW6432Node\\VideoOS\\Recorder\\Installation|RecorderIDOnMachine"
SERVING = {"state": "attached", "epoch": 1}
NEW = {"state": "headless", "epoch": 1, "recorder_id": OTHER, "running": False}
TWIN = {"state": "headless", "epoch": 1}


def document(recorder_id=RECORDER, host="10.0.0.10", own_backup=False):
    return {"fields": {"recorder/id": recorder_id, "recorder/displayname": "REC", "webserver/host": host}, "registry": {KEY: recorder_id},
            "own_backup": own_backup}


def new_twin(**changes):
    return Site(SERVING, NEW, **{"identity__read": {A: document(), B: document(OTHER, "rec-b")},
                                 "identity__apply": {"changed": True, "stopped": False}, **changes})


def test_the_twin_takes_over_what_differs():
    site = new_twin()
    result = recorder_identity.run(site.context(recorder_identity))
    assert result["changed"] and (result["source"], result["node"]) == (A, B) and not result["recorder_started"]
    assert result["changes"] == [{"field": "recorder/id", "before": OTHER, "after": RECORDER},
                                 {"field": "webserver/host", "before": "rec-b", "after": "10.0.0.10"},
                                 {"field": KEY, "before": OTHER, "after": RECORDER}]
    assert result["diff"]["before"].splitlines()[0] == f"recorder/id: {OTHER}"
    request = site.requests("identity.apply")[0]
    assert request == {"fields": document()["fields"], "registry": {KEY: RECORDER}, "check": False}
    assert [name for name, verb, unused in site.calls if verb == "identity.apply"] == [B]
    assert len(site.requests("lock.acquire")) == 2 == len(site.requests("lock.release"))


def test_the_fields_are_those_that_a_node_accepts():
    assert set(identity.IDENTITY_FIELDS) == set(node_identity.FIELDS)


def test_a_second_run_changes_nothing():
    site = Site(SERVING, TWIN, identity__read={A: document(), B: document(own_backup=True)})
    result = recorder_identity.run(site.context(recorder_identity))
    assert not result["changed"] and result["changes"] == [] and "has the identity of node north-a already" in result["msg"]
    assert not site.requests("lock.acquire")


def test_check_mode_shows_and_writes_nothing():
    site = new_twin()
    result = recorder_identity.run(site.context(recorder_identity, check_mode=True))
    assert result["changed"] and len(result["changes"]) == 3 and "would be taken over" in result["msg"]
    assert site.verbs(reading=("facts", "identity.read")) == []


def test_check_mode_works_before_there_is_a_fence():
    site = new_twin()
    site.answers["facts"][B]["fence"]["installed"] = False
    assert recorder_identity.run(site.context(recorder_identity, check_mode=True))["changed"]


def test_without_a_fence_nothing_is_written():
    site = new_twin()
    site.answers["facts"][B]["fence"]["installed"] = False
    with pytest.raises(TandemError) as caught:
        recorder_identity.run(site.context(recorder_identity))
    assert caught.value.code == "not_fenced" and str(caught.value).startswith("pair north, node north-b: it has no fence")
    assert not site.requests("identity.apply")


@pytest.mark.parametrize(("twin", "started"), [({**TWIN, "running": True}, True), ({**TWIN, "running": False}, False),
                                               ({**NEW, "running": True}, False)])
def test_only_the_recorder_of_a_twin_is_started_again(twin, started):
    site = Site(SERVING, twin, identity__read={A: document(), B: document(twin.get("recorder_id", RECORDER), "rec-b")},
                identity__apply={"changed": True}, service__start={"changed": True})
    assert recorder_identity.run(site.context(recorder_identity))["recorder_started"] is started
    assert bool(site.requests("service.start")) is started


def test_all_differences_are_refused_at_once():
    site = Site(SERVING, {**NEW, "recorder__version": "24.1.0.7", "recorder__device_pack": "12.9", "machine__clock_ms": 1_700_000_060_000})
    with pytest.raises(TandemError) as caught:
        recorder_identity.run(site.context(recorder_identity))
    assert [entry["code"] for entry in caught.value.details["differences"]] == ["version", "device_pack", "clock"]
    assert str(caught.value).startswith("pair north, node north-b: it cannot be the twin of its partner for 3 reasons")


def test_after_a_switchover_the_attached_node_is_the_source():
    site = Site({"state": "headless"}, {"state": "attached"}, identity__read={A: document(host="old"), B: document()},
                identity__apply={"changed": True}, service__start={"changed": True})
    result = recorder_identity.run(site.context(recorder_identity))
    assert (result["source"], result["node"]) == (B, A)


def test_an_identity_that_was_read_without_its_id():
    site = new_twin(identity__read={A: document("x"), B: document()})
    with pytest.raises(TandemError) as caught:
        recorder_identity.run(site.context(recorder_identity))
    assert caught.value.code == "identity_incomplete" and caught.value.node == A


def test_the_own_identity_comes_back():
    site = Site(SERVING, TWIN, identity__read={A: document(), B: document(own_backup=True)}, identity__undo={"changed": True})
    result = recorder_identity.run(site.context(recorder_identity, state="own"))
    assert result["changed"] and result["node"] == B and f"{B} identity.undo" in site.verbs()


def test_the_own_identity_is_there_already():
    site = Site(SERVING, NEW, identity__read={A: document(), B: document(OTHER)})
    result = recorder_identity.run(site.context(recorder_identity, state="own"))
    assert not result["changed"] and "no node of pair north has another identity than its own" in result["msg"]


def test_an_attached_node_does_not_get_its_own_identity_back():
    site = Site({"state": "headless"}, {"state": "attached"}, identity__read={A: document(), B: document(own_backup=True)})
    with pytest.raises(TandemError) as caught:
        recorder_identity.run(site.context(recorder_identity, state="own"))
    assert caught.value.code == "attached" and caught.value.node == B and "switch over to node north-a" in str(caught.value)


def test_check_mode_of_the_way_back():
    site = Site(SERVING, TWIN, identity__read={A: document(), B: document(own_backup=True)})
    assert recorder_identity.run(site.context(recorder_identity, check_mode=True, state="own"))["changed"]
    assert not site.requests("identity.undo")
