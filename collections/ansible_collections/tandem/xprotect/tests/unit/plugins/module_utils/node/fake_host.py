# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine in memory over a temporary folder, with real sockets on loopback addresses, for tests of the node runtime.

Several machines live in one process; each has addresses of its own out of 127.0.0.0/8. The fence is simulated where it
matters here: connections to the Management Server fail while the fence stands and no permit is open. `isolate` cuts a
machine off from given addresses, `FakeRecorder` writes tables and answers GetRecorderStatus. A machine's clocks can be moved
(`skew`, `wall_skew`), so that no test has to wait for a lease to run out.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import random
import shutil
import socket
import threading
import time
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.node import settings as node_settings
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.service import Resident
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host import paths
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import (
    Drive, FenceRules, Host, HostError, ServiceStatus)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.recorder_local import CONFIG_FILE, INSTALLATION_KEY
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_fuse import FakeFuseProcess, FakeGuard

RECORDER = "Milestone XProtect Recording Server"
BANK = "444B824B-AAAA-4AAA-8AAA-0123456789AB"
DEVICE = "b01d0219-0000-4000-8000-{:012d}"
COLUMN = "7ea9b53b-749e-420b-891b-43b238f6144e"


class FakePermit:
    def __init__(self, host: FakeHost):
        self._host = host

    def close(self) -> None:
        with contextlib.suppress(ValueError):
            self._host.permits.remove(self)
            self._host.note("permit closed")


