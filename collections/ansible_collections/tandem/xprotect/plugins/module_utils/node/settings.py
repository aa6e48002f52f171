# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``node.json``: which pair this machine belongs to, as which node, and where everything is. Checked in full when read."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from .errors import NodeError
from .host.base import FenceRules, Host
from .store import NODE_FILE, OWN_CERTIFICATE, OWN_KEY, PARTNER_CERTIFICATE, WITNESS_CERTIFICATE, read_bytes, read_json

DEFAULT_SERVICES = {"recorder": "Milestone XProtect Recording Server"}
DEFAULT_MANAGEMENT_PORTS = (9000, 80)
GUARD_SERVICE = "Tandem Guard"
WITNESS = "witness"  # its id as a voter; no node may have this name
PLAYBOOK, AUTOMATIC = "playbook", "automatic"

_NAME = re.compile(r"[\w][\w .()-]{0,62}\Z")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_NEXT = "Correct the pair's definition in the inventory and run the role that configures the guards."


@dataclasses.dataclass(frozen=True)
class Partner:
    name: str
    address: str


@dataclasses.dataclass(frozen=True)
class Witness:
    name: str
    address: str
    port: int


@dataclasses.dataclass(frozen=True)
class FenceAgent:
    """A program on this node that switches the partner's machine off; exit code 0 means that it is off."""

    command: tuple[str, ...]
    timeout: float


@dataclasses.dataclass(frozen=True)
class ServiceAddress:
    address: str
    prefix: int
    interface: str | None = None


@dataclasses.dataclass(frozen=True)
class NodeSettings:
    pair: str
    recorder_id: str
    node: str
    address: str
    partner: Partner
    tandem_port: int
    service_address: ServiceAddress
    management_addresses: tuple[str, ...]
    lease_ttl: float
    services: dict[str, str]
    management_ports: tuple[int, ...] = DEFAULT_MANAGEMENT_PORTS
    lease_drift: float = 0.01
    witness: Witness | None = None
    promotion: str = PLAYBOOK
    registration: str = "once"
    register: dict | None = None  # parsed by guard/registration.py
    health: dict | None = None  # parsed by guard/health_terms.py
    fence_agent: FenceAgent | None = None

    @property
    def voters(self) -> tuple[str, ...]:
        """The ids of the voters that this definition wants."""
        return tuple(sorted([self.node, self.partner.name] + ([WITNESS] if self.witness else [])))

    @property
    def recorder_service(self) -> str:
        return self.services["recorder"]

    def fence_rules(self) -> FenceRules:
        return FenceRules(management_addresses=self.management_addresses)


def load(host: Host) -> NodeSettings | None:
    """The settings of this node, None when it was never configured."""
    document = read_json(host, NODE_FILE)
    return None if document is None else parse(document)


def require(host: Host) -> NodeSettings:
    settings = load(host)
    if settings is None:
        raise NodeError("not_configured", f"This machine belongs to no pair yet: {NODE_FILE} is missing.",
                        "Run the role that configures the guards of the pair.")
    return settings


def parse(document: t.Any) -> NodeSettings:
    """Typed settings. Everything that is wrong is named in one error."""
    reader = _Reader(document)
    partner, service = reader.section("partner"), reader.section("service_address")
    services = {**DEFAULT_SERVICES, **reader.texts("services")}
    settings = NodeSettings(
        pair=reader.text("pair", _NAME), recorder_id=reader.text("recorder_id", _GUID).lower(),
        node=reader.text("node", _NAME), address=reader.address("address"),
        partner=Partner(partner.text("name", _NAME), partner.address("address")),
        tandem_port=reader.number("tandem_port", 1, 65535),
        service_address=ServiceAddress(service.address("address"), service.number("prefix", 1, 128),
                                       service.text("interface", None, optional=True)),
        management_addresses=reader.addresses("management_addresses"),
        lease_ttl=float(reader.number("lease_ttl", 4, 60, default=8.0)),
        services=services,
        management_ports=reader.ports("management_ports", DEFAULT_MANAGEMENT_PORTS),
        lease_drift=float(reader.number("lease_drift", 0, 0.05, default=0.01)),
        witness=_witness(reader), promotion=reader.choice("promotion", (PLAYBOOK, AUTOMATIC)),
        registration=reader.choice("registration", ("once", "each_time")),
        register=reader.document("register"), health=reader.document("health"), fence_agent=_fence_agent(reader))
    problems = reader.problems
    if WITNESS in (settings.node, settings.partner.name):
        problems.append(f"no node may be named {WITNESS}")
    if settings.node and settings.node == settings.partner.name:
        problems.append("node and partner.name are the same")
    known = [settings.address, settings.partner.address, settings.service_address.address]
    if all(known) and len(set(known)) < 3:
        problems.append("address, partner.address and service_address.address must be three different addresses")
    if problems:
        raise NodeError("node_config_invalid", f"{NODE_FILE} is not usable: {'; '.join(problems)}.", _NEXT,
                        {"problems": problems})
    return settings


