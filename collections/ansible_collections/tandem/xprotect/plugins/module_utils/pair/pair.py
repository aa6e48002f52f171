# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The definition of a pair, as an inventory gives it, checked before anything talks to a machine.

All mistakes are reported at once, so that an inventory is mended in one go.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import typing as t
import uuid

from ..errors import TandemError

# Ports that belong to the recorder, to its uplink or to Windows Remote Management.
RESERVED_PORTS = {5985: "WinRM", 5986: "WinRM over TLS", 7563: "the recorder's clients", 9000: "the Management Server",
                  9001: "the recorder's web API", 11000: "failover servers"}
DEFAULT_TANDEM_PORT = 11443
DEFAULT_WITNESS_PORT = 11444
WITNESS = "witness"  # the voter's id in every pair, whatever its machine is called
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}\Z")
_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*\Z")
_NEXT = "correct the definition of the pair (variable tandem_pair of its inventory host) and run again."


@dataclasses.dataclass(frozen=True)
class NodeDefinition:
    """One of the two machines. `connection` holds all that is needed to reach it by WinRM, secrets included."""

    name: str
    address: str
    connection: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)


@dataclasses.dataclass(frozen=True)
class ServiceAddress:
    """The address that clients and the Management Server know; it moves with attachment."""

    address: str
    prefix: int
    interface: str | None = None

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class WitnessDefinition:
    """The third voter. `connection`: how the controller reaches it (winrm, local or none), secrets included."""

    name: str
    address: str
    port: int
    connection: t.Mapping[str, t.Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    @property
    def way(self) -> str:
        return str(self.connection.get("connection") or "winrm")


@dataclasses.dataclass(frozen=True)
class PairDefinition:
    """One logical recorder: its name, its recorder id, its service address and its two nodes."""

    name: str
    recorder_id: str
    service_address: ServiceAddress
    nodes: tuple[NodeDefinition, NodeDefinition]
    tandem_port: int = DEFAULT_TANDEM_PORT
    witness: WitnessDefinition | None = None
    management_server: t.Mapping[str, t.Any] | None = dataclasses.field(default=None, repr=False, compare=False)

    @classmethod
    def from_params(cls, params: t.Mapping[str, t.Any]) -> "PairDefinition":
        """The pair that the common arguments describe; refuses with every mistake in one message."""
        problems: list[str] = []
        name = str(params.get("pair") or "")
        if not _NAME.match(name):
            problems.append("its name (option pair) is missing or has other characters than letters, digits, blank, '_', '.' and '-'"
                            f" ({name!r})")
        recorder_id = _guid(params.get("recorder_id"), problems)
        service = _service_address(params.get("service_address"), problems)
        nodes = _nodes(params.get("nodes"), problems)
        port = _port(params.get("tandem_port"), "tandem_port", DEFAULT_TANDEM_PORT, problems)
        witness = _witness(params.get("witness"), problems)
        _check_distinct(nodes, service, problems)
        _check_witness(witness, nodes, service, problems)
        if problems or service is None:
            raise TandemError(_sentence(problems), pair=name or "(unnamed)", next_step=_NEXT, code="pair_definition",
                              details={"problems": problems})
        return cls(name=name, recorder_id=recorder_id, service_address=service, nodes=(nodes[0], nodes[1]), tandem_port=port,
                   witness=witness, management_server=params.get("management_server") or None)

    @property
    def voters(self) -> tuple[str, ...]:
        """Who is meant to vote, in the order of the definition."""
        return (*self.names, WITNESS) if self.witness else self.names

    @property
    def names(self) -> tuple[str, str]:
        return self.nodes[0].name, self.nodes[1].name

    def node(self, name: str) -> NodeDefinition:
        """The node called `name` (case does not matter)."""
        for node in self.nodes:
            if node.name.casefold() == str(name).strip().casefold():
                return node
        raise TandemError(f"there is no node called {name!r}; the nodes of this pair are {self.names[0]} and {self.names[1]}",
                          pair=self.name, next_step="name one of the two nodes, or leave the option out.", code="unknown_node")

    def partner(self, name: str) -> NodeDefinition:
        """The other node."""
        return self.nodes[1] if self.node(name) is self.nodes[0] else self.nodes[0]


def normalise_guid(value: t.Any) -> str | None:
    """A GUID in lower case without braces, or None when `value` is not one."""
    text = _text(value).strip("{}").lower()
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", text):
        return None
    return None if uuid.UUID(text).int == 0 else text


def _sentence(problems: list[str]) -> str:
    if len(problems) == 1:
        return f"the definition of the pair cannot be used: {problems[0]}"
    listed = " ".join(f"({number}) {problem};" for number, problem in enumerate(problems, 1))
    return f"the definition of the pair cannot be used for {len(problems)} reasons: {listed.rstrip(';')}"


def _text(value: t.Any) -> str:
    return "" if value is None else str(value).strip()


def _guid(value: t.Any, problems: list[str]) -> str:
    guid = normalise_guid(value)
    if guid is None:
        given = f"is not a GUID: {value!r}" if _text(value) else "is missing"
        problems.append(f"recorder_id {given}; it is shown by the Management Client (Ctrl + Info tab of the recording server)"
                        " and stands in RecorderConfig.xml of the recorder that serves now")
    return guid or ""


def _ipv4(value: t.Any) -> ipaddress.IPv4Address | None:
    try:
        address = ipaddress.IPv4Address(_text(value))
    except ValueError:
        return None
    return None if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255") else address


def _address_or_name(value: t.Any) -> str | None:
    """An IPv4 address, or a host name that cannot be mistaken for a mistyped address."""
    text = _text(value).lower().rstrip(".")
    if re.fullmatch(r"[0-9.]*|.*:.*", text):
        address = _ipv4(text)
        return None if address is None else str(address)
    return text if _HOST.match(text) else None


def _service_address(value: t.Any, problems: list[str]) -> ServiceAddress | None:
    if not isinstance(value, t.Mapping) or not _text(value.get("address")):
        problems.append("service_address is missing: give the address (and its prefix) that clients know the recorder by")
        return None
    address = _ipv4(value.get("address"))
    if address is None:
        problems.append(f"service_address {value.get('address')!r} is not a usable IPv4 address")
        return None
    prefix = _number(value.get("prefix", 24), 1, 32)
    if prefix is None:
        problems.append(f"the prefix of service_address must be a number from 1 to 32 and not {value.get('prefix')!r}")
        return None
    network = ipaddress.IPv4Network((address, prefix), strict=False)
    if prefix < 31 and address in (network.network_address, network.broadcast_address):
        problems.append(f"service_address {address}/{prefix} is the network's own or its broadcast address")
        return None
    return ServiceAddress(str(address), prefix, _text(value.get("interface")) or None)


def _nodes(value: t.Any, problems: list[str]) -> list[NodeDefinition]:
    entries = list(value) if isinstance(value, (list, tuple)) else []
    if len(entries) != 2:
        problems.append(f"a pair has exactly two nodes, and {_count(len(entries))} defined")
    nodes = []
    for position, entry in enumerate(entries, 1):
        node = _node(entry, position, problems)
        if node is not None:
            nodes.append(node)
    return nodes


def _count(number: int) -> str:
    return {0: "none is", 1: "one is"}.get(number, f"{number} are")


def _node(entry: t.Any, position: int, problems: list[str]) -> NodeDefinition | None:
    if not isinstance(entry, t.Mapping):
        problems.append(f"node number {position} is not a dictionary with name and address")
        return None
    name = str(entry.get("name") or "")
    if not _NAME.match(name):
        problems.append(f"node number {position} has no usable name ({name!r})")
    address = _address_or_name(entry.get("address"))
    if address is None:
        problems.append(f"the address of node {name or position} is neither a usable IPv4 address nor a host name:"
                        f" {entry.get('address')!r}")
    if address is None or not _NAME.match(name):
        return None
    return NodeDefinition(name, address, {**entry, "name": name, "address": address})


def _number(value: t.Any, low: int, high: int) -> int | None:
    try:
        number = int(_text(value))
    except ValueError:
        return None
    return number if low <= number <= high else None


def _port(value: t.Any, option: str, default: int, problems: list[str]) -> int:
    if value in (None, ""):
        return default
    port = _number(value, 1, 65535)
    if port is None:
        problems.append(f"{option} must be a number from 1 to 65535 and not {value!r}")
        return default
    if port in RESERVED_PORTS:
        problems.append(f"{option} {port} is the port of {RESERVED_PORTS[port]}")
    return port


def _witness(value: t.Any, problems: list[str]) -> WitnessDefinition | None:
    if value in (None, "", {}):
        return None
    if not isinstance(value, t.Mapping):
        problems.append("witness is not a dictionary with name and address")
        return None
    name, address = str(value.get("name") or ""), _address_or_name(value.get("address"))
    if not _NAME.match(name):
        problems.append(f"the witness has no usable name ({name!r})")
    if address is None:
        problems.append(f"the address of the witness is neither a usable IPv4 address nor a host name: {value.get('address')!r}")
    port = _port(value.get("port"), "witness.port", DEFAULT_WITNESS_PORT, problems)
    if value.get("certificate") and value.get("certificate_file"):
        problems.append("witness.certificate and witness.certificate_file are both given, and one is enough")
    return None if address is None else WitnessDefinition(name, address, port, {**value, "name": name, "address": address})


def _check_witness(witness: WitnessDefinition | None, nodes: list[NodeDefinition], service: ServiceAddress | None,
                   problems: list[str]) -> None:
    for node in nodes:
        if node.name.casefold() == WITNESS:
            problems.append(f"a node cannot be called {node.name}: that is the third voter's name")
        if witness is not None and node.address == witness.address:
            problems.append(f"the witness has the address of node {node.name}: it has to run on neither, else it dies with one of them")
        if witness is not None and node.name.casefold() == witness.name.casefold():
            problems.append(f"the witness and a node are both called {node.name}")
    if witness is not None and service is not None and witness.address == service.address:
        problems.append(f"the service address {service.address} is also the address of the witness")


def _check_distinct(nodes: list[NodeDefinition], service: ServiceAddress | None, problems: list[str]) -> None:
    if len(nodes) == 2 and nodes[0].name.casefold() == nodes[1].name.casefold():
        problems.append(f"both nodes are called {nodes[0].name}")
    if len(nodes) == 2 and nodes[0].address == nodes[1].address:
        problems.append(f"nodes {nodes[0].name} and {nodes[1].name} have the same address {nodes[0].address}")
    for node in nodes:
        if service is not None and node.address == service.address:
            problems.append(f"the service address {service.address} is also the address of node {node.name}: it moves between the"
                            " nodes, so each node needs an address of its own beside it")
