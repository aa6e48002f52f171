# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration of recorders in both modes, by the machine's Server Configurator, and the log of who was connected when."""

from __future__ import annotations

import json
import os
import subprocess
import uuid

import pytest
import requests
from management_server_helpers import wait_until

from tandem_lab.machine import recorder_config, server_configurator
from tandem_lab.management_server.registrations import Registrations

EACH_TIME = {"registration": "each_time"}


class Node:
    """A machine folder with its recorder's identity; programs run on it without a kernel."""

    def __init__(self, folder, server, index, recorder_id=None):
        self.root = folder / f"node-{index}"
        self.plan = server.pair.nodes[index]
        values = recorder_config.RecorderValues(
            recorder_id=recorder_id or server.pair.recorder_id, name="Recorder 1", host=server.pair.service_address,
            server_address=server.config.address, server_url=server.url, client_registration_id=self.plan.client_registration_id)
        data = self.root / "C/ProgramData/Milestone/XProtect Recording Server"
        data.mkdir(parents=True)
        (data / "RecorderConfig.xml").write_bytes(recorder_config.render(values))
        (self.root / "machine.json").write_text(json.dumps({"name": self.plan.name, "address": self.plan.address}))
        server_configurator.install(self.root)

    def command(self, *arguments):
        program = self.root / "C/Program Files/Milestone/Server Configurator/ServerConfigurator.exe"
        environment = {**os.environ, "TANDEM_LAB_ROOT": str(self.root)}
        environment.pop("TANDEM_LAB_MACHINE", None)
        return subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=60)

    def configure(self, *arguments):
        """The exit code as Windows shows it, and what was printed."""
        ended = self.command(*arguments)
        assert "Traceback" not in ended.stderr, ended.stderr
        return server_configurator.windows_code(ended.returncode), ended.stdout + ended.stderr

    def register(self):
        return self.configure("/register", "/quiet")[0]

    @property
    def log(self):
        return (self.root / "C/ProgramData/Milestone/Server Configurator/Logs/ServerConfigurator.log").read_text()


@pytest.fixture
def site(start_server, tmp_path):
    """A server and both nodes of its pair; the recorder's identity is on both."""

    def make(settings=None, **arguments):
        (tmp_path / "server").mkdir()
        server = start_server(tmp_path / "server", settings=settings, **arguments)
        return server, Node(tmp_path, server, 0), Node(tmp_path, server, 1)

    return make


def events(server, *kinds):
    lines = (server.config.state / "connections.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if not kinds or line["event"] in kinds]


def connect(recorder, server, node, **options):
    return recorder(running=server, source=node.plan.address, **options)


# ---- each_time


def test_only_the_machine_that_registered_last_may_connect(site, recorder):
    server, a, b = site(EACH_TIME)
    first = connect(recorder, server, a)
    first.wait("welcome")  # nobody has registered: the first one counts
    refused = connect(recorder, server, b)
    assert refused.wait("refused")["reason"].startswith("invalid_client") and refused.ended.wait(5)
    assert b.register() == 0
    assert "invalid_client" in first.wait("refused")["reason"] and first.ended.wait(5)
    second = connect(recorder, server, b)
    second.wait("welcome")
    assert connect(recorder, server, a).wait("refused")
    assert a.register() == 0 and second.ended.wait(5)
    connect(recorder, server, a).wait("welcome")
    state = server.recorders()
    assert state["duplicates"] == 0
    assert state["registration"]["mode"] == "each_time"
    assert state["registration"]["registered"][server.pair.recorder_id]["machine"] == a.plan.address


def test_registering_again_on_the_same_machine_cuts_nothing(site, recorder):
    server, a, _ = site(EACH_TIME)
    fake = connect(recorder, server, a)
    fake.wait("welcome")
    assert a.register() == 0
    count = len(fake.of_type("ping"))
    wait_until(lambda: len(fake.of_type("ping")) > count)
    assert not fake.ended.is_set() and not fake.of_type("refused")


def test_who_registered_survives_a_restart_of_the_server(site, recorder, start_server, tmp_path):
    server, a, b = site(EACH_TIME)
    assert b.register() == 0
    server.stop()
    start_server.forget(server)
    again = start_server(tmp_path / "server", settings=EACH_TIME, plan=server.plan)
    assert connect(recorder, again, a).wait("refused")
    connect(recorder, again, b).wait("welcome")


def test_once_shares_the_registration(site, recorder):
    server, a, b = site()
    one = connect(recorder, server, a)
    one.wait("welcome")
    assert b.register() == 0 and not one.ended.wait(0.2)
    one.close()
    wait_until(lambda: not server.recorders()["connected"])
    connect(recorder, server, b).wait("welcome")
    assert server.recorders()["registration"]["mode"] == "once"


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="once, each_time"):
        Registrations(tmp_path, "twice")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"recorder_id": 1}', b'{"recorder_id": "x", "client_registration_id": "y"}', b"\xff"])
