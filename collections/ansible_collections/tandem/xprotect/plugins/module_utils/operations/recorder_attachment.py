# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``recorder_attachment``: the wanted node is attached, by a planned switchover or by a failover.

The state is read live, the guards carry it out, and the result is measured as an integration sees it. Attachment never
waits for the work lock.
"""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair.attachment import FAILOVER, SWITCHOVER, AttachmentPlan, plan_attachment
from ._attach import carry_out
from ._evidence import ServiceAddressProbe
from ._integrations import Integrations
from ._nodes import read_facts
from .context import Context

ARGUMENT_SPEC = with_pair(
    mode={"type": "str", "choices": [SWITCHOVER, FAILOVER], "required": True},
    node={"type": "str"},
    force={"type": "str"},
    permit_wait={"type": "float", "default": 15.0},
    serve_wait={"type": "float", "default": 30.0},
)
BEFORE_WAIT = {SWITCHOVER: 60.0, FAILOVER: 8.0}


def run(context: Context) -> dict[str, t.Any]:
    params = context.params
    _check(context)
    integrations = Integrations(context)
    integrations.start()
    probe = ServiceAddressProbe(context)
    if params["mode"] == FAILOVER:
        probe.start()
    views, unused = read_facts(context, strict=params["mode"] == SWITCHOVER)
    plan = plan_attachment(context.pair, views, params["mode"], params.get("node"), params.get("force"))
    if not plan.changed:
        return _result(context, plan, {"changed": False, "epoch": plan.epoch, "steps": [], "seconds": 0.0, "fingerprint": None},
                       f"node {plan.target} is attached already")
    silent = views[context.pair.partner(plan.target).name]
    if plan.mode == FAILOVER and not silent.reachable:
        probe.refuse_if_served(silent, params.get("force"))
    if context.check_mode:
        return _result(context, plan, {"changed": True, "epoch": plan.epoch, "steps": [], "seconds": 0.0, "fingerprint": None},
                       f"node {plan.target} would be attached" + _instead(plan))
    _need_integrations(context, integrations)
    done = carry_out(context, plan, integrations, permit_wait=params["permit_wait"], force=params.get("force"),
                     serve_wait=params["serve_wait"])
    return _result(context, plan, done,
                   f"node {plan.target} is attached{_instead(plan)} after {done['seconds']:.1f} s, epoch {done['epoch']}")


def _check(context: Context) -> None:
    params = context.params
    if params.get("force") is not None and (params["mode"] != FAILOVER or not params["force"].strip()):
        raise TandemError("force is a text that says how you know that the other machine is off, and belongs to mode failover",
                          pair=context.pair.name, code="configuration", next_step="correct the option or leave it out.")
    for name, high in (("permit_wait", 120), ("serve_wait", 600)):
        if not 0 <= params[name] <= high:
            raise TandemError(f"{name} must be from 0 to {high} seconds and not {params[name]:g}", pair=context.pair.name,
                              code="configuration", next_step="correct the option.")
    if params.get("node"):
        context.pair.node(params["node"])  # refuses an unknown name before anything is asked


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
        "msg": text,
        "diff": {"before": f"attached: {before}\n", "after": f"attached: {after}\n"},
    }
