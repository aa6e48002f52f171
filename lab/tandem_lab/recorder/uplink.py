# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the Management Server (lab-private: JSON lines on its port 9000). It decides whether the recorder is attached."""

from __future__ import annotations

import asyncio
import json
import typing as t

from .network import Network

CONNECT_SECONDS = 0.5  # short, so that a connection that the fence blocks is tried again soon after it opens
SILENCE_SECONDS = 3.0
MAX_LINE = 8 * 1024 * 1024
STATUS_EVERY_PINGS = 3


class UplinkError(Exception):
    pass


class Uplink:
    """`run` keeps the connection. The handlers get what the Management Server says, in order."""

    def __init__(
        self,
        network: Network,
        server: tuple[str, int],
        hello: dict[str, t.Any],
        *,
        retry_seconds: float,
        reconnects: bool,
        on_attached: t.Callable[[dict[str, t.Any]], None],
        on_message: t.Callable[[dict[str, t.Any]], None],
        on_detached: t.Callable[[str], None],
        status: t.Callable[[], dict[str, t.Any]],
    ) -> None:
        self._network = network
        self._server = server
        self._hello = hello
        self._retry_seconds = retry_seconds
        self._reconnects = reconnects
        self._on_attached = on_attached
        self._on_message = on_message
        self._on_detached = on_detached
        self._status = status
        self._attached = False

    async def run(self) -> None:
        while True:
            was_attached = False
            try:
                await self._connection()
            except (OSError, TimeoutError, ValueError, UplinkError, asyncio.IncompleteReadError) as error:
                was_attached = self._attached
                self._attached = False
                self._on_detached(str(error) or type(error).__name__)
            if was_attached and not self._reconnects:
                return
            await asyncio.sleep(self._retry_seconds)

    async def _connection(self) -> None:
        reader, writer = await self._network.open_connection(*self._server, CONNECT_SECONDS)
        try:
            _send(writer, self._hello)
            lines = _Lines(reader)
            pings = 0
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await lines.next()
                    await writer.drain()
                self._handle(message)
                if message["type"] == "ping":
                    _send(writer, {"type": "pong"})
                    pings += 1
                    if self._attached and pings % STATUS_EVERY_PINGS == 1:
                        _send(writer, {"type": "status", **self._status()})
        finally:
            writer.transport.abort()

    def _handle(self, message: dict[str, t.Any]) -> None:
        kind = message["type"]
        if kind == "welcome" and not self._attached:
            if not _tokens_are_whole(message.get("tokens", [])):
                raise UplinkError("the Management Server's welcome has no usable tokens")
            self._on_attached(message)
            self._attached = True
        elif kind == "refused":
            raise UplinkError(f"the Management Server refuses this recorder: {str(message.get('reason'))[:200]}")
        elif self._attached and kind in ("configuration", "token"):
            self._on_message(message)


def _tokens_are_whole(tokens: t.Any) -> bool:
    return isinstance(tokens, list) and all(
        isinstance(entry, dict) and isinstance(entry.get("token"), str) and isinstance(entry.get("expires_ms"), int) for entry in tokens
    )


class _Lines:
    """JSON lines of bounded length, whatever the stream's own limit is."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = bytearray()

    async def next(self) -> dict[str, t.Any]:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > MAX_LINE:
                raise UplinkError("the Management Server sent an endless line")
            data = await self._reader.read(256 * 1024)
            if not data:
                raise UplinkError("the Management Server closed the connection")
            self._buffer += data
        message = json.loads(bytes(self._buffer[:end]))
        del self._buffer[: end + 1]
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise UplinkError("the Management Server sent something that is no message")
        return message


def _send(writer: asyncio.StreamWriter, message: dict[str, t.Any]) -> None:
    writer.write(json.dumps(message, separators=(",", ":")).encode() + b"\n")
