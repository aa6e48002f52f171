# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a node may be attached, decided before any machine is touched. All reasons against it come in one message.

The guards decide again, by themselves, with what they know at that moment: nothing here makes an attachment safe. It makes
it understandable.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import TandemError
from .pair import PairDefinition
from .roles import NodeView, Roles, find_roles

SWITCHOVER = "switchover"
FAILOVER = "failover"
RELEASE = "release"  # the holder hands over by itself
TAKE = "take"  # the target takes what is free
ACCEPTABLE = ("coverage", "config_lag", "health")  # refusals that a person may override by name
SILENT_AFTER = 3.0  # seconds without a word to its partner's guard
HEALTH_MARGIN = 20  # points of the guards' score by which a node counts as worse
LACKS_DEVICES = ("devices_stopped", "devices_missing")  # causes of the guards that are about single devices


@dataclasses.dataclass(frozen=True)
class AttachmentPlan:
    """What is to be done: nothing when `changed` is false, else attach `target` in place of `holder` (None: nobody known).

    `by`: who carries it out. `fetches`: the target has no configuration and cannot record before it has fetched one. `accepted`: what
    would have refused it, had nobody accepted it by name. `accept`: the names.
    """

    mode: str
    target: str
    holder: str | None
    changed: bool
    epoch: int | None
    fetches: bool = False
    by: str = TAKE
    accept: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Refusal:
    code: str
    text: str


def plan_attachment(pair: PairDefinition, views: t.Mapping[str, NodeView], mode: str, wanted: str | None = None,
                    force: str | None = None, fetches: bool = False, accept: t.Iterable[str] = (),
                    lagging: t.Sequence[str] = ()) -> AttachmentPlan:
    """The plan that makes `wanted` (or, when None, the other node) the attached one; raises with every reason against it.

    `force`, a person's proof that the other machine is off, stands against one reason only: that the other machine answers
    and does not tell its state. It never stands against a node whose guard answers. `fetches`: the target has no configuration yet
    and is attached to fetch it, so that the holder must record on. `lagging`: items of the configuration that differ. `accept`: names
    of `ACCEPTABLE` that shall not refuse.
    """
    roles = find_roles(pair, views)
    target = pair.node(wanted).name if wanted else _other_node(pair, views, roles, mode)
    if roles.attached == target:
        return AttachmentPlan(mode, target, roles.attached, False, roles.epoch)
    holder = views[pair.partner(target).name]
    by = RELEASE if mode == SWITCHOVER or cannot_serve(holder) else TAKE
    refusals = (_holder_refusals(pair, views, roles, target) if mode == SWITCHOVER else
                _forced_release_refusals(holder, force) if by == RELEASE else _partner_refusals(pair, views, target, force))
    refusals += _target_refusals(pair, views[target], roles)
    if by == RELEASE and roles.attached:
        refusals += _comparison_refusals(holder, views[target], fetches)
    if mode == SWITCHOVER and not cannot_serve(holder):
        refusals += _worse_refusals(holder, views[target], lagging)
    accept = ACCEPTABLE if mode == FAILOVER and by == RELEASE else tuple(accept)
    _raise(pair, target, mode, [refusal for refusal in refusals if refusal.code not in accept])
    return AttachmentPlan(mode, target, roles.attached, True, roles.epoch, fetches, by, tuple(accept),
                          tuple(refusal.text for refusal in refusals))


def cannot_serve(holder: NodeView) -> bool:
    """Its guard is attached and can hand over, and its recorder serves nobody any more."""
    return holder.guard_state == "attached" and (not holder.recorder_running or holder.serving_fit is False)


def silent_in(target: NodeView, old: NodeView, force: str | None = None) -> float | None:
    """In how many seconds `old` counts as silent, so that it may be switched off: 0 now, None never.

    Nobody may hear it: not the controller, and not the partner's guard. Unless forced, its lease has to have run out as well, so that no
    machine is switched off that renews it with the witness and is merely cut off from here.
    """
    if old.reachable or old.alive or not target.guard_answers:
        return None
    heard, free = target.part("guard", "status", "partner", "heard_ago"), target.part("guard", "status", "lease", "free_in")
    seconds = max(0.0, SILENT_AFTER - heard) if isinstance(heard, (int, float)) else 0.0
    if force:
        return seconds
    return max(seconds, free) if isinstance(free, (int, float)) else None