def test_nonsense_registers_nobody(server, body):
    answer = requests.post(f"{server.url}/lab/register", data=body, timeout=5)
    assert answer.status_code == 400 and answer.json()["status"] == "Error"


# ---- the program


def test_exit_codes_and_log_of_the_server_configurator(site):
    server, a, _ = site()
    assert a.configure("/REGISTER", "/quiet", f"/managementserveraddress=http://{server.config.address}")[0] == 0
    assert "Arguments: /REGISTER /quiet" in a.log
    assert f"RegisterClient {a.plan.client_registration_id} Status = Success" in a.log
    assert "Registration done with result = Success" in a.log
    assert a.configure("/register")[0] == a.configure("/nonsense", "/quiet")[0] == a.configure()[0] == -2
    code, text = a.configure("/register", "/quiet", "/authaddress=http://127.0.0.9")
    assert code == -3 and "changes no address" in text
    code, text = a.configure("/listcertificategroups")
    assert code == 0 and "Found 'Server certificate' group with ID = 84430eb7-847c-422d-aa00-7915cd0d7a65" in text
    assert [event["from"] for event in events(server, "registered")] == [a.plan.address]


def test_two_at_once_an_unknown_recorder_and_no_server(site, tmp_path):
    server, a, b = site({"registration_seconds": 1.5})
    program = a.root / "C/Program Files/Milestone/Server Configurator/ServerConfigurator.exe"
    environment = {**os.environ, "TANDEM_LAB_ROOT": str(a.root)}
    environment.pop("TANDEM_LAB_MACHINE", None)
    running = subprocess.Popen([program, "/register", "/quiet"], env=environment)
    codes = set()
    while running.poll() is None:
        codes.add(a.register())
    codes.add(server_configurator.windows_code(running.returncode))
    assert codes == {0, -4}  # whichever was first
    stranger = Node(tmp_path / "other", server, 0, str(uuid.uuid4()))
    assert stranger.register() == 100 and "Status = Error" in stranger.log
    config = b.root / "C/ProgramData/Milestone/XProtect Recording Server/RecorderConfig.xml"
    config.write_bytes(config.read_bytes().replace(b":8080", b":8099"))
    code, text = b.configure("/register", "/quiet")
    assert code == -1 and "cannot be asked" in text
    config.unlink()
    assert b.register() == -1


# ---- who was connected when


def test_the_log_tells_who_was_connected_when(site, recorder, start_server):
    server, a, b = site()
    one = connect(recorder, server, a)
    one.wait("welcome")
    two = connect(recorder, server, b)
    two.wait("welcome")
    one.close()
    wait_until(lambda: len(server.recorders()["connected"]) == 1)
    refused = connect(recorder, server, a, recorder_id=str(uuid.uuid4()))
    refused.wait("refused")
    server.stop()
    start_server.forget(server)
    found = events(server)
    assert [event["event"] for event in found] == [
        "started", "connected", "connected", "duplicate", "disconnected", "refused", "disconnected", "stopped"]
    assert [event["from"] for event in found[1:7]] == [node.plan.address for node in (a, b, b, a, a, b)]
    assert {event["recorder_id"] for event in found[1:5]} == {server.pair.recorder_id}
    assert [event["t_ms"] for event in found] == sorted(event["t_ms"] for event in found)
    (rival,) = found[3]["rivals"]
    assert rival["from"] == a.plan.address and rival["instance"] == one.instance and 0 <= rival["silent_ms"] < 3000
    gone = found[4]
    assert gone["instance"] == one.instance and gone["since_ms"] <= gone["heard_ms"] <= gone["t_ms"] and gone["reason"]


def test_repeated_refusals_are_one_event(site, recorder):
    server, a, b = site(EACH_TIME)
    assert a.register() == 0
    for _ in range(3):
        connect(recorder, server, b).wait("refused")
    assert len(events(server, "refused")) == 1
    assert b.register() == 0
    connect(recorder, server, b).wait("welcome")
    assert a.register() == 0
    connect(recorder, server, b).wait("refused")
    assert len(events(server, "refused")) == 2