class FakeHost(Host):
    def __init__(self, root: pathlib.Path, name: str, static_addresses: t.Iterable[str]):
        self.root = root
        self.name = name
        self.held: dict[str, float | None] = dict.fromkeys(static_addresses)
        self.registry: dict[tuple[str, str], str] = {}
        self.services: dict[str, dict] = {}
        self.rules: FenceRules | None = None
        self.permits: list[FakePermit] = []
        self.management: set[str] = set()  # addresses that the fence is about
        self._isolated: set[str] = set()
        self._connections: list[tuple[int, tuple, tuple]] = []
        self.free_bytes = 10 ** 12
        self.restricted: list[pathlib.Path] = []
        self.fail: dict[str, Exception] = {}  # method name -> what it raises
        self.skew = 0.0  # seconds by which both clocks of this machine are ahead
        self.wall_skew = 0.0  # and by which its wall clock alone is
        self.generation = ""  # of its virtual machine
        self.programs: list[list[str]] = []  # that were run
        self.program_result: tuple[int, str] = (0, "")
        self.fuse: FakeFuseProcess | None = None
        self.on_service: t.Callable[[str, str], None] = lambda _name, _state: None
        self.journal: list[tuple[float, str]] = []
        for drive in ("C", "D"):
            (root / drive).mkdir(parents=True, exist_ok=True)

    def note(self, what: str) -> None:
        self.journal.append((time.monotonic(), what))

    def at(self, what: str) -> float:
        return next(moment for moment, noted in reversed(self.journal) if noted == what)

    def _perhaps_fail(self, method: str) -> None:
        if method in self.fail:
            raise self.fail[method]

    # -- clocks
    def monotonic(self) -> float:
        return time.monotonic() + self.skew

    def wall(self) -> float:
        return time.time() + self.skew + self.wall_skew

    def vm_generation(self) -> str:
        self._perhaps_fail("vm_generation")
        return self.generation

    # -- processes
    def run_program(self, command: list[str], timeout: float) -> tuple[int, str]:
        self.programs.append(command)
        self.note(f"run {command[0]}")
        self._perhaps_fail("run_program")
        return self.program_result

    def start_runtime(self, arguments: list[str]) -> FakeFuseProcess:
        """A fuse in a thread; killing the guard is only noted here, because its "process" is that of the tests."""
        self._perhaps_fail("start_runtime")
        assert arguments == ["fuse"]
        self.fuse = FakeFuseProcess(self, FakeGuard(lambda: self.note("guard killed")))
        return self.fuse

    # -- the machine
    def machine_name(self) -> str:
        return self.name

    def os_name(self) -> str:
        return "Windows Server 2022 (fake)"

    def time_zone(self) -> str:
        return "Romance Standard Time"

    def drives(self) -> list[Drive]:
        return [Drive("C:", 2 * 10 ** 12, self.free_bytes), Drive("D:", 2 * 10 ** 12, self.free_bytes)]

    def path(self, windows_path: str) -> pathlib.Path:
        drive, parts = paths.split(windows_path)
        return self.root.joinpath(drive[0], *parts)

    def replace_file(self, new: pathlib.Path, target: pathlib.Path) -> None:
        self._perhaps_fail("replace_file")
        os.replace(new, target)

    def restrict_to_administrators(self, path: pathlib.Path) -> None:
        self.restricted.append(path)

    def inherit_permissions(self, path: pathlib.Path) -> None:
        self._perhaps_fail("inherit_permissions")

    def registry_read(self, key: str, name: str) -> str | None:
        return self.registry.get((key, name))

    def registry_write(self, key: str, name: str, value: str) -> None:
        self.registry[key, name] = value

    # -- services
    def service(self, name: str) -> ServiceStatus:
        found = self.services.get(name)
        if found is None:
            return ServiceStatus(name, "missing", "unknown")
        return ServiceStatus(name, found["state"], found["start_type"], found.get("pid"), found.get("command"))

    def service_start(self, name: str, timeout: float = 90.0) -> None:
        self._set_state(name, "running")

    def service_stop(self, name: str, timeout: float = 90.0) -> None:
        self._set_state(name, "stopped")

    def _set_state(self, name: str, state: str) -> None:
        if name not in self.services:
            raise HostError(f"there is no service {name}", 1060)
        if self.services[name]["state"] != state:
            self.services[name].update(state=state, pid=random.randrange(1000, 9999) if state == "running" else None)
            self.note(f"{name} {state}")
            self.on_service(name, state)

    def service_configure(self, name: str, *, start_type: str) -> None:
        self.services[name]["start_type"] = start_type

    def service_install(self, name: str, display: str, command: str, *, start_type: str = "auto",
                        restart_after: float | None = 5.0) -> None:
        self.services.setdefault(name, {"state": "stopped"}).update(command=command, start_type=start_type, restart_after=restart_after)

    def service_remove(self, name: str) -> None:
        self.services.pop(name, None)

    def run_service(self, name: str, body: t.Callable[[t.Callable[[float], bool]], None]) -> None:
        raise HostError("tests run the body themselves")

    # -- network
    def addresses(self) -> dict[str, float | None]:
        now = self.monotonic()
        for address, until in list(self.held.items()):
            if until is not None and until <= now:
                del self.held[address]
        return {address: None if until is None else until - now for address, until in self.held.items()}

    def hold_address(self, address: str, prefix: int, lifetime: float, interface: str | None = None) -> None:
        self._perhaps_fail("hold_address")
        self.held[address] = self.monotonic() + lifetime

    def drop_address(self, address: str) -> None:
        self.held.pop(address, None)

    def listen(self, address: str, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
            listener.listen(16)
        except OSError:
            listener.close()
            raise
        return listener

    def accept(self, listener: socket.socket, timeout: float) -> tuple[socket.socket, str] | None:
        listener.settimeout(timeout)
        try:
            connection, peer = listener.accept()
        except TimeoutError:
            return None
        self._remember(connection)
        return connection, peer[0]

    @property
    def isolated(self) -> set[str]:
        """Addresses that cannot be reached. Setting it cuts connections that exist."""
        return self._isolated

    @isolated.setter
    def isolated(self, addresses: set[str]) -> None:
        self._isolated = addresses
        for number, local, remote in list(self._connections):
            if remote[0] in addresses:
                with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as same:
                    if (same.getsockname(), same.getpeername()) == (local, remote):
                        same.shutdown(socket.SHUT_RDWR)

    def _remember(self, connection: socket.socket) -> socket.socket:
        self._connections = [*self._connections[-50:], (connection.fileno(), connection.getsockname(), connection.getpeername())]
        return connection

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        fenced = address in self.management and self.rules is not None and not self.permits
        if address in self.isolated or fenced:
            raise TimeoutError(f"{address} cannot be reached")
        return self._remember(socket.create_connection((address, port), timeout, source_address=(next(iter(self.held)), 0)))

    # -- fence
    def fence_rules(self) -> FenceRules | None:
        return self.rules

    def fence_install(self, rules: FenceRules) -> None:
        self._perhaps_fail("fence_install")
        self.note("fence installed" if self.permits else "fence installed without permit")
        self.rules = rules

    def fence_remove(self) -> None:
        self.rules = None

    def open_permit(self, rules: FenceRules) -> FakePermit:
        self._perhaps_fail("open_permit")
        permit = FakePermit(self)
        self.permits.append(permit)
        self.note("permit opened")
        return permit

    def permit_open(self) -> bool:
        return bool(self.permits)


class FakeRecorder:
    """Writes `devices` open tables and answers GetRecorderStatus: attached when the fence lets it out."""

    def __init__(self, host: FakeHost, address: str, port: int, devices: int = 2):
        self.host = host
        self.tables = [host.path(f"D:\\MediaDatabase\\{BANK}\\{DEVICE.format(n)}\\{COLUMN}") for n in range(devices)]
        self.connected = True  # the Management Server would let it connect
        self.writing = True
        self.lock = threading.Lock()  # whoever has it sees no half a round of writing
        self._end = threading.Event()
        self._listener = host.listen(address, port)
        self._threads = [threading.Thread(target=self._write, daemon=True), threading.Thread(target=self._answer, daemon=True)]
        for thread in self._threads:
            thread.start()

    @property
    def running(self) -> bool:
        return self.host.services[RECORDER]["state"] == "running"

    @property
    def attached(self) -> bool:
        return self.connected and self.running and (self.host.rules is None or bool(self.host.permits))

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(5.0)
        self._listener.close()

    def _write(self) -> None:
        while not self._end.wait(0.1):
            with self.lock:
                if self.running and self.writing:
                    for table in self.tables:
                        table.mkdir(parents=True, exist_ok=True)
                        with open(table / "block0.blk", "ab") as file:
                            file.write(b"frame")

    def _answer(self) -> None:
        while not self._end.is_set():
            accepted = self.host.accept(self._listener, 0.1)
            if accepted is None:
                continue
            with accepted[0] as connection, contextlib.suppress(OSError):
                if not self.running:
                    continue
                connection.settimeout(2.0)
                request = b""
                while b"Envelope>" not in request:
                    request += connection.recv(4096) or b"Envelope>"
                words = ("Attached", "Connected") if self.attached else ("Detached", "Disconnected")
                body = ("<soap:Envelope><soap:Body><GetRecorderStatusResponse><GetRecorderStatusResult>"
                        f"<AttachState>{words[0]}</AttachState>"
                        f"<ConnectionState>{words[1]}</ConnectionState></GetRecorderStatusResult></GetRecorderStatusResponse>"
                        "</soap:Body></soap:Envelope>").encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def recorder_config(port: int, version: str = "25.1.0.2", identity: str = "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c") -> bytes:
    return (f'<?xml version="1.0" encoding="utf-8"?>\r\n<recorderconfig><version>{version}</version><recorder><id>{identity}</id>'
            "<displayname>REC-A</displayname><ClientRegistrationId>64fb052a-45a2-4ed9-9467-2241cb4b638e</ClientRegistrationId></recorder>"
            "<server><address>lab-ms</address><webapiport>9000</webapiport></server><webapi><port>9001</port></webapi>"
            "<database><database_default><path>D:\\MediaDatabase</path></database_default></database>"
            f'<webserver><host>rec-a</host><port>{port}</port><encryption enabled="false" certificateHash="" /></webserver>'
            "</recorderconfig>\r\n").encode()


class FakeNode:
    """One machine of a pair with its files, its recorder and, when started, its guard in a thread."""

    def __init__(self, root: pathlib.Path, document: dict, management: str, serving: bool, recorder_port: int):
        own = [document["address"]] + ([document["service_address"]["address"]] if serving else [])
        self.host = FakeHost(root, document["node"], own)
        self.host.management = {management}
        self.document = document
        self.settings = node_settings.parse(document)
        self.host.services[RECORDER] = {"state": "running", "start_type": "auto", "pid": 4711}
        self.host.registry[INSTALLATION_KEY, "MediaDBFolder"] = "D:\\MediaDatabase"
        self.host.path("D:\\MediaDatabase").mkdir()
        config = self.host.path(CONFIG_FILE)
        config.parent.mkdir(parents=True)
        config.write_bytes(recorder_config(recorder_port))
        store.make_folder(self.host, store.TLS_FOLDER)
        store.write_json(self.host, store.NODE_FILE, document)
        self.recorder = FakeRecorder(self.host, document["address"], recorder_port)
        self.resident: Resident | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def trust(self, certificate: str, key: str, partner: str, witness: str = "") -> None:
        for path, text in ((store.OWN_CERTIFICATE, certificate), (store.OWN_KEY, key), (store.PARTNER_CERTIFICATE, partner),
                           (store.WITNESS_CERTIFICATE, witness)):
            if text:
                store.write_bytes(self.host, path, text.encode())

    def configure(self, **fields: t.Any) -> None:
        """Other settings, for the next start of the guard."""
        self.document = {**self.document, **fields}
        store.write_json(self.host, store.NODE_FILE, self.document)
        self.settings = node_settings.parse(self.document)

    def start_guard(self) -> None:
        self._stop = threading.Event()
        self.resident = Resident(self.host, self.settings)
        self._thread = threading.Thread(target=self.resident.run, args=(self._stop.wait,), daemon=True)
        self._thread.start()
        wait_until(lambda: self.resident.server is not None and self.resident.server.listening.is_set(), "the guard listens")

    def stop_guard(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(15.0)
            assert not self._thread.is_alive(), "the guard did not end"
        self._thread = None

    def state_on_disk(self) -> dict:
        """The voter's record; `epoch` is its number only, `holder` whose it is."""
        record = store.read_json(self.host, store.GUARD_FOLDER + "\\state.json")["record"]
        return {**record, "epoch": record["epoch"][0], "holder": record["epoch"][1]}

    def log(self) -> str:
        return self.host.path(store.GUARD_FOLDER + "\\guard.log").read_text()

    def close(self) -> None:
        self.stop_guard()
        self.recorder.stop()


class FakePair:
    """Two nodes, a Management Server that only accepts connections, real certificates, a subnet of their own.

    `witness`: what `node.json` says of it; `fields`: more of node.json for both nodes.
    """

    def __init__(self, root: pathlib.Path, ttl: float = 4.0, witness: dict | None = None, **fields: t.Any):
        self.root = root
        subnet = f"127.{random.randrange(16, 250)}.{random.randrange(256)}"
        self.management = f"{subnet}.2"
        self._management_listener = socket.create_server((self.management, 0))
        self._management_thread = threading.Thread(target=self._manage, daemon=True)
        self._management_thread.start()
        tandem_port, recorder_port = _free_port(f"{subnet}.11"), _free_port(f"{subnet}.12")
        common = {"pair": "pair1", "recorder_id": "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c", "tandem_port": tandem_port,
                  "service_address": {"address": f"{subnet}.10", "prefix": 24, "interface": "LAN"},
                  "management_addresses": [self.management], "management_ports": [self._management_listener.getsockname()[1]],
                  "lease_ttl": ttl, "witness": witness, **fields}
        names = {"pair1-a": f"{subnet}.11", "pair1-b": f"{subnet}.12"}
        self.nodes: list[FakeNode] = []
        for name, partner in (("pair1-a", "pair1-b"), ("pair1-b", "pair1-a")):
            document = {**common, "node": name, "address": names[name], "partner": {"name": partner, "address": names[partner]}}
            self.nodes.append(FakeNode(root / name, document, self.management, name == "pair1-a", recorder_port))
        self.a, self.b = self.nodes
        self.service_address = f"{subnet}.10"
        self.witness_address = witness["address"] if witness else None
        (pem_a, key_a), (pem_b, key_b) = identity("pair1-a"), identity("pair1-b")
        self.a.trust(pem_a, key_a, pem_b)
        self.b.trust(pem_b, key_b, pem_a)

    def _manage(self) -> None:
        """The Management Server can be reached, and says nothing."""
        with contextlib.suppress(OSError):
            while True:
                self._management_listener.accept()[0].close()

    def isolate(self, node: FakeNode, management: bool = False, witness: bool = False) -> None:
        """Cut the two nodes apart, and with `management` and `witness` the given one off these as well."""
        other = self.b if node is self.a else self.a
        cut = {other.settings.address} | ({self.management} if management else set())
        node.host.isolated = cut | ({self.witness_address} if witness and self.witness_address else set())
        other.host.isolated = {node.settings.address}

    def heal(self) -> None:
        for node in self.nodes:
            node.host.isolated = set()

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        with contextlib.suppress(OSError):
            self._management_listener.shutdown(socket.SHUT_RDWR)
        self._management_thread.join(5.0)
        self._management_listener.close()
        shutil.rmtree(self.root, ignore_errors=True)


@functools.cache
def identity(name: str) -> tuple[str, str]:
    """Certificate and key. Made once: what stands in them does not matter to any test."""
    return certificates.create(name, "127.0.0.1")


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as probe:
        return probe.getsockname()[1]


def wait_until(condition: t.Callable[[], t.Any], what: str, timeout: float = 30.0) -> t.Any:
    """The first true value of the condition; an assertion error that names it otherwise."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"did not happen within {timeout} s: {what}"
        time.sleep(0.01)
