# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of the pairs for automation: HTTPS, a bearer token, reading only.

``GET /v1/pairs``, ``/v1/pairs/<name>``, ``/v1/health``; ``/v1/events?after=<serial>&wait=<s>`` answers as soon as there is an event,
and ``/v1/events/stream?after=<serial>`` sends one JSON line for each, with a line every ten seconds in between, so that a reader
notices a dead connection. Whoever misses events is told so (``gap``) and reads the pairs afresh.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import typing as t
import urllib.parse

from ..host.base import Host
from .channel import Channel
from .events import Events
from .port import Log, Port
from .server import Identity
from .settings import WitnessSettings

MAX_HEAD = 8 * 1024
MAX_CONNECTIONS = 64
REQUEST_TIMEOUT = 30.0  # also the idle time between two requests
WRITE_TIMEOUT = 30.0
KEEP_ALIVE = 10.0
MAX_WAIT = 60.0
PAGE = 1000
_REFUSED_PAUSE = 0.5  # before a wrong token is answered
_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 431: "Header Too Large"}


class Source(t.Protocol):
    """What the API tells. All answers are JSON objects."""

    def pairs(self) -> dict: ...

    def pair(self, name: str) -> dict | None: ...

    def health(self) -> dict: ...


class Refused(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class Request:
    """The head of one HTTP request. Bodies are not taken."""

    def __init__(self, head: bytes):
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Refused(400, "this is not an HTTP/1.1 request")
        self.method = words[0]
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.strip().lower()] = value.strip()
        url = urllib.parse.urlsplit(words[1])
        self.path = urllib.parse.unquote(url.path)
        self._query = urllib.parse.parse_qs(url.query, max_num_fields=8) if url.query else {}
        self.keep_alive = words[2] == "HTTP/1.1" and self.headers.get("connection", "").lower() != "close"
        if self.method != "GET":
            raise Refused(405, "only GET is served")
        if self.headers.get("transfer-encoding") or self.headers.get("content-length", "0") != "0":
            raise Refused(400, "a request has no body here")

    def number(self, name: str, default: float, high: float) -> float:
        given = self._query.get(name, [])
        try:
            value = float(given[-1]) if given else default
        except ValueError:
            raise Refused(400, f"{name} is not a number") from None
        if not 0 <= value <= high:
            raise Refused(400, f"{name} must be from 0 to {high:g}")
        return value


class Api:
    def __init__(self, host: Host, about: WitnessSettings, identity: Identity, source: Source, events: Events, log: Log):
        self._token = about.token_sha256 or ""
        self._source = source
        self._events = events
        self._log = log
        context = identity.readers()
        self.port = Port(host, about.address, about.api_port, lambda: context, self._serve, MAX_CONNECTIONS, log)

    async def _serve(self, channel: Channel, _certificate: bytes | None, peer: str) -> None:
        keep = True
        while keep:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                head = await channel.read_until(b"\r\n\r\n", MAX_HEAD)
            try:
                if head is None:
                    raise Refused(431, f"the request's head is longer than {MAX_HEAD} bytes")
                keep = await self._answer(channel, head, peer)
            except (Refused, ValueError) as refusal:
                status = refusal.status if isinstance(refusal, Refused) else 400
                self._log.seldom(f"api {peer} {status}", f"{peer} was refused by the API ({status}): {refusal}")
                await _send(channel, {"error": str(refusal)}, status, False)
                return

    async def _answer(self, channel: Channel, head: bytes, peer: str) -> bool:
        request = Request(head)
        if not self._allowed(request):
            await asyncio.sleep(_REFUSED_PAUSE)
            raise Refused(401, "the bearer token is missing or wrong")
        if request.path == "/v1/events/stream":
            await self._stream(channel, int(request.number("after", self._events.serial, 1 << 53)))
            return False
        await _send(channel, await self._document(request), 200, request.keep_alive)
        return request.keep_alive

    def _allowed(self, request: Request) -> bool:
        scheme, _blank, token = request.headers.get("authorization", "").partition(" ")
        given = hashlib.sha256(token.strip().encode("latin-1")).hexdigest()
        return bool(self._token) and scheme.lower() == "bearer" and hmac.compare_digest(given, self._token)

    async def _document(self, request: Request) -> dict:
        if request.path == "/v1/pairs":
            return {**self._source.pairs(), "serial": self._events.serial}
        if request.path == "/v1/health":
            return self._source.health()
        if request.path == "/v1/events":
            after = int(request.number("after", self._events.serial, 1 << 53))
            if after == self._events.serial:
                await self._events.wait(after, request.number("wait", 0.0, MAX_WAIT))
            events, gap = self._events.after(after, PAGE)
            return {"events": [event.to_document() for event in events], "serial": events[-1].serial if events else self._events.serial,
                    "gap": gap}
        if request.path.startswith("/v1/pairs/"):
            found = self._source.pair(request.path.removeprefix("/v1/pairs/"))
            if found is not None:
                return {**found, "serial": self._events.serial}
        raise Refused(404, f"there is nothing at {request.path[:200]!r}")

    async def _stream(self, channel: Channel, after: int) -> None:
        await channel.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nCache-Control: no-store\r\n"
                            b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n", WRITE_TIMEOUT)
        while not channel.over:
            events, gap = self._events.after(after, PAGE)
            lines = ([{"gap": gap}] if gap else []) + [event.to_document() for event in events]
            await _chunk(channel, lines or [{"keep_alive": True, "serial": after}])
            after = events[-1].serial if events else self._events.serial
            await self._events.wait(after, KEEP_ALIVE)


async def _chunk(channel: Channel, lines: t.Sequence[dict]) -> None:
    data = b"".join(_json(line) + b"\n" for line in lines)
    await channel.write(b"%x\r\n%s\r\n" % (len(data), data), WRITE_TIMEOUT)


async def _send(channel: Channel, document: dict, status: int, keep: bool) -> None:
    body = _json(document) + b"\n"
    head = (f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"Cache-Control: no-store\r\nConnection: {'keep-alive' if keep else 'close'}\r\n"
            + ("WWW-Authenticate: Bearer\r\n" if status == 401 else "") + "\r\n")
    await channel.write(head.encode("latin-1") + body, WRITE_TIMEOUT)


def _json(document: t.Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
