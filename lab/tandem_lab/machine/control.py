# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's control socket: what processes of the machine, and the site that owns it, may ask.

An answer is `{"ok": true, ...}` or `{"ok": false, "error": {"message", "code", "errno"}}`. `listen` and `permit.open` keep the
connection: a listener gets accepted connections over it, and a permit is open until it ends. A process says with one byte that it
has taken a connection; one that nobody took is cut.
"""

from __future__ import annotations

import asyncio
import collections
import os
import socket
import struct
import typing as t

from . import channel
from .channel import MachineError
from .connections import Connection
from .firewall import Fence, Permit
from .network import BACKLOG

if t.TYPE_CHECKING:
    from .kernel import Kernel

_REQUEST_SECONDS = 10.0
_MAX_CLIENTS = 1024
Parameters = dict[str, t.Any]


class Control:
    def __init__(self, kernel: Kernel):
        self._kernel = kernel
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._answers: dict[str, t.Callable[[Parameters, int], t.Awaitable[Parameters]]] = {
            "status": self._status, "machine": self._machine, "drives": self._drives, "drive.set": self._set_drive,
            "faults.reload": self._reload_faults,
            "fence.get": self._fence, "fence.install": self._install_fence, "fence.remove": self._remove_fence,
            "permit.status": self._permit_status,
            "address.list": self._addresses, "address.hold": self._hold_address, "address.drop": self._drop_address,
            "address.add": self._add_address,
            "registry.read": self._read_registry, "registry.write": self._write_registry,
            "service.status": self._service, "service.list": self._services, "service.start": self._start_service,
            "service.stop": self._stop_service, "service.configure": self._configure_service,
            "service.install": self._install_service, "service.remove": self._remove_service,
            "service.ready": self._service_ready, "service.stopped": self._service_stopped,
        }

    def start(self) -> None:
        self._sock.setblocking(False)
        self._sock.bind("\0" + self._kernel.socket_name)
        self._sock.listen(256)
        self._loop.add_reader(self._sock, self._accept)

    def stop(self) -> None:
        self._loop.remove_reader(self._sock)
        self._sock.close()

    def _accept(self) -> None:
        try:
            client, _ = self._sock.accept()
        except OSError:
            return
        pid, uid, _gid = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid() or len(self._tasks) >= _MAX_CLIENTS:
            client.close()
            return
        client.setblocking(False)
        task = self._loop.create_task(self._serve(client, pid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, client: socket.socket, pid: int) -> None:
        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await self._receive(client)
            if request is not None:
                await self._dispatch(client, pid, request)
        except (OSError, TimeoutError):
            pass  # the client is gone or silent
        finally:
            client.close()

    async def _receive(self, client: socket.socket) -> Parameters | None:
        decoder = channel.Decoder()
        while (message := decoder.next()) is None:
            data = await self._loop.sock_recv(client, 65536)
            if not data:
                return None
            decoder.feed(data)
        return message[0]

    async def _dispatch(self, client: socket.socket, pid: int, request: Parameters) -> None:
        op = request.get("op")
        try:
            if op == "connect":
                return await self._connect(client, pid, request)
            if op == "listen":
                return await self._listen(client, pid, request)
            if op == "permit.open":
                return await self._open_permit(client, pid)
            if op not in self._answers:
                raise MachineError(f"the machine's kernel does not know {op!r}", 87)
            answer = {"ok": True, **await self._answers[op](request, pid)}
        except (KeyError, TypeError, ValueError) as error:
            answer = _refusal(MachineError(f"{op} was called with unusable parameters: {error!r}", 87))
        except OSError as error:
            answer = _refusal(error)
        await self._loop.sock_sendall(client, channel.encode(answer))

    # -- network -------------------------------------------------------------------------------------------------
    async def _connect(self, client: socket.socket, pid: int, request: Parameters) -> None:
        timeout = min(max(float(request["timeout"]), 0.001), 600.0)
        connection = await self._kernel.network.connect(str(request["address"]), int(request["port"]), timeout, pid)
        taken = b""
        try:
            socket.send_fds(client, [channel.encode({"ok": True, "fds": 1})], [connection.sock.fileno()])
            async with asyncio.timeout(_REQUEST_SECONDS):
                taken = await self._loop.sock_recv(client, 1)
        finally:
            if not taken:  # the client gave up meanwhile: nobody has the connection
                self._kernel.network.connections.cut(connection)

    async def _listen(self, client: socket.socket, pid: int, request: Parameters) -> None:
        waiting: collections.deque[Connection] = collections.deque()  # handed over and not yet taken

        def deliver(connection: Connection) -> bool:
            if len(waiting) >= BACKLOG:
                return False  # the process is frozen or busy
            message = channel.encode({"ok": True, "fds": 1, "peer": connection.remote[0]})
            try:
                socket.send_fds(client, [message], [connection.sock.fileno()])
            except OSError:
                return False
            waiting.append(connection)
            return True

        listening = self._kernel.network.listen(request["port"], request.get("address"), pid, deliver)
        try:
            await self._loop.sock_sendall(client, channel.encode({"ok": True}))
            while taken := await self._loop.sock_recv(client, BACKLOG):  # one byte for each connection
                for _ in range(min(len(taken), len(waiting))):
                    waiting.popleft()
        finally:
            self._kernel.network.stop(listening)
            for connection in waiting:
                self._kernel.network.connections.cut(connection)

    async def _open_permit(self, client: socket.socket, pid: int) -> None:
        permit = Permit(pid)
        self._kernel.firewall.permits.add(permit)
        self._kernel.events.add("permit_opened", permit=permit.number, pid=pid)
        try:
            await self._loop.sock_sendall(client, channel.encode({"ok": True}))
            while await self._loop.sock_recv(client, 256):
                pass
        finally:
            self._kernel.firewall.permits.discard(permit)
            self._kernel.network.recheck()
            self._kernel.events.add("permit_closed", permit=permit.number, pid=pid)

    # -- fence ---------------------------------------------------------------------------------------------------
    async def _fence(self, _request: Parameters, _pid: int) -> Parameters:
        return {"rules": self._kernel.firewall.status()["rules"]}

    async def _install_fence(self, request: Parameters, _pid: int) -> Parameters:
        fence = Fence.from_document(request["rules"])
        changed = fence != self._kernel.firewall.fence
        self._kernel.firewall.fence = fence
        self._kernel.network.recheck()
        if changed:
            self._kernel.events.add("fence_installed", rules=fence.to_document())
            await self._kernel.fence_file.save(fence.to_document())
        return {"changed": changed}

    async def _remove_fence(self, _request: Parameters, _pid: int) -> Parameters:
        changed = self._kernel.firewall.fence is not None
        if changed:
            await self._kernel.fence_file.save({})
            self._kernel.firewall.fence = None
            self._kernel.events.add("fence_removed")
        return {"changed": changed}

    async def _permit_status(self, _request: Parameters, _pid: int) -> Parameters:
        return {"permits": self._kernel.firewall.status()["permits"]}

    # -- addresses -----------------------------------------------------------------------------------------------
    async def _addresses(self, _request: Parameters, _pid: int) -> Parameters:
        return {"addresses": self._kernel.addresses.lifetimes(), "duplicates": sorted(self._kernel.addresses.duplicates)}

    async def _hold_address(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.addresses.hold(request["address"], int(request["prefix"]), float(request["lifetime"]))
        return {}

    async def _drop_address(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.addresses.drop(request["address"])
        return {}

    async def _add_address(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.addresses.add_static(request["address"], int(request["prefix"]))
        return {}

    # -- machine -------------------------------------------------------------------------------------------------
    async def _status(self, _request: Parameters, _pid: int) -> Parameters:
        return {"status": self._kernel.status()}

    async def _machine(self, _request: Parameters, _pid: int) -> Parameters:
        return {"machine": self._kernel.settings.public()}

    async def _drives(self, _request: Parameters, _pid: int) -> Parameters:
        return {"drives": self._kernel.drives()}

    async def _set_drive(self, request: Parameters, _pid: int) -> Parameters:
        letter = str(request["letter"]).upper()
        if letter not in self._kernel.settings.drives:
            raise MachineError(f"{self._kernel.settings.name} has no drive {letter}", 15)
        if request["free_bytes"] is None:
            self._kernel.free_bytes.pop(letter, None)
        else:
            self._kernel.free_bytes[letter] = int(request["free_bytes"])
        self._kernel.events.add("drive_set", letter=letter, free_bytes=request["free_bytes"])
        return {}

    async def _reload_faults(self, _request: Parameters, _pid: int) -> Parameters:
        self._kernel.reload_faults()
        return {}

    async def _read_registry(self, request: Parameters, _pid: int) -> Parameters:
        return {"value": self._kernel.registry.read(request["key"], request["name"])}

    async def _write_registry(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.registry.write(request["key"], request["name"], request["value"])
        return {}

    # -- services ------------------------------------------------------------------------------------------------
    async def _service(self, request: Parameters, _pid: int) -> Parameters:
        return {"service": self._kernel.services.status(request["name"])}

    async def _services(self, _request: Parameters, _pid: int) -> Parameters:
        return {"services": self._kernel.services.list()}

    async def _start_service(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.services.start(request["name"])
        return {}

    async def _stop_service(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.services.stop(request["name"])
        return {}

    async def _configure_service(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.services.configure(request["name"], request["start_type"])
        return {}

    async def _install_service(self, request: Parameters, _pid: int) -> Parameters:
        restart_after = request.get("restart_after")
        changed = await self._kernel.services.install(request["name"], request["display"], request["command"], request["start_type"],
                                                      None if restart_after is None else float(restart_after))
        return {"changed": changed}

    async def _remove_service(self, request: Parameters, _pid: int) -> Parameters:
        await self._kernel.services.remove(request["name"])
        return {}

    async def _service_ready(self, _request: Parameters, pid: int) -> Parameters:
        return {"name": self._kernel.services.ready(pid)}

    async def _service_stopped(self, _request: Parameters, pid: int) -> Parameters:
        self._kernel.services.stopped(pid)
        return {}


def _refusal(error: OSError) -> Parameters:
    if isinstance(error, MachineError):
        return {"ok": False, "error": {"message": error.message, "code": error.code}}
    return {"ok": False, "error": {"message": error.strerror or str(error), "errno": error.errno}}
