# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of the machine, behind one small interface: the lab machine's own, or plain sockets without a machine."""

from __future__ import annotations

import asyncio
import os
import typing as t

STREAM_LIMIT = 1024 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Callback = t.Callable[[asyncio.StreamReader, asyncio.StreamWriter], t.Awaitable[None]]


class Server(t.Protocol):
    def close(self) -> None: ...


class Network(t.Protocol):
    async def start_server(self, port: int, callback: Callback) -> Server: ...

    async def open_connection(self, host: str, port: int, timeout: float) -> Streams: ...

    async def service_ready(self) -> None: ...


class MachineNetwork:
    """All traffic goes through the lab machine's kernel: its firewall, its addresses."""

    async def start_server(self, port: int, callback: Callback) -> Server:
        from ..machine import aio

        return await aio.start_server(port, callback, limit=STREAM_LIMIT)

    async def open_connection(self, host: str, port: int, timeout: float) -> Streams:
        from ..machine import aio

        return await aio.open_connection(host, port, timeout, limit=STREAM_LIMIT)

    async def service_ready(self) -> None:
        from ..machine import aio

        await aio.service_ready()


class PlainNetwork:
    """Sockets of this computer, bound to the machine's address. For running the recorder without a lab machine."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def start_server(self, port: int, callback: Callback) -> Server:
        return await asyncio.start_server(callback, self._address, port, limit=STREAM_LIMIT)

    async def open_connection(self, host: str, port: int, timeout: float) -> Streams:
        async with asyncio.timeout(timeout):
            return await asyncio.open_connection(host, port, limit=STREAM_LIMIT, local_addr=(self._address, 0))

    async def service_ready(self) -> None:
        print("ready", flush=True)


def choose(address: str) -> Network:
    return MachineNetwork() if os.environ.get("TANDEM_LAB_MACHINE") else PlainNetwork(address)
