# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Server Configurator on a running machine: from the machine's own address, and not through a closed fence."""

from __future__ import annotations

import http.server
import json
import threading
import typing as t

import pytest
from machine_helpers import Machine

from tandem_lab import subnet
from tandem_lab.machine import recorder_config, server_configurator

RECORDER = "ac5d1d2e-0000-4000-8000-000000000001"
CLIENT = "ac5d1d2e-0000-4000-8000-000000000002"
COMMAND = [server_configurator.EXE, "/register", "/quiet"]


class ManagementServer(http.server.BaseHTTPRequestHandler):
    """Takes every registration, and keeps who sent it."""

    seen: list[tuple[str, dict[str, str]]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.client_address[0], body))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def registrations(network: subnet.Subnet) -> t.Iterator[list[tuple[str, dict[str, str]]]]:
    handler = type("Handler", (ManagementServer,), {"seen": []})
    with http.server.ThreadingHTTPServer((network.address(2), 8080), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield handler.seen
        server.shutdown()


@pytest.fixture
def host(machine: Machine, network: subnet.Subnet, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    values = recorder_config.RecorderValues(RECORDER, "Recorder 1", machine.settings.address, network.address(2),
                                            f"http://{network.address(2)}:8080", CLIENT)
    data = machine.folder / "C/ProgramData/Milestone/XProtect Recording Server"
    data.mkdir(parents=True)
    (data / "RecorderConfig.xml").write_bytes(recorder_config.render(values))
    server_configurator.install(machine.folder)
    return machine.host(monkeypatch)


def test_it_registers_from_the_machines_address(host: t.Any, machine: Machine, registrations: list[tuple[str, dict[str, str]]]) -> None:
    assert host.run_program(COMMAND, 30.0)[0] == 0
    assert registrations == [(machine.settings.address, {"recorder_id": RECORDER, "client_registration_id": CLIENT})]
    assert host.run_program([server_configurator.EXE, "/register"], 30.0)[0] == -2


def test_a_closed_fence_keeps_it_from_registering(
        host: t.Any, machine: Machine, network: subnet.Subnet, registrations: list[tuple[str, dict[str, str]]]) -> None:
    machine.control.call("fence.install", rules={"management_addresses": [network.address(2)], "inbound_ports": [7563, 9001]})
    code, output = host.run_program(COMMAND, 30.0)
    assert code == -1 and "cannot be asked" in output and registrations == []
    permit = machine.client.open_permit()
    assert host.run_program(COMMAND, 30.0)[0] == 0 and len(registrations) == 1
    permit.close()
