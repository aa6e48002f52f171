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
from ..pair.pair import NodeDefinition
from ..pair.roles import NodeView, find_roles, source_and_twin
from . import _fence_agent, _witness
from ._fitness import refuse_unfit_twin
from ._nodes import read_facts
from ._work import WorkLock
from .context import Context

ARGUMENT_SPEC = with_pair(
    adopt={"type": "bool", "default": False},
    management_addresses={"type": "list", "elements": "str", "default": []},
    lease_ttl={"type": "float", "default": 8.0},
    lease_drift={"type": "float", "default": 0.01},
    promotion={"type": "str", "choices": ["playbook", "automatic"], "default": "playbook"},
    registration={"type": "str", "choices": ["once", "each_time"], "default": "once"},
    register={"type": "dict", "options": {
        "command": {"type": "list", "elements": "str"},
        "task": {"type": "str"},
        "timeout": {"type": "float", "default": 60.0},
    }, "mutually_exclusive": [["command", "task"]]},
    health={"type": "dict"},
    guard_fence_agent={"type": "dict", "options": {
        "command": {"type": "list", "elements": "str", "required": True},
        "timeout": {"type": "float", "default": 30.0},
    }},
)
UPLINK_PORT = 9000
WARN_DAYS = 180


@dataclasses.dataclass
class Outcome:
    """What happened on one node."""

    changed: bool = False
    items: list[str] = dataclasses.field(default_factory=list)
    guard_pending: bool = False
    certificate: str | None = None
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
class Trusted:
    """What others accept as the certificate of a node or of the witness. Two in one text while one is exchanged."""

    nodes: t.Mapping[str, str]
    witness: str | None


@dataclasses.dataclass(frozen=True)
class Caller:
    """How a verb is called, and whether only to look."""

    call: t.Callable[..., dict[str, t.Any]]
    check: bool


def run(context: Context) -> dict[str, t.Any]:
    _check(context)
    views, samples = read_facts(context)
    refuse_unfit_twin(context, views, samples, "configure the guards")
    serving = unguarded_server(context, views)
    if serving and not context.params["adopt"]:
        raise TandemError("it serves clients without a guard, and a fence would cut it off", pair=context.pair.name, node=serving,
                          code="adopt_needed", next_step="set adopt to true: the guard then opens its permit before the fence stands,"
                                                         " and no client is cut off.")
    documents = node_documents(context, views)
    material = {name: _material(context, name, documents[name]["address"]) for name in context.node_names}
    trusted = Trusted({name: own.certificate for name, own in material.items()}, _witness.certificate(context))
    outcomes = _go_through(context, Caller(context.call, True), views, documents, material, trusted, serving)
    if not context.check_mode and any(outcome.changed for outcome in outcomes.values()):
        with WorkLock(context, context.node_names, "configuring the guards") as work:
            outcomes = _go_through(context, Caller(work.call, False), views, documents, material, trusted, serving)
    voting = _membership(context, views, outcomes, serving)
    for name, outcome in outcomes.items():
        if outcome.guard_pending:
            context.warn(f"node {name} is attached: its guard and fence go on as they are until it is headless; run node_guard again after"
                         " a switchover")
    return _result(context, outcomes, serving, voting)


def _go_through(context: Context, caller: Caller, views: t.Mapping[str, NodeView], documents: t.Mapping[str, dict[str, t.Any]],
                material: t.Mapping[str, Material], trusted: Trusted, serving: str | None) -> dict[str, Outcome]:
    """All steps on both nodes, or (when only checking) what they would change."""
    outcomes = {}
    for name in sorted(context.node_names, key=lambda name: name == serving):  # the one that serves comes last
        own = material[name].certificate
        outcome = outcomes[name] = Outcome(certificate=own, certificate_sha256=certificates.read(own).sha256)
        if material[name].key:
            outcome.note("certificate")
        configure(context, caller, name, documents[name], material[name], trusted, outcome)
        if name == serving:
            _adopt(context, caller, name, outcome)
        _fence(caller, views[name], outcome, name == serving)
    return outcomes


