# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's network for asyncio programs that run on it (the lab recorder and others).

    server = await aio.start_server(7563, on_connection)            # every address of the machine, also later ones
    reader, writer = await aio.open_connection("127.9.9.2", 9000, timeout=2.0)
    await aio.service_ready()                                        # the service is "running" from now on

`reader` and `writer` are ordinary asyncio streams over real TCP sockets: `writer.get_extra_info("peername")` and
`("sockname")` are the true addresses. When the fence closes, an address goes or the machine loses power, the connection
breaks (`ConnectionResetError` or end of file). A blocked connect raises `TimeoutError` after about a second (or `timeout`,
whichever is shorter); a port where nobody listens raises `ConnectionRefusedError`, as on a real network.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
import typing as t

from . import channel, sockets

Callback = t.Callable[[asyncio.StreamReader, asyncio.StreamWriter], t.Awaitable[None] | None]
STREAM_LIMIT = 256 * 1024


class _Channel:
    """One connection to the kernel."""

    def __init__(self, sock: socket.socket):
        self._sock = sock
        self._decoder = channel.Decoder()

    @classmethod
    async def open(cls) -> _Channel:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, channel.kernel_address())
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def send(self, message: dict[str, t.Any]) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, channel.encode(message))

    async def taken(self) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, channel.TAKEN)

    async def receive(self) -> tuple[dict[str, t.Any], list[int]] | None:
        """The next message, None when the kernel closed the connection."""
        while True:
            message = self._decoder.next()
            if message is not None:
                return message
            try:
                data, fds = channel.receive(self._sock)
            except BlockingIOError:
                await self._readable()
                continue
            except OSError:
                return None
            if not data:
                return None
            self._decoder.feed(data, fds)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_reader(self._sock, lambda: ready.done() or ready.set_result(None))
        try:
            await ready
        finally:
            loop.remove_reader(self._sock)

    def close(self) -> None:
        self._decoder.close()
        self._sock.close()


async def call(op: str, *, timeout: float = 30.0, **parameters: t.Any) -> dict[str, t.Any]:
    """One request to the kernel and its answer. Raises `OSError` (or its child `MachineError`) when it is refused."""
    return (await _ask(op, timeout, parameters))[0]


async def _ask(op: str, timeout: float, parameters: dict[str, t.Any]) -> tuple[dict[str, t.Any], list[int]]:
    async with asyncio.timeout(timeout):
        kernel = await _Channel.open()
        try:
            await kernel.send({"op": op, **parameters})
            received = await kernel.receive()
            if received is None:
                raise ConnectionResetError("the machine's kernel closed the connection without an answer")
            if not received[0].get("ok"):
                channel.raise_error(received[0])
            try:
                if received[1]:
                    await kernel.taken()
            except BaseException:
                for fd in received[1]:
                    socket.close(fd)
                raise
            return received
        finally:
            kernel.close()


async def open_connection(host: str, port: int, timeout: float = 10.0, *,
                          limit: int = STREAM_LIMIT) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect from this machine. `host` is a numeric IPv4 address, or ``localhost`` for the machine itself."""
    _answer, fds = await _ask("connect", timeout + 1.0, {"address": host, "port": port, "timeout": timeout})
    return await asyncio.open_connection(sock=_non_blocking(fds[0]), limit=limit)


def _non_blocking(fd: int) -> sockets.MachineSocket:
    sock = sockets.from_descriptor(fd)
    sock.setblocking(False)
    return sock


class MachineServer:
    """A listening port. `close()` stops accepting; connections that were accepted go on."""

    def __init__(self, kernel: _Channel, callback: Callback, limit: int):
        self._kernel = kernel
        self._callback = callback
        self._limit = limit
        self._connections: set[asyncio.Task[None]] = set()
        self._task = asyncio.get_running_loop().create_task(self._accept())

    async def _accept(self) -> None:
        try:
            while (received := await self._kernel.receive()) is not None:
                for fd in received[1]:
                    sock = _non_blocking(fd)
                    await self._kernel.taken()
                    await self._serve(sock)
        finally:
            self._kernel.close()

    async def _serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=self._limit)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock)
        except OSError:
            sock.close()
            return
        result = self._callback(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(result)
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

    def close(self) -> None:
        self._task.cancel()

    async def wait_closed(self) -> None:
        await asyncio.wait([self._task])

    async def serve_forever(self) -> None:
        await self._task


async def start_server(port: int, callback: Callback, address: str | None = None, *,
                       limit: int = STREAM_LIMIT, timeout: float = 10.0) -> MachineServer:
    """Listen on `port` of every address of the machine (or of one), as `asyncio.start_server` does."""
    async with asyncio.timeout(timeout):
        kernel = await _Channel.open()
        try:
            await kernel.send({"op": "listen", "port": port, "address": address})
            received = await kernel.receive()
            if received is None:
                raise ConnectionResetError("the machine's kernel closed the connection without an answer")
            if not received[0].get("ok"):
                channel.raise_error(received[0])
        except BaseException:
            kernel.close()
            raise
    return MachineServer(kernel, callback, limit)


async def service_ready() -> None:
    """Tell the service manager that this process, which it started as a service, runs now."""
    await call("service.ready")


async def service_stopped() -> None:
    """Tell the service manager that this service ends on purpose: its end is then no crash."""
    await call("service.stopped")


async def machine() -> dict[str, t.Any]:
    """What a program may know of its machine: name, address, subnet, time_zone, settings (a path), os, lab (own values)."""
    return (await call("machine"))["machine"]
