# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One TLS connection for the witness's event loop: bytes in, bytes out, every buffer bounded.

Not asyncio's own TLS, because that keeps a quarter of a mebibyte for each connection, and one witness has a thousand.
Callers bring the time limits (`asyncio.timeout`).
"""

from __future__ import annotations

import asyncio
import ssl
import typing as t

BUFFER = 64 * 1024  # of decrypted bytes that nobody has taken yet; then the peer has to wait
_PIECE = 16 * 1024


class Ended(ConnectionError):
    """The connection is over. `refused`: the TLS handshake's own words, where it ended there."""

    def __init__(self, message: str, refused: str | None = None):
        super().__init__(message)
        self.refused = refused


class Channel(asyncio.Protocol):
    def __init__(self, context: ssl.SSLContext):
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._transport: asyncio.Transport | None = None
        self._plain = bytearray()
        self._wanted = BUFFER
        self._shaken = False
        self._paused = False
        self._end: Ended | None = None
        self._changed: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None

    # -- for those who use it ------------------------------------------------------------------------------------------
    async def handshake(self) -> bytes | None:
        """Wait for the end of the handshake; the peer's certificate (DER), None where it showed none."""
        while not self._shaken:
            await self._change()
        return self._tls.getpeercert(binary_form=True)

    async def read(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises `Ended`."""
        self._wanted = max(BUFFER, count)
        while len(self._plain) < count:
            await self._change()
        return self._take(count)

    async def read_until(self, mark: bytes, limit: int) -> bytes | None:
        """Everything up to and with `mark`, None when it is not among the first `limit` bytes."""
        self._wanted = max(BUFFER, limit)
        while (at := self._plain.find(mark)) < 0:
            if len(self._plain) >= limit:
                return None
            await self._change()
        return self._take(at + len(mark)) if at + len(mark) <= limit else None

    def available(self) -> int:
        """Bytes that can be read without waiting."""
        return len(self._plain)

    async def write(self, data: bytes, timeout: float) -> None:
        """Send, and wait while the peer takes less than comes. Raises `Ended` or TimeoutError."""
        if self._end is not None:
            raise self._end
        for start in range(0, len(data), _PIECE):
            self._tls.write(data[start:start + _PIECE])
        self._flush()
        if self._writable is not None:
            async with asyncio.timeout(timeout):
                while self._writable is not None and self._end is None:
                    await asyncio.shield(self._writable)
        if self._end is not None:
            raise self._end

    @property
    def over(self) -> bool:
        return self._end is not None

    def close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass  # the peer's own farewell is not waited for
            self._flush()
            self._transport.close()
        self._finish(Ended("closed"))

    def abort(self) -> None:
        """Close without sending what still waits."""
        if self._transport is not None:
            self._transport.abort()
        self._finish(Ended("closed"))

    # -- from the transport --------------------------------------------------------------------------------------------
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = t.cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=4 * BUFFER)

    def data_received(self, data: bytes) -> None:
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> bool:
        self._finish(Ended("the peer closed the connection"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(Ended(f"the connection was lost: {exc}" if exc else "the connection is closed"))

    def pause_writing(self) -> None:
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _advance(self) -> None:
        if self._end is not None:
            return
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            while len(self._plain) < self._wanted:
                piece = self._tls.read(_PIECE)
                if not piece:
                    self._finish(Ended("the peer closed the connection"))
                    break
                self._plain += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._finish(Ended("the peer closed the connection"))
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._finish(Ended(f"TLS failed: {error.reason or error}", None if self._shaken else str(error.reason or error)))
            if self._transport is not None:
                self._transport.close()
            return
        self._flush()
        self._pause(len(self._plain) >= self._wanted)
        self._wake()

    def _pause(self, wanted: bool) -> None:
        if self._transport is None or self._transport.is_closing() or wanted == self._paused:
            return
        self._paused = wanted
        (self._transport.pause_reading if wanted else self._transport.resume_reading)()

    def _take(self, count: int) -> bytes:
        data = bytes(self._plain[:count])
        del self._plain[:count]
        if self._incoming.pending or self._paused:
            self._advance()
        return data

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    async def _change(self) -> None:
        """Wait until something arrived. What arrived before the end may still be read."""
        before = len(self._plain), self._shaken
        self._advance()
        if (len(self._plain), self._shaken) != before:
            return
        if self._end is not None:
            raise self._end
        self._changed = asyncio.get_running_loop().create_future()
        try:
            await self._changed
        finally:
            self._changed = None

    def _wake(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def _finish(self, end: Ended) -> None:
        if self._end is None:
            self._end = end
        self._wake()
        self.resume_writing()
