# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_guard
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, Site

A, B = "north-a", "north-b"
SERVING = {"attach_state": "Attached", "fenced": False}
FRESH = {"recorder_id": OTHER, "running": False, "fenced": False}
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
WRITTEN = {"changed": True, "items": [{"id": "node.json", "changed": True}, {"id": "service", "changed": False}], "guard_pending": False}
SAME = {"changed": False, "items": [{"id": "node.json", "changed": False}], "guard_pending": False}


def new_pair(**changes):
    return Site(SERVING, FRESH, **{"guard__tls": {"certificate": None, "has_key": False}, "guard__configure": WRITTEN,
                                   "fence__install": {A: {"changed": False}, B: {"changed": True}},
                                   "attachment__adopt": {"changed": True, "epoch": 1, "steps": []},
                                   "attachment__status": {"state": "attached"}, **changes})


def provisioned(**changes):
    pems = {name: {"certificate": certificates.create(name, "10.0.0.11")[0], "has_key": True} for name in (A, B)}
    return Site(ATTACHED, HEADLESS, **{"guard__tls": pems, "guard__configure": SAME, "fence__install": {"changed": False}, **changes})


def test_the_twin_is_fenced_first_and_the_server_opens_its_permit_before_its_fence():
    site = new_pair()
    result = node_guard.run(site.context(node_guard, adopt=True))
    assert result["changed"] and result["adopted"] == A
    changing = [f"{node} {verb}" for node, verb, request in site.calls if verb != "facts" and request.get("check") is not True]
    assert changing == [f"{A} guard.tls", f"{B} guard.tls", f"{A} lock.acquire", f"{B} lock.acquire", f"{B} guard.configure",
                        f"{B} fence.install", f"{A} guard.configure", f"{A} attachment.adopt", f"{A} attachment.status",
                        f"{A} lock.release", f"{B} lock.release"]
    assert result["nodes"][A]["items"] == ["certificate", "node.json", "attachment", "fence"]
    assert result["nodes"][B]["items"] == ["certificate", "node.json", "fence"]


def test_each_node_pins_its_partners_certificate_and_gets_its_own_key():
    site = new_pair()
    node_guard.run(site.context(node_guard, adopt=True))
    b, a = (request["tls"] for request in site.requests("guard.configure") if not request["check"])
    assert a["certificate"] == b["partner_certificate"] != b["certificate"] == a["partner_certificate"]
    assert a["key"].startswith("-----BEGIN PRIVATE KEY-----") and a["key"] != b["key"]
    assert certificates.read(a["certificate"]).fits(A, "10.0.0.11")


def test_what_a_node_is_told():
    site = new_pair()
    node_guard.run(site.context(node_guard, adopt=True))
    request = site.requests("guard.configure")[0]
    assert request["config"] == {
        "pair": "north", "recorder_id": "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c", "node": B, "address": "10.0.0.12",
        "partner": {"name": A, "address": "10.0.0.11"}, "tandem_port": 11443,
        "service_address": {"address": "10.0.0.10", "prefix": 24, "interface": None}, "management_addresses": ["10.0.0.2"],
        "management_ports": [9000], "permit_ttl": 8.0, "services": {"recorder": "Milestone XProtect Recording Server"}}
    assert request["runtime_path"].startswith("C:\\Program Files\\Tandem\\runtime\\") and request["runtime_path"].endswith("\\node.pyz")


def test_the_node_accepts_what_it_is_told():
    from ansible_collections.tandem.xprotect.plugins.module_utils.node import settings
    site = new_pair()
    node_guard.run(site.context(node_guard, adopt=True))
    for request in site.requests("guard.configure"):
        assert settings.parse(request["config"]).fence_rules().management_addresses == ("10.0.0.2",)


def test_addresses_of_the_management_server():
    site = new_pair()
    node_guard.run(site.context(node_guard, adopt=True, management_server=object()))
    assert site.requests("guard.configure")[0]["config"]["management_ports"] == [8080, 9000]
    site = new_pair()
    node_guard.run(site.context(node_guard, adopt=True, management_addresses=["10.0.0.3", "10.0.0.4"]))
    assert site.requests("guard.configure")[0]["config"]["management_addresses"] == ["10.0.0.3", "10.0.0.4"]


def test_a_name_that_cannot_be_resolved():
    site = new_pair()
    with pytest.raises(TandemError, match="the Management Server's name ms.invalid cannot be resolved on the controller"):
        node_guard.run(site.context(node_guard, adopt=True, management_addresses=["ms.invalid"]))


def test_a_node_that_serves_is_not_fenced_without_adopting_it():
    site = new_pair()
    with pytest.raises(TandemError) as caught:
        node_guard.run(site.context(node_guard))
    assert caught.value.code == "adopt_needed"
    assert str(caught.value).startswith("pair north, node north-a: it serves clients without a guard")
    assert site.verbs() == []


