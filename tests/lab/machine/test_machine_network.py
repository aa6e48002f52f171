# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network, firewall and addresses: what is cut, when, and what never is."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
import typing as t

import pytest
from machine_helpers import Machine, alive, is_cut, outside, serves, wait_for

from tandem_lab import subnet
from tandem_lab.machine import channel, client
from tandem_lab.machine.channel import MachineError
from tandem_lab.machine.clock import MachineClock

# A service that sends bytes to every caller of port 7563, and pulls from a camera and from the Management Server.
RECORDER = """
import asyncio, os
from tandem_lab.machine import aio

async def serve(reader, writer):
    try:
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()
            await asyncio.sleep(0.005)
    except OSError:
        pass
    writer.close()

async def pull(address, port):
    while True:
        try:
            reader, writer = await aio.open_connection(address, port, 1.0)
            while await reader.read(100):
                pass
        except OSError:
            pass
        await asyncio.sleep(0.02)

async def main():
    await aio.start_server(7563, serve)
    base = (await aio.machine())["address"].rpartition(".")[0]
    tasks = [asyncio.create_task(pull(f"{base}.101", 8080)), asyncio.create_task(pull(f"{base}.2", 9000))]
    await aio.service_ready()
    await asyncio.gather(*tasks)

asyncio.run(main())
"""
PERMIT = """
import os, time
from tandem_lab.machine.client import MachineClient
client = MachineClient()
permit = client.open_permit()
client.call("service.ready")
time.sleep(1000)
"""


class Remote:
    """A computer that accepts connections and keeps them open, sending a byte now and then."""

    def __init__(self, address: str, port: int):
        self._listener = socket.create_server((address, port))
        self.connections: list[socket.socket] = []
        self.sources: list[str] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            self.sources.append(peer[0])
            self.connections.append(sock)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self.connections:
            sock.close()


@pytest.fixture
def remote(network: subnet.Subnet) -> t.Iterator[t.Callable[[int, int], Remote]]:
    made: list[Remote] = []

    def make(last: int, port: int) -> Remote:
        made.append(Remote(network.address(last), port))
        return made[-1]

    yield make
    for item in made:
        item.close()


def fence(network: subnet.Subnet) -> dict[str, t.Any]:
    return {"management_addresses": [network.address(2)], "inbound_ports": [7563, 9001]}


def test_a_killed_permit_holder_cuts_the_connections_of_a_frozen_recorder(
        machine: Machine, network: subnet.Subnet, remote: t.Callable[[int, int], Remote]) -> None:
    camera, management = remote(101, 8080), remote(2, 9000)
    machine.service("recorder", RECORDER)
    machine.service("guard", PERMIT)
    machine.control.call("service.start", name="guard")
    machine.control.call("service.start", name="recorder")
    machine.control.call("fence.install", rules=fence(network))  # the permit is open: nothing is cut
    viewer = outside(network.address(50), machine.settings.address, 7563)
    assert viewer.recv(1)
    wait_for(lambda: management.connections and camera.connections, "the recorder is connected to both")
    recorder, guard = machine.state("recorder")["pid"], machine.state("guard")["pid"]

    os.kill(recorder, signal.SIGSTOP)
    os.kill(guard, signal.SIGKILL)
    started = time.monotonic()
    assert is_cut(viewer) and is_cut(management.connections[0])
    assert time.monotonic() - started < 1.0
    assert not is_cut(camera.connections[0], 0.3), "cameras are never fenced"

    before = len(management.sources)
    os.kill(recorder, signal.SIGCONT)
    assert not serves(machine, network.address(50), 7563)
    time.sleep(0.3)  # the recorder tries again and again meanwhile
    assert len(management.sources) == before
    assert len(camera.sources) == 1 and camera.sources[0] == machine.settings.address
    assert serves_itself(machine, 7563), "traffic on the machine is never fenced"
    machine.control.call("service.start", name="guard")
    wait_for(lambda: len(management.sources) > before, "the recorder connects again")
    assert serves(machine, network.address(50), 7563)


def serves_itself(machine: Machine, port: int) -> bool:
    with machine.client.connect("localhost", port, 2) as sock:
        return bool(sock.recv(1))


def test_two_permits_keep_the_fence_open_until_both_are_gone(machine: Machine, network: subnet.Subnet) -> None:
    machine.control.call("fence.install", rules=fence(network))
    client = machine.client
    listener = client.listen(7563)
    first, second = client.open_permit(), client.open_permit()
    viewer = outside(network.address(50), machine.settings.address, 7563)
    served, peer = listener.accept_connection(5)
    assert peer == network.address(50)
    first.close()
    served.sendall(b"still there")
    assert viewer.recv(20) == b"still there"
    second.close()
    assert machine.control.status()["connections"] == [], "all is cut when the close returns"
    assert is_cut(viewer) and is_cut(served)
    second.close()


