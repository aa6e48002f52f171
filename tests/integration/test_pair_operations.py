# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold on a provisioned pair, told through playbooks as an operator runs them. The tests go on from each other's state."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import VerbError
from looking import A, B, changed, duplicates, permits, records, wait, words
from tandem_lab import disks
from tandem_lab.integrations import vms_client

pytestmark = pytest.mark.site


@pytest.fixture(scope="module", autouse=True)
def pair(controller):
    controller.play("provision")


def attached(session, name: str) -> str:
    return session(name).call("attachment.status")["state"]


def test_both_record_and_one_is_attached(site, session):
    wait("both to record", lambda: records(site, A) and records(site, B))
    assert (attached(session, A), attached(session, B)) == ("attached", "headless")


def test_second_provision_sync_and_backfill_change_nothing(controller, site):
    assert changed(controller.play("provision")) == 0
    assert changed(controller.play("sync")) == 0
    wait("closed tables", lambda: disks.closed_until(site, A) > 0)
    controller.play("backfill")
    assert changed(controller.play("backfill")) == 0


def test_check_mode_of_everything_changes_nothing(controller, machines_state):
    before = machines_state()
    for playbook in ("provision", "sync", "backfill", "switchover", "status"):
        controller.play(playbook, "--check", "--diff")
    assert machines_state() == before


def test_failover_is_refused_while_the_old_node_answers(controller, session):
    output = words(controller.play("failover", "-e", f"attach={B}", status=2))
    assert "pair1" in output and A in output and "attached" in output and "Next:" in output
    assert (attached(session, A), attached(session, B)) == ("attached", "headless")


def test_failover_is_refused_when_only_the_controller_cannot_reach_the_old_node(controller, session):
    """WinRM to the attached node is broken, but it serves: that is no reason to take over."""
    def cut(document):
        node = document["pairs"][0]["nodes"][0]
        node["winrm_url"] = node["winrm_url"].replace(":5985", ":5999")

    output = words(controller.play("failover", site_file=controller.variant("cut", cut), status=2))
    assert A in output and "service address" in output and "Next:" in output
    assert (attached(session, A), attached(session, B)) == ("attached", "headless")


def test_a_second_run_while_one_is_in_progress(controller, session):
    session(A).call("lock.acquire", {"owner": "J. Doe at the console", "purpose": "a long backfill", "ttl": 120})
    try:
        output = words(controller.play("backfill", status=2))
        assert "J. Doe at the console" in output and "a long backfill" in output and A in output and "Next:" in output
        assert changed(controller.play("sync")) == 0, "a run that changes nothing needs no lock"
    finally:
        session(A).call("lock.release", {"owner": "J. Doe at the console"})


def test_attachment_never_waits_for_work(controller, session):
    session(A).call("lock.acquire", {"owner": "J. Doe at the console", "purpose": "a long backfill", "ttl": 120})
    try:
        controller.play("switchover")
        assert (attached(session, A), attached(session, B)) == ("headless", "attached")
        controller.play("switchover", "-e", f"attach={A}")
        assert (attached(session, A), attached(session, B)) == ("attached", "headless")
    finally:
        session(A).call("lock.release", {"owner": "J. Doe at the console"})


def test_a_switchover_to_a_node_with_an_older_configuration_is_refused(controller, site, session):
    camera = site.describe()["cameras"][0]["id"]
    vms_client.VmsClient(site.describe()).patch(f"cameras/{camera}", {"prebufferSeconds": 9})

    def has_it(machine: str) -> bool:
        cached = disks.cached_camera(site, machine, camera)
        return cached.get("prebufferSeconds", cached.get("prebuffer_seconds")) == 9

    wait("the attached node to have the change", lambda: has_it(A))
    output = words(controller.play("switchover", status=2))
    assert B in output and "is behind that of node pair1-a" in output and "accept: [config_lag]" in output
    assert (attached(session, A), attached(session, B)) == ("attached", "headless")
    controller.play("switchover", "-e", '{"accept": ["config_lag"]}')
    assert attached(session, B) == "attached"
    wait("the node that is attached now to have fetched it", lambda: has_it(B))
    controller.play("switchover", "-e", f"attach={A}")
    assert (attached(session, A), attached(session, B)) == ("attached", "headless")


def test_a_switchover_to_a_node_that_records_less_is_refused(controller, site, session, status):
    def stopped() -> list[str]:
        return [cause["code"] for cause in status(B)["health"]["causes"]]

    with site.faults.recorder(B, "silent:1"):
        wait("its guard to notice", lambda: "devices_stopped" in stopped())
        output = words(controller.play("switchover", status=2))
        assert "node pair1-b does not record 1 devices that node pair1-a records" in output and "accept: [coverage]" in output
        assert (attached(session, A), attached(session, B)) == ("attached", "headless")
        controller.play("switchover", "-e", '{"accept": ["coverage"]}')
        assert attached(session, B) == "attached"
        controller.play("switchover", "-e", f"attach={A}")
    wait("it to record everything again", lambda: not stopped())
    assert attached(session, A) == "attached"


