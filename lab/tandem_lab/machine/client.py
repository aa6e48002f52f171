# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's kernel for ordinary (blocking) programs. Safe to use from several threads: each request has its own connection."""

from __future__ import annotations

import contextlib
import socket
import time
import typing as t

from . import channel, sockets
from .channel import MachineError as MachineError  # what callers catch

_CLOSE_SECONDS = 5.0


class MachineListener(socket.socket):
    """A listening port; readable when a connection waits. Take connections with `accept_connection`, end with `close`."""

    def __init__(self, kernel: socket.socket, decoder: channel.Decoder):
        super().__init__(fileno=kernel.detach())
        self._decoder = decoder

    def accept_connection(self, timeout: float) -> tuple[sockets.MachineSocket, str] | None:
        """A connection and its peer's address, None after `timeout`."""
        deadline = time.monotonic() + timeout
        while (message := self._decoder.next()) is None:
            self.settimeout(max(0.0, deadline - time.monotonic()))
            try:
                data, fds = channel.receive(self)
            except (TimeoutError, BlockingIOError):
                return None
            if not data:
                raise ConnectionResetError("the machine's kernel closed the listening port")
            self._decoder.feed(data, fds)
        sock = sockets.from_descriptor(message[1][0])
        self.settimeout(None)
        self.sendall(channel.TAKEN)
        return sock, message[0]["peer"]

    def close(self) -> None:
        self._decoder.close()
        super().close()


class MachinePermit:
    """An open fence, closed by `close` or with the process."""

    def __init__(self, kernel: socket.socket):
        self._kernel = kernel

    def close(self) -> None:
        """When this returns the fence is closed and what it blocks is cut. TimeoutError when the kernel does not confirm that."""
        if self._kernel.fileno() < 0:
            return
        with self._kernel, contextlib.suppress(ConnectionError):  # no kernel, no network
            self._kernel.settimeout(_CLOSE_SECONDS)
            self._kernel.shutdown(socket.SHUT_WR)
            try:
                while self._kernel.recv(256):  # it closes its end when all is done
                    pass
            except TimeoutError as error:
                raise TimeoutError(f"the machine's kernel did not close the permit within {_CLOSE_SECONDS:g} s") from error


class MachineClient:
    """`name`: the kernel's socket name; by default that of the machine on which this process runs."""

    def __init__(self, name: str | None = None):
        self._address = channel.kernel_address(name)

    def call(self, op: str, *, timeout: float = 30.0, **parameters: t.Any) -> dict[str, t.Any]:
        """One request and its answer. Raises `OSError`, or its child `MachineError`, when it is refused."""
        kernel, answer, _fds, _decoder = self._ask(op, timeout, parameters)
        kernel.close()
        return answer

    def _ask(self, op: str, timeout: float, parameters: dict[str, t.Any]) -> tuple[
            socket.socket, dict[str, t.Any], list[int], channel.Decoder]:
        kernel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            kernel.settimeout(timeout)
            kernel.connect(self._address)
            kernel.sendall(channel.encode({"op": op, **parameters}))
            decoder = channel.Decoder()
            while (message := decoder.next()) is None:
                data, fds = channel.receive(kernel)
                if not data:
                    raise ConnectionResetError(f"the machine's kernel closed the connection without an answer to {op}")
                decoder.feed(data, fds)
            if not message[0].get("ok"):
                channel.raise_error(message[0])
        except TimeoutError as error:
            kernel.close()
            if error.errno is None:
                raise TimeoutError(f"the machine's kernel did not answer {op} in {timeout:g} s") from error
            raise
        except BaseException:
            kernel.close()
            raise
        return kernel, message[0], message[1], decoder

    def connect(self, address: str, port: int, timeout: float) -> sockets.MachineSocket:
        """A connected TCP socket from this machine; `timeout` is also the socket's."""
        kernel, _answer, fds, _decoder = self._ask("connect", timeout + 2.0, {"address": address, "port": port, "timeout": timeout})
        sock = sockets.from_descriptor(fds[0])
        with kernel:
            kernel.sendall(channel.TAKEN)
        sock.settimeout(timeout)
        return sock

    def listen(self, port: int, address: str | None = None) -> MachineListener:
        """Listen on one address of the machine, or on all of them (None), also those that it gets later."""
        kernel, _answer, _fds, decoder = self._ask("listen", 10.0, {"port": port, "address": address})
        return MachineListener(kernel, decoder)

    def open_permit(self) -> MachinePermit:
        return MachinePermit(self._ask("permit.open", 10.0, {})[0])
