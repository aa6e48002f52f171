# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a pair as data, and what is wrong with it. `report.py` makes the text of it."""

from __future__ import annotations

import typing as t

from .pair import WITNESS, PairDefinition
from .roles import NodeView, Roles

MAX_CLOCK_OFFSET = 2.0
HEARD_LIMIT = 5.0  # seconds after which a voter that was not heard is worth a word


def node_summary(pair: PairDefinition, view: NodeView, roles: Roles) -> dict[str, t.Any]:
    """What a person wants to know about one node."""
    if not view.reachable:
        return {"name": view.name, "address": pair.node(view.name).address, "reachable": False, "state": "unreachable", "error": view.error}
    guard = view.part("guard", "status") or {}
    return {
        "name": view.name,
        "address": pair.node(view.name).address,
        "reachable": True,
        "state": node_state(view, roles),
        "epoch": view.epoch,
        "since_ms": guard.get("since_ms"),
        "recorder_id": view.recorder_id,
        "recorder_name": view.part("recorder", "name"),
        "version": view.part("recorder", "version"),
        "device_pack": view.part("recorder", "device_pack"),
        "recorder_service": view.part("recorder", "service", "state"),
        "attach_state": view.part("recorder", "status", "attach_state"),
        "connection_state": view.part("recorder", "status", "connection_state"),
        "config_error": view.config_error,
        "devices": view.devices,
        "writing": view.writing,
        "guard_service": view.part("guard", "service", "state") or "missing",
        "guard_answers": view.guard_answers,
        "permit_open": bool((guard.get("permit") or {}).get("open")),
        "fence_installed": view.fenced,
        "service_address_held": bool((guard.get("service_address") or {}).get("held")),
        "partner_heard_ago": (guard.get("partner") or {}).get("heard_ago"),
        "witness_heard_ago": (guard.get("witness") or {}).get("heard_ago"),
        "voting": guard.get("voting"),
        "membership": guard.get("membership"),
        "voters": guard.get("voters"),
        "lease": guard.get("lease"),
        "fuse": guard.get("fuse"),
        "health": guard.get("health"),
        "maintenance": guard.get("maintenance"),
        "promotion": guard.get("promotion"),
        "registration": guard.get("registration"),
        "fence_agent": guard.get("fence_agent"),
        "drives": view.part("machine", "drives") or [],
        "time_zone": view.part("machine", "time_zone"),
        "runtime": view.part("runtime", "version"),
        "runtime_sha256": view.part("runtime", "sha256"),
        "guard_runtime_sha256": guard.get("runtime_sha256"),
        "lock": view.part("lock"),
    }


def node_state(view: NodeView, roles: Roles) -> str:
    """One word: attached, headless, unreachable, serving (attached without a guard) or unguarded."""
    if not view.reachable:
        return "unreachable"
    if view.guard_state:
        return view.guard_state
    return "serving" if roles.attached == view.name else "unguarded"


def voting_summary(pair: PairDefinition, views: t.Mapping[str, NodeView], roles: Roles) -> dict[str, t.Any]:
    """Who votes in the pair and who does not, by the word of the attached node, else of any that answers."""
    known = [view for view in views.values() if view.voters]
    teller = next((view for view in known if view.name == roles.attached), None) or max(
        known, key=lambda view: view.part("guard", "status", "membership", "number") or 0, default=None)
    if teller is None:
        return {"membership": None, "voters": [], "removed": [], "witness": None}
    heard = teller.part("guard", "status", "witness", "heard_ago")
    return {"membership": teller.part("guard", "status", "membership", "number"), "voters": list(teller.voters),
            "removed": [name for name in pair.names if name not in teller.voters],
            "witness": {"voter": WITNESS in teller.voters, "heard_ago": heard} if pair.witness or WITNESS in teller.voters else None}


def problems_of(pair: PairDefinition, views: t.Mapping[str, NodeView], roles: Roles, clock_offset: float | None = None,
                config_differs: t.Sequence[str] = ()) -> list[str]:
    """Everything about the pair that needs somebody, most serious first."""
    found = []
    if roles.attached is None:
        found.append("no node is attached: clients are not served" if roles.complete else
                     "no node that answers is attached")
    found += _voting_problems(pair, views, roles)
    for name in pair.names:
        found += _node_problems(pair, views[name])
    if config_differs:
        found.append(f"the configuration of the nodes differs: {', '.join(config_differs)}")
    if clock_offset is not None and abs(clock_offset) > MAX_CLOCK_OFFSET:
        found.append(f"the clocks of the nodes differ by {abs(clock_offset):.1f} s")
    for what, path in (("XProtect versions", ("recorder", "version")), ("device packs", ("recorder", "device_pack"))):
        values = {view.part(*path) for view in views.values() if view.reachable}
        if len(values) > 1:
            found.append(f"the {what} of the nodes differ: {' and '.join(sorted(str(value) for value in values))}")
    return found


def _voting_problems(pair: PairDefinition, views: t.Mapping[str, NodeView], roles: Roles) -> list[str]:
    voting = voting_summary(pair, views, roles)
    if not voting["voters"]:
        return []
    found = [f"node {name} has no vote: it was removed by a forced failover (playbook rejoin takes it back)" for name in voting["removed"]]
    if pair.witness and WITNESS not in voting["voters"]:
        found.append("the witness has no vote yet (module pair_membership)")
    elif WITNESS in voting["voters"]:
        heard = voting["witness"]["heard_ago"]
        if heard is None or heard > HEARD_LIMIT:
            found.append("the witness is not heard: a second failure would leave nobody attached")
    return found


def _node_problems(pair: PairDefinition, view: NodeView) -> list[str]:
    if not view.reachable:
        return [f"node {view.name} is unreachable: {view.error}"]
    found = []
    if view.config_error:
        found.append(f"node {view.name}: RecorderConfig.xml cannot be used: {view.config_error}")
    elif view.recorder_id != pair.recorder_id:
        found.append(f"node {view.name} has recorder id {view.recorder_id or 'none'}, not the pair's")
    if not view.recorder_running:
        found.append(f"node {view.name}: the recorder service is {view.part('recorder', 'service', 'state') or 'missing'}")
    elif view.guard_answers and view.devices and not view.records:
        found.append(f"node {view.name}: the recorder runs and writes media of none of its {view.devices} devices")
    if not view.guard_answers:
        found.append(f"node {view.name}: the guard does not answer (service {view.part('guard', 'service', 'state') or 'missing'})")
    if not view.fenced:
        found.append(f"node {view.name} has no fence")
    found += _guard_problems(view)
    running, installed = view.part("guard", "status", "runtime_sha256"), view.part("runtime", "sha256")
    if running and installed and running != installed:
        found.append(f"node {view.name}: the guard still runs an older runtime (it is replaced while the node is headless)")
    return found


def _guard_problems(view: NodeView) -> list[str]:
    """What the guard says of itself and of its recorder."""
    found = []
    if view.part("guard", "status", "voting") is False:
        found.append(f"node {view.name}: its guard does not vote (its state was lost or turned back; the others have to readmit it)")
    if view.part("guard", "status", "fuse", "alive") is False:
        found.append(f"node {view.name}: the fuse does not run, so that the node cannot be attached")
    registration = view.part("guard", "status", "registration", "error")
    if registration:
        found.append(f"node {view.name}: it could not be registered at the Management Server: {registration}")
    for cause in view.health_causes:
        text = str(cause.get("message") or cause.get("code"))
        found.append(f"node {view.name}: {text}")
    return found