def test_a_permit_that_the_kernel_does_not_close_says_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = machine.client.open_permit(), machine.client.open_permit()
    monkeypatch.setattr(client, "_CLOSE_SECONDS", 0.1)
    os.kill(machine.kernel.pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError, match="did not close"):
        first.close()
    os.kill(machine.kernel.pid, signal.SIGCONT)
    machine.power_off()
    second.close()


def test_blocked_connects_end_with_a_time_out_and_others_as_on_a_network(machine: Machine, network: subnet.Subnet) -> None:
    machine.control.call("fence.install", rules=fence(network))
    with pytest.raises(TimeoutError):
        machine.client.connect(network.address(2), 9000, 5)
    with pytest.raises(ConnectionRefusedError):
        machine.client.connect(network.address(101), 8080, 5)
    assert machine.control.call("fence.remove") == {"ok": True, "changed": True}
    with pytest.raises(ConnectionRefusedError):
        machine.client.connect(network.address(2), 9000, 5)


def test_installing_a_fence_cuts_what_it_blocks_and_survives(machine: Machine, network: subnet.Subnet) -> None:
    listener = machine.client.listen(7563)
    viewer = outside(network.address(50), machine.settings.address, 7563)
    served, _ = listener.accept_connection(5)
    local = machine.client.connect(machine.settings.address, 7563, 5)
    local_end, _ = listener.accept_connection(5)
    assert machine.control.call("fence.install", rules=fence(network))["changed"]
    assert is_cut(viewer)
    local_end.sendall(b"x")
    assert local.recv(1) == b"x", "traffic on the machine is never fenced"
    assert not machine.control.call("fence.install", rules=fence(network))["changed"]
    served.close()
    machine.power_off()
    machine.power_on()
    assert machine.control.call("fence.get")["rules"] == fence(network)
    with pytest.raises(MachineError, match="not usable"):
        machine.control.call("fence.install", rules={"management_addresses": ["nonsense"], "inbound_ports": []})


def test_a_held_address_expires_and_takes_its_connections_along(machine: Machine, network: subnet.Subnet) -> None:
    service_address = network.address(10)
    listener = machine.client.listen(7563)
    machine.control.call("address.hold", address=service_address, prefix=24, lifetime=0.5)
    viewer = outside(network.address(50), service_address, 7563)  # a listener of before has the new address too
    served, _ = listener.accept_connection(5)
    machine.control.call("address.hold", address=service_address, prefix=24, lifetime=1.0)
    time.sleep(0.6)  # the first lifetime is over, the renewed one is not
    served.sendall(b"x")
    assert viewer.recv(1) == b"x"
    started = time.monotonic()
    assert is_cut(viewer) and time.monotonic() - started < 1.0
    assert service_address not in machine.control.call("address.list")["addresses"]
    with pytest.raises(ConnectionRefusedError):
        outside(network.address(50), service_address, 7563)


def test_an_address_is_on_one_machine_only_and_moves_when_that_loses_power(
        make_machine: t.Callable[..., Machine], network: subnet.Subnet) -> None:
    first, second = make_machine(11, python=False), make_machine(12, python=False)
    first.power_on()
    second.power_on()
    service_address = network.address(10)
    listener = second.client.listen(7563)
    first.control.add_static_address(service_address, 24)
    with pytest.raises(MachineError, match="duplicate") as caught:
        second.control.call("address.hold", address=service_address, prefix=24, lifetime=5)
    assert caught.value.code == 5010
    first.power_off()
    second.control.call("address.hold", address=service_address, prefix=24, lifetime=60)
    with outside(network.address(50), service_address, 7563):
        assert listener.accept_connection(5) is not None
    first.power_on()  # comes back with its static address, which is taken now
    assert first.control.call("address.list")["duplicates"] == [service_address]
    assert service_address in second.control.call("address.list")["addresses"]
    second.control.call("address.drop", address=service_address)
    wait_for(lambda: service_address in first.control.call("address.list")["addresses"], "the first machine gets its address")


def silence(machine: Machine, silent: bool = True) -> None:
    (machine.folder / "network-faults.json").write_text(json.dumps({"rules": [], "silent": silent}))
    machine.control.call("faults.reload")


def log(machine: Machine, address: str) -> list[str]:
    entries = map(json.loads, (machine.folder / "events.jsonl").read_text().splitlines())
    return [entry["event"] for entry in entries if entry.get("address") == address]


@pytest.fixture
def two(make_machine: t.Callable[..., Machine]) -> tuple[Machine, Machine]:
    first, second = make_machine(11, python=False), make_machine(12, python=False)
    first.power_on()
    second.power_on()
    return first, second


