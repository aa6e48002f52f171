# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness's votes: one voter with one durable record for each pair.

Votes of one pair are decided one after the other. A decision that changes nothing on the disk (a renewal) is made at once in the
event loop; one that has to be stored is made again in a thread, where it may wait for the disk while other pairs go on.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import json
import time
import typing as t
import uuid

from ..errors import NodeError
from ..guard.protocol.terms import WITNESS, BadMessage, Record
from ..guard.protocol.voter import Voter, new_record
from ..host.base import Host, HostError
from ..store import make_folder, read_json, write_bytes
from . import settings
from .settings import PairDefinition

#: Threads that wait for the disk. After a power cut of a site all its pairs vote at once; more threads would only keep each other waiting.
DISK_THREADS = 4
_MAX_TTL = 60.0


class _NeedsDisk(Exception):
    """The decision has to be stored, which is not done in the event loop."""


class Entry:
    """One pair: its definition and its voter."""

    def __init__(self, host: Host, definition: PairDefinition, fingerprint: bytes, nonce: str, log: t.Callable[[str], None]):
        self.definition = definition
        self.fingerprint = fingerprint
        self.lock = asyncio.Lock()
        self.may_write = True  # while it is loaded, and in the disk's threads
        self.removed = False
        self._ttls: dict[str, float] = {}  # what the nodes say that they use
        self._host = host
        self._log = log
        self._path = settings.votes_file(definition.pair)
        record, stored = self._read()
        if not stored:
            self._store(record)
        self.voter = Voter(WITNESS, record, definition.timing, self._store, host.monotonic(), nonce,
                           generation=host.vm_generation, log=lambda text: log(f"pair {definition.pair}: {text}"))
        self.may_write = False

    def change(self, definition: PairDefinition, fingerprint: bytes) -> bool:
        """Take over another definition of the same pair; false when it is about other voters and needs a new record."""
        if (definition.recorder_id, definition.voters) != (self.definition.recorder_id, self.definition.voters):
            return False
        self.definition, self.fingerprint = definition, fingerprint
        self._set_ttl()
        return True

    def heard_ttl(self, node: str, ttl: t.Any) -> None:
        """A node says for how long it counts a vote. While the three disagree, this voter is bound for the longest of them."""
        if isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and 0 < ttl <= _MAX_TTL and self._ttls.get(node) != ttl:
            self._ttls[node] = float(ttl)
            self._set_ttl()

    def _set_ttl(self) -> None:
        timing = self.definition.timing
        self.voter.timing = dataclasses.replace(timing, ttl=max(timing.ttl, *self._ttls.values(), 0.0))

    def decide(self, sender: str, message: dict) -> dict:
        return self.voter.asked(sender, message, self._host.monotonic())

    def decide_with_disk(self, sender: str, message: dict) -> dict:
        self.may_write = True
        try:
            return self.decide(sender, message)
        finally:
            self.may_write = False

    def _store(self, record: Record) -> None:
        if not self.may_write:
            raise _NeedsDisk
        # Not `write_json`: its indented text takes ten times as long to make, and the event loop waits for that.
        document = {**_about(self.definition), "record": record.to_document()}
        write_bytes(self._host, self._path, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")

    def _read(self) -> tuple[Record, bool]:
        """The record on the disk, or a new one: a voter whose record is lost or damaged has to be readmitted by the nodes."""
        pair, reason = self.definition.pair, "new pair"
        try:
            document = read_json(self._host, self._path)
            if isinstance(document, dict) and {name: document.get(name) for name in _about(self.definition)} == _about(self.definition):
                return Record.parse(document.get("record")), True
            if document is not None:
                reason = f"the record was about other voters; it is kept as {self._set_aside()}"
        except (NodeError, BadMessage) as error:
            reason = f"the record was lost ({error}); the damaged file is kept as {self._set_aside()}"
        self._log(f"pair {pair}: {reason}; this voter waits for both nodes to admit it")
        return new_record(self.definition.voters, self._host.vm_generation(), reason=reason), False

    def _set_aside(self) -> str:
        path = self._host.path(self._path)
        aside = path.with_name(f"{path.name}.broken-{time.time_ns() // 1_000_000}")
        with contextlib.suppress(OSError):
            path.replace(aside)
        return aside.name


def _about(definition: PairDefinition) -> dict:
    """What a record belongs to: another recorder or another node of the same name must not inherit its votes."""
    return {"pair": definition.pair, "recorder_id": definition.recorder_id, "voters": list(definition.voters)}


class Book:
    """All pairs of this witness. `added` and `removed` are called in the event loop."""

    def __init__(self, host: Host, log: t.Callable[[str], None], added: t.Callable[[PairDefinition], None] = lambda _definition: None,
                 removed: t.Callable[[PairDefinition], None] = lambda _definition: None):
        self.entries: dict[str, Entry] = {}
        self.problems: dict[str, str] = {}  # pairs whose files cannot be used
        self.generation = 0  # counts changes of what is trusted
        self._host = host
        self._log = log
        self._added, self._removed = added, removed
        self._nonce = uuid.uuid4().hex
        self._by_certificate: dict[bytes, tuple[Entry, str]] = {}
        self._disk = concurrent.futures.ThreadPoolExecutor(DISK_THREADS, thread_name_prefix="votes")
        self._loading = asyncio.Lock()

    def close(self) -> None:
        self._disk.shutdown(wait=True, cancel_futures=True)

    def owner(self, certificate: bytes) -> tuple[Entry, str] | None:
        """The pair and the node that this certificate stands for."""
        return self._by_certificate.get(certificate)

    def certificates(self) -> list[bytes]:
        return list(self._by_certificate)

    async def asked(self, entry: Entry, sender: str, message: dict) -> dict:
        """The voter's answer. Raises `NodeError` for what cannot be answered; then nothing was voted."""
        pair = entry.definition.pair
        try:
            async with entry.lock:
                if entry.removed:
                    raise NodeError("wrong_pair", f"This witness has no pair {pair} any more.")
                try:
                    return entry.decide(sender, message)
                except _NeedsDisk:
                    work = asyncio.get_running_loop().run_in_executor(self._disk, entry.decide_with_disk, sender, message)
                    # A caller that gives up must not let the next vote of this pair begin before this one has ended.
                    return await _to_its_end(work)
        except BadMessage as error:
            raise NodeError("bad_request", f"The message is malformed: {error}.") from None
        except HostError as error:
            raise NodeError("machine", f"The witness's machine refused: {error}.") from None

    # -- which pairs there are -----------------------------------------------------------------------------------------
    async def reload(self) -> bool:
        """Take over what changed in the files. True when something did."""
        async with self._loading:
            loop = asyncio.get_running_loop()
            names = await loop.run_in_executor(self._disk, settings.pair_names, self._host)
            changed = False
            for pair in sorted({*self.entries, *names, *self.problems}):
                changed |= await self._reload(pair, pair in names)
            if changed:
                self._index()
            return changed

    async def _reload(self, pair: str, exists: bool) -> bool:
        known = self.entries.get(pair)
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(self._disk, self._look, pair, known) if exists else None
        except (NodeError, HostError) as error:
            # What is known goes on: a file that is damaged now must not take the pair's third vote away.
            if self.problems.get(pair) != str(error):
                self.problems[pair] = str(error)
                self._log(f"pair {pair} is not taken over: {error}")
            return False
        self.problems.pop(pair, None)
        if exists and loaded is None:
            return False
        if known is not None and loaded is not None and known.change(*loaded):
            return True
        if known is not None:
            await self._drop(known)
        if loaded is None:
            return known is not None
        return await self._take_over(*loaded) or known is not None

    def _look(self, pair: str, known: Entry | None) -> tuple[PairDefinition, bytes] | None:
        """The definition in the file, None when it is the one that is known."""
        fingerprint = settings.fingerprint(self._host, pair)
        if fingerprint is None or (known is not None and fingerprint == known.fingerprint):
            return None
        if len(self.entries) >= settings.MAX_PAIRS and known is None:
            raise NodeError("too_many", f"a witness serves {settings.MAX_PAIRS} pairs at most")
        definition = settings.load_pair(self._host, pair)
        if definition is None:
            return None
        for node in definition.nodes:
            for certificate in node.certificates:
                other = self._by_certificate.get(certificate)
                if other is not None and other[0].definition.pair != pair:
                    raise NodeError("witness_config_invalid", f"the certificate of {node.name} belongs to pair {other[0].definition.pair}")
        return definition, fingerprint

    async def _take_over(self, definition: PairDefinition, fingerprint: bytes) -> bool:
        def make() -> Entry:
            make_folder(self._host, settings.VOTES_FOLDER)
            return Entry(self._host, definition, fingerprint, self._nonce, self._log)

        try:
            entry = await asyncio.get_running_loop().run_in_executor(self._disk, make)
        except Exception as error:  # noqa: BLE001 - one pair must not take the others' third vote away
            self.problems[definition.pair] = f"{type(error).__name__}: {error}"
            self._log(f"pair {definition.pair}: its record cannot be kept, so this witness does not vote: {error}")
            return False
        self.entries[definition.pair] = entry
        self._added(definition)
        return True

    async def _drop(self, entry: Entry) -> None:
        async with entry.lock:  # no vote of it is under way any more
            entry.removed = True
            self.entries.pop(entry.definition.pair, None)
        self._removed(entry.definition)

    def _index(self) -> None:
        self._by_certificate = {certificate: (entry, node.name) for entry in self.entries.values()
                                for node in entry.definition.nodes for certificate in node.certificates}
        self.generation += 1


async def _to_its_end(work: asyncio.Future) -> dict:
    while True:
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            if work.done():
                raise
            with contextlib.suppress(Exception):
                await asyncio.wait([work])
            raise
