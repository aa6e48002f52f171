# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``recorder_attachment``: the wanted node is attached, by a planned switchover or by a failover.

The state is read live, the guards carry it out, and the result is measured as an integration sees it. Attachment never
waits for the work lock.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair import replication
from ..pair.attachment import ACCEPTABLE, FAILOVER, SWITCHOVER, TAKE, AttachmentPlan, plan_attachment, silent_in
from ..pair.roles import NodeView, find_roles
from . import _fence_agent
from ._attach import Taking, carry_out
from ._comparison import lagging_items
from ._evidence import Evidence
from ._integrations import Integrations
from ._nodes import read_facts
from .context import Context

ARGUMENT_SPEC = with_pair(
    mode={"type": "str", "choices": [SWITCHOVER, FAILOVER], "required": True},
    node={"type": "str"},
    accept={"type": "list", "elements": "str", "choices": list(ACCEPTABLE), "default": []},
    force={"type": "str"},
    force_without_witness={"type": "bool", "default": False},
    fence_agent=_fence_agent.FENCE_AGENT_SPEC,
    configuration={"type": "bool", "default": True},
    manifest={"type": "list", "elements": "dict"},
    item_paths={"type": "dict", "default": {}},
    permit_wait={"type": "float", "default": 15.0},
    serve_wait={"type": "float", "default": 30.0},
)
BEFORE_WAIT = {SWITCHOVER: 60.0, FAILOVER: 4.0}
PATIENCE = 1.0  # for a second answer, when the first one is there and nothing but the lease decides


def run(context: Context) -> dict[str, t.Any]:
    params = context.params
    _check(context)
    integrations, evidence = Integrations(context), Evidence(context)
    integrations.start()
    if params["mode"] == FAILOVER:
        evidence.start()
    views = _look(context)
    lagging = lagging_items(context, views, _items(context)) if _wants_comparison(context, views) else []
    plan = plan_attachment(context.pair, views, params["mode"], params.get("node"), params.get("force"), accept=params["accept"],
                           lagging=lagging)
    if not plan.changed:
        return _result(context, plan, _nothing(plan, False), f"node {plan.target} is attached already")
    for text in plan.accepted:
        context.warn(f"accepted: {text}")
    old = views[context.pair.partner(plan.target).name]
    if _unforced(context, plan, old) and views[plan.target].lease_free and evidence.first():
        evidence.refuse_if_served(context.pair.node(old.name), old.error)
    if context.check_mode:
        silent = silent_in(views[plan.target], old, params.get("force")) if plan.mode == FAILOVER and plan.by == TAKE else None
        return _result(context, plan, {**_nothing(plan, True), "silent": None if silent is None else {"node": old.name, "seconds": silent}},
                       f"node {plan.target} would be attached" + _instead(plan))
    _need_integrations(context, integrations)
    fence = _fence(context, plan, views, evidence)
    try:
        done = carry_out(context, plan, integrations, taking=_taking(context, plan, old, evidence, fence), serve_wait=params["serve_wait"])
    except TandemError as error:
        raise _with_hint(error, evidence) if params["mode"] == FAILOVER else error
    return _result(context, plan, {**done, "fence": fence.as_dict() if fence else None, "silent": None},
                   f"node {plan.target} is attached{_instead(plan)} after {done['seconds']:.1f} s, epoch {done['epoch']}")


def _check(context: Context) -> None:
    params = context.params
    if params.get("force") is not None and (params["mode"] != FAILOVER or not params["force"].strip()):
        raise TandemError("force is a text that says how you know that the other machine is off, and belongs to mode failover",
                          pair=context.pair.name, code="configuration", next_step="correct the option or leave it out.")
    if params["force_without_witness"] and not params.get("force"):
        raise TandemError("force_without_witness goes beyond force, and force is not given", pair=context.pair.name, code="configuration",
                          next_step="say in force how you know that the other machine is off, or leave force_without_witness out.")
    for name, high in (("permit_wait", 120), ("serve_wait", 600)):
        if not 0 <= params[name] <= high:
            raise TandemError(f"{name} must be from 0 to {high} seconds and not {params[name]:g}", pair=context.pair.name,
                              code="configuration", next_step="correct the option.")
    _fence_agent.check(context.pair, params.get("fence_agent"))
    _items(context)
    if params.get("node"):
        context.pair.node(params["node"])  # refuses an unknown name before anything is asked


def _items(context: Context) -> list[replication.Item]:
    return replication.load(context.pair.name, context.params.get("manifest"), context.params.get("item_paths"))


def _wants_comparison(context: Context, views: t.Mapping[str, NodeView]) -> bool:
    """Only a planned switchover has the time, and a choice. Nothing is compared when nothing will be done."""
    params, wanted = context.params, context.params.get("node")
    if params["mode"] != SWITCHOVER or not params["configuration"] or "config_lag" in params["accept"]:
        return False
    return not wanted or context.pair.node(wanted).name != find_roles(context.pair, views).attached


def _look(context: Context) -> dict[str, NodeView]:
    """Both nodes. A failover that stands on the lease alone does not wait long for a machine that is mute.

    Whoever gives proof that a machine is off, or has it switched off, waits for its answer in full.
    """
    params = context.params
    if params["mode"] == SWITCHOVER:
        return read_facts(context)[0]
    hurried = not params.get("force") and not params.get("fence_agent") and not context.check_mode
    return read_facts(context, strict=False, patience=PATIENCE if hurried else None)[0]


