# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three voters: partitions, a witness that is down, force and rejoin, maintenance, events. The tests go on from each other's state."""

from __future__ import annotations

import json
import secrets
import urllib.error

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import VerbError
from looking import A, B, WITNESS, WitnessApi, changed, duplicates, permits, records, wait, words

pytestmark = pytest.mark.site
TOKEN = secrets.token_hex(16)
VOTERS = [A, B, "witness"]
PROOF = "powered off by J. Doe at the rack"


@pytest.fixture(scope="module", autouse=True)
def pair(controller):
    controller.play("provision", "-e", f"tandem_witness_token={TOKEN}")


@pytest.fixture
def api(site):
    return WitnessApi(site, TOKEN)


@pytest.fixture
def states(status):
    return lambda: (status(A).get("state"), status(B).get("state"))


@pytest.fixture
def all_vote(status):
    """Wait until the attached node has everybody's vote."""
    def look(holder: str) -> None:
        partner = B if holder == A else A
        peers = {partner, "witness"}
        wait("everybody to vote", lambda: (
            all(status(name).get("voting") for name in (A, B))
            and {name for name, voter in status(holder)["voters"].items() if voter["acknowledged_ago"] is not None} == peers))

    return look


def force(without_witness: bool = False) -> tuple[str, str]:
    return "-e", json.dumps({"force": PROOF, "force_without_witness": without_witness})


# -- all is well -------------------------------------------------------------------------------------------------------
def test_everybody_votes(controller, status, api, all_vote):
    all_vote(A)
    assert status(A)["membership"]["voters"] == status(B)["membership"]["voters"] == VOTERS
    assert status(A)["lease"]["deadline_in"] > 0 and status(B)["lease"]["free_in"] > 0
    output = words(controller.play("status"))
    assert "Votes: pair1-a, pair1-b, witness" in output and "witness heard" in output and "No problem found" in output
    wait("the witness to find the pair well", lambda: api.get("/v1/pairs/pair1")["state"] == "ok")


def test_the_witness_tells_nobody_without_the_token(api):
    with pytest.raises(urllib.error.HTTPError) as refused:
        api.open("/v1/pairs", token="wrong")
    assert refused.value.code == 401


def test_the_witness_tells_of_a_machine_that_dies_and_returns_and_of_a_hand_over(controller, site, api, all_vote):
    before = api.serial()
    with site.faults.power_off(B):
        silent = api.wait_event("node_silent", B, before)
        assert api.get("/v1/pairs/pair1")["state"] == "degraded"
    back = api.wait_event("node_back", B, silent["serial"])
    wait("the returned machine to record", lambda: records(site, B))
    all_vote(A)
    controller.play("switchover")
    assert api.wait_event("attached", B, back["serial"])["details"]["epoch"] == 2
    api.wait_event("detached", A, back["serial"])
    controller.play("switchover", "-e", f"attach={A}")
    with api.open(f"/v1/events/stream?after={before}") as stream:
        first = json.loads(stream.readline())
    assert first["serial"] == before + 1, "the stream leaves nothing out"


def test_maintenance_is_known_to_both_guards_and_to_the_witness(controller, status, api):
    begin = ("-e", json.dumps({"reason": "Windows updates, J. Doe", "minutes": 30}))
    assert changed(controller.play("maintenance", *begin)) == 1
    assert [status(name)["maintenance"]["reason"] for name in (A, B)] == ["Windows updates, J. Doe"] * 2
    wait("the witness to know", lambda: api.get("/v1/pairs/pair1")["state"] == "maintenance")
    assert changed(controller.play("maintenance", *begin)) == 0
    assert changed(controller.play("maintenance", "-e", "state=ended")) == 1
    assert [status(name)["maintenance"] for name in (A, B)] == [None, None]
    wait("the witness to know", lambda: api.get("/v1/pairs/pair1")["state"] == "ok")


# -- the network is cut ------------------------------------------------------------------------------------------------
def test_a_partition_of_the_nodes_leaves_the_holder_attached_and_a_failover_refused(controller, site, session, status, states):
    """The witness is on the holder's side. Nobody who asks the other node gets an attachment, however cut off he is himself."""
    def cut(document):
        node = document["pairs"][0]["nodes"][0]
        node["winrm_url"] = node["winrm_url"].replace(":5985", ":5999")

    epoch = status(A)["epoch"]
    with site.faults.partition(A, B):
        wait("the other node's promise to run out", lambda: status(B)["lease"]["free_in"] == 0)
        output = words(controller.play("failover", "-e", f"attach={B}", status=2))
        assert f"node {A} answers and is attached" in output and "Next:" in output
        output = words(controller.play("failover", "-e", f"attach={B}", site_file=controller.variant("cut", cut), status=2))
        assert f"node {A}" in output and "yet a recorder answers at" in output and "Next:" in output
        with pytest.raises(VerbError) as refused:
            session(B).call("attachment.take", {"wait": 0})
        assert refused.value.code == "lease_not_free" and f"witness: {A} may still be attached" in str(refused.value)
        assert states() == ("attached", "headless")
    wait("the other node to hear the holder", lambda: status(B)["partner"]["heard_ago"] < 2)
    assert states() == ("attached", "headless") and status(A)["epoch"] == epoch


