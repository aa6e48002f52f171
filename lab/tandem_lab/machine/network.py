# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP on the machine: listening on all its addresses, connecting from them, and the firewall in between."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import typing as t

from .addresses import Addresses
from .connections import Connection, Connections, abort
from .firewall import Firewall
from .packets import PacketFilter
from .settings import MachineSettings
from .storage import EventLog

BACKLOG = 128
MAX_CONNECTIONS = 4096
LOCAL_NAMES = ("localhost", "127.0.0.1")
_IP_BIND_ADDRESS_NO_PORT = 24


class Listening:
    """A port on which a process listens. `deliver` hands an accepted connection over, false when the process cannot take it."""

    def __init__(self, port: int, address: str | None, pid: int, deliver: t.Callable[[Connection], bool]):
        self.port = port
        self.address = address  # None: every address of the machine
        self.local_only = address in LOCAL_NAMES
        self.pid = pid
        self.deliver = deliver
        self.sockets: dict[str, socket.socket] = {}

    def wants(self, address: str, main: str) -> bool:
        if self.local_only:
            return address == main
        return self.address in (None, address)


class Network:
    def __init__(self, settings: MachineSettings, addresses: Addresses, firewall: Firewall, packets: PacketFilter, events: EventLog):
        self._settings = settings
        self._addresses = addresses
        self._firewall = firewall
        self._packets = packets
        self._events = events
        self._loop = asyncio.get_running_loop()
        self.connections = Connections()
        self.listening: set[Listening] = set()
        addresses.added = self._address_added
        addresses.silenced = self._address_silenced
        addresses.removed = self._address_removed

    # -- listening -----------------------------------------------------------------------------------------------
    def listen(self, port: int, address: str | None, pid: int, deliver: t.Callable[[Connection], bool]) -> Listening:
        if address in ("", "0.0.0.0"):
            address = None
        if not isinstance(port, int) or not 0 < port < 65536:
            raise OSError(errno.EINVAL, f"{port!r} is not a port")
        if address is not None and address not in LOCAL_NAMES and not self._addresses.owns(address):
            raise OSError(errno.EADDRNOTAVAIL, f"{address} is not an address of {self._settings.name}")
        listening = Listening(port, address, pid, deliver)
        try:
            for own in self._addresses.on_network():
                if listening.wants(own, self._settings.address):
                    self._open(listening, own)
        except OSError:
            self.stop(listening)
            raise
        self.listening.add(listening)
        return listening

    def _open(self, listening: Listening, address: str) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, listening.port))
            self._packets.attach(sock)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot listen on {address}:{listening.port} of {self._settings.name}: {error.strerror}") from error
        listening.sockets[address] = sock
        self._loop.add_reader(sock, self._accept, listening, sock)

    def stop(self, listening: Listening) -> None:
        self.listening.discard(listening)
        for address in list(listening.sockets):
            self._close(listening, address)

    def _close(self, listening: Listening, address: str) -> None:
        sock = listening.sockets.pop(address)
        self._loop.remove_reader(sock)
        sock.close()

    def _accept(self, listening: Listening, sock: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                accepted, peer = sock.accept()
            except OSError:
                return  # nobody waits any more (or the caller has gone)
            accepted.setblocking(False)
            self._packets.attach(accepted)  # it has the filter that its listener had when it came
            self._admit(listening, accepted, peer[0])

    def _admit(self, listening: Listening, accepted: socket.socket, peer: str) -> None:
        local = self._addresses.owns(peer)
        blocked = not local and (listening.local_only or self._firewall.blocks(
            inbound=True, local_port=listening.port, remote_address=peer))
        try:
            connection = None if blocked else Connection(accepted, listening.pid, inbound=True, on_machine=local)
        except OSError:  # over before it began
            accepted.close()
            return
        if connection is None or len(self.connections) >= MAX_CONNECTIONS:
            abort(accepted)
            accepted.close()
        elif self.connections.add(connection) and not listening.deliver(connection):
            self.connections.cut(connection)

    # -- connecting ----------------------------------------------------------------------------------------------
    async def connect(self, address: str, port: int, timeout: float, pid: int) -> Connection:
        """A connection from this machine; the caller passes its descriptor on, the kernel keeps it."""
        target = self._settings.address if address in LOCAL_NAMES else address
        local = self._addresses.owns(target)
        if not local:
            await self._wait_if_blocked(target, timeout)
        if len(self.connections) >= MAX_CONNECTIONS:
            raise OSError(errno.ENOBUFS, f"{self._settings.name} has {MAX_CONNECTIONS} connections open")
        sock = await self._connect(target, port, timeout, source=target if local else self._settings.address)
        try:
            connection = Connection(sock, pid, inbound=False, on_machine=local)
        except OSError as error:
            sock.close()
            raise OSError(errno.ECONNRESET, f"{target}:{port} closed the connection at once") from error
        if not self.connections.add(connection):
            raise OSError(errno.ECONNABORTED, "the process that asked for the connection has ended")
        if self._is_blocked(connection):  # the fence closed while the connection was made
            self.connections.cut(connection)
            raise OSError(errno.ECONNRESET, f"the firewall of {self._settings.name} blocks {target}")
        return connection

    async def _wait_if_blocked(self, target: str, timeout: float) -> None:
        if self._firewall.blocks(inbound=False, local_port=0, remote_address=target):
            await asyncio.sleep(min(timeout, self._settings.blocked_connect_seconds))
            raise OSError(errno.ETIMEDOUT, f"no answer from {target} (the firewall of {self._settings.name} blocks it)")

    async def _connect(self, target: str, port: int, timeout: float, source: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            self._packets.attach(sock)
            sock.bind((source, 0))
            async with asyncio.timeout(timeout):
                await self._loop.sock_connect(sock, (target, port))
        except TimeoutError as error:
            sock.close()
            raise OSError(errno.ETIMEDOUT, f"no answer from {target}:{port} in {timeout:g} s") from error
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"cannot connect from {source} to {target}:{port}: {os.strerror(error.errno or 0)}") from error
        except BaseException:
            sock.close()
            raise
        return sock

    # -- what changes under connections that exist -----------------------------------------------------------------
    def _is_blocked(self, connection: Connection) -> bool:
        return not connection.on_machine and self._firewall.blocks(
            inbound=connection.inbound, local_port=connection.local[1], remote_address=connection.remote[0])

    def recheck(self) -> int:
        """Cut every connection that the firewall blocks now."""
        blocked = [connection for connection in self.connections if self._is_blocked(connection)]
        for connection in blocked:
            self.connections.cut(connection)
        if blocked:
            self._events.add("connections_cut", count=len(blocked), reason="fence")
        return len(blocked)

    def _address_added(self, address: str) -> None:
        for listening in self.listening:
            if listening.wants(address, self._settings.address):
                try:
                    self._open(listening, address)
                except OSError as error:
                    self._events.add("listen_failed", address=address, port=listening.port, error=str(error))

    def _address_silenced(self, address: str) -> None:
        """Nobody listens on it any more; its connections stay, and hear nothing: perhaps the address comes back."""
        for listening in self.listening:
            if address in listening.sockets:
                self._close(listening, address)

    def _address_removed(self, address: str) -> None:
        self._address_silenced(address)
        gone = [connection for connection in self.connections if connection.local[0] == address]
        for connection in gone:
            self.connections.cut(connection)
        if gone:
            self._events.add("connections_cut", count=len(gone), reason="address", address=address)