def _unforced(context: Context, plan: AttachmentPlan, old: NodeView) -> bool:
    return plan.mode == FAILOVER and plan.by == TAKE and not old.reachable and not context.params.get("force")


def _need_integrations(context: Context, integrations: Integrations) -> None:
    """A planned switchover without a Management Server would leave clients with nobody; a failover cannot choose."""
    mode = context.params["mode"]
    problem = integrations.ready(BEFORE_WAIT[mode])
    if problem is None:
        return
    if mode == SWITCHOVER:
        raise TandemError(f"the Management Server cannot be asked, and the new node could not connect to it either: {problem.message}",
                          pair=context.pair.name, code="management_server",
                          next_step="wait until the Management Server answers; nothing was changed.") from problem
    context.warn(f"the Management Server could not be asked before the failover ({problem.message}): the fingerprint is not compared, and"
                 " clients wait for the Management Server")


# -- a partner that is silent ------------------------------------------------------------------------------------------
def _fence(context: Context, plan: AttachmentPlan, views: dict[str, NodeView], evidence: Evidence) -> _fence_agent.Outcome | None:
    """Have the silent machine switched off. A forced promotion needs that confirmed; else the lease is enough."""
    options, force = context.params.get("fence_agent"), context.params.get("force")
    if not options or plan.mode != FAILOVER or plan.by != TAKE:
        return None
    old = context.pair.partner(plan.target)
    if views[old.name].reachable:
        return None  # never switch off a machine that may be recording
    if not options.get("outcome") and not _became_silent(context, plan, views):
        return _not_fenced(context, old.name, force, "it was not run, because the machine is not silent to its partner, or its lease goes"
                                                     " on")
    if not force:
        evidence.refuse_if_served(old, views[old.name].error)
    outcome = _fence_agent.run(context, options, old)
    return outcome if outcome.confirmed else _not_fenced(context, old.name, force, outcome.text, outcome)


def _became_silent(context: Context, plan: AttachmentPlan, views: dict[str, NodeView]) -> bool:
    """Wait until nobody hears it any more, as long as a lease is waited for at most."""
    force, target, old = context.params.get("force"), views[plan.target], views[context.pair.partner(plan.target).name]
    seconds = silent_in(target, old, force)
    if seconds is None or seconds > context.params["permit_wait"]:
        return False
    if seconds == 0:
        return True
    context.report(plan.target, {"step": "waiting", "seconds": round(seconds, 1), "reason": f"node {old.name} is not silent for long yet"})
    time.sleep(seconds + 0.05)
    status = context.call(plan.target, "attachment.status", {})
    now = dataclasses.replace(target, facts={**(target.facts or {}), "guard": {**(target.part("guard") or {}), "status": status}})
    return silent_in(now, old, force) == 0


def _not_fenced(context: Context, node: str, force: str | None, text: str,
                outcome: _fence_agent.Outcome | None = None) -> _fence_agent.Outcome | None:
    if force:
        raise TandemError(f"the fence agent did not confirm that it is off, so it is not taken for off by force: {text}",
                          pair=context.pair.name, node=node, code="fence_failed", details={"fence": outcome.as_dict()} if outcome else None,
                          next_step="see to it that the fence agent works, or leave it out when your own proof is enough. Nothing was"
                                    " changed.")
    context.warn(f"node {node} was not switched off ({text}): the lease alone keeps the two apart, and a machine whose clock stands still"
                 " may serve for a moment when it comes back")
    return outcome


def _taking(context: Context, plan: AttachmentPlan, old: NodeView, evidence: Evidence, fence: _fence_agent.Outcome | None) -> Taking:
    params = context.params
    force, told = params.get("force"), fence.text if fence else None
    look = None
    if _unforced(context, plan, old):
        look = functools.partial(evidence.refuse_if_served, context.pair.node(old.name), old.error)
    return Taking(params["permit_wait"], f"{force} [{told}]" if force and told else force, params["force_without_witness"], told, look)


def _with_hint(error: TandemError, evidence: Evidence) -> TandemError:
    """The guard's reason, and what the controller saw: it often tells why a lease does not run out."""
    served = evidence.first() if error.code in ("lease_not_free", "no_majority", "partner_answers", "partner_serves") else None
    if served and served not in error.message:
        error.message = f"{error.message.rstrip('.')} (a recorder answered at {served} and said that it is attached)"
        error.args = (error.message,)
    return error


# -- what is told ------------------------------------------------------------------------------------------------------
def _nothing(plan: AttachmentPlan, changed: bool) -> dict[str, t.Any]:
    return {"changed": changed, "epoch": plan.epoch, "steps": [], "seconds": 0.0, "fingerprint": None, "fence": None, "silent": None}


def _instead(plan: AttachmentPlan) -> str:
    return f" instead of node {plan.holder}" if plan.holder else ""


def _result(context: Context, plan: AttachmentPlan, done: dict[str, t.Any], text: str) -> dict[str, t.Any]:
    before = plan.holder or "nobody"
    after = plan.target if done["changed"] else before
    return {
        **done,
        "mode": plan.mode,
        "attached": plan.target,
        "previously_attached": plan.holder,
        "epoch_before": plan.epoch,
        "accepted": list(plan.accepted),
        "msg": text,
        "diff": {"before": f"attached: {before}\n", "after": f"attached: {after}\n"},
    }
