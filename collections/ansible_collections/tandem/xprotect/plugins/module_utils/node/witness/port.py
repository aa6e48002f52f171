# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A listening port of the witness: accepts in one thread, because only the host knows how, and hands over to the event loop.

Limits stand here, before anybody has shown a certificate: how many connections there are, how many of them are still shaking hands,
and how many of those come from one address.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import socket
import threading
import typing as t

from ..host.base import Host, HostError
from .channel import Channel, Ended

HANDSHAKE_TIMEOUT = 5.0
MAX_SHAKING = 512
MAX_SHAKING_PER_ADDRESS = 64
_ACCEPT_PAUSE = 0.5

Serve = t.Callable[[Channel, t.Optional[bytes], str], t.Awaitable[None]]


class Log(t.Protocol):
    def __call__(self, text: str) -> None: ...

    def seldom(self, key: str, text: str, pause: float = 60.0) -> None: ...


class Port:
    def __init__(self, host: Host, address: str, port: int, context: t.Callable[[], t.Any], serve: Serve, most: int, log: Log):
        self._host, self._address, self._port = host, address, port
        self._context = context
        self._serve = serve
        self._most = most
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._ended = threading.Event()
        self.listening = threading.Event()
        self.count = 0
        self._shaking: collections.Counter[str] = collections.Counter()
        self._tasks: set[asyncio.Task] = set()
        self._thread = threading.Thread(target=self._accept, name=f"port-{port}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        self._ended.set()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._loop.run_in_executor(None, self._thread.join, 5.0)

    # -- the thread ----------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                listener = self._host.listen(self._address, self._port)
            except (OSError, HostError) as error:
                self._say(self._log.seldom, f"listen {self._port}", f"{self._address}:{self._port} cannot be listened on: {error}")
                self._ended.wait(_ACCEPT_PAUSE)
                continue
            self.listening.set()
            try:
                while not self._ended.is_set():
                    accepted = self._host.accept(listener, _ACCEPT_PAUSE)
                    if accepted is not None and not self._say(self._welcome, *accepted):
                        accepted[0].close()
            except (OSError, HostError) as error:
                self._say(self._log.seldom, f"accept {self._port}", f"port {self._port} failed and is opened again: {error}")
                self._ended.wait(0.05)  # out of descriptors, for example: no busy loop
            finally:
                self.listening.clear()
                listener.close()

    def _say(self, what: t.Callable, *arguments: t.Any) -> bool:
        try:
            self._loop.call_soon_threadsafe(what, *arguments)
        except RuntimeError:
            return False  # the loop has ended
        return True

    # -- the loop ------------------------------------------------------------------------------------------------------
    def _welcome(self, sock: socket.socket, peer: str) -> None:
        reason = None
        if self._ended.is_set():
            reason = "the witness ends"
        elif self.count >= self._most:
            reason = f"{self._most} connections are open"
        elif self._shaking.total() >= MAX_SHAKING or self._shaking[peer] >= MAX_SHAKING_PER_ADDRESS:
            reason = "too many connections have not finished their handshake"
        if reason is not None:
            self._log.seldom(f"full {peer}", f"{peer} was turned away from port {self._port}: {reason}")
            sock.close()
            return
        self.count += 1
        self._shaking[peer] += 1
        task = self._loop.create_task(self._connection(sock, peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connection(self, sock: socket.socket, peer: str) -> None:
        channel: Channel | None = None
        shaking = True
        try:
            channel = Channel(self._context())
            await self._loop.connect_accepted_socket(lambda: t.cast(Channel, channel), sock)
            async with asyncio.timeout(HANDSHAKE_TIMEOUT):
                certificate = await channel.handshake()
            self._shaken(peer)
            shaking = False
            await self._serve(channel, certificate, peer)
        except Ended as end:
            if end.refused is not None:
                self._log.seldom(f"tls {peer}", f"{peer} was refused at the TLS handshake on port {self._port}: {end.refused}")
        except TimeoutError:
            pass  # too slow, or idle for too long
        except OSError as error:
            self._log.seldom(f"connection {peer}", f"a connection of {peer} failed: {error}")
        finally:
            if shaking:
                self._shaken(peer)
            self.count -= 1
            if channel is not None:
                channel.close()
            with contextlib.suppress(OSError):
                sock.close()

    def _shaken(self, peer: str) -> None:
        self._shaking[peer] -= 1
        if self._shaking[peer] <= 0:
            del self._shaking[peer]