def _check(context: Context) -> None:
    params = context.params
    for name, low, high in (("lease_ttl", 4, 60), ("lease_drift", 0, 0.05)):
        if not low <= params[name] <= high:
            unit = " seconds" if name == "lease_ttl" else ""
            raise TandemError(f"{name} must be from {low:g} to {high:g}{unit} and not {params[name]:g}", pair=context.pair.name,
                              code="configuration", next_step=f"correct the option (the default is {ARGUMENT_SPEC[name]['default']:g}).")
    unattended = (params.get("register") or {}).get("task")  # a scheduled task has its credentials stored
    if params["promotion"] == "automatic" and params["registration"] == "each_time" and not unattended:
        raise TandemError("promotion automatic is refused with registration each_time: registering needs an administrator's logon, which a"
                          " guard that acts by itself does not have", pair=context.pair.name, code="configuration",
                          next_step="set promotion to playbook, name a scheduled task with stored credentials in register.task, or set"
                                    " registration to once where the machines may share it.")
    if params["promotion"] == "automatic" and context.pair.witness is None:
        context.warn("promotion is automatic and the pair has no witness: without a third voter no node takes over from a silent one")
    agent = params.get("guard_fence_agent")
    if agent and not (agent["command"] and 1 <= agent["timeout"] <= 300):
        raise TandemError("guard_fence_agent needs a command and a timeout from 1 to 300 seconds", pair=context.pair.name,
                          code="configuration", next_step="correct the option or leave it out.")


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


def configure(context: Context, caller: Caller, name: str, document: dict[str, t.Any], own: Material, trusted: Trusted,
              outcome: Outcome) -> None:
    """Settings, certificates and the service of one node."""
    answer = caller.call(name, "guard.configure", {
        "config": document,
        "tls": {"certificate": own.certificate, "key": own.key, "partner_certificate": trusted.nodes[context.pair.partner(name).name],
                "witness_certificate": trusted.witness},
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


def _membership(context: Context, views: t.Mapping[str, NodeView], outcomes: t.Mapping[str, Outcome], serving: str | None) -> str | None:
    """Have the witness vote as the definition says: ``joins``, ``leaves`` or None. What has to wait is a warning.

    A pair that was adopted just now began with all its voters; the attached node of an older one is told.
    """
    attached = find_roles(context.pair, views).attached
    change = _witness.wanted_change(context, views[attached]) if attached and not serving else None
    if change is None or attached is None:
        return None
    if not context.check_mode:
        refused = _witness.bring_membership(context, attached, context.call)
        if refused:
            context.warn(f"the witness {change} later: {refused} (module pair_membership has it done, after the pair was registered there)")
            return None
    outcomes[attached].note("membership")
    return change


def node_documents(context: Context, views: t.Mapping[str, NodeView]) -> dict[str, dict[str, t.Any]]:
    """node.json of each node."""
    pair, params = context.pair, context.params
    witness = None if pair.witness is None else {
        "name": pair.witness.name, "port": pair.witness.port,
        "address": _ipv4(context, pair.witness.address, f"the address of witness {pair.witness.name}")[0]}
    addresses = {node.name: _ipv4(context, node.address, f"the address of node {node.name}")[0] for node in pair.nodes}
    management, ports = _management(context, views)
    documents = {}
    for node in pair.nodes:
        partner = pair.partner(node.name)
        documents[node.name] = {
            "pair": pair.name, "recorder_id": pair.recorder_id, "node": node.name, "address": addresses[node.name],
            "partner": {"name": partner.name, "address": addresses[partner.name]}, "tandem_port": pair.tandem_port,
            "service_address": pair.service_address.as_dict(), "management_addresses": management, "management_ports": ports,
            "lease_ttl": float(params["lease_ttl"]), "lease_drift": float(params["lease_drift"]),
            "witness": witness, "promotion": params["promotion"], "registration": params["registration"],
            "register": {key: value for key, value in (params.get("register") or {}).items() if value is not None} or None,
            "health": params.get("health") or None, "fence_agent": _agent(context, partner),
            "services": {"recorder": "Milestone XProtect Recording Server"},
        }
    return documents


def _agent(context: Context, partner: NodeDefinition) -> dict[str, t.Any] | None:
    """The guard's own fence agent, with its partner's name and address put in: a guard fences nobody else."""
    agent = context.params.get("guard_fence_agent")
    if not agent:
        return None
    return {"command": _fence_agent.concrete(agent["command"], context.pair, partner), "timeout": float(agent["timeout"])}


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


def _result(context: Context, outcomes: t.Mapping[str, Outcome], serving: str | None, voting: str | None) -> dict[str, t.Any]:
    changed = any(outcome.changed for outcome in outcomes.values())
    lines = [f"node {name}: {item}\n" for name in context.node_names for item in outcomes[name].items]
    return {
        "changed": changed,
        "adopted": serving,
        "witness": voting,
        "nodes": {name: dataclasses.asdict(outcomes[name]) for name in context.node_names},
        "diff": {"before": "", "after": "".join(lines)},
    }
