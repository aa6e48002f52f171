# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull one camera's MJPEG stream and hand over its frames; reconnect whenever it breaks.

`reachable` is the way to the cameras: while it is not set, nothing comes through it, and what waits arrives late or never.
"""

from __future__ import annotations

import asyncio
import traceback
import typing as t

from .network import Network

CONNECT_SECONDS = 3.0
SILENCE_SECONDS = 5.0
RECONNECT_SECONDS = 0.5
MAX_HEAD = 16 * 1024
MAX_FRAME_BYTES = 4 * 1024 * 1024


class StreamError(Exception):
    """The camera's answer is not an MJPEG stream."""


async def pull(
    network: Network,
    source: tuple[str, int, str],
    on_frame: t.Callable[[bytes], None],
    on_link: t.Callable[[str | None], None],
    reachable: asyncio.Event,
) -> None:
    """Runs until it is cancelled. `on_link` gets None when the video runs, and the reason when it does not."""
    while True:
        try:
            await _watch(network, source, on_frame, on_link, reachable)
        except (OSError, TimeoutError, StreamError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            on_link(str(error) or type(error).__name__)
        except Exception:  # a fault of the recorder itself must not cost more than this camera's next half second
            on_link(f"internal error: {traceback.format_exc()}")
        await asyncio.sleep(RECONNECT_SECONDS)


async def _watch(
    network: Network,
    source: tuple[str, int, str],
    on_frame: t.Callable[[bytes], None],
    on_link: t.Callable[[str | None], None],
    reachable: asyncio.Event,
) -> None:
    host, port, path = source
    async with asyncio.timeout(CONNECT_SECONDS):
        await reachable.wait()
    reader, writer = await network.open_connection(host, port, CONNECT_SECONDS)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: multipart/x-mixed-replace\r\n\r\n".encode())
        async with asyncio.timeout(SILENCE_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
            raise StreamError(head.split(b"\r\n", 1)[0][:100].decode("latin-1"))
        running = False
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                frame = await _part(reader)
                await reachable.wait()
            if not running:
                running = True
                on_link(None)
            on_frame(frame)
    finally:
        writer.transport.abort()


async def _part(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    at = head.lower().find(b"content-length:")
    length = head[at + 15 :].split(b"\r\n", 1)[0].strip() if at >= 0 and len(head) <= MAX_HEAD else b""
    if not length.isdigit() or not 4 <= int(length) <= MAX_FRAME_BYTES:
        raise StreamError("a part of the stream has no usable Content-Length")
    frame = await reader.readexactly(int(length))
    if not frame.startswith(b"\xff\xd8"):
        raise StreamError("a part of the stream is not a JPEG")
    return frame