def _other_node(pair: PairDefinition, views: t.Mapping[str, NodeView], roles: Roles, mode: str) -> str:
    """The node that is meant when none is named."""
    if roles.attached:
        other = pair.partner(roles.attached).name
        return roles.attached if mode == FAILOVER and not views[other].reachable else other
    reachable = [name for name in pair.names if views[name].reachable]
    if len(reachable) == 1 and mode == FAILOVER:
        return reachable[0]
    if not reachable:
        raise TandemError("neither node answers: " + "; ".join(f"node {name}: {views[name].error}" for name in pair.names), pair=pair.name,
                          code="node_unreachable", next_step="bring at least one node up, or correct how the nodes are reached.")
    raise TandemError("neither node is attached, so that there is no \"other\" node", pair=pair.name, code="nobody_attached",
                      next_step="name the node to attach (option node), with mode failover.")


def _holder_refusals(pair: PairDefinition, views: t.Mapping[str, NodeView], roles: Roles, target: str) -> list[Refusal]:
    """A planned switchover needs a living holder that can hand over."""
    holder = views[pair.partner(target).name]
    if not holder.reachable:
        return [Refusal("holder_unreachable", f"node {holder.name} does not answer ({holder.error}): a planned switchover needs both nodes,"
                                              " mode failover does not")]
    if roles.attached is None:
        return [Refusal("nobody_attached", "no node is attached that could hand over (mode failover attaches a node when none is)")]
    if not roles.guarded:
        return [Refusal("not_guarded", f"node {holder.name} serves without a guard (module node_guard with adopt takes it over)")]
    return []


def _partner_refusals(pair: PairDefinition, views: t.Mapping[str, NodeView], target: str, force: str | None) -> list[Refusal]:
    """A failover is for a partner that cannot serve any more."""
    old = views[pair.partner(target).name]
    if not old.reachable:
        if not old.alive or force:
            return []
        return [Refusal("partner_unknown",
                        f"node {old.name} answers WinRM, and its state cannot be read ({old.error}): mend that, or say in"
                        " force how you know that it does not serve")]
    if old.guard_state == "attached":
        return [Refusal("partner_answers", f"node {old.name} answers and is attached with epoch {old.epoch} (mode switchover hands over"
                                           " without a risk)")]
    if old.guard_answers and force:
        return [Refusal("partner_answers", f"node {old.name} answers, its guard is {old.guard_state} and votes (force is for a machine that"
                                           " is off: leave it out)")]
    if old.serves_as(pair.recorder_id):
        return [Refusal("partner_answers", f"node {old.name} answers and its recorder is connected to the Management Server")]
    if old.recorder_running and old.recorder_id == pair.recorder_id and not old.fenced:
        return [Refusal("partner_not_fenced", f"node {old.name} answers, its recorder runs and there is no fence around it")]
    return []


def _forced_release_refusals(holder: NodeView, force: str | None) -> list[Refusal]:
    """A holder whose recorder is dead hands over by itself. That it is off would be a mistake."""
    if not force:
        return []
    return [Refusal("partner_answers", f"node {holder.name} answers and its guard is attached (it cannot serve and hands over by itself:"
                                       " leave force out)")]


