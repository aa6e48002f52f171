# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main() that all modules share."""

from __future__ import annotations

import json

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.arguments import with_pair
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError

ARGS = {"pair": "north", "recorder_id": "0a0b0c0d-0000-4000-8000-000000000001", "service_address": {"address": "10.0.0.10"},
        "nodes": [{"name": "a", "address": "10.0.0.11", "username": "u", "password": "geheim"},
                  {"name": "b", "address": "10.0.0.12", "username": "u", "password": "geheim"}]}


def run(capsys, operation, **extra):
    with patch_module_args({**ARGS, **extra}), pytest.raises(SystemExit) as ended:
        run_module(with_pair(), operation)
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_result(capsys, monkeypatch):
    warned = []
    monkeypatch.setattr("ansible.module_utils.basic.AnsibleModule.warn", lambda module, text: warned.append(text))

    def operation(context):
        context.warn("careful")
        return {"told": f"{context.pair.name} {context.check_mode} geheim", "diff": {"before": 1}}

    status, result = run(capsys, operation, _ansible_check_mode=True)
    assert status == 0 and result["changed"] is False and result["told"].startswith("north True ***") and "diff" not in result
    assert warned == ["careful"]
    assert run(capsys, operation, _ansible_diff=True)[1]["diff"] == {"before": 1}


def test_an_error(capsys):
    def operation(context):
        raise TandemError("is off", context.pair.name, "a", "switch it on.", code="unreachable")

    status, result = run(capsys, operation)
    assert status == 1 and result["failed"] is True and result["msg"] == "pair north, node a: is off. Next: switch it on."
    assert result["error_code"] == "unreachable"


def test_a_wrong_definition(capsys):
    status, result = run(capsys, lambda context: {}, nodes=[])
    assert status == 1 and "exactly two nodes" in result["msg"]
