# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's own hold on every TCP connection of the machine.

The process that uses a connection got its descriptor from the kernel, which keeps a duplicate: so a connection can be cut although
its process is frozen. A duplicate is let go when the connection is over (both directions shut down) or its process has ended.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import select
import socket
import typing as t

_libc = ctypes.CDLL(None, use_errno=True)
_UNSPECIFIED = ctypes.create_string_buffer(bytes(16))  # struct sockaddr with family AF_UNSPEC


class Connection:
    """One TCP connection of one process."""

    __slots__ = ("sock", "pid", "inbound", "local", "remote", "on_machine")

    def __init__(self, sock: socket.socket, pid: int, *, inbound: bool, on_machine: bool):
        self.sock = sock
        self.pid = pid
        self.inbound = inbound
        self.local: tuple[str, int] = sock.getsockname()
        self.remote: tuple[str, int] = sock.getpeername()
        self.on_machine = on_machine  # both ends are on this machine: never fenced


def abort(sock: socket.socket) -> None:
    """Cut a connection for everybody who has its descriptor, without sending what still waits to be sent."""
    if _libc.connect(sock.fileno(), _UNSPECIFIED, 16) != 0:
        try:
            sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # over already


class Connections:
    """All connections of the machine, by descriptor of the kernel's duplicate and by process."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._all: dict[int, Connection] = {}
        self._owners: dict[int, set[Connection]] = {}
        self._pidfds: dict[int, int] = {}
        self._over = select.epoll()
        self._loop.add_reader(self._over.fileno(), self._release_finished)

    def __iter__(self) -> t.Iterator[Connection]:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def add(self, connection: Connection) -> bool:
        """Take charge of a connection. False (and the connection is gone) when its process has ended meanwhile."""
        if not self._watch(connection.pid):
            abort(connection.sock)
            connection.sock.close()
            return False
        fd = connection.sock.fileno()
        self._all[fd] = connection
        self._owners[connection.pid].add(connection)
        self._over.register(fd, 0)  # no events asked for: hang-up is always reported
        return True

    def cut(self, connection: Connection) -> None:
        abort(connection.sock)
        self._release(connection)

    def _release_finished(self) -> None:
        for fd, _events in self._over.poll(0):
            connection = self._all.get(fd)
            if connection is not None:
                self._release(connection)

    def _release(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if self._all.get(fd) is not connection:
            return
        self._over.unregister(fd)  # closing alone would not: the process has the same open connection
        del self._all[fd]
        self._owners.get(connection.pid, set()).discard(connection)
        connection.sock.close()

    def _watch(self, pid: int) -> bool:
        if pid in self._pidfds:
            return True
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            return False
        self._pidfds[pid] = pidfd
        self._owners[pid] = set()
        self._loop.add_reader(pidfd, self._process_ended, pid)
        return True

    def _process_ended(self, pid: int) -> None:
        pidfd = self._pidfds.pop(pid)
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        for connection in list(self._owners.pop(pid, ())):
            self._release(connection)  # the last descriptor: the operating system ends the connection

    def status(self) -> list[dict[str, t.Any]]:
        return [{"pid": item.pid, "inbound": item.inbound, "local": list(item.local), "remote": list(item.remote)} for item in self]
