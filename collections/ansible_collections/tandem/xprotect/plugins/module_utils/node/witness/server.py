# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness's Tandem port: nodes of its pairs ask for votes and tell how they are; every node speaks for its own pair only.

A connection whose certificate was exchanged meanwhile is closed. A peer that asks too often is answered more slowly, which costs
nobody else anything. The witness's own certificate stands for a verb on its machine.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import traceback
import typing as t

from ..errors import NodeError
from ..guard import wire
from ..host.base import Host
from . import settings
from .book import Book, Entry
from .channel import Channel
from .port import Log, Port
from .watch import Watch

IDLE_TIMEOUT = 60.0
FRAME_TIMEOUT = 10.0
WRITE_TIMEOUT = 10.0
MAX_FRAME = 256 * 1024  # a node's report; smaller than the guards' own limit, because there are a thousand nodes
RATE, BURST = 50.0, 100.0  # messages a second of one connection
PER_NODE = 4  # connections of one node: the oldest one gives way


class Identity:
    """This machine's certificate and key, and TLS contexts that trust exactly the certificates of now."""

    def __init__(self, host: Host, book: Book):
        self._host = host
        self._book = book
        self._made_for = -1
        self._context: ssl.SSLContext | None = None
        self.own = settings.own_certificate(host)

    def nodes(self) -> ssl.SSLContext:
        if self._context is None or self._made_for != self._book.generation:
            context = self._plain()
            context.verify_mode = ssl.CERT_REQUIRED
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=b"".join([self.own, *self._book.certificates()]))
            self._context, self._made_for = context, self._book.generation
        return self._context

    def readers(self) -> ssl.SSLContext:
        return self._plain()

    def _plain(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.num_tickets = 0  # connections are kept, so nobody resumes a session
        context.options |= ssl.OP_NO_RENEGOTIATION
        try:
            context.load_cert_chain(self._host.path(settings.CERTIFICATE), self._host.path(settings.KEY), password=lambda: "")
        except (OSError, ValueError) as error:
            raise NodeError("tls_invalid", f"The certificate of the witness in {settings.TLS_FOLDER} cannot be used: {error}.",
                            "Run the role that configures the witness.") from None
        return context


class VotePort:
    def __init__(self, host: Host, about: settings.WitnessSettings, book: Book, watch: Watch, identity: Identity, log: Log,
                 report: t.Callable[[], dict]):
        self._host = host
        self._name = about.name
        self._book, self._watch, self._identity = book, watch, identity
        self._log = log
        self._report = report
        self._open: dict[tuple[str, str], list[Channel]] = {}
        self.answered = 0
        most = PER_NODE * 2 * settings.MAX_PAIRS
        self.port = Port(host, about.address, about.port, identity.nodes, self._serve, most, log)

    # -- one connection ------------------------------------------------------------------------------------------------
    async def _serve(self, channel: Channel, certificate: bytes | None, peer: str) -> None:
        if certificate == self._identity.own:
            await self._serve_local(channel)
            return
        owner = self._book.owner(certificate) if certificate is not None else None
        if certificate is None or owner is None:
            self._log.seldom(f"certificate {peer}", f"{peer} was refused: its certificate is not one of a pair's nodes")
            return
        pair, node = owner[0].definition.pair, owner[1]
        connections = self._open.setdefault((pair, node), [])
        connections.append(channel)
        if len(connections) > PER_NODE:
            connections[0].close()
        try:
            await self._serve_node(channel, certificate, node, f"{node} of pair {pair} at {peer}")
        finally:
            connections.remove(channel)
            if not connections:
                self._open.pop((pair, node), None)

    async def _serve_node(self, channel: Channel, certificate: bytes, node: str, who: str) -> None:
        tokens, last = BURST, self._host.monotonic()
        while True:
            message = await self._receive(channel, who)
            owner = self._book.owner(certificate)
            if message is None or owner is None:
                return
            refusal = self._stranger(message, owner[0], node)
            if refusal is not None:
                self._log.seldom(f"{refusal.code} {who}", f"{who} was refused: {refusal.message}")
                await self._send(channel, {"ok": False, "error": refusal.as_dict()})
                return
            self._watch.heard(owner[0].definition.pair, node, message.get("report"))
            await self._send(channel, await self._reply(owner[0], node, message))
            now = self._host.monotonic()
            tokens, last = min(BURST, tokens + RATE * max(0.0, now - last)) - 1.0, now
            if tokens < 0:
                self._log.seldom(f"rate {who}", f"{who} asks more than {RATE:g} times a second and is answered more slowly")
                await asyncio.sleep(-tokens / RATE)

    async def _receive(self, channel: Channel, who: str) -> dict | None:
        """One message, None when there is nothing more to say to this peer."""
        async with asyncio.timeout(IDLE_TIMEOUT):
            head = await channel.read(4)
        length = int.from_bytes(head, "big")
        try:
            if length > MAX_FRAME:
                raise wire.WireError("oversized", f"the peer announced a frame of {length} bytes; the limit is {MAX_FRAME}")
            if channel.available() >= length:  # the usual case, without a timer
                return _decode(await channel.read(length))
            async with asyncio.timeout(FRAME_TIMEOUT):
                return _decode(await channel.read(length))
        except wire.WireError as error:
            self._log.seldom(f"frame {who}", f"{who} was refused: {error}")
            await self._send(channel, {"ok": False, "error": NodeError(error.code, str(error)).as_dict()})
            return None

    async def _send(self, channel: Channel, answer: dict) -> None:
        await channel.write(wire.encode(answer), WRITE_TIMEOUT)

    # -- one request ---------------------------------------------------------------------------------------------------
    def _stranger(self, message: dict, entry: Entry, node: str) -> NodeError | None:
        pair = entry.definition.pair
        if message.get("pair") != pair:
            return NodeError("wrong_pair", f"This certificate belongs to pair {pair}, not to {str(message.get('pair'))[:64]!r}.",
                             "Look at the pair's name in the inventory and register the pair at the witness again.")
        if message.get("node") != node:
            return NodeError("wrong_node", f"This certificate belongs to {node}, not to {str(message.get('node'))[:64]!r}.",
                             "Look at node.json on both nodes and register the pair at the witness again.")
        return None

    async def _reply(self, entry: Entry, node: str, message: dict) -> dict:
        op = str(message.get("op"))[:64]
        reply: dict
        try:
            lease = _object(_object(message.get("report")).get("lease"))
            entry.heard_ttl(node, lease.get("ttl"))
            reply = {"ok": True, "result": await self._book.asked(entry, node, message)}
        except NodeError as error:
            self._log.seldom(f"{error.code} {entry.definition.pair} {node}", f"pair {entry.definition.pair}: {op} of {node} was refused: "
                             f"{error.message}")
            reply = {"ok": False, "error": error.as_dict()}
        except Exception as error:  # noqa: BLE001 - the boundary: the peer gets an answer, the log gets the details
            self._log.seldom(f"internal {op}", f"{op} of {node}, pair {entry.definition.pair}, failed: {traceback.format_exc()}")
            reply = {"ok": False, "error": NodeError("internal", f"{op} failed: {type(error).__name__}: {error}.",
                                                     "Look at witness.log on the witness.").as_dict()}
        self.answered += 1
        reply["announce"] = {"witness": self._name, "suspect": self._watch.suspect}
        return reply

    # -- this machine's own verbs --------------------------------------------------------------------------------------
    async def _serve_local(self, channel: Channel) -> None:
        while True:
            message = await self._receive(channel, "a verb of this machine")
            if message is None:
                return
            op = message.get("op")
            if op == "reload":
                await self._book.reload()
            if op in ("reload", "status"):
                await self._send(channel, {"ok": True, "result": self._report()})
            else:
                await self._send(channel, {"ok": False, "error": NodeError(
                    "unknown_op", f"{str(op)[:64]!r} cannot be asked of the witness by this machine.").as_dict()})

    def close_strangers(self) -> None:
        """Close the connections of nodes that are no longer known."""
        known = {(entry.definition.pair, name) for entry in self._book.entries.values() for name in entry.definition.names}
        for key in [key for key in self._open if key not in known]:
            for channel in list(self._open[key]):
                channel.close()


def _decode(data: bytes) -> dict:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise wire.WireError("bad_frame", f"the peer sent a frame that is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise wire.WireError("bad_frame", "the peer sent a frame that is not a JSON object")
    return message


def _object(value: t.Any) -> dict:
    return value if isinstance(value, dict) else {}