def test_a_second_run_changes_nothing():
    site = provisioned()
    result = node_guard.run(site.context(node_guard, adopt=True))
    assert not result["changed"] and result["adopted"] is None and result["diff"] == {"before": "", "after": ""}
    assert site.requests("guard.configure")[0]["tls"]["key"] is None
    assert {"attachment.adopt", "lock.acquire"} & {verb for unused, verb, unused2 in site.calls} == set()


def test_a_pair_with_nobody_attached_is_configured_and_not_adopted():
    site = provisioned()
    site.answers["facts"] = Site(HEADLESS, HEADLESS).answers["facts"]
    assert node_guard.run(site.context(node_guard, adopt=True))["adopted"] is None


def test_a_certificate_without_its_key_is_made_anew():
    site = provisioned()
    site.answers["guard.tls"][B]["has_key"] = False
    result = node_guard.run(site.context(node_guard))
    assert result["nodes"][B]["items"] == ["certificate"] and result["nodes"][A]["items"] == []
    assert [request["tls"]["key"] is None for request in site.requests("guard.configure") if not request["check"]] == [True, False]


def test_a_broken_certificate_is_made_anew():
    site = provisioned()
    site.answers["guard.tls"][B]["certificate"] = "nonsense"
    found = site.context(node_guard)
    assert node_guard.run(found)["nodes"][B]["items"] == ["certificate"]
    assert "a new one is made" in found.warnings[0]


def test_an_attached_guard_is_not_restarted_and_that_is_told():
    site = provisioned(guard__configure={A: {**WRITTEN, "guard_pending": True}, B: SAME})
    found = site.context(node_guard)
    assert node_guard.run(found)["nodes"][A]["guard_pending"] is True
    assert "node north-a is attached: its guard and fence go on as they are" in found.warnings[0]


@pytest.mark.parametrize("check_mode", [False, True])
def test_what_still_waits_for_an_attached_node_is_a_warning_and_no_change(check_mode):
    site = provisioned(guard__configure={A: {**SAME, "guard_pending": True}, B: SAME})
    found = site.context(node_guard, check_mode=check_mode)
    result = node_guard.run(found)
    assert not result["changed"] and not result["nodes"][A]["changed"] and result["nodes"][A]["guard_pending"]
    assert "run node_guard again after a switchover" in found.warnings[0]
    assert not site.requests("lock.acquire")


def test_other_fence_rules_wait_until_the_node_is_headless():
    refused = VerbError("The fence's rules differ, but this node is attached.", "north", A, code="attached")
    site = provisioned(fence__install={A: refused, B: {"changed": True}})
    result = node_guard.run(site.context(node_guard))
    assert result["nodes"][A]["guard_pending"] and result["nodes"][B]["items"] == ["fence"]


def test_check_mode_changes_nothing():
    site = new_pair(guard__configure=lambda request: {**WRITTEN, "changed": request["check"]})
    result = node_guard.run(site.context(node_guard, check_mode=True, adopt=True))
    assert result["changed"] and result["adopted"] == A
    assert result["nodes"][B]["items"] == ["certificate", "node.json", "fence"]
    assert result["nodes"][A]["items"] == ["certificate", "node.json", "attachment", "fence"]
    assert site.verbs(reading=("facts",)) == [f"{A} guard.tls", f"{B} guard.tls", f"{B} guard.configure", f"{A} guard.configure"]
    assert all(request["check"] for request in site.requests("guard.configure"))


def test_an_adoption_that_did_not_work_is_an_error():
    site = new_pair(attachment__status={"state": "headless"})
    with pytest.raises(TandemError) as caught:
        node_guard.run(site.context(node_guard, adopt=True))
    assert caught.value.code == "not_adopted" and caught.value.node == A
    assert f"{A} fence.install" not in site.verbs()
    assert len(site.requests("lock.release")) == 2


@pytest.mark.parametrize("ttl", [3.9, 61])
def test_the_time_to_live(ttl):
    with pytest.raises(TandemError, match="permit_ttl must be from 4 to 60"):
        node_guard.run(new_pair().context(node_guard, permit_ttl=ttl))


def test_a_machine_that_cannot_be_a_twin_gets_no_guard():
    site = Site(SERVING, {**FRESH, "recorder__version": "24.1.0.7", "machine__time_zone": "UTC"})
    with pytest.raises(TandemError) as caught:
        node_guard.run(site.context(node_guard, adopt=True))
    assert caught.value.code == "not_a_twin" and "for 2 reasons" in str(caught.value) and site.verbs() == []


def test_an_unknown_recorder_id():
    site = Site({**FRESH, "running": True}, FRESH)
    with pytest.raises(TandemError) as caught:
        node_guard.run(site.context(node_guard, adopt=True))
    assert caught.value.code == "unknown_recorder_id" and "unknown on both nodes: node north-a has" in str(caught.value)