def test_a_silent_machine_loses_its_further_addresses_to_who_takes_them(two: tuple[Machine, Machine], network: subnet.Subnet) -> None:
    first, second = two
    held, static = network.address(10), network.address(20)
    listeners = first.client.listen(7563), second.client.listen(7563)
    first.control.call("address.hold", address=held, prefix=24, lifetime=60)
    first.control.add_static_address(static, 24)
    viewer = outside(network.address(50), held, 7563)
    served, _ = listeners[0].accept_connection(5)
    silence(first)
    assert {held, static} < set(first.control.call("address.list")["addresses"]), "it does not know"
    for address in (held, static):
        second.control.call("address.hold", address=address, prefix=24, lifetime=60)
    outside(network.address(50), held, 7563).close()
    assert listeners[1].accept_connection(5) is not None
    assert not is_cut(viewer, 0.2)
    first.control.call("address.hold", address=held, prefix=24, lifetime=60)  # still believes it
    silence(first, False)
    assert is_cut(viewer) and is_cut(served)
    addresses = first.control.call("address.list")
    assert (list(addresses["addresses"]), addresses["duplicates"]) == ([first.settings.address], [static])
    assert log(first, held) == ["address_added", "address_silenced", "address_duplicate", "connections_cut"]
    second.control.call("address.drop", address=static)
    wait_for(lambda: static in first.control.call("address.list")["addresses"], "the static address comes back")


def test_a_machine_that_is_heard_again_has_its_free_addresses_back(machine: Machine, network: subnet.Subnet) -> None:
    held, new = network.address(10), network.address(20)
    listener = machine.client.listen(7563)
    machine.control.call("address.hold", address=held, prefix=24, lifetime=60)
    viewer = outside(network.address(50), held, 7563)
    served, _ = listener.accept_connection(5)
    silence(machine)
    silence(machine)
    machine.control.call("address.hold", address=new, prefix=24, lifetime=60)
    with machine.client.listen(9001), pytest.raises(ConnectionRefusedError):
        outside(network.address(50), held, 9001)
    silence(machine, False)
    served.sendall(b"x")
    assert viewer.recv(1) == b"x"
    for address in (held, new):
        outside(network.address(50), address, 7563).close()
        assert listener.accept_connection(5) is not None
    assert log(machine, held) == ["address_added", "address_silenced", "address_added"]
    assert log(machine, new) == ["address_added"]


def test_the_lifetime_goes_on_while_nobody_hears_the_machine(machine: Machine, network: subnet.Subnet) -> None:
    """By its own clock: a machine whose clock stood has all of it left."""
    held, clock = network.address(10), MachineClock(machine.folder)
    machine.control.call("address.hold", address=held, prefix=24, lifetime=60)
    for rate, left in ((0.0, True), (10_000.0, False)):
        silence(machine)
        os.kill(machine.kernel.pid, signal.SIGSTOP)
        begin = clock.monotonic()
        clock.set_rate(rate)
        if rate:
            wait_for(lambda begin=begin: clock.monotonic() > begin + 60, "the lifetime is over")
        clock.set_rate(1.0)
        os.kill(machine.kernel.pid, signal.SIGCONT)
        silence(machine, False)
        assert (held in machine.control.call("address.list")["addresses"]) is left
    assert log(machine, held)[-2:] == ["address_silenced", "address_expired"]


def test_a_static_address_becomes_a_held_one_without_a_cut(machine: Machine, network: subnet.Subnet) -> None:
    service_address = network.address(10)
    machine.control.add_static_address(service_address, 24)
    listener = machine.client.listen(7563, service_address)
    viewer = outside(network.address(50), service_address, 7563)
    served, _ = listener.accept_connection(5)
    machine.control.call("address.hold", address=service_address, prefix=24, lifetime=60)
    served.sendall(b"x")
    assert viewer.recv(1) == b"x"
    assert 50 < machine.control.call("address.list")["addresses"][service_address] <= 60
    machine.power_off()
    machine.power_on()
    assert list(machine.control.call("address.list")["addresses"]) == [machine.settings.address]


def test_addresses_are_checked(machine: Machine, network: subnet.Subnet) -> None:
    for address in ("10.0.0.1", "nonsense", machine.settings.address):
        with pytest.raises(MachineError):
            machine.control.call("address.hold", address=address, prefix=24, lifetime=5)
    with pytest.raises(MachineError, match="lifetime"):
        machine.control.call("address.hold", address=network.address(10), prefix=24, lifetime=0)
    with pytest.raises(OSError, match="is not an address of") as caught:
        machine.client.listen(7563, network.address(10))
    assert caught.value.errno == errno.EADDRNOTAVAIL
    with machine.client.listen(7563), pytest.raises(OSError) as caught:
        machine.client.listen(7563)
    assert caught.value.errno == errno.EADDRINUSE


