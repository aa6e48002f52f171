# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``node_guard``: both nodes get their certificates, their settings, the fence and the guard service.

The order keeps clients served: a node that serves opens its permit before its fence stands (``adopt``), every other node is
fenced first.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
import typing as t
import urllib.parse

from .. import _runtime_build, certificates
from ..arguments import with_pair
from ..errors import TandemError
from ..pair.roles import NodeView, find_roles, source_and_twin
from ._fitness import refuse_unfit_twin
from ._nodes import read_facts
from ._work import WorkLock
from .context import Context

ARGUMENT_SPEC = with_pair(
    adopt={"type": "bool", "default": False},
    management_addresses={"type": "list", "elements": "str", "default": []},
    permit_ttl={"type": "float", "default": 8.0},
)
UPLINK_PORT = 9000
WARN_DAYS = 180


@dataclasses.dataclass
class Outcome:
    """What happened on one node."""

    changed: bool = False
    items: list[str] = dataclasses.field(default_factory=list)
    guard_pending: bool = False
    certificate_sha256: str | None = None

    def note(self, item: str) -> None:
        self.changed = True
        self.items.append(item)


@dataclasses.dataclass(frozen=True)
class Material:
    """A node's certificate, and its key only when it was made just now."""

    certificate: str
    key: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class Caller:
    """How a verb is called, and whether only to look."""

    call: t.Callable[..., dict[str, t.Any]]
    check: bool


def run(context: Context) -> dict[str, t.Any]:
    _check_ttl(context)
    views, samples = read_facts(context)
    refuse_unfit_twin(context, views, samples, "configure the guards")
    serving = unguarded_server(context, views)
    if serving and not context.params["adopt"]:
        raise TandemError("it serves clients without a guard, and a fence would cut it off", pair=context.pair.name, node=serving,
                          code="adopt_needed", next_step="set adopt to true: the guard then opens its permit before the fence stands,"
                                                         " and no client is cut off.")
    documents = _documents(context, views)
    material = {name: _material(context, name, documents[name]["address"]) for name in context.node_names}
    outcomes = _go_through(context, Caller(context.call, True), views, documents, material, serving)
    if not context.check_mode and any(outcome.changed for outcome in outcomes.values()):
        with WorkLock(context, context.node_names, "configuring the guards") as work:
            outcomes = _go_through(context, Caller(work.call, False), views, documents, material, serving)
    for name, outcome in outcomes.items():
        if outcome.guard_pending:
            context.warn(f"node {name} is attached: its guard and fence go on as they are until it is headless; run node_guard again after"
                         " a switchover")
    return _result(context, outcomes, serving)


def _go_through(context: Context, caller: Caller, views: t.Mapping[str, NodeView], documents: t.Mapping[str, dict[str, t.Any]],
                material: t.Mapping[str, Material], serving: str | None) -> dict[str, Outcome]:
    """All steps on both nodes, or (when only checking) what they would change."""
    outcomes = {}
    for name in sorted(context.node_names, key=lambda name: name == serving):  # the one that serves comes last
        outcome = outcomes[name] = Outcome(certificate_sha256=certificates.read(material[name].certificate).sha256)
        if material[name].key:
            outcome.note("certificate")
        _configure(context, caller, name, documents[name], material, outcome)
        if name == serving:
            _adopt(context, caller, name, outcome)
        _fence(caller, views[name], outcome, name == serving)
    return outcomes


def _check_ttl(context: Context) -> None:
    if not 4 <= context.params["permit_ttl"] <= 60:
        raise TandemError(f"permit_ttl must be from 4 to 60 seconds and not {context.params['permit_ttl']:g}", pair=context.pair.name,
                          code="configuration", next_step="correct the option (the default is 8).")


def unguarded_server(context: Context, views: t.Mapping[str, NodeView]) -> str | None:
    """The node that serves clients now and has no fence yet: the one that has to be adopted. None when there is none."""
    roles = find_roles(context.pair, views)
    if roles.guarded or all(view.fenced for view in views.values()):
        return None
    source, unused = source_and_twin(context.pair, views)
    view = views[source]
    holds_address = context.pair.service_address.address in (view.part("machine", "addresses") or {})
    return source if not view.fenced and (view.recorder_running or holds_address) else None


def _material(context: Context, name: str, address: str) -> Material:
    """A node's certificate: the one that it has with its key, else a new one."""
    present = context.call(name, "guard.tls", {})
    if _usable(context, name, present):
        return Material(present["certificate"])
    return Material(*certificates.create(name, address))


def _usable(context: Context, name: str, present: t.Mapping[str, t.Any]) -> bool:
    """A certificate with its key that is still valid. Names in it do not matter: the certificate itself is pinned."""
    if not present.get("certificate") or not present.get("has_key"):
        return False
    try:
        days = certificates.read(present["certificate"]).days_left()
    except TandemError as error:
        context.warn(f"node {name}: {error.message}; a new one is made")
        return False
    if 0 < days < WARN_DAYS:
        context.warn(f"the certificate of node {name} ends in {days:.0f} days: remove the files in C:\\ProgramData\\Tandem\\tls there and"
                     " run node_guard again")
    return days > 0


