# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``media_backfill``: the headless node gets the media that only its partner has.

Node to node, as whole closed tables: plan, stage, import, verify. What the attached node lacks is planned (and staged when
asked for) and waits for the next switchover, because media is imported on a headless node only.
"""

from __future__ import annotations

import collections
import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair import report
from ..pair.roles import require_reachable
from ._nodes import need_roles, read_facts
from ._work import WorkLock
from .context import Context

ARGUMENT_SPEC = with_pair(
    target={"type": "str", "choices": ["headless", "attached", "both"], "default": "headless"},
    strategy={"type": "str", "choices": ["restart", "remount"], "default": "restart"},
    tolerance_ms={"type": "int", "default": 1000},
    variance={"type": "str", "choices": ["none", "long", "all"], "default": "long"},
    variance_min_ms={"type": "int", "default": 10_000},
    restart_span_max_ms={"type": "int", "default": 300_000},
    include_restarts={"type": "bool", "default": False},
    accept_not_recorded={"type": "list", "elements": "str", "default": []},
    reserve_bytes={"type": "int", "default": 5 * 1024 ** 3},
    bytes_per_second={"type": "int", "default": 0},
    stage_timeout={"type": "int", "default": 86_400},
)
PLAN_OPTIONS = ("tolerance_ms", "variance", "variance_min_ms", "restart_span_max_ms", "include_restarts")
PLAN_TIMEOUT = 600.0
IMPORT_TIMEOUT = 1800.0
VERIFY_TIMEOUT = 600.0
SHOWN_TABLES = 200


def run(context: Context) -> dict[str, t.Any]:
    views, unused = read_facts(context)
    require_reachable(context.pair, views, "backfill media")
    roles = need_roles(context, views, "tell which node may import media")
    attached = t.cast(str, roles.attached)
    headless = context.pair.partner(attached).name
    with WorkLock(context, context.node_names, "backfill") as work:
        result = _empty(context, headless, attached)
        if context.params["target"] in ("headless", "both"):
            _backfill(context, work, headless, result)
        _hold(context, work, attached, result)
    result["msg"] = _text(context, result)
    return result


def _empty(context: Context, headless: str, attached: str) -> dict[str, t.Any]:
    return {"changed": False, "node": headless, "partner": attached, "tables": [], "bytes": 0, "staged": None, "imported": [],
            "restart_span": None,
            "verified": None, "not_closed": [], "left_restarts": [], "skipped": [], "damaged": [], "complete_until": None, "held": None,
            "diff": {"before": "", "after": ""}}


# -- the headless node ---------------------------------------------------------------------------------------------------
def _backfill(context: Context, work: WorkLock, node: str, result: dict[str, t.Any]) -> None:
    plan = _plan(context, work, node)
    result.update({key: plan.get(key) or [] for key in ("not_closed", "left_restarts", "skipped", "damaged")})
    result.update(tables=[_listed(table) for table in plan["tables"]], bytes=plan.get("bytes") or 0,
                  complete_until=plan.get("complete_until"))
    result["diff"]["after"] = _lines(node, plan["tables"])
    _tell_about(context, node, plan)
    # An import that was cut off (power, reboot) is brought to its end even when nothing new is to be copied.
    result["changed"] = bool(plan["tables"] or plan.get("unfinished_import"))
    if context.check_mode or not result["changed"]:
        return
    result["staged"] = _stage(context, work, node, plan) if plan["tables"] else None
    imported = work.call(node, "media.import",
                         {"strategy": context.params["strategy"], "accept_not_recorded": context.params["accept_not_recorded"]},
                         timeout=IMPORT_TIMEOUT)
    result.update(imported=imported.get("imported") or [], restart_span=imported.get("restart_span"), changed=bool(imported.get("changed")))
    for table in (imported.get("rejected") or [])[:5]:
        context.warn(f"table {table.get('name')} was not imported on node {node}: {table.get('reason')}")
    result["verified"] = _verify(context, work, node, plan, result["staged"] or {}, imported)


def _plan(context: Context, work: WorkLock, node: str) -> dict[str, t.Any]:
    params = context.params
    plan = work.call(node, "media.plan", {name: params[name] for name in PLAN_OPTIONS}, timeout=PLAN_TIMEOUT)
    plan["tables"] = plan.get("tables") or []
    context.report(node, {"step": "plan", "tables": len(plan["tables"]), "total": report.size(plan.get("bytes") or 0)})
    return plan


def _stage(context: Context, work: WorkLock, node: str, plan: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    request = {"plan": {"tables": plan["tables"]}, "reserve_bytes": context.params["reserve_bytes"],
               "bytes_per_second": context.params["bytes_per_second"]}
    staged = work.call(node, "media.stage", request, timeout=float(context.params["stage_timeout"]))
    for failed in staged.get("failed") or []:
        context.warn(f"table {failed.get('name')} was not copied to node {node}: {failed.get('reason')}")
    return staged


def _verify(context: Context, work: WorkLock, node: str, plan: t.Mapping[str, t.Any], staged: t.Mapping[str, t.Any],
            imported: t.Mapping[str, t.Any]) -> bool:
    """All planned tables are there, apart from those that could not be copied or imported and were told about."""
    left_out = [*(staged.get("failed") or []), *(imported.get("rejected") or [])]
    failed = {(str(table.get("bank")).upper(), table.get("name")) for table in left_out}
    expected = [table for table in plan["tables"] if (str(table["bank"]).upper(), table["name"]) not in failed]
    answer = work.call(node, "media.verify", {"plan": {"tables": expected}}, timeout=VERIFY_TIMEOUT)
    if not answer.get("ok"):
        missing = answer.get("missing") or []
        names = ", ".join(f"{table.get('name')} ({table.get('reason') or 'missing'})" for table in missing[:5])
        raise TandemError(f"{len(missing)} of {len(expected)} imported tables are not in its banks: {names}", pair=context.pair.name,
                          node=node,
                          code="not_verified", details={"missing": missing},
                          next_step="look at the recorder's log on that node, then run again: what is missing is planned anew.")
    return True


# -- the attached node ---------------------------------------------------------------------------------------------------
def _hold(context: Context, work: WorkLock, node: str, result: dict[str, t.Any]) -> None:
    """What the attached node lacks waits for the next switchover; with target attached or both it is copied there already."""
    plan = _plan(context, work, node)
    held = {"node": node, "tables": len(plan["tables"]), "bytes": plan.get("bytes") or 0, "complete_until": plan.get("complete_until"),
            "staged": None}
    result["held"] = held
    if context.params["target"] == "headless" or not plan["tables"]:
        return
    if context.check_mode:
        result["changed"] = True
        return
    held["staged"] = _stage(context, work, node, plan)
    result["changed"] = result["changed"] or bool(held["staged"].get("bytes"))


# -- telling -------------------------------------------------------------------------------------------------------------
def _tell_about(context: Context, node: str, plan: t.Mapping[str, t.Any]) -> None:
    damaged, skipped = plan.get("damaged") or [], plan.get("skipped") or []
    for table in damaged[:5]:
        partner = context.pair.partner(node).name
        context.warn(f"table {table.get('name')} of node {partner} is damaged and is not copied: {table.get('reason')}")
    if skipped:
        reasons = collections.Counter(str(table.get("reason")) for table in skipped)
        context.warn(f"{len(skipped)} tables are not copied to node {node}: "
                     + "; ".join(f"{count} because {reason}" for reason, count in reasons.most_common(3)))


def _listed(table: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key: table.get(key) for key in ("bank", "name", "device", "begin", "end", "bytes", "reason")}


def _lines(node: str, tables: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    lines = [f"node {node}: {table['name']} ({report.size(table['bytes'])}, {table['reason']}, from {report.clock(table['begin'])})\n"
             for table in tables[:SHOWN_TABLES]]
    if len(tables) > SHOWN_TABLES:
        lines.append(f"and {len(tables) - SHOWN_TABLES} tables more\n")
    return "".join(lines)


def _text(context: Context, result: t.Mapping[str, t.Any]) -> str:
    parts = []
    if context.params["target"] != "attached":
        count, size = len(result["tables"]), report.size(result["bytes"])
        if not count:
            parts.append(f"node {result['node']} lacks no closed table of node {result['partner']}")
        elif context.check_mode:
            parts.append(f"{count} tables ({size}) would be brought to node {result['node']}")
        else:
            parts.append(f"{len(result['imported'])} of {count} tables ({size}) were brought to node {result['node']}")
    if result["complete_until"]:
        parts.append(f"complete up to {report.clock(result['complete_until'])}")
    held = result["held"]
    if held and held["tables"]:
        parts.append(f"{held['tables']} tables ({report.size(held['bytes'])}) for node {held['node']} wait for a switchover")
    return "; ".join(parts) or f"nothing to do for pair {context.pair.name}"
