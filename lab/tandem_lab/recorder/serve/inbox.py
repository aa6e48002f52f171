# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client's bytes, read in bounded pieces: up to a separator, or a fixed count."""

from __future__ import annotations

import asyncio

CHUNK = 64 * 1024


class Overflow(Exception):
    """More bytes without a separator than is allowed."""


class Inbox:
    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._buffer = bytearray()

    async def _more(self) -> bool:
        try:
            data = await self._reader.read(CHUNK)
        except ConnectionError:  # a client that resets the connection has gone like any other
            return False
        self._buffer += data
        return bool(data)

    async def peek(self) -> bytes:
        """The first byte, empty at the end of the stream; blank bytes before it are dropped."""
        while True:
            del self._buffer[: len(self._buffer) - len(self._buffer.lstrip())]
            if self._buffer:
                return bytes(self._buffer[:1])
            if not await self._more():
                return b""

    async def until(self, separator: bytes, limit: int) -> bytes | None:
        """The bytes before the separator, which is consumed. None at the end of the stream."""
        searched = 0
        while (end := self._buffer.find(separator, max(0, searched - len(separator)))) < 0:
            searched = len(self._buffer)
            if searched > limit:
                raise Overflow(f"{searched} bytes without an end")
            if not await self._more():
                return None
        if end > limit:
            raise Overflow(f"a message of {end} bytes")
        found = bytes(self._buffer[:end])
        del self._buffer[: end + len(separator)]
        return found

    async def exactly(self, count: int) -> bytes | None:
        while len(self._buffer) < count:
            if not await self._more():
                return None
        found = bytes(self._buffer[:count])
        del self._buffer[:count]
        return found
