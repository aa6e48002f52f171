# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold on a provisioned pair, told through playbooks as an operator runs them. The tests go on from each other's state."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import urllib.request

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.winrm import NodeSession
from tandem_lab import disks

pytestmark = pytest.mark.site
A, B = "pair1-a", "pair1-b"


@pytest.fixture(scope="module", autouse=True)
def pair(controller):
    controller.play("provision")


@pytest.fixture
def session(controller):
    """A node's verbs without a playbook."""
    sessions = []

    def open_session(name: str) -> NodeSession:
        site = json.loads(controller.file.read_text(encoding="utf-8"))
        node = next(node for node in site["pairs"][0]["nodes"] if node["name"] == name)
        sessions.append(NodeSession(dict(node, winrm_transport="ntlm"), "pair1"))
        return sessions[-1]

    yield open_session
    for opened in sessions:
        opened.close()


def words(output: str) -> str:
    return re.sub(r"\s+", " ", output)


def changed(output: str) -> int:
    return sum(int(number) for number in re.findall(r"changed=(\d+)", output))


def wait(what: str, condition, timeout: float = 60.0):
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited for: {what}"
        time.sleep(0.2)
    return answer


def records(site, machine: str) -> bool:
    return disks.recording(site, machine, int(time.time() * 1000) - 3000)


def attached(session, name: str) -> str:
    return session(name).call("attachment.status")["state"]


def duplicates(controller) -> int:
    url = json.loads(controller.file.read_text(encoding="utf-8"))["management_server"]["http_url"]
    with urllib.request.urlopen(f"{url.rstrip('/')}/lab/recorders", timeout=5) as answer:
        return json.loads(answer.read(1 << 20))["duplicates"]


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


def test_the_fence_closes_with_a_killed_guard_and_the_holder_resumes(controller, site, session):
    """Kill the guard of the attached node: its permit and address go at once; restarted, it asks its partner and resumes."""
    epoch = session(A).call("attachment.status")["epoch"]
    starts = disks.recorder_starts(site, A)
    os.kill(session(A).call("facts")["guard"]["service"]["pid"], signal.SIGKILL)
    events = site.machine_directory(A) / "events.jsonl"
    wait("the permit to close", lambda: events.read_text(encoding="utf-8").count("permit_closed") >= 1)

    def resumed():
        try:
            status = session(A).call("attachment.status")
        except Exception:  # the guard is down for a moment
            return False
        return status["state"] == "attached" and status["epoch"] == epoch

    wait("the holder to resume", resumed)
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


def test_failover_and_return(controller, site, session):
    wait("both to record", lambda: records(site, A) and records(site, B))
    site.power_off(A)
    output = words(controller.play("failover", "-e", "tandem_permit_wait=0", status=2))
    assert "permit" in output and B in output and "Next:" in output, "refused at once when it may not wait"
    controller.play("failover")
    assert attached(session, B) == "attached"
    assert changed(controller.play("failover")) == 0, "it is idempotent"
    assert "unreachable" in controller.play("status"), "status works with a machine down"
    skipped = words(controller.play("sync"))
    assert "changed=0" in skipped and A in skipped
    site.power_on(A)
    wait("the returned machine to record", lambda: records(site, A))
    wait("its guard", lambda: _headless(session, A))
    assert duplicates(controller) == 0


def _headless(session, name: str) -> bool:
    try:
        return attached(session, name) == "headless"
    except Exception:  # it boots
        return False


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


def test_a_power_cut_of_both_ends_with_the_last_holder_attached(controller, site, session):
    """Nobody runs a playbook: both boot headless and record, and the last holder resumes with its partner's consent."""
    holder = next(name for name in (A, B) if attached(session, name) == "attached")
    partner = B if holder == A else A
    epoch = session(holder).call("attachment.status")["epoch"]
    for machine in (A, B):
        site.power_off(machine)
    for machine in (partner, holder):
        site.power_on(machine)

    def status(name: str) -> dict:
        try:
            return session(name).call("attachment.status")
        except Exception:  # it boots
            return {}

    wait("the last holder to resume", lambda: status(holder).get("state") == "attached")
    assert status(holder)["epoch"] == epoch
    wait("the other one, headless", lambda: status(partner).get("state") == "headless")
    wait("both to record", lambda: records(site, A) and records(site, B))
    assert duplicates(controller) == 0


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
