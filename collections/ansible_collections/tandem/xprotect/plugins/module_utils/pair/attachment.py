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


@dataclasses.dataclass(frozen=True)
class AttachmentPlan:
    """What is to be done: nothing when `changed` is false, else attach `target` in place of `holder` (None: nobody known).

    `fetches`: the target has no configuration and cannot record before it has fetched one.
    """

    mode: str
    target: str
    holder: str | None
    changed: bool
    epoch: int | None
    fetches: bool = False


@dataclasses.dataclass(frozen=True)
class Refusal:
    code: str
    text: str


def plan_attachment(pair: PairDefinition, views: t.Mapping[str, NodeView], mode: str, wanted: str | None = None,
                    force: str | None = None, fetches: bool = False) -> AttachmentPlan:
    """The plan that makes `wanted` (or, when None, the other node) the attached one; raises with every reason against it.

    `force`, a person's proof that the other machine is off, stands against one reason only: that the other machine answers
    and does not tell its state. It never stands against a node that says it serves. `fetches`: the target has no
    configuration yet and is attached to fetch it, so that the holder must record on.
    """
    roles = find_roles(pair, views)
    target = pair.node(wanted).name if wanted else _other_node(pair, views, roles, mode)
    if roles.attached == target:
        return AttachmentPlan(mode, target, roles.attached, False, roles.epoch)
    refusals = _holder_refusals(pair, views, roles, target) if mode == SWITCHOVER else _partner_refusals(pair, views, target, force)
    refusals += _target_refusals(pair, views[target], roles)
    if mode == SWITCHOVER and roles.attached:
        refusals += _comparison_refusals(views[roles.attached], views[target], fetches)
    _raise(pair, target, mode, refusals)
    return AttachmentPlan(mode, target, roles.attached, True, roles.epoch, fetches)


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
    if old.serves_as(pair.recorder_id):
        return [Refusal("partner_answers", f"node {old.name} answers and its recorder is connected to the Management Server")]
    if old.recorder_running and old.recorder_id == pair.recorder_id and not old.fenced:
        return [Refusal("partner_not_fenced", f"node {old.name} answers, its recorder runs and there is no fence around it")]
    return []


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


def _raise(pair: PairDefinition, target: str, mode: str, refusals: t.Sequence[Refusal]) -> None:
    if not refusals:
        return
    listed = "; ".join(refusal.text for refusal in refusals)
    codes = {refusal.code for refusal in refusals}
    raise TandemError(f"{mode} to it is refused: {listed}", pair=pair.name, node=target, code=codes.pop() if len(codes) == 1 else "refused",
                      next_step="mend what is listed and run again; nothing was changed.",
                      details={"refusals": [dataclasses.asdict(refusal) for refusal in refusals]})
