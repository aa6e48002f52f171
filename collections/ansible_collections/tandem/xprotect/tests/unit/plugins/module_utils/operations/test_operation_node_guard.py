# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_guard
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, WITNESS, Site

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
        "management_ports": [9000], "lease_ttl": 8.0, "lease_drift": 0.01, "witness": None, "promotion": "playbook", "registration": "once",
        "register": None, "health": None, "fence_agent": None, "services": {"recorder": "Milestone XProtect Recording Server"}}
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
    with pytest.raises(TandemError, match="lease_ttl must be from 4 to 60"):
        node_guard.run(new_pair().context(node_guard, lease_ttl=ttl))


# -- the witness -------------------------------------------------------------------------------------------------------
PEM = certificates.create("watch-1", "10.0.0.20")[0]


def test_the_witness_is_written_and_pinned_on_both_nodes():
    site = new_pair(witness__status={"certificate": PEM})
    node_guard.run(site.context(node_guard, adopt=True, witness=WITNESS))
    for request in site.requests("guard.configure"):
        assert request["config"]["witness"] == {"name": "watch-1", "address": "10.0.0.20", "port": 11444}
        assert request["tls"]["witness_certificate"] == PEM
    assert "attachment.witness" not in {verb for unused, verb, unused2 in site.calls}, "a new pair begins with all its voters"


@pytest.mark.parametrize("way", ["certificate", "certificate_file"])
def test_a_witness_that_is_not_reached_from_here_has_its_certificate_given(way, tmp_path):
    (tmp_path / "watch.pem").write_text(PEM)
    given = {"certificate": PEM, "certificate_file": str(tmp_path / "watch.pem")}[way]
    site = new_pair()
    node_guard.run(site.context(node_guard, adopt=True, witness={**WITNESS, "connection": "none", way: given}))
    assert site.requests("guard.configure")[0]["tls"]["witness_certificate"] == PEM
    with pytest.raises(TandemError, match="give witness.certificate or witness.certificate_file"):
        node_guard.run(site.context(node_guard, adopt=True, witness={**WITNESS, "connection": "none"}))
    with pytest.raises(TandemError, match="the node's certificate cannot be read"):
        broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        node_guard.run(site.context(node_guard, adopt=True, witness={**WITNESS, "connection": "none", "certificate": broken}))


def test_a_witness_without_a_certificate_is_set_up_first():
    site = new_pair(witness__status={"certificate": None})
    with pytest.raises(TandemError) as caught:
        node_guard.run(site.context(node_guard, adopt=True, witness=WITNESS))
    assert caught.value.code == "no_certificate" and site.verbs() == [f"{A} guard.tls", f"{B} guard.tls", "witness witness.status"]


@pytest.mark.parametrize(("voters", "witness", "change"), [([A, B], WITNESS, "joins"), ([A, B, "witness"], None, "leaves"),
                                                           ([A, B, "witness"], WITNESS, None), ([A, B], None, None)])
def test_the_witness_votes_as_the_definition_says(voters, witness, change):
    site = provisioned(witness__status={"certificate": PEM}, attachment__witness={"changed": True})
    for node in (A, B):
        site.answers["facts"][node]["guard"]["status"]["membership"] = {"number": 1, "voters": voters}
    result = node_guard.run(site.context(node_guard, witness=witness))
    assert result["witness"] == change and result["changed"] is (change is not None)
    assert (f"{A} attachment.witness" in site.verbs()) is (change is not None)
    looked = node_guard.run(site.context(node_guard, check_mode=True, witness=witness))
    assert looked["witness"] == change and len(site.requests("attachment.witness")) == (1 if change else 0)


@pytest.mark.parametrize("answer", [
    VerbError("it refuses", "north", A, code="no_majority"), {"changed": False, "membership": {"number": 1, "voters": [A, B]}}])
def test_a_witness_that_cannot_vote_yet_votes_later(answer):
    """It does not know the pair, or the guard of the attached node has not read its new settings."""
    site = provisioned(witness__status={"certificate": PEM}, attachment__witness=answer)
    found = site.context(node_guard, witness=WITNESS)
    result = node_guard.run(found)
    assert result["witness"] is None and not result["changed"] and "pair_membership" in found.warnings[0]


# -- the policies ------------------------------------------------------------------------------------------------------
def test_what_the_guards_may_do_by_themselves():
    site = new_pair(witness__status={"certificate": PEM})
    node_guard.run(site.context(node_guard, adopt=True, witness=WITNESS, promotion="automatic", registration="each_time",
                                register={"command": None, "task": "Tandem\\Register", "timeout": 90.0}, health={"stand": 20},
                                guard_fence_agent={"command": ["C:\\off.exe", "{node}", "{address}", "{pair}"], "timeout": 20.0}))
    b, a = (request["config"] for request in site.requests("guard.configure") if not request["check"])
    assert (a["promotion"], a["registration"], a["register"], a["health"]) == (
        "automatic", "each_time", {"task": "Tandem\\Register", "timeout": 90.0}, {"stand": 20})
    assert a["fence_agent"] == {"command": ["C:\\off.exe", B, "10.0.0.12", "north"], "timeout": 20.0}
    assert b["fence_agent"]["command"][1:3] == [A, "10.0.0.11"], "a guard fences its partner and nobody else"


@pytest.mark.parametrize("options", [{"promotion": "automatic", "registration": "each_time"}, {"lease_drift": 0.2},
                                     {"guard_fence_agent": {"command": [], "timeout": 3.0}},
                                     {"guard_fence_agent": {"command": ["x"], "timeout": 0.0}}])
def test_policies_that_do_not_fit(options):
    site = new_pair()
    with pytest.raises(TandemError) as caught:
        node_guard.run(site.context(node_guard, adopt=True, **options))
    assert caught.value.code == "configuration" and site.calls == []


def test_automatic_without_a_witness_is_a_warning():
    found = provisioned().context(node_guard, promotion="automatic")
    node_guard.run(found)
    assert "no node takes over from a silent one" in found.warnings[0]


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
