# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fence agents: what failover.yml makes of them. The module that attaches is a stand-in that writes down its options."""

from __future__ import annotations

import base64
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading

import pytest
import yaml

PROJECT = pathlib.Path(__file__).resolve().parents[2]
NODES = [{"name": "north-a", "address": "127.0.0.1"}, {"name": "north-b", "address": "127.0.0.2"}]
MODULE = """#!/usr/bin/python
import json
from ansible.module_utils.basic import AnsibleModule
NAMES = ("mode", "node", "accept", "force", "force_without_witness", "fence_agent", "permit_wait", "pair", "nodes")
module = AnsibleModule({name: {"type": "raw"} for name in NAMES}, supports_check_mode=True)
if not module.check_mode:
    with open(%(asked)r, "w") as file:
        json.dump(module.params["fence_agent"], file)
module.exit_json(changed=True, silent=json.loads(%(silent)r))
"""


class PowerSwitch:
    """A management controller that is asked to switch one machine off."""

    def __init__(self, works=True):
        self.power, self.asked = "On", []
        switch = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                switch.asked.append((self.path, self.headers["Authorization"], body))
                switch.power = "Off" if works else "On"
                self.answer({})

            def do_GET(self):
                self.answer({"PowerState": switch.power})

            def answer(self, document):
                data = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/redfish/v1/Systems/1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def switch():
    found = PowerSwitch()
    yield found
    found.close()


def fail_over(folder, silent, environment=None, **variables):
    """What `recorder_attachment` was given as ``fence_agent`` when failover.yml was played, "omitted" when nothing."""
    collection, asked = folder / "ansible_collections/tandem/xprotect", folder / "asked.json"
    (collection / "plugins/modules").mkdir(parents=True)
    (collection / "meta").mkdir()
    (collection / "meta/runtime.yml").write_text("requires_ansible: '>=2.19.0'\naction_groups:\n  pair: [recorder_attachment]\n")
    (collection / "plugins/modules/recorder_attachment.py").write_text(MODULE % {"asked": str(asked), "silent": json.dumps(silent)})
    hosts = {"tandem_pairs": {"hosts": {"north": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable,
                                                  "tandem_pair": {"pair": "north", "nodes": NODES}, **variables}}}}
    (folder / "hosts.json").write_text(json.dumps(hosts))
    done = subprocess.run([str(pathlib.Path(sys.executable).parent / "ansible-playbook"), "-i", str(folder / "hosts.json"),
                           "playbooks/failover.yml"], cwd=PROJECT, capture_output=True, text=True, check=False, timeout=120,
                          env=dict(os.environ, ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg"), ANSIBLE_COLLECTIONS_PATH=str(folder),
                                   ANSIBLE_LOCAL_TEMP=str(folder / "local"), ANSIBLE_REMOTE_TEMP=str(folder / "remote"),
                                   **(environment or {})))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(asked.read_text()) or "omitted"


def redfish(url):
    return {"tandem_fence_agent": {"tasks": "redfish.yml", "timeout": 30},
            "tandem_redfish": {"north-a": {"system": url, "username": "fence", "password": "secret"}}}


def test_the_example_switches_the_silent_machine_off(tmp_path, switch):
    given = fail_over(tmp_path, {"node": "north-a", "seconds": 0}, **redfish(switch.url))
    assert given == {"outcome": {"confirmed": True, "text": "fence agent redfish.yml confirmed that north-a is off"}}
    login = "Basic " + base64.b64encode(b"fence:secret").decode()
    assert switch.asked == [("/redfish/v1/Systems/1/Actions/ComputerSystem.Reset", login, {"ResetType": "ForceOff"})]


def test_an_agent_that_cannot_reach_its_switch_confirms_nothing(tmp_path):
    given = fail_over(tmp_path, {"node": "north-a", "seconds": 0}, **redfish("http://127.0.0.1:9/none"))
    assert given["outcome"]["confirmed"] is False and given["outcome"]["text"].startswith("fence agent redfish.yml failed: ")


def test_no_machine_is_switched_off_that_is_not_silent(tmp_path, switch):
    given = fail_over(tmp_path, None, force="it is off", **redfish(switch.url))
    assert given["outcome"]["confirmed"] is False and "was not run" in given["outcome"]["text"] and switch.asked == []


@pytest.mark.parametrize("agent", [{"command": ["power-off", "{node}"], "timeout": 20}, None])
def test_an_agent_that_is_a_command_is_left_to_the_module(tmp_path, agent):
    given = fail_over(tmp_path, None, **({"tandem_fence_agent": agent} if agent else {}))
    assert given == (agent or "omitted")


@pytest.mark.parametrize("named", ["/sites/one/site.json", ""])
def test_the_power_button_of_the_lab_is_that_of_the_inventorys_site(tmp_path, named):
    agent = yaml.safe_load((PROJECT / "playbooks/fence_agents/lab.yml").read_text())
    given = fail_over(tmp_path, None, {"TANDEM_LAB_SITE": named}, **agent)
    program, *arguments = given["command"]
    assert pathlib.Path(program).name == "tandem-lab" and os.access(program, os.X_OK)
    assert arguments == ["power", "off", "{node}"]
    site = pathlib.Path(given["environment"]["TANDEM_LAB_SITE"]).resolve()
    assert site == pathlib.Path(named or PROJECT / "build/lab/site.json").resolve()
