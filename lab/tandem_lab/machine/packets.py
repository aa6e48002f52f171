# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lossy or cut network, without privileges: socket filters (classic BPF) that throw packets away on their way in.

A filter works for all who have a socket, stopped ones too. What it drops was never received: no acknowledgement, no refusal, TCP sends it
again. A connection inherits the filter of the listener that it came in by. "What A sends does not reach B" is a rule of B with A's address.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import ipaddress
import os
import socket
import struct
import typing as t

SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
_MAX_INSTRUCTIONS = 1024
_NET = 0xFFF00000  # SKF_NET_OFF: offsets from here count in the IP header, small ones in the TCP header
_RANDOM = 0xFFFFF000 + 56  # SKF_AD_OFF + SKF_AD_RANDOM
_SOURCE, _DESTINATION, _DESTINATION_PORT = _NET + 12, _NET + 16, 2
_LOAD_WORD, _LOAD_HALF, _IF_EQUAL, _IF_GREATER, _IF_AT_LEAST, _RETURN = 0x20, 0x28, 0x15, 0x25, 0x35, 0x06
_DROP, _PASS = 0, 0xFFFFFFFF
Instruction = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True)
class Rule:
    """What is dropped: what comes from these addresses, to this own address and to these own ports (none given: any)."""

    first: str
    last: str
    to: str | None = None
    ports: tuple[int, ...] = ()
    other_ports: bool = False  # to all ports except these
    share: float = 1.0

    @classmethod
    def parse(cls, document: dict[str, t.Any]) -> Rule:
        return cls(**{**document, "ports": tuple(document.get("ports", ()))})

    def to_document(self) -> dict[str, t.Any]:
        return {**dataclasses.asdict(self), "ports": list(self.ports)}


def compile_rules(rules: t.Sequence[Rule]) -> bytes:
    """The filter program. No rules: it passes everything."""
    instructions = [instruction for rule in rules for instruction in _block(rule)]
    instructions.append((_RETURN, 0, 0, _PASS))
    if len(instructions) > _MAX_INSTRUCTIONS:
        raise ValueError(f"{len(rules)} rules are too many for one filter")
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


DROP_EVERYTHING = struct.pack("HBBI", _RETURN, 0, 0, _DROP)
_AWAY = -1  # a jump out of the block: this rule does not apply


def _block(rule: Rule) -> list[Instruction]:
    """One rule: falls through to its end when it does not apply."""
    block: list[tuple[int, int, int, int]] = [
        (_LOAD_WORD, 0, 0, _SOURCE), (_IF_AT_LEAST, 0, _AWAY, _number(rule.first)), (_IF_GREATER, _AWAY, 0, _number(rule.last))]
    if rule.to is not None:
        block += [(_LOAD_WORD, 0, 0, _DESTINATION), (_IF_EQUAL, 0, _AWAY, _number(rule.to))]
    if rule.ports:
        block += [(_LOAD_HALF, 0, 0, _DESTINATION_PORT), *_ports(rule)]
    if rule.share < 1.0:
        block += [(_LOAD_WORD, 0, 0, _RANDOM), (_IF_AT_LEAST, _AWAY, 0, int(rule.share * 0x100000000))]
    block.append((_RETURN, 0, 0, _DROP))
    return [(code, _distance(index, yes, block), _distance(index, no, block), value) for index, (code, yes, no, value) in enumerate(block)]


def _ports(rule: Rule) -> t.Iterator[Instruction]:
    for index, port in enumerate(rule.ports):
        left = len(rule.ports) - 1 - index
        if rule.other_ports:
            yield (_IF_EQUAL, _AWAY, 0, port)
        else:
            yield (_IF_EQUAL, left, 0 if left else _AWAY, port)


def _distance(index: int, jump: int, block: list[Instruction]) -> int:
    return len(block) - index - 1 if jump == _AWAY else jump


def _number(address: str) -> int:
    return int(ipaddress.IPv4Address(address))


class PacketFilter:
    """The one filter of this process, on every TCP socket that it has. `load`, then `attach` for each socket made later."""

    def __init__(self) -> None:
        self._program: ctypes.Array[ctypes.c_char] | None = None
        self._option = b""

    def load(self, rules: t.Sequence[Rule], *, silent: bool = False) -> None:
        """From now on these rules count; `silent`: nothing at all gets in."""
        if not rules and not silent:
            self._program = None
        else:
            program = DROP_EVERYTHING if silent else compile_rules(rules)
            self._program = ctypes.create_string_buffer(program, len(program))
            self._option = struct.pack("HP", len(program) // 8, ctypes.addressof(self._program))  # struct sock_fprog
        self.attach_all()

    @property
    def active(self) -> bool:
        return self._program is not None

    def attach(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):  # it has no filter to detach, or is closed
            if self._program is None:
                sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
            else:
                sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, self._option)

    def attach_all(self) -> None:
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError, ValueError):
                if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                    self._attach_number(int(name))

    def _attach_number(self, fd: int) -> None:
        sock = socket.socket(fileno=fd)  # asks the operating system what it is
        try:
            if sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM:
                self.attach(sock)
        finally:
            sock.detach()  # it is somebody else's
