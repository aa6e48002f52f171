# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``recorder_maintenance``: both guards know that somebody works on the pair, and hand over nothing by themselves meanwhile."""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import SeveralErrors, TandemError
from ..pair.roles import NodeView
from ._nodes import read_facts
from .context import Context

ARGUMENT_SPEC = with_pair(
    state={"type": "str", "choices": ["begun", "ended"], "default": "begun"},
    seconds={"type": "int", "default": 3600},
    reason={"type": "str"},
)
CONSTRAINTS = {"required_if": [["state", "begun", ["reason"]]]}
LONGEST = 7 * 86400
TOLERANCE = 60.0  # an end that is off by less is the wanted one


def run(context: Context) -> dict[str, t.Any]:
    _check(context)
    views, unused = read_facts(context, strict=False)
    nodes = {name: _node(context, views[name]) for name in context.pair.names}
    if not any(node["reachable"] for node in nodes.values()):
        raise TandemError("no guard answers", pair=context.pair.name, code="guard_down", next_step="look at the pair (module pair_info).")
    to_change = [name for name, node in nodes.items() if node["changed"]]
    if not context.check_mode:
        _tell(context, to_change)
    for name, node in nodes.items():
        if not node["reachable"]:
            context.warn(f"node {name} was not told: {node['error']}")
    word = "begun" if context.params["state"] == "begun" else "ended"
    return {"changed": bool(to_change), "nodes": nodes,
            "diff": {"before": "", "after": "".join(f"node {name}: maintenance {word}\n" for name in to_change)}}


def _check(context: Context) -> None:
    params = context.params
    if params["state"] == "begun" and not 60 <= params["seconds"] <= LONGEST:
        raise TandemError(f"seconds must be from 60 to {LONGEST} and not {params['seconds']}", pair=context.pair.name, code="configuration",
                          next_step="correct the option: a maintenance ends by itself, so that a forgotten one does no harm.")
    if params["state"] == "begun" and not (params.get("reason") or "").strip():
        raise TandemError("reason is empty", pair=context.pair.name, code="configuration",
                          next_step="say who works on what: it is shown to everybody who looks at the pair.")


def _node(context: Context, view: NodeView) -> dict[str, t.Any]:
    """What one node has, and whether it has to be told."""
    if not view.guard_answers:
        error = view.error or f"its guard does not answer (service {view.part('guard', 'service', 'state') or 'missing'})"
        return {"reachable": False, "changed": False, "error": error, "until_ms": None, "reason": None}
    present = view.part("guard", "status", "maintenance") or {}
    return {"reachable": True, "changed": _differs(context, view, present), "error": None, "until_ms": present.get("until_ms"),
            "reason": present.get("reason")}


def _differs(context: Context, view: NodeView, present: t.Mapping[str, t.Any]) -> bool:
    if context.params["state"] == "ended":
        return bool(present)
    until, now = present.get("until_ms"), view.part("machine", "clock_ms")
    if not isinstance(until, (int, float)) or not isinstance(now, (int, float)) or present.get("reason") != context.params["reason"]:
        return True
    wanted = context.params["seconds"]
    return abs((until - now) / 1000 - wanted) > max(TOLERANCE, wanted / 10)


def _tell(context: Context, names: list[str]) -> None:
    begun = context.params["state"] == "begun"
    request = {"seconds": context.params["seconds"], "reason": context.params["reason"]} if begun else {"seconds": 0}
    outcomes = context.try_on_nodes(lambda session: session.call("attachment.maintenance", request), names)
    errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, TandemError)}
    if errors:
        raise next(iter(errors.values())) if len(errors) == 1 else SeveralErrors(errors, context.pair.name)