def test_a_holder_that_is_cut_off_from_both_detaches_itself_before_the_other_one_takes_over(controller, site, status, states):
    epoch = status(A)["epoch"]
    with site.faults.partition(A, B), site.faults.partition(A, WITNESS):
        wait("the holder to detach itself", lambda: status(A)["state"] == "headless")
        controller.play("failover", "-e", f"attach={B}")
        assert states() == ("headless", "attached") and status(B)["epoch"] == epoch + 1
        assert max(permits(site, A, "permit_closed")) < max(permits(site, B, "permit_opened"))
        assert records(site, A) and records(site, B), "nobody stops recording because of attachment"
    wait("the old holder to know", lambda: status(A)["epoch"] == epoch + 1)
    assert states() == ("headless", "attached")
    assert changed(controller.play("failover", "-e", f"attach={B}")) == 0
    controller.play("switchover", "-e", f"attach={A}")
    assert states() == ("attached", "headless") and duplicates(site) == 0


# -- a voter is gone ---------------------------------------------------------------------------------------------------
def test_a_witness_that_is_down_changes_nothing(controller, site, status, states):
    epoch = status(A)["epoch"]
    with site.faults.power_off(WITNESS):
        wait("its promise to be older than a lease", lambda: status(A)["witness"]["heard_ago"] > 4)
        assert states() == ("attached", "headless") and status(A)["epoch"] == epoch
        assert "the witness is not heard" in words(controller.play("status"))
        controller.play("switchover")
        assert states() == ("headless", "attached")
        controller.play("switchover", "-e", f"attach={A}")
        assert states() == ("attached", "headless")
    wait("the witness to vote", lambda: (status(A)["voters"]["witness"]["acknowledged_ago"] or 9) < 2)


def test_without_the_witness_a_dead_node_needs_a_force_of_its_own(controller, site, status, all_vote):
    with site.faults.power_off(WITNESS), site.faults.power_off(A):
        wait("the promise to the dead node to run out", lambda: status(B)["lease"]["free_in"] == 0)
        output = words(controller.play("failover", status=2))
        assert "witness does not answer" in output and "force_without_witness" in output
        output = words(controller.play("failover", *force(), status=2))
        assert "witness does not answer" in output and "force_without_witness" in output
        assert status(B)["state"] == "headless"
        controller.play("failover", *force(without_witness=True))
        assert status(B)["state"] == "attached" and status(B)["membership"]["voters"] == [B]
        assert "removed by a forced failover" in words(controller.play("status"))


def test_a_removed_node_comes_back_by_rejoin_only(controller, site, status, states, all_vote):
    wait("the removed node to know it", lambda: status(A).get("membership", {}).get("voters") == [B])
    wait("it to record", lambda: records(site, A))
    output = words(controller.play("switchover", "-e", f"attach={A}", status=2))
    assert f"node {A} was removed from the pair's voters" in output and "Next:" in output
    assert states() == ("headless", "attached")
    assert changed(controller.play("rejoin")) == 2, "the witness, then the node"
    all_vote(B)
    assert status(A)["membership"]["voters"] == status(B)["membership"]["voters"] == VOTERS
    assert changed(controller.play("rejoin")) == 0
    controller.play("switchover", "-e", f"attach={A}")
    assert states() == ("attached", "headless")


def test_force_and_rejoin_with_the_witness(controller, site, status, states, all_vote):
    """With the witness as second voter the node that is left is attached at once, and not alone in it."""
    all_vote(A)
    output = words(controller.play("failover", "-e", f"attach={B}", *force(), status=2))
    assert f"node {A} answers" in output, "a proof that a machine is off does not stand against its answer"
    with site.faults.power_off(A):
        output = controller.play("failover", *force())
        assert "permit_wait" not in output, "with proof nobody waits for the lease"
        assert status(B)["state"] == "attached" and status(B)["membership"]["voters"] == [B, "witness"]
        assert PROOF in status(B)["reason"]
    wait("the removed node to know it", lambda: status(A).get("membership", {}).get("voters") == [B, "witness"])
    assert states() == ("headless", "attached")
    controller.play("rejoin")
    all_vote(B)
    wait("it to record", lambda: records(site, A))
    controller.play("switchover", "-e", f"attach={A}")
    assert states() == ("attached", "headless") and duplicates(site) == 0
