# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cameras' HTTP: video, status, snapshot and the switch for motion. Every request is bounded in size and time."""

from __future__ import annotations

import asyncio
import json
import socket

from .camera import BOUNDARY, Camera, Session

MAX_HEAD = 16 * 1024
MAX_BODY = 4 * 1024
REQUEST_SECONDS = 10.0
STALL_SECONDS = 60.0  # a client that takes nothing for this long is given up
SEND_BUFFER = 64 * 1024  # small, so that what waits is in the session's own queue


class BadRequest(Exception):
    pass


class CameraServer:
    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        config = self._camera.config
        self._server = await asyncio.start_server(self._serve, config.address, config.port, limit=MAX_HEAD)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                method, path, body = await _read_request(reader)
            if (method, path) == ("GET", "/video.mjpg"):
                await self._video(reader, writer)
            else:
                await _answer(writer, *self._answer_to(method, path, body))
        except BadRequest as error:
            await _answer(writer, 400, "text/plain", str(error).encode())
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    def _answer_to(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        if (method, path) == ("GET", "/status"):
            return 200, "application/json", json.dumps(self._camera.status()).encode()
        if (method, path) == ("GET", "/snapshot.jpg"):
            return 200, "image/jpeg", self._camera.last_frame
        if (method, path) == ("POST", "/motion"):
            return self._switch_motion(body)
        return 404, "text/plain", b"no such resource"

    def _switch_motion(self, body: bytes) -> tuple[int, str, bytes]:
        try:
            active = json.loads(body)["active"]
        except (ValueError, KeyError, TypeError):
            active = None
        if not isinstance(active, bool):
            raise BadRequest('the body must be {"active": true} or {"active": false}')
        self._camera.motion.ask(active)
        return 200, "application/json", json.dumps({"active": active}).encode()

    async def _video(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        session = self._camera.open_session(f"{host}:{port}")
        if session is None:
            await _answer(writer, 503, "text/plain", b"no more sessions")
            return
        sender = asyncio.create_task(_send_video(session, writer))
        gone = asyncio.create_task(reader.read(1))  # a client of ours sends nothing more: this ends with its connection
        try:
            await asyncio.wait((sender, gone), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._camera.close_session(session)
            for task in (sender, gone):
                task.cancel()
            await asyncio.gather(sender, gone, return_exceptions=True)
            writer.transport.abort()


async def _send_video(session: Session, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    writer.transport.set_write_buffer_limits(high=SEND_BUFFER)
    writer.write(
        b"HTTP/1.1 200 OK\r\nServer: tandem-lab-camera\r\nCache-Control: no-store\r\nConnection: close\r\n"
        b"Content-Type: multipart/x-mixed-replace; boundary=" + BOUNDARY.encode() + b"\r\n\r\n"
    )
    while True:
        session.wake.clear()
        while session.queue:
            writer.write(session.queue.popleft())
            async with asyncio.timeout(STALL_SECONDS):
                await writer.drain()
        await session.wake.wait()


async def _read_request(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    words = head[0].split(" ")
    if len(words) != 3:
        raise BadRequest("this is no HTTP request")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > MAX_BODY:
        raise BadRequest(f"the body must have at most {MAX_BODY} bytes")
    return words[0].upper(), words[1].partition("?")[0], await reader.readexactly(int(length))


async def _answer(writer: asyncio.StreamWriter, status: int, kind: str, body: bytes) -> None:
    words = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}
    writer.write(
        f"HTTP/1.1 {status} {words[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n".encode() + body
    )
    async with asyncio.timeout(REQUEST_SECONDS):
        await writer.drain()
