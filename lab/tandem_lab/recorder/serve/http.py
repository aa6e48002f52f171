# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP/1.1 server side: bounded requests, keep-alive, one handler."""

from __future__ import annotations

import asyncio
import typing as t

from .inbox import Inbox, Overflow

MAX_HEAD = 64 * 1024
MAX_BODY = 1024 * 1024
IDLE_SECONDS = 60.0
BODY_SECONDS = 15.0
SEND_SECONDS = 15.0
_WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
    500: "Internal Server Error",
}


class HttpRequest(t.NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


class HttpReply(t.NamedTuple):
    status: int
    kind: str
    body: bytes


class Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


Handler = t.Callable[[HttpRequest], t.Awaitable[HttpReply]]


class HttpConnection:
    def __init__(self, inbox: Inbox, writer: asyncio.StreamWriter, handler: Handler) -> None:
        self._inbox = inbox
        self._writer = writer
        self._handler = handler

    async def run(self) -> None:
        while True:
            try:
                request = await self._read()
                if request is None:
                    return
                reply = await self._handler(request)
            except Refused as refusal:
                await self._send(HttpReply(refusal.status, "text/plain", str(refusal).encode()), keep=False)
                return
            except Overflow:
                await self._send(HttpReply(413, "text/plain", b"too large"), keep=False)
                return
            keep = request.headers.get("connection", "").lower() != "close"
            await self._send(reply, keep)
            if not keep:
                return

    async def _read(self) -> HttpRequest | None:
        async with asyncio.timeout(IDLE_SECONDS):
            head = await self._inbox.until(b"\r\n\r\n", MAX_HEAD)
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            raise Refused(400, "this is no HTTP request")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await self._body(headers)
        path, _, query = words[1].partition("?")
        if words[2] == "HTTP/1.0":
            headers["connection"] = "close"
        return HttpRequest(words[0], path, query, headers, body)

    async def _body(self, headers: dict[str, str]) -> bytes:
        if "transfer-encoding" in headers:
            raise Refused(400, "send Content-Length instead of Transfer-Encoding")
        length = headers.get("content-length", "0")
        if not length.isdigit():
            raise Refused(400, "Content-Length is not a number")
        if int(length) > MAX_BODY:
            raise Refused(413, f"the body must have at most {MAX_BODY} bytes")
        if headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(BODY_SECONDS):
            body = await self._inbox.exactly(int(length))
        if body is None:
            raise Refused(400, "the body ended early")
        return body

    async def _send(self, reply: HttpReply, keep: bool) -> None:
        head = (
            f"HTTP/1.1 {reply.status} {_WORDS.get(reply.status, 'Status')}\r\nContent-Type: {reply.kind}\r\n"
            f"Content-Length: {len(reply.body)}\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        )
        self._writer.write(head.encode() + reply.body)
        async with asyncio.timeout(SEND_SECONDS):
            await self._writer.drain()
