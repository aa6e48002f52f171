# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One recorder's connection to the Management Server (lab-private protocol: JSON lines over TCP)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import time
import typing as t

MAX_LINE = 64 << 10
MAX_UNSENT = 8 << 20
TCP_ESTABLISHED = 1
TEXT_FIELDS = ("recorder_id", "instance", "client_registration_id", "name", "host", "version", "time_zone")


@dataclasses.dataclass(frozen=True)
class Hello:
    """How a recorder introduces itself. `instance` is new with every start of a recorder process."""

    recorder_id: str
    instance: str
    client_registration_id: str
    name: str
    host: str
    port: int
    version: str
    time_zone: str

    @classmethod
    def parse(cls, message: dict[str, t.Any]) -> "Hello":
        if message.get("type") != "hello":
            raise ValueError("the first message is not a hello")
        for name in TEXT_FIELDS:
            if not isinstance(message.get(name), str) or len(message[name]) > 256:
                raise ValueError(f"the hello has no valid {name}")
        port = message.get("port")
        if not isinstance(port, int) or not 0 < port < 65536:
            raise ValueError("the hello has no valid port")
        fields = {name: message[name] for name in TEXT_FIELDS}
        fields["recorder_id"] = fields["recorder_id"].lower()
        return cls(port=port, **fields)


async def read_message(reader: asyncio.StreamReader, timeout: float) -> dict[str, t.Any] | None:
    """The next message, None at the end of the connection. Raises TimeoutError or ValueError."""
    line = await asyncio.wait_for(reader.readline(), timeout)
    if not line:
        return None
    message = json.loads(line)
    if not isinstance(message, dict):
        raise ValueError("the message is not an object")
    return message


class Link:
    def __init__(self, hello: Hello, writer: asyncio.StreamWriter):
        self.hello = hello
        self.source: str = writer.get_extra_info("peername")[0]
        self.since_ms = int(time.time() * 1000)
        self.heard_ms = self.since_ms
        self.ended: str | None = None  # why the server ended it
        self.status: dict[str, t.Any] = {}
        self._writer = writer
        self._pings = 0
        self._pongs = 0
        self._pong = asyncio.Condition()

    def send(self, message: dict[str, t.Any]) -> None:
        """Queue one message. A recorder that takes nothing any more is cut off instead of filling the memory."""
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
            self._writer.transport.abort()
            return
        self._writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")

    def dismiss(self, reason: str) -> None:
        """End the connection and say why."""
        self.ended = reason
        self.send({"type": "refused", "reason": reason})
        self._writer.close()

    def ping(self) -> int:
        self._pings += 1
        self.send({"type": "ping"})
        return self._pings

    async def pong(self) -> None:
        async with self._pong:
            self._pongs += 1
            self._pong.notify_all()

    async def settled(self, timeout: float) -> bool:
        """True once the recorder has handled all that was sent before: it answers pings in order."""
        number = self.ping()
        try:
            async with asyncio.timeout(timeout), self._pong:
                await self._pong.wait_for(lambda: self._pongs >= number or self._writer.is_closing())
        except TimeoutError:
            return False
        return self._pongs >= number

    @property
    def alive(self) -> bool:
        """False as soon as the other end has closed, even before the end of the stream has been read."""
        peer: socket.socket | None = self._writer.get_extra_info("socket")
        if peer is None or self._writer.is_closing():
            return False
        try:
            return peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED
        except OSError:
            return False

    async def closed(self) -> None:
        """The link has ended: whoever waits for an answer on it waits no longer."""
        self._writer.transport.abort()
        async with self._pong:
            self._pong.notify_all()