def _configure(context: Context, caller: Caller, name: str, document: dict[str, t.Any], material: t.Mapping[str, Material],
               outcome: Outcome) -> None:
    """Settings, certificates and the service of one node."""
    own, partner = material[name], material[context.pair.partner(name).name]
    answer = caller.call(name, "guard.configure", {
        "config": document,
        "tls": {"certificate": own.certificate, "key": own.key, "partner_certificate": partner.certificate},
        "runtime_path": _runtime_build.runtime_path(_runtime_build.sha256()),
        "check": caller.check,
    }, timeout=180.0)
    outcome.changed |= bool(answer.get("changed"))
    outcome.items += [str(item["id"]) for item in answer.get("items") or [] if item.get("changed")]
    outcome.guard_pending = bool(answer.get("guard_pending"))


def _adopt(context: Context, caller: Caller, name: str, outcome: Outcome) -> None:
    """The permit is open before the fence stands: nothing is cut."""
    outcome.note("attachment")
    if caller.check:
        return
    caller.call(name, "attachment.adopt", {}, timeout=180.0)
    state = caller.call(name, "attachment.status", {}).get("state")
    if state != "attached":
        raise TandemError(f"its guard is {state or 'in an unknown state'} after adopting and not attached", pair=context.pair.name,
                          node=name,
                          code="not_adopted",
                          next_step="look at the guard's log in C:\\ProgramData\\Tandem\\guard on that node, then run again.")


def _fence(caller: Caller, view: NodeView, outcome: Outcome, serving: bool) -> None:
    """The fence of a node that does not serve; that of one that serves comes with adopting it."""
    if serving or (caller.check and view.part("tandem") is None):
        outcome.note("fence")
        return
    try:
        answer = caller.call(view.name, "fence.install", {"check": caller.check})
    except TandemError as error:
        if error.code != "attached" or view.guard_state != "attached":
            raise
        outcome.guard_pending = True
        return
    if answer.get("changed"):
        outcome.note("fence")


def _documents(context: Context, views: t.Mapping[str, NodeView]) -> dict[str, dict[str, t.Any]]:
    """node.json of each node."""
    pair = context.pair
    addresses = {node.name: _ipv4(context, node.address, f"the address of node {node.name}")[0] for node in pair.nodes}
    management, ports = _management(context, views)
    documents = {}
    for node in pair.nodes:
        partner = pair.partner(node.name)
        documents[node.name] = {
            "pair": pair.name, "recorder_id": pair.recorder_id, "node": node.name, "address": addresses[node.name],
            "partner": {"name": partner.name, "address": addresses[partner.name]}, "tandem_port": pair.tandem_port,
            "service_address": pair.service_address.as_dict(), "management_addresses": management, "management_ports": ports,
            "permit_ttl": float(context.params["permit_ttl"]), "services": {"recorder": "Milestone XProtect Recording Server"},
        }
    return documents


def _management(context: Context, views: t.Mapping[str, NodeView]) -> tuple[list[str], list[int]]:
    """What the fence blocks and the guard probes: the addresses of the Management Server, however it is named."""
    names = list(context.params["management_addresses"])
    ports = [UPLINK_PORT]
    options = context.params.get("management_server")
    if options:
        url = urllib.parse.urlsplit(options["url"])
        ports.append(url.port or (443 if url.scheme == "https" else 80))
        if not names and url.hostname:
            names.append(url.hostname)
    if not context.params["management_addresses"]:
        # What the recorders themselves talk to. A name that only they can resolve has to be given as an address.
        names += [view.part("recorder", "server_address") for view in views.values() if view.recorder_id == context.pair.recorder_id]
    found = [address for name in names if name for address in _ipv4(context, name, f"the Management Server's name {name}")]
    if not found:
        raise TandemError("the addresses of the Management Server are not known", pair=context.pair.name, code="configuration",
                          next_step="give management_server, or list its addresses in management_addresses.")
    return sorted(set(found)), sorted(set(ports))


def _ipv4(context: Context, name: str, what: str) -> list[str]:
    try:
        return [str(ipaddress.IPv4Address(name))]
    except ValueError:
        pass
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)})
    except OSError as error:
        raise TandemError(f"{what} cannot be resolved on the controller: {error.strerror or error}", pair=context.pair.name,
                          code="configuration", next_step="give IPv4 addresses (nodes[].address, management_addresses).") from None


def _result(context: Context, outcomes: t.Mapping[str, Outcome], serving: str | None) -> dict[str, t.Any]:
    changed = any(outcome.changed for outcome in outcomes.values())
    lines = [f"node {name}: {item}\n" for name in context.node_names for item in outcomes[name].items]
    return {
        "changed": changed,
        "adopted": serving,
        "nodes": {name: dataclasses.asdict(outcomes[name]) for name in context.node_names},
        "diff": {"before": "", "after": "".join(lines)},
    }