def test_closing_a_socket_ends_the_connection_although_the_kernel_has_it_too(
        machine: Machine, remote: t.Callable[[int, int], Remote], network: subnet.Subnet) -> None:
    target = remote(101, 8080)
    sock = machine.client.connect(network.address(101), 8080, 5)
    wait_for(lambda: target.connections, "the connection arrives")
    sock.close()
    assert is_cut(target.connections[0])
    target.connections[0].close()
    wait_for(lambda: machine.control.status()["connections"] == [], "the kernel lets it go")


@pytest.fixture
def certificate(tmp_path: t.Any) -> str:
    path = tmp_path / "node.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=node",
                    "-keyout", str(path) + ".key", "-out", str(path)], check=True, capture_output=True)
    return str(path)


def test_tls_sockets_work_and_close_too(machine: Machine, monkeypatch: pytest.MonkeyPatch, certificate: str) -> None:
    host = machine.host(monkeypatch)
    listener = host.listen(machine.settings.address, 11443)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate + ".key")
    received: list[bytes] = []

    def serve() -> None:
        accepted, _peer = host.accept(listener, 5)
        with context.wrap_socket(accepted, server_side=True) as served:
            served.settimeout(5)
            while data := served.recv(100):
                received.append(data)
                served.sendall(data.upper())

    thread = threading.Thread(target=serve)
    thread.start()
    trusting = ssl.create_default_context(cafile=certificate)
    trusting.check_hostname = False
    with trusting.wrap_socket(host.connect(machine.settings.address, 11443, 5)) as sock:
        sock.sendall(b"hello")
        assert sock.recv(100) == b"HELLO"
    thread.join(5)
    assert not thread.is_alive(), "the server does not see the end of the connection"
    assert received == [b"hello"]
    assert host.accept(listener, 0.05) is None
    wait_for(lambda: machine.control.status()["connections"] == [], "the kernel lets both ends go")


def test_the_end_of_a_process_ends_its_connections(
        machine: Machine, remote: t.Callable[[int, int], Remote], network: subnet.Subnet) -> None:
    target = remote(101, 8080)
    machine.service("program", f"""
import time
from tandem_lab.machine.client import MachineClient
client = MachineClient()
sock = client.connect("{network.address(101)}", 8080, 5)
client.call("service.ready")
time.sleep(1000)
""")
    machine.control.call("service.start", name="program")
    os.kill(machine.state("program")["pid"], signal.SIGKILL)
    assert is_cut(wait_for(lambda: target.connections, "the connection arrives")[0])
    assert machine.control.status()["connections"] == []


def test_a_frozen_listener_does_not_hold_up_the_machine(machine: Machine, network: subnet.Subnet) -> None:
    machine.service("recorder", RECORDER)
    machine.control.call("service.start", name="recorder")
    pid = machine.state("recorder")["pid"]
    os.kill(pid, signal.SIGSTOP)
    callers = []
    for _ in range(600):
        try:
            callers.append(outside(network.address(50), machine.settings.address, 7563))
        except ConnectionResetError:
            pass  # the queue of the frozen process is full
    assert len(callers) > 100
    assert machine.control.status()["pid"] == machine.kernel.pid
    for caller in callers:
        caller.close()
    os.kill(pid, signal.SIGCONT)
    assert wait_for(lambda: serves(machine, network.address(50), 7563), "the recorder serves again")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not alive(pid), "the recorder ends")
    wait_for(lambda: machine.control.status()["connections"] == [], "nothing is left")


def test_localhost_listeners_are_for_the_machine_only(machine: Machine, network: subnet.Subnet) -> None:
    listener = machine.client.listen(5210, "127.0.0.1")
    with machine.client.connect("127.0.0.1", 5210, 2):
        assert listener.accept_connection(5) is not None
    assert not serves(machine, network.address(50), 5210)
    assert listener.accept_connection(0.05) is None


def test_a_connection_that_nobody_took_is_cut(
        machine: Machine, remote: t.Callable[[int, int], Remote], network: subnet.Subnet) -> None:
    """A process gave up waiting just before the kernel had the connection for it."""
    target = remote(101, 8080)
    asking = socket.socket(socket.AF_UNIX)
    asking.connect("\0" + machine.control.running()["socket"])
    asking.sendall(channel.encode({"op": "connect", "address": network.address(101), "port": 8080, "timeout": 5}))
    wait_for(lambda: target.connections, "the connection arrives")
    asking.close()
    assert is_cut(target.connections[0])
    listener = machine.client.listen(7563)
    caller = outside(network.address(50), machine.settings.address, 7563)
    wait_for(lambda: machine.control.status()["connections"], "the connection is accepted")
    listener.close()
    assert is_cut(caller)
    assert machine.control.status()["connections"] == []
