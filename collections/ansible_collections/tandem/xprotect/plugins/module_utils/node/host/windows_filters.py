# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the fence consists of, as data: filters of the Windows Filtering Platform, and nothing that calls Windows.

All filters lie in one sublayer of Tandem's own. In a sublayer the matching filter with the highest weight decides and
the others are not asked: so a permit of higher weight opens what the blocks close, and closes again when it goes. Each
block exists twice, because a filter is either boot-time (until the filtering engine runs) or persistent (from then on).
Identifiers: documented (fwpmu.h, fwptypes.h). Traffic that stays on the machine carries the loopback flag and is exempt.
"""

from __future__ import annotations

import dataclasses
import socket
import uuid

from .base import FenceRules

NAMESPACE = uuid.UUID("5d4e0b1c-6f0b-4a53-9a57-2d2e8f6d7a10")
SUBLAYER = str(uuid.uuid5(NAMESPACE, "sublayer"))

CONNECT_V4 = "c38d57d1-05a7-4c33-904f-7fbceee60e82"  # FWPM_LAYER_ALE_AUTH_CONNECT_V4
CONNECT_V6 = "4a72393b-319f-44bc-84c3-ba54dcb3b6b4"
ACCEPT_V4 = "e1cd9fe7-f4b5-4273-96c0-592e487b8650"  # FWPM_LAYER_ALE_AUTH_RECV_ACCEPT_V4
ACCEPT_V6 = "a3b42c97-9f04-4672-b87e-cee9c483257f"
LAYERS = (CONNECT_V4, CONNECT_V6, ACCEPT_V4, ACCEPT_V6)

REMOTE_ADDRESS = "b235ae9a-1d64-49b8-a44c-5ff3d9095045"  # FWPM_CONDITION_IP_REMOTE_ADDRESS
LOCAL_PORT = "0c1ba1af-5765-453f-af22-a8f791ac775b"
PROTOCOL = "3971ef2b-623e-4f9a-8cb1-6e79b806b9a7"
FLAGS = "632ce23b-5167-435c-86d7-e903684aa80c"

MATCH_EQUAL, MATCH_FLAGS_NONE_SET = 0, 8
TYPE_UINT8, TYPE_UINT16, TYPE_UINT32, TYPE_V4_ADDR_MASK, TYPE_V6_ADDR_MASK = 1, 2, 3, 0x100, 0x101
FLAG_IS_LOOPBACK = 1
IPPROTO_TCP = 6
ACTION_BLOCK, ACTION_PERMIT = 0x1001, 0x1002
FILTER_PERSISTENT, FILTER_BOOTTIME, FILTER_CLEAR_ACTION_RIGHT = 0x1, 0x2, 0x8

WEIGHT_BLOCK, WEIGHT_EXEMPT, WEIGHT_PERMIT = 4, 8, 15
#: The machine must stay manageable even from the Management Server's own machine.
REMOTE_MANAGEMENT_PORTS = (5985, 5986, 3389)


@dataclasses.dataclass(frozen=True)
class Condition:
    field: str
    match: int
    type: int
    value: int | bytes  # numbers as they are, addresses as 4 or 16 bytes


@dataclasses.dataclass(frozen=True)
class Filter:
    key: str
    name: str
    layer: str
    conditions: tuple[Condition, ...]
    action: int
    weight: int
    flags: int


NOT_LOCAL = Condition(FLAGS, MATCH_FLAGS_NONE_SET, TYPE_UINT32, FLAG_IS_LOOPBACK)
TCP = Condition(PROTOCOL, MATCH_EQUAL, TYPE_UINT8, IPPROTO_TCP)


def fence(rules: FenceRules) -> list[Filter]:
    """The permanent filters for these rules. Other rules have other keys, so old and new ones never mix."""
    mark = ",".join(sorted(rules.management_addresses)) + "|" + ",".join(map(str, sorted(rules.inbound_ports)))
    found = []
    for version, connect, accept in ((4, CONNECT_V4, ACCEPT_V4), (6, CONNECT_V6, ACCEPT_V6)):
        servers = tuple(_remote(address) for address in rules.management_addresses if (":" in address) == (version == 6))
        if servers:
            found += _twice(mark, f"to the Management Server (IPv{version})", connect, (*servers, NOT_LOCAL))
            found += _twice(mark, f"from the Management Server (IPv{version})", accept, (*servers, NOT_LOCAL))
            found += _twice(mark, f"remote management from the Management Server (IPv{version})", accept,
                            (*servers, TCP, *map(_port, REMOTE_MANAGEMENT_PORTS)), ACTION_PERMIT, WEIGHT_EXEMPT)
        if rules.inbound_ports:
            found += _twice(mark, f"serving ports (IPv{version})", accept, (*map(_port, rules.inbound_ports), TCP, NOT_LOCAL))
    return found


def permit() -> list[Filter]:
    """What an open permit adds: in Tandem's sublayer everything passes. Their keys are fixed: there is one permit at most."""
    return [Filter(str(uuid.uuid5(NAMESPACE, f"permit {layer}")), "Tandem: attached", layer, (), ACTION_PERMIT, WEIGHT_PERMIT, 0)
            for layer in LAYERS]


def _twice(mark: str, name: str, layer: str, conditions: tuple[Condition, ...], action: int = ACTION_BLOCK,
           weight: int = WEIGHT_BLOCK) -> list[Filter]:
    right = FILTER_CLEAR_ACTION_RIGHT if action == ACTION_BLOCK else 0
    return [Filter(str(uuid.uuid5(NAMESPACE, f"{kind} {name} {mark}")), f"Tandem fence: {name}", layer, conditions, action, weight,
                   flag | right)
            for kind, flag in (("persistent", FILTER_PERSISTENT), ("boot", FILTER_BOOTTIME))]


def _remote(address: str) -> Condition:
    if ":" in address:
        return Condition(REMOTE_ADDRESS, MATCH_EQUAL, TYPE_V6_ADDR_MASK, socket.inet_pton(socket.AF_INET6, address))
    return Condition(REMOTE_ADDRESS, MATCH_EQUAL, TYPE_V4_ADDR_MASK, socket.inet_pton(socket.AF_INET, address))


def _port(port: int) -> Condition:
    return Condition(LOCAL_PORT, MATCH_EQUAL, TYPE_UINT16, port)
