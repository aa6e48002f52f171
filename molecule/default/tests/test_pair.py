# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After provisioning, the death of one machine, failover and backfill: what an administrator would look at."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

SITE = pathlib.Path(os.environ["TANDEM_LAB_SITE"])
PROJECT = pathlib.Path(os.environ["MOLECULE_PROJECT_DIRECTORY"])


@pytest.fixture
def machines():
    return {name: SITE.parent / "machines" / name for name in ("pair1-a", "pair1-b")}


def test_both_machines_have_runtime_settings_and_fence(host, machines):
    for root in machines.values():
        settings = host.file(str(root / "C/ProgramData/Tandem/node.json"))
        assert json.loads(settings.content_string)["pair"] == "pair1"
        runtimes = host.run("find %s -name node.pyz", str(root / "C/Program Files/Tandem/runtime"))
        assert len(runtimes.stdout.splitlines()) == 1
        assert host.file(str(root / "fence.json")).exists


def test_private_keys_are_different_and_stay_on_their_machine(host, machines):
    keys = [host.file(str(root / "C/ProgramData/Tandem/tls/node.key")).content_string for root in machines.values()]
    assert all("PRIVATE KEY" in key for key in keys)
    assert keys[0] != keys[1]


def test_both_have_one_recorder_id(host, machines):
    ids = set()
    for root in machines.values():
        config = host.file(str(root / "C/ProgramData/Milestone/XProtect Recording Server/RecorderConfig.xml")).content_string
        ids.add(config.split("<id>", 1)[1].split("</id>", 1)[0])
    assert ids == {json.loads(SITE.read_text())["pairs"][0]["recorder_id"]}


def test_the_survivor_is_attached_and_the_returned_machine_is_headless(host):
    status = host.run("cd %s && ANSIBLE_CONFIG=ansible.cfg ansible-playbook -i inventories/lab playbooks/status.yml", str(PROJECT))
    assert status.rc == 0, status.stdout
    lines = [line for line in status.stdout.splitlines() if "pair1-" in line]
    assert any("pair1-b" in line and "attached" in line for line in lines), status.stdout
    assert any("pair1-a" in line and "headless" in line for line in lines), status.stdout


def test_all_three_voters_have_the_survivor_as_holder(host, machines):
    files = [machines[name] / "C/ProgramData/Tandem/guard/state.json" for name in machines]
    files.append(SITE.parent / "machines/witness-1/C/ProgramData/Tandem/witness/votes/pair1.json")
    records = [json.loads(host.file(str(file)).content_string) for file in files]
    for record in (found.get("record", found) for found in records):
        assert record["epoch"][:2] == [2, "pair1-b"]
        assert record["membership"]["voters"] == ["pair1-a", "pair1-b", "witness"]
        assert record["voting"] is True


def test_a_second_backfill_finds_nothing(host):
    again = host.run("cd %s && ANSIBLE_CONFIG=ansible.cfg ansible-playbook -i inventories/lab playbooks/backfill.yml", str(PROJECT))
    assert again.rc == 0, again.stdout
    assert "changed=0" in again.stdout


def test_the_management_server_never_saw_two(host):
    site = json.loads(SITE.read_text())
    answer = host.run("curl -s -m 5 %s/lab/recorders", site["management_server"]["http_url"].rstrip("/"))
    assert json.loads(answer.stdout)["duplicates"] == 0