def test_the_fence_closes_with_a_killed_guard_and_the_holder_resumes(site, session, status):
    """Kill the guard of the attached node: its permit and address go at once; restarted, it asks the voters and resumes."""
    epoch = session(A).call("attachment.status")["epoch"]
    starts = disks.recorder_starts(site, A)
    os.kill(session(A).call("facts")["guard"]["service"]["pid"], signal.SIGKILL)
    wait("the permit to close", lambda: permits(site, A, "permit_closed"))

    wait("the holder to resume", lambda: (status(A).get("state"), status(A).get("epoch")) == ("attached", epoch))
    assert attached(session, B) == "headless"
    assert disks.recorder_starts(site, A) == starts, "the recorder was not touched"
    wait("the recorder to write", lambda: records(site, A))


def test_an_older_runtime_is_upgraded_beside_it(controller, site, session):
    """Both nodes look as after an update of the controller: what they run from has another name than what is wanted."""
    folders = [site.machine_directory(machine) / "C/Program Files/Tandem/runtime" for machine in (A, B)]
    for folder in folders:
        next(folder.iterdir()).rename(folder / "0123456789abcdef")
    assert session(A).call("attachment.status", runtime="0123456789abcdef")["state"] == "attached", "the running copy is not broken"
    controller.play("provision")
    assert [len(list(folder.iterdir())) for folder in folders] == [2, 2], "the new one lies beside the older one"
    assert (attached(session, A), attached(session, B)) == ("attached", "headless")
    assert changed(controller.play("provision")) == 0


def test_failover_and_return(controller, site, session, status):
    wait("both to record", lambda: records(site, A) and records(site, B))
    asked = session(B)
    asked.call("attachment.status")
    site.power_off(A)
    with pytest.raises(VerbError) as refused:  # the vote of either of the two others is promised to the dead node for a while
        asked.call("attachment.take", {"wait": 0})
    assert refused.value.code == "lease_not_free" and f"{A} may still be attached" in str(refused.value)
    assert 0 < refused.value.details["wait"] <= 4.0, "at most the lease's ttl"
    controller.play("failover")
    assert attached(session, B) == "attached"
    assert changed(controller.play("failover")) == 0, "it is idempotent"
    assert "unreachable" in controller.play("status"), "status works with a machine down"
    skipped = words(controller.play("sync"))
    assert "changed=0" in skipped and A in skipped
    site.power_on(A)
    wait("the returned machine to record", lambda: records(site, A))
    wait("its guard", lambda: status(A).get("state") == "headless")
    assert duplicates(site) == 0


def test_backfill_of_the_returned_node(controller, site):
    now = int(time.time() * 1000)
    wait("the partner's tables to close", lambda: disks.closed_until(site, B) >= now)
    assert changed(controller.play("backfill")) == 1
    held = disks.counters(site, A)
    partner = disks.counters(site, B)
    for camera, counters in partner.items():
        closed = {counter for counter in counters if counter <= max(held[camera])}
        lacking = closed - held[camera]
        assert len(lacking) < 25, f"{camera}: only the restart of the import itself may be missing, found {sorted(lacking)[:40]}"


def test_a_power_cut_of_both_ends_with_the_last_holder_attached(site, session, status):
    """Nobody runs a playbook: both boot headless and record, and the last holder resumes by the votes."""
    holder = next(name for name in (A, B) if attached(session, name) == "attached")
    partner = B if holder == A else A
    epoch = session(holder).call("attachment.status")["epoch"]
    for machine in (A, B):
        site.power_off(machine)
    for machine in (partner, holder):
        site.power_on(machine)

    wait("the last holder to resume", lambda: status(holder).get("state") == "attached")
    assert status(holder)["epoch"] == epoch
    wait("the other one, headless", lambda: status(partner).get("state") == "headless")
    wait("both to record", lambda: records(site, A) and records(site, B))
    assert duplicates(site) == 0


def test_switchover_refuses_an_unknown_node(controller):
    output = words(controller.play("switchover", "-e", "attach=pair1-z", status=2))
    assert "pair1-z" in output and "Next:" in output


def test_secrets_are_nowhere_in_the_output(controller):
    site = json.loads(controller.file.read_text(encoding="utf-8"))
    secrets = [node["password"] for node in site["pairs"][0]["nodes"]] + [site["management_server"]["basic_user"]["password"]]
    output = controller.play("sync", "-vvvv") + controller.play("switchover", "-vvvv", "--check")
    for secret in secrets:
        assert secret not in output
    assert "PRIVATE KEY" not in output
