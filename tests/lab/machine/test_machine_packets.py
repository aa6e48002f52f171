# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Packets that never arrive: by rules in this process, at a machine's kernel, and at a process beside the machines."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import sys
import typing as t

import pytest
from machine_helpers import Machine, outside, wait_for

from tandem_lab import subnet
from tandem_lab.machine import peer
from tandem_lab.machine.packets import PacketFilter, Rule


@pytest.fixture
def servers(network: subnet.Subnet) -> t.Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server((network.address(5), 5000)) as one, socket.create_server((network.address(5), 5001)) as two:
        yield one, two


@pytest.fixture
def packets() -> t.Iterator[PacketFilter]:
    """A filter on all sockets of this process, gone afterwards."""
    made = PacketFilter()
    yield made
    made.load([])


def arrives(network: subnet.Subnet, source: int, port: int = 5000) -> bool:
    try:
        socket.create_connection((network.address(5), port), 0.3, source_address=(network.address(source), 0)).close()
    except TimeoutError:
        return False
    return True


@pytest.mark.parametrize(("values", "expected"), [
    ({"first": 9, "last": 9}, (False, False, True)),
    ({"first": 9, "last": 12}, (False, False, False)),
    ({"first": 10, "last": 12}, (True, True, False)),
    ({"first": 9, "last": 9, "ports": (5000,)}, (False, True, True)),
    ({"first": 9, "last": 9, "ports": (4999, 5000, 5003)}, (False, True, True)),
    ({"first": 9, "last": 9, "ports": (4999, 5000), "other_ports": True}, (True, False, True)),
    ({"first": 9, "last": 9, "to": 5}, (False, False, True)),
    ({"first": 9, "last": 9, "to": 6}, (True, True, True)),
])
def test_what_a_rule_drops(network: subnet.Subnet, servers: t.Any, packets: PacketFilter, values: dict, expected: tuple) -> None:
    values |= {name: network.address(values[name]) for name in ("first", "last", "to") if name in values}
    packets.load([Rule.parse(json.loads(json.dumps(Rule(**values).to_document())))])
    assert (arrives(network, 9), arrives(network, 9, 5001), arrives(network, 12)) == expected


def test_any_rule_may_drop_and_silence_drops_all(network: subnet.Subnet, servers: t.Any, packets: PacketFilter) -> None:
    only = {last: Rule(network.address(last), network.address(last)) for last in (9, 12)}
    packets.load([only[9], only[12]])
    assert [arrives(network, 9), arrives(network, 12), arrives(network, 13)] == [False, False, True]
    packets.load([], silent=True)
    assert not arrives(network, 13)
    packets.load([])
    assert arrives(network, 13)


def test_a_share_is_lost_and_tcp_repairs_it(network: subnet.Subnet, servers: t.Any, packets: PacketFilter) -> None:
    packets.load([Rule(network.address(9), network.address(9), share=0.3)])
    with socket.create_connection((network.address(5), 5000), 30, source_address=(network.address(9), 0)) as sender:
        receiver, _ = servers[0].accept()
        sender.sendall(b"x" * 200_000 + b"end")
        sender.shutdown(socket.SHUT_WR)
        with receiver, receiver.makefile("rb") as file:
            assert file.read().endswith(b"end")


def test_a_machine_cut_off_and_back_again(machine: Machine, network: subnet.Subnet) -> None:
    """What was sent meanwhile arrives in the end; nobody sees the connection break."""
    listener = machine.client.listen(7563)
    cut, other = outside(network.address(50), machine.settings.address, 7563), outside(network.address(51), machine.settings.address, 7563)
    ends = [listener.accept_connection(5)[0] for _ in (cut, other)]
    rules = machine.folder / "network-faults.json"
    rules.write_text(json.dumps({"rules": [Rule(network.address(50), network.address(50)).to_document()], "silent": False}))
    machine.control.call("faults.reload")
    cut.sendall(b"late")
    other.sendall(b"at once")
    assert ends[1].recv(100) == b"at once"
    ends[0].settimeout(0.3)
    with pytest.raises(TimeoutError):
        ends[0].recv(100)
    with pytest.raises(TimeoutError):
        socket.create_connection((machine.settings.address, 5985), 0.3, source_address=(network.address(50), 0))
    rules.write_text(json.dumps({"rules": [], "silent": False}))
    machine.control.call("faults.reload")
    ends[0].settimeout(10)
    assert ends[0].recv(100) == b"late"
    outside(network.address(50), machine.settings.address, 5985).close()


def test_a_reboot_does_not_mend_the_network(machine: Machine, network: subnet.Subnet) -> None:
    rule = Rule(network.address(50), network.address(50)).to_document()
    (machine.folder / "network-faults.json").write_text(json.dumps({"rules": [rule], "silent": False}))
    machine.power_off()
    machine.power_on()
    with pytest.raises(TimeoutError):
        socket.create_connection((machine.settings.address, 5985), 0.3, source_address=(network.address(50), 0))
    outside(network.address(51), machine.settings.address, 5985).close()


def test_what_a_machine_connects_to_does_not_answer(machine: Machine, network: subnet.Subnet) -> None:
    with socket.create_server((network.address(101), 8080)):
        machine.client.connect(network.address(101), 8080, 5).close()
        rule = Rule(network.address(101), network.address(254)).to_document()
        (machine.folder / "network-faults.json").write_text(json.dumps({"rules": [rule], "silent": False}))
        machine.control.call("faults.reload")
        with pytest.raises(TimeoutError):
            machine.client.connect(network.address(101), 8080, 0.3)


SERVER = """
import socket, sys
with socket.create_server((sys.argv[1], 5000)) as server:
    while True:
        server.accept()
"""


def test_a_process_beside_the_machines_follows_a_file(tmp_path: pathlib.Path, network: subnet.Subnet) -> None:
    (tmp_path / "listening.py").write_text(SERVER)
    rules = tmp_path / "rules.json"
    process = subprocess.Popen([sys.executable, "-m", "tandem_lab.machine.peer", "--rules", str(rules), "--module", "listening", "--",
                                network.address(5)], cwd=tmp_path)
    try:
        wait_for(lambda: _listens(network), "the module runs as the main program")
        for version, source in ((1, 9), (2, 12)):
            rule = Rule(network.address(source), network.address(source)).to_document()
            beside = tmp_path / "new"
            beside.write_text(json.dumps({"version": version, "rules": [rule]}))
            beside.replace(rules)
            wait_for(lambda version=version: peer.applied(rules) == version, "the rules are in force")
            assert [arrives(network, last) for last in (9, 12)] == [last != source for last in (9, 12)]
    finally:
        process.kill()
        process.wait()


def _listens(network: subnet.Subnet) -> bool:
    try:
        return arrives(network, 9)
    except ConnectionRefusedError:
        return False
