# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shipped inventories fit the modules, and every playbook can be read."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from ansible_collections.tandem.xprotect.plugins.module_utils.arguments import PAIR_SPEC
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.pair import PairDefinition

PROJECT = pathlib.Path(__file__).resolve().parents[2]
SITE = {
    "management_server": {"http_url": "http://127.9.9.2:8080", "basic_user": {"username": "u", "password": "p"}},
    "python_archive": "/tmp/python.zip",
    "pairs": [{"name": "pair1", "recorder_id": "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c", "service_address": "127.9.9.10", "nodes": [
        {"name": "pair1-a", "address": "127.9.9.11", "winrm_url": "http://127.9.9.11:5985/wsman", "username": "u", "password": "p"},
        {"name": "pair1-b", "address": "127.9.9.12", "winrm_url": "http://127.9.9.12:5985/wsman", "username": "u", "password": "p"}]}],
}


def ansible(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run([str(pathlib.Path(sys.executable).parent / program), *arguments], cwd=PROJECT, capture_output=True, text=True, check=False,
                          timeout=60, env=dict(os.environ, ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg"), **environment))


def pairs(inventory: str, **environment: str) -> dict[str, dict]:
    """Host -> its tandem_pair, templates left out as ansible-inventory prints them."""
    done = ansible("ansible-inventory", "-i", f"inventories/{inventory}", "--list", **environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    return {host: document["_meta"]["hostvars"][host] for host in document["tandem_pairs"]["hosts"]}


def check(variables: dict) -> None:
    pair = dict(variables["tandem_pair"])
    if pair["recorder_id"].startswith("00000000"):
        pair["recorder_id"] = SITE["pairs"][0]["recorder_id"]  # the example leaves it to be filled in, and the modules refuse it as it is
    if isinstance(pair.get("management_server"), str):
        pair["management_server"] = variables["tandem_management_server"]
    if isinstance(pair.get("witness"), str):
        pair["witness"] = variables["tandem_witness"]
    validation = ArgumentSpecValidator(PAIR_SPEC).validate(pair)
    assert validation.error_messages == []
    assert len(PairDefinition.from_params(validation.validated_parameters).nodes) == 2


@pytest.mark.filterwarnings("ignore")
def test_the_example_inventory_fits_the_modules():
    found = pairs("example", TANDEM_NODE_PASSWORD="x", TANDEM_MANAGEMENT_PASSWORD="y")
    assert len(found) >= 2
    for variables in found.values():
        check(variables)


def test_the_lab_inventory_fits_the_modules(tmp_path):
    site = tmp_path / "site.json"
    site.write_text(json.dumps(SITE), encoding="utf-8")
    found = pairs("lab", TANDEM_LAB_SITE=str(site))
    assert list(found) == ["pair1"]
    check(found["pair1"])


def test_without_a_site_the_lab_inventory_says_how_to_raise_one(tmp_path):
    done = ansible("ansible-inventory", "-i", "inventories/lab", "--list", TANDEM_LAB_SITE=str(tmp_path / "none.json"))
    assert done.returncode == 0 and "make lab" in done.stderr


@pytest.mark.parametrize("playbook", sorted(path.name for path in (PROJECT / "playbooks").glob("*.yml")))
def test_playbooks_can_be_read(playbook):
    done = ansible("ansible-playbook", "-i", "inventories/example", f"playbooks/{playbook}", "--syntax-check")
    assert done.returncode == 0, done.stderr
