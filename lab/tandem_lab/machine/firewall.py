# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's firewall: a permanent fence, and permits that open it for as long as their holder lives."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
import typing as t

from .channel import MachineError


@dataclasses.dataclass(frozen=True)
class Fence:
    """What is blocked: all traffic with the management addresses, and what comes in on the serving ports."""

    management_addresses: tuple[str, ...]
    inbound_ports: tuple[int, ...]

    @classmethod
    def from_document(cls, document: dict[str, t.Any]) -> Fence:
        try:
            addresses = tuple(str(ipaddress.IPv4Address(item)) for item in document["management_addresses"])
            ports = tuple(int(item) for item in document["inbound_ports"])
        except (KeyError, TypeError, ValueError) as error:
            raise MachineError(f"the fence rules are not usable: {error!r}", 87) from error
        return cls(addresses, ports)

    def to_document(self) -> dict[str, t.Any]:
        return {"management_addresses": list(self.management_addresses), "inbound_ports": list(self.inbound_ports)}

    def covers(self, *, inbound: bool, local_port: int, remote_address: str) -> bool:
        return remote_address in self.management_addresses or (inbound and local_port in self.inbound_ports)


class Permit:
    """One opening of the fence; whose it is only matters for the status, and its number for the event log."""

    _numbers = itertools.count(1)

    def __init__(self, pid: int):
        self.pid = pid
        self.number = next(self._numbers)


class Firewall:
    def __init__(self, fence: Fence | None):
        self.fence = fence
        self.permits: set[Permit] = set()

    def blocks(self, *, inbound: bool, local_port: int, remote_address: str) -> bool:
        """Whether traffic is blocked now. The caller has made sure that it does not stay on this machine."""
        if self.fence is None or self.permits:
            return False
        return self.fence.covers(inbound=inbound, local_port=local_port, remote_address=remote_address)

    def status(self) -> dict[str, t.Any]:
        return {"installed": self.fence is not None, "rules": self.fence.to_document() if self.fence else None,
                "permits": sorted(permit.pid for permit in self.permits)}