def _target_refusals(pair: PairDefinition, target: NodeView, roles: Roles) -> list[Refusal]:
    """What a node needs before it may serve at all."""
    if not target.reachable:
        return [Refusal("target_unreachable", f"node {target.name} does not answer: {target.error}")]
    found = []
    if target.config_error:
        found.append(Refusal("config_unreadable", f"RecorderConfig.xml of node {target.name} cannot be used: {target.config_error}"))
    elif target.recorder_id != pair.recorder_id:
        found.append(Refusal("wrong_identity", f"node {target.name} has recorder id {target.recorder_id or 'none'} and not"
                                               f" {pair.recorder_id} (module recorder_identity gives it)"))
    if not target.guard_answers:
        state = target.part("guard", "service", "state") or "missing"
        found.append(Refusal("guard_down", f"the guard of node {target.name} does not answer (its service is {state})"))
    if target.voters and target.name not in target.voters:
        found.append(Refusal("removed", f"node {target.name} was removed from the pair's voters by a forced failover (module"
                                        " pair_membership takes it back)"))
    if not target.fenced:
        found.append(Refusal("not_fenced", f"node {target.name} has no fence (module node_guard installs it)"))
    if not target.recorder_running:
        state = target.part("recorder", "service", "state") or "missing"
        found.append(Refusal("recorder_stopped", f"the recorder service of node {target.name} does not run (it is {state})"))
    return found


def _comparison_refusals(holder: NodeView, target: NodeView, fetches: bool) -> list[Refusal]:
    """While the holder can still serve, a candidate that is plainly worse is refused."""
    if not target.reachable or not holder.reachable:
        return []
    found = []
    for code, what, path in (("version", "XProtect version", ("recorder", "version")),
                             ("device_pack", "device pack", ("recorder", "device_pack"))):
        ours, theirs = holder.part(*path), target.part(*path)
        if ours != theirs:
            found.append(Refusal(code,
                                 f"the {what} is {theirs or 'unknown'} on node {target.name} and {ours or 'unknown'} on node"
                                 f" {holder.name}"))
    if fetches:
        if not holder.recorder_running or not holder.records:
            found.append(Refusal("not_recording", f"node {target.name} has no configuration to record with yet, and node {holder.name} does"
                                                  " not record meanwhile"))
    elif target.unconfigured:
        found.append(Refusal("not_configured", f"the recorder of node {target.name} has no device to record (module recorder_config brings"
                                               " the configuration)"))
    elif target.guard_answers and holder.writing and not target.records:
        found.append(Refusal("not_recording", f"the recorder of node {target.name} records nothing while that of node {holder.name} records"
                                              f" {holder.writing} devices"))
    return found


def _worse_refusals(holder: NodeView, target: NodeView, lagging: t.Sequence[str]) -> list[Refusal]:
    """Reasons that a person may override by name, as the guards see them too."""
    found = []
    if lagging:
        found.append(Refusal("config_lag", f"the configuration of node {target.name} is behind that of node {holder.name}:"
                                           f" {', '.join(lagging)} (playbook sync brings it up to date)"))
    about_devices = [cause for cause in target.health_causes if cause.get("code") in LACKS_DEVICES]
    lacks = sorted({str(device) for cause in about_devices for device in cause.get("devices") or ()})
    if lacks:
        found.append(Refusal("coverage", f"node {target.name} does not record {len(lacks)} devices that node {holder.name} records:"
                                         f" {', '.join(lacks[:4])}{', ...' if len(lacks) > 4 else ''}"))
    others = [str(cause.get("message") or cause.get("code")) for cause in target.health_causes if cause.get("code") not in LACKS_DEVICES]
    margin = (holder.health_score or 0) - (100 if target.health_score is None else target.health_score)
    if (target.serving_fit is False and holder.serving_fit) or (others and margin >= HEALTH_MARGIN):
        found.append(Refusal("health", f"node {target.name} is in a worse state than node {holder.name}:"
                                       f" {'; '.join(others) or 'it is not fit to serve'}"))
    return found


def _raise(pair: PairDefinition, target: str, mode: str, refusals: t.Sequence[Refusal]) -> None:
    if not refusals:
        return
    listed = "; ".join(refusal.text for refusal in refusals)
    codes = {refusal.code for refusal in refusals}
    names = sorted(codes.intersection(ACCEPTABLE))
    step = "mend what is listed and run again; nothing was changed."
    if names:
        step = f"mend what is listed and run again, or accept it by name (accept: [{', '.join(names)}]); nothing was changed."
    raise TandemError(f"{mode} to it is refused: {listed}", pair=pair.name, node=target, code=codes.pop() if len(codes) == 1 else "refused",
                      next_step=step, details={"refusals": [dataclasses.asdict(refusal) for refusal in refusals]})