def _witness(reader: _Reader) -> Witness | None:
    if reader.absent("witness"):
        return None
    section = reader.section("witness")
    return Witness(section.text("name", _NAME), section.address("address"), section.number("port", 1, 65535))


def _fence_agent(reader: _Reader) -> FenceAgent | None:
    if reader.absent("fence_agent"):
        return None
    section = reader.section("fence_agent")
    return FenceAgent(section.command("command"), float(section.number("timeout", 1, 300, default=30.0)))


class _Reader:
    """Takes fields out of a JSON object and collects what is wrong instead of stopping at the first problem."""

    def __init__(self, document: t.Any, where: str = "", problems: list[str] | None = None):
        self.problems: list[str] = problems if problems is not None else []
        self._where = where
        if not isinstance(document, dict):
            self.problems.append(f"{where.rstrip('.') or 'the document'} is not an object")
            document = {}
        self._document = document

    def section(self, name: str) -> _Reader:
        return _Reader(self._document.get(name), f"{self._where}{name}.", self.problems)

    def text(self, name: str, pattern: re.Pattern[str] | None, optional: bool = False) -> t.Any:
        value = self._document.get(name)
        if optional and value in (None, ""):
            return None
        if not isinstance(value, str) or not value or len(value) > 256 or (pattern and not pattern.match(value)):
            self._wrong(name, "a proper text", value)
            return ""
        return value

    def texts(self, name: str) -> dict[str, str]:
        value = self._document.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(v, str) and 0 < len(v) <= 256 for v in value.values()):
            self._wrong(name, "an object of texts", value)
            return {}
        return dict(value)

    def number(self, name: str, low: float, high: float, default: float | None = None) -> t.Any:
        value = self._document.get(name, default)
        wanted = (int, float) if isinstance(default, float) else int
        if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
            self._wrong(name, f"a number from {low} to {high}", value)
            return low
        return value

    def absent(self, name: str) -> bool:
        return self._document.get(name) is None

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of `choices`; the first is the default."""
        value = self._document.get(name, choices[0])
        if value not in choices:
            self._wrong(name, " or ".join(choices), value)
            return choices[0]
        return value

    def document(self, name: str) -> dict | None:
        value = self._document.get(name)
        if value is not None and not isinstance(value, dict):
            self._wrong(name, "an object", value)
            return None
        return value

    def command(self, name: str) -> tuple[str, ...]:
        value = self._document.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= 64 or not all(isinstance(v, str) and len(v) <= 1024 for v in value):
            self._wrong(name, "a list of 1 to 64 texts", value)
            return ()
        return tuple(value)

    def address(self, name: str) -> str:
        value = self._document.get(name)
        if not _is_address(value):
            self._wrong(name, "an IP address", value)
            return ""
        return value

    def addresses(self, name: str) -> tuple[str, ...]:
        value = self._document.get(name)
        if not isinstance(value, list) or not 1 <= len(value) <= 16 or not all(map(_is_address, value)):
            self._wrong(name, "a list of 1 to 16 IP addresses", value)
            return ()
        return tuple(value)

    def ports(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        value = self._document.get(name, list(default))
        if not isinstance(value, list) or not 1 <= len(value) <= 8 or not all(
                isinstance(port, int) and not isinstance(port, bool) and 1 <= port <= 65535 for port in value):
            self._wrong(name, "a list of 1 to 8 ports", value)
            return default
        return tuple(value)

    def _wrong(self, name: str, wanted: str, value: t.Any) -> None:
        shown = "missing" if value is None else repr(value)[:80]
        self.problems.append(f"{self._where}{name} must be {wanted} ({shown})")


def _is_address(value: t.Any) -> bool:
    """An IPv4 or IPv6 address. ``socket`` is loaded anyway, ``ipaddress`` would cost start time."""
    import socket
    if not isinstance(value, str) or len(value) > 45:
        return False
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, value)) != ""
        except OSError:
            continue
    return False


def configuration_sha256(host: Host) -> str:
    """One hash over everything that a guard reads at its start: tells whether a running guard knows the files of now."""
    import hashlib
    digest = hashlib.sha256()
    for path in (NODE_FILE, OWN_CERTIFICATE, OWN_KEY, PARTNER_CERTIFICATE, WITNESS_CERTIFICATE):
        data = read_bytes(host, path)
        digest.update(b"-" if data is None else hashlib.sha256(data).digest())
    return digest.hexdigest()
