# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The product's witness on a lab machine: brought by its module over WinRM, run as a service, asked by a node over TLS."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import ssl
import tempfile
import time
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import WITNESS, Timing
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import Voter, new_record
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import witness
from ansible_collections.tandem.xprotect.plugins.module_utils.operations._witness_machine import WitnessContext
from machine_helpers import PASSWORD, USER, Machine, wait_for

from tandem_lab.machine import image

PORT, SERVICE = 11444, "Tandem Witness"
RECORDER = "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c"


def context(machine: Machine, archive: pathlib.Path) -> WitnessContext:
    given = {name: spec.get("default") for name, spec in witness.ARGUMENT_SPEC.items()}
    reached = {"name": "witness-1", "address": machine.settings.address, "port": PORT, "connection": "winrm", "winrm_url": machine.url,
               "winrm_transport": "ntlm", "username": USER, "password": PASSWORD, "validate_certificate": True, "connect_timeout": 5}
    return WitnessContext({**given, "witness": reached, "python_archive": str(archive), "api_token": "a token for this test"})


class Node:
    def __init__(self, name: str):
        self.name = name
        self.certificate, self._key = certificates.create(name, "127.0.0.1")
        self._voter = Voter(name, new_record(["a", "b", WITNESS]), Timing(4.0), lambda record: None, time.monotonic(), name)

    @contextlib.contextmanager
    def connected(self, address: str, trusted: str) -> t.Iterator[ssl.SSLSocket]:
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname = False
        trust.load_verify_locations(cadata=trusted)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.certificate + self._key)
            file.flush()
            trust.load_cert_chain(file.name)
        with trust.wrap_socket(socket.create_connection((address, PORT), 5)) as sock:
            yield sock

    def ask(self, sock: ssl.SSLSocket) -> dict[str, t.Any]:
        wire.send(sock, {"pair": "pair1", "node": self.name, "op": "status", "header": self._voter.header(WITNESS, time.monotonic())})
        return wire.receive(sock)


def pair(a: Node, b: Node) -> dict[str, t.Any]:
    return {"pair": "pair1", "recorder_id": RECORDER, "voters": ["a", "b", WITNESS], "lease_ttl": 4.0, "lease_drift": 0.01,
            "nodes": [{"name": node.name, "certificate": node.certificate} for node in (a, b)]}


def test_a_bare_machine_becomes_a_witness_and_stays_one(make_machine: t.Callable[..., Machine], tmp_path: pathlib.Path) -> None:
    machine = make_machine(python=False)
    machine.power_on()
    archive = tmp_path / "embed.zip"
    image.python_archive(archive)
    a, b = Node("a"), Node("b")
    with context(machine, archive) as bare:
        made = witness.run(bare)
        assert made["items"] == ["runtime", "witness.json", "witness.pem", "witness.key", "service"] and made["certificate"]
    with context(machine, archive) as again:
        wait_for(lambda: again.session.call("witness.status")["service"], "the service answers", 30.0)
        unchanged = witness.run(again)
        assert not unchanged["changed"] and unchanged["certificate"] == made["certificate"]
        assert again.session.call("witness.pair", {"pair": pair(a, b)})["running"] is True
    with a.connected(machine.settings.address, made["certificate"]) as sock:
        first = a.ask(sock)
        assert first["ok"] and first["announce"]["witness"] == "witness-1"
    incarnation = first["result"]["header"]["incarnation"]
    machine.power_off()
    machine.power_on()
    with context(machine, archive) as booted:
        wait_for(lambda: booted.session.call("witness.status")["service"], "the service answers after a power cut", 30.0)
    with b.connected(machine.settings.address, made["certificate"]) as sock:
        assert b.ask(sock)["result"]["header"]["incarnation"] == incarnation, "its state survived"
    machine.client.call("service.stop", name=SERVICE)
    assert machine.client.call("service.status", name=SERVICE)["service"]["state"] == "stopped"
