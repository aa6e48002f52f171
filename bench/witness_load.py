#!/usr/bin/env python3
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One witness, many pairs: how late are renewals answered, and what does it take?

``python bench/witness_load.py --out build/bench/witness.json [--pairs 500] [--seconds 30]``

The witness is the shipped program as a process of its own, on a real disk, with real TLS and certificates of their own for all nodes.
The nodes are the product's own voters, two a pair, in a second process: the holder renews once an interval, the other node tells how it
is, both with a report of realistic size. Half-way all pairs change over within five seconds, which makes the witness store two
decisions for each of them. A message is late by the time from when it was due until its answer was there. The thousand nodes share the
machine with the witness here, so their own delay is in that; it is also given by itself (`nodes_own_delay`).
"""

from __future__ import annotations

import argparse
import asyncio
import asyncio.sslproto
import collections
import json
import os
import pathlib
import random
import signal
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "collections"))
from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build, certificates  # noqa: E402
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import (  # noqa: E402
    WITNESS, Epoch, Header, Timing)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import (  # noqa: E402
    GRANT, RELEASE, RENEW, STATUS, Voter, new_record)

# A thousand clients in one process: asyncio's quarter of a mebibyte for each is not what is measured.
asyncio.sslproto.SSLProtocol.max_size = 32 * 1024  # type: ignore[attr-defined]

CHANGE_OVER_SECONDS = 5.0
ADDRESS, PORT, API_PORT = "127.0.0.1", 21444, 21445
RECORDER = "f9dc2bcd-faea-4138-bf5a-{:012d}"
REPORT = {
    "state": "headless", "epoch": 1, "claim": "none", "busy": False, "voting": True, "lease": {"ttl": 8.0, "margin": 1.66},
    "recorder": {"service_state": "running", "attach_state": "Attached", "devices": 64, "writing": 64, "recording": True,
                 "known_devices": [f"b01d0219-0000-4000-8000-{number:012d}" for number in range(64)]},
    "health": {"score": 100, "causes": [], "serving_fit": True}, "maintenance": None, "runtime_version": "0.1.0",
}
# Encoded once: what making them costs the nodes is not what is measured.
REPORTS = {state: b',"report":' + json.dumps({**REPORT, "state": state}, separators=(",", ":")).encode() + b"}"
           for state in ("attached", "headless")}


class Node:
    """One node: a voter, one connection, one message at a time."""

    def __init__(self, pair: Pair, name: str):
        self.pair, self.name = pair, name
        self.certificate, self.key = certificates.create(name, ADDRESS)
        self.voter = Voter(name, new_record(pair.voters), pair.timing, lambda record: None, time.monotonic(), name)
        self._lock = asyncio.Lock()

    async def connect(self, trusted: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=trusted)
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(self.certificate + self.key)
            file.flush()
            context.load_cert_chain(file.name)
        while True:
            try:
                self.reader, self.writer = await asyncio.open_connection(ADDRESS, PORT, ssl=context)
                return
            except OSError:  # all nodes have one address here, and the witness bounds how many handshakes one address has under way
                await asyncio.sleep(0.1)

    async def ask(self, op: str = STATUS, epoch: Epoch | None = None, **fields: t.Any) -> dict:
        async with self._lock:
            state = "attached" if self.pair.holder is self and self.pair.number else "headless"
            header = self.voter.header(WITNESS, time.monotonic())
            message = {"pair": self.pair.name, "node": self.name, "op": op, "header": header, **fields}
            if epoch is not None:
                message["epoch"] = epoch.to_document()
            body = json.dumps(message, separators=(",", ":")).encode()[:-1] + REPORTS[state]
            self.writer.write(len(body).to_bytes(4, "big") + body)
            length = int.from_bytes(await self.reader.readexactly(4), "big")
            answer = json.loads(await self.reader.readexactly(length))
        if not answer["ok"]:
            raise RuntimeError(f"{self.name}: {op} was refused: {answer['error']}")
        self.voter.heard(WITNESS, Header.parse(answer["result"]["header"]), time.monotonic())
        return answer["result"]["vote"]

    def epoch(self, number: int) -> Epoch:
        return Epoch(number, self.name, self.voter.record.incarnation)


class Pair:
    def __init__(self, number: int, ttl: float):
        self.name = f"pair{number:04d}"
        self.timing = Timing(ttl)
        self.voters = [f"{self.name}-a", f"{self.name}-b", WITNESS]
        self.nodes = [Node(self, name) for name in self.voters[:2]]
        self.holder = self.nodes[0]
        self.number = 0
        self.changing = False  # a holder that has released renews no more
        self.recorder = RECORDER.format(number)

    @property
    def other(self) -> Node:
        return self.nodes[1] if self.holder is self.nodes[0] else self.nodes[0]

    def document(self) -> dict:
        return {"pair": self.name, "recorder_id": self.recorder, "voters": self.voters, "lease_ttl": self.timing.ttl, "lease_drift": 0.01,
                "nodes": [{"name": node.name, "certificate": node.certificate} for node in self.nodes]}

    async def begin(self) -> None:
        """All three voters admit each other, then the first epoch."""
        a, b = self.nodes
        for _round in range(3):
            await a.ask()
            await b.ask()
            for one, another in ((a, b), (b, a)):
                now = time.monotonic()
                another.voter.heard(one.name, Header.parse(one.voter.header(another.name, now)), now)
        await self._take(self.holder)

    async def change_over(self) -> float:
        """Release and grant, as in a planned switchover; seconds for the two."""
        began = time.monotonic()
        successor = self.other
        self.changing = True
        vote = await self.holder.ask(RELEASE, self.holder.epoch(self.number), successor=successor.name)
        if not vote["granted"]:
            raise RuntimeError(f"{self.name}: the release was refused: {vote}")
        await self._take(successor)
        self.changing = False
        return time.monotonic() - began

    async def _take(self, node: Node) -> None:
        await node.ask()  # a fresh stamp
        vote = await node.ask(GRANT, node.epoch(self.number + 1))
        if not vote["granted"]:
            raise RuntimeError(f"{self.name}: the vote was refused: {vote}")
        self.number += 1
        self.holder = node


class Load:
    def __init__(self, pairs: list[Pair], seconds: float):
        self.pairs, self.seconds = pairs, seconds
        self.interval = pairs[0].timing.interval
        self.renewals: list[float] = []
        self.reports: list[float] = []
        self.own: list[float] = []
        self.refused: collections.Counter[str] = collections.Counter()

    async def run(self) -> dict:
        until = time.monotonic() + self.seconds
        tasks = [asyncio.create_task(self._beat(pair, node, until)) for pair in self.pairs for node in pair.nodes]
        await asyncio.sleep(self.seconds / 2)
        changes = await asyncio.gather(*(self._change_over(pair) for pair in self.pairs))
        await asyncio.gather(*tasks)
        return {"renewals": spread(self.renewals), "reports": spread(self.reports), "change_over": spread(list(changes)),
                "nodes_own_delay": spread(self.own), "refused_renewals": dict(self.refused),
                "late_by_more_than_an_interval": sum(value > self.interval for value in self.renewals)}

    async def _beat(self, pair: Pair, node: Node, until: float) -> None:
        due = time.monotonic() + random.random() * self.interval
        await asyncio.sleep(due - time.monotonic())
        await node.ask()  # a vote wants a fresh sign that answers arrive
        due += self.interval
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self.own.append(time.monotonic() - due)
            holds, number = pair.holder is node and not pair.changing, pair.number
            vote = await (node.ask(RENEW, node.epoch(number), granted=True) if holds else node.ask())
            (self.renewals if holds else self.reports).append(time.monotonic() - due)
            if holds and not vote["granted"] and number == pair.number and not pair.changing:
                self.refused[vote["code"]] += 1
            due += self.interval

    async def _change_over(self, pair: Pair) -> float:
        await asyncio.sleep(CHANGE_OVER_SECONDS * random.random())
        return await pair.change_over()


def spread(values: list[float]) -> dict:
    values = sorted(values)
    at = lambda share: round(values[min(len(values) - 1, int(share * len(values)))], 4)  # noqa: E731
    return {"count": len(values), "median": round(statistics.median(values), 4), "p95": at(0.95), "p99": at(0.99), "max": at(1.0)}


class Witness:
    """The shipped program, its folder on a real disk."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.certificate, key = certificates.create("witness-1", ADDRESS)
        archive = folder / "node.pyz"
        archive.write_bytes(_runtime_build.build())
        self._command = [sys.executable, "-I", "-B", str(archive)]
        self._environment = {name: value for name, value in os.environ.items() if name != "TANDEM_NODE_HOST"} | {
            "TANDEM_HOME": str(folder / "home")}
        self.call("witness.configure", {"config": {"name": "witness-1", "address": ADDRESS, "port": PORT, "api_port": API_PORT},
                                        "tls": {"certificate": self.certificate, "key": key}})

    def call(self, verb: str, request: dict) -> dict:
        done = subprocess.run([*self._command, verb], input=json.dumps(request).encode(), capture_output=True, env=self._environment,
                              timeout=60, check=False)
        answer = json.loads(done.stdout.splitlines()[-1])
        if not answer["ok"]:
            raise RuntimeError(answer["error"])
        return answer["result"]

    def register(self, pairs: list[Pair]) -> None:
        """As `witness.pair` leaves it; the verb itself takes a process for each pair."""
        for pair in pairs:
            (self.folder / "home" / "witness" / "pairs" / f"{pair.name}.json").write_text(json.dumps(pair.document()))

    def start(self) -> None:
        self.process = subprocess.Popen([*self._command, "witness"], env=self._environment, stdout=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while self.call("witness.status", {})["service"] is None:
            if time.monotonic() > limit or self.process.poll() is not None:
                raise RuntimeError(f"the witness did not start: {(self.folder / 'home/witness/witness.log').read_text()[-2000:]}")
            time.sleep(0.1)

    def memory_mib(self, name: str) -> float:
        lines = pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return round(next(int(line.split()[1]) for line in lines if line.startswith(name + ":")) / 1024, 1)

    def cpu_seconds(self) -> float:
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


async def in_groups(work: list[t.Coroutine], size: int = 32) -> None:
    gate = asyncio.Semaphore(size)

    async def one(item: t.Coroutine) -> None:
        async with gate:
            await item
    await asyncio.gather(*map(one, work))


async def measure(witness: Witness, pairs: list[Pair], seconds: float) -> dict:
    began = time.monotonic()
    await in_groups([node.connect(witness.certificate) for pair in pairs for node in pair.nodes])
    connected = time.monotonic()
    await in_groups([pair.begin() for pair in pairs])
    begun = time.monotonic()
    memory, cpu = witness.memory_mib("VmRSS"), witness.cpu_seconds()
    load = Load(pairs, seconds)
    found = await load.run()
    cpu = witness.cpu_seconds() - cpu
    service = witness.call("witness.status", {})["service"]
    for pair in pairs:
        for node in pair.nodes:
            node.writer.close()
    return {"connect_seconds": round(connected - began, 2), "first_epochs_seconds": round(begun - connected, 2), **found,
            "memory_mib": {"before": memory, "after": witness.memory_mib("VmRSS"), "peak": witness.memory_mib("VmHWM")},
            "cpu_share_of_one_core": round(cpu / seconds, 3), "states": service["states"],
            "look_late_max": service["latest_look_late"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--ttl", type=float, default=8.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tandem-witness-") as folder:
        witness = Witness(pathlib.Path(folder))
        pairs = [Pair(number, options.ttl) for number in range(1, options.pairs + 1)]
        witness.register(pairs)
        witness.start()
        try:
            found = asyncio.run(measure(witness, pairs, options.seconds))
        finally:
            witness.stop()
    late = found["late_by_more_than_an_interval"]
    result = {"name": "witness_pairs", "value": options.pairs, "unit": "pairs", "interval": pairs[0].timing.interval,
              "passed": late == 0 and not found["refused_renewals"], **found}
    text = json.dumps(result, indent=2)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n", encoding="utf-8")
    if not result["passed"]:
        sys.exit(f"{late} renewals were late by more than an interval, refused were: {found['refused_renewals'] or 'none'}")


if __name__ == "__main__":
    main()
