# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A running witness over a temporary folder, and nodes that vote with it over real TLS."""
from __future__ import annotations

import contextlib
import functools
import hashlib
import http.client
import json
import pathlib
import random
import socket
import ssl
import threading
import time
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import WITNESS, Epoch, Header, Timing
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import STATUS, Voter, new_record
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.posix import HOME_VARIABLE, PosixHost
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import witness as verbs
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import settings
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness.service import Resident
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import wait_until

RECORDER = "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c"
TOKEN = "a token for tests"
HEALTHY = {"state": "headless", "epoch": 1, "voting": True, "recorder": {"service_state": "running", "recording": True}}


class WitnessHost(PosixHost):
    """The Linux host with a generation of its virtual machine, and a disk that can fail."""

    generation = ""
    disk_fails = False

    def vm_generation(self) -> str:
        return self.generation

    def replace_file(self, new: pathlib.Path, target: pathlib.Path) -> None:
        if self.disk_fails:
            raise OSError(28, "No space left on device")
        super().replace_file(new, target)


@functools.cache
def identity(name: str) -> tuple[str, str]:
    """Certificate and key. Made once: what they are does not matter to any test."""
    return certificates.create(name, "127.0.0.1")


class TestWitness:
    __test__ = False

    def __init__(self, folder: pathlib.Path, monkeypatch: t.Any):
        monkeypatch.setenv(HOME_VARIABLE, str(folder))
        self.folder = folder
        self.host = WitnessHost()
        self.address = f"127.{random.randrange(16, 250)}.{random.randrange(256)}.20"
        self.port, self.api_port = _free_port(self.address), _free_port(self.address)
        self.resident: Resident | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.nodes: list[Node] = []
        certificate, key = identity("witness-1")
        self.config = {"name": "witness-1", "address": self.address, "port": self.port, "api_port": self.api_port,
                       "token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest()}
        verbs.configure(self.host, {"config": self.config, "tls": {"certificate": certificate, "key": key}}, None)

    def start(self) -> Resident:
        self._stop = threading.Event()
        resident = self.resident = Resident(self.host, settings.require(self.host))
        self._thread = threading.Thread(target=resident.run, args=(self._stop.wait,), daemon=True)
        self._thread.start()
        wait_until(lambda: resident.ready.is_set() and resident.votes.port.listening.is_set(), "the witness listens")
        return resident

    def stop(self) -> None:
        for node in self.nodes:
            node.close()
        self._stop.set()
        if self._thread is not None:
            self._thread.join(15.0)
            assert not self._thread.is_alive(), "the witness did not end"
        self._thread = None

    def register(self, pair: str = "pair1", **changes: t.Any) -> tuple[Node, Node]:
        """The pair's two nodes, known to the witness."""
        nodes = Node(self, pair, f"{pair}-a"), Node(self, pair, f"{pair}-b")
        verbs.pair(self.host, {"pair": document(pair, **changes)}, None)
        self.nodes += nodes
        return nodes

    def admitted(self, pair: str = "pair1") -> tuple[Node, Node]:
        """A pair whose three voters all vote."""
        a, b = self.register(pair)
        for _round in range(3):
            a.ask()
            b.ask()
            a.tell(b)
            b.tell(a)
        assert a.ask()["result"]["header"]["voting"] and a.voter.record.voting and b.voter.record.voting
        b.ask()
        return a, b

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "witness" / "witness.log").read_text()
        return ""

    def votes(self, pair: str = "pair1") -> dict:
        return json.loads((self.folder / "witness" / "votes" / f"{pair}.json").read_text())["record"]

    def api(self, path: str, token: str | None = TOKEN, method: str = "GET") -> tuple[int, dict]:
        connection = self.reader()
        connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        connection.close()
        return answer.status, found

    def reader(self) -> http.client.HTTPSConnection:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=identity("witness-1")[0])
        return http.client.HTTPSConnection(self.address, self.api_port, timeout=20, context=context)

    def events(self, after: int = 0) -> list[dict]:
        return self.api(f"/v1/events?after={after}")[1]["events"]

    def kinds(self, *leave_out: str) -> list[str]:
        return [event["kind"] for event in self.events() if event["kind"] not in leave_out]


class Node:
    """One node of a pair: a voter of its own, and one connection."""

    def __init__(self, witness: TestWitness, pair: str, name: str):
        self.witness, self.pair, self.name = witness, pair, name
        self.voter = Voter(name, new_record([f"{pair}-a", f"{pair}-b", WITNESS]), Timing(4.0), lambda record: None, time.monotonic(), name)
        self.report: dict | None = dict(HEALTHY)
        self._sock: ssl.SSLSocket | None = None

    def connect(self, certificate: tuple[str, str] | None = None) -> ssl.SSLSocket:
        pem, key = certificate or identity(self.name)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=identity("witness-1")[0])
        with _both(pem, key) as file:
            context.load_cert_chain(file)
        return context.wrap_socket(socket.create_connection((self.witness.address, self.witness.port), 5))

    def message(self, op: str = STATUS, epoch: Epoch | None = None, **fields: t.Any) -> dict:
        told = {} if epoch is None else {"epoch": epoch.to_document()}
        return {"pair": self.pair, "node": self.name, "op": op, "header": self.voter.header(WITNESS, time.monotonic()),
                "report": self.report, **told, **fields}

    def send(self, message: dict) -> dict:
        """One request over the kept connection."""
        if self._sock is None:
            self._sock = self.connect()
        wire.send(self._sock, message)
        return wire.receive(self._sock)

    def ask(self, op: str = STATUS, epoch: Epoch | None = None, **fields: t.Any) -> dict:
        answer = self.send(self.message(op, epoch, **fields))
        if answer["ok"]:
            self.voter.heard(WITNESS, Header.parse(answer["result"]["header"]), time.monotonic())
        return answer

    def vote(self, op: str, epoch: Epoch, **fields: t.Any) -> dict:
        return self.ask(op, epoch, **fields)["result"]["vote"]

    def epoch(self, number: int) -> Epoch:
        return Epoch(number, self.name, self.voter.record.incarnation)

    def tell(self, other: Node) -> None:
        other.voter.heard(self.name, Header.parse(self.voter.header(other.name, time.monotonic())), time.monotonic())

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()


def document(pair: str = "pair1", **changes: t.Any) -> dict:
    return {"pair": pair, "recorder_id": RECORDER, "nodes": [{"name": name, "certificate": identity(name)[0]}
                                                             for name in (f"{pair}-a", f"{pair}-b")],
            "voters": [f"{pair}-a", f"{pair}-b", WITNESS], "lease_ttl": 4.0, "lease_drift": 0.01, **changes}


@contextlib.contextmanager
def _both(pem: str, key: str) -> t.Iterator[str]:
    import tempfile
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(pem + key)
        file.flush()
        yield file.name


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as probe:
        return probe.getsockname()[1]
