# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages between the machine's kernel and its processes: JSON with a 4-byte length, file descriptors beside it.

The kernel listens on an abstract Unix socket whose name is in the environment variable `TANDEM_LAB_MACHINE`. Each request
has a connection of its own; what lives longer than one answer (a listener, a permit) keeps its connection, and ends with it.
"""

from __future__ import annotations

import array
import errno
import json
import os
import socket
import struct
import typing as t

ENVIRONMENT = "TANDEM_LAB_MACHINE"
ROOT_ENVIRONMENT = "TANDEM_LAB_ROOT"
TAKEN = b"\1"  # said to the kernel for each connection that arrived
MAX_MESSAGE = 4 * 1024 * 1024
_LENGTH = struct.Struct(">I")
_ANCILLARY = socket.CMSG_SPACE(4 * 4)


class MachineError(OSError):
    """The simulated machine refused or could not do something. `code` is the Windows error number where there is one."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.message = message
        self.code = code

    def __str__(self) -> str:
        return self.message


def encode(message: dict[str, t.Any]) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE:
        raise MachineError(f"a message of {len(body)} bytes to the machine's kernel is too long (at most {MAX_MESSAGE})")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Bytes in, messages out. Descriptors come in order, a message says with `fds` how many of them are its own."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fds: list[int] = []

    def feed(self, data: bytes, fds: t.Sequence[int] = ()) -> None:
        self._buffer += data
        self._fds.extend(fds)

    def next(self) -> tuple[dict[str, t.Any], list[int]] | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._buffer)
        if length > MAX_MESSAGE:
            raise MachineError(f"a message of {length} bytes from the machine's kernel is too long (at most {MAX_MESSAGE})")
        if len(self._buffer) < _LENGTH.size + length:
            return None
        message = json.loads(self._buffer[_LENGTH.size:_LENGTH.size + length])
        del self._buffer[:_LENGTH.size + length]
        count = message.get("fds", 0)
        taken, self._fds = self._fds[:count], self._fds[count:]
        return message, taken

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def receive(sock: socket.socket) -> tuple[bytes, list[int]]:
    """One `recvmsg`: data and the descriptors that came with it (empty data: the other side is gone)."""
    data, ancillary, _flags, _address = sock.recvmsg(65536, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(payload[:len(payload) - len(payload) % fds.itemsize])
    return data, list(fds)


def raise_error(message: dict[str, t.Any]) -> t.NoReturn:
    """The exception for a refusal: `OSError` with the number the socket module would use, or `MachineError`."""
    error = message.get("error") or {}
    number = error.get("errno")
    text = error.get("message", "the machine's kernel refused without a reason")
    if number == errno.ETIMEDOUT:
        raise TimeoutError(number, text)
    if number:
        raise OSError(number, text)
    raise MachineError(text, error.get("code"))


def kernel_address(name: str | None = None) -> str:
    """The abstract socket address of this machine's kernel."""
    name = name or os.environ.get(ENVIRONMENT)
    if not name:
        raise MachineError(f"this process does not run on a lab machine: {ENVIRONMENT} is not set. "
                           "Start it through the machine (a service or a WinRM command).")
    return "\0" + name
