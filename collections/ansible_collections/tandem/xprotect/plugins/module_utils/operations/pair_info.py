# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``pair_info``: the state of a pair, live, also with one node down. Changes nothing."""

from __future__ import annotations

import time
import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair import coverage, replication, report, status
from ..pair.identity import clock_offset
from ..pair.roles import NodeView, Roles, find_roles
from ..xprotect import fingerprint
from ._comparison import compare_items
from ._nodes import both_samples, read_facts
from .context import Context
from .media_coverage_info import read_coverage

ARGUMENT_SPEC = with_pair(
    coverage={"type": "bool", "default": True},
    configuration={"type": "bool", "default": True},
    fingerprint={"type": "bool", "default": True},
    manifest={"type": "list", "elements": "dict"},
    item_paths={"type": "dict", "default": {}},
    tolerance_ms={"type": "int", "default": 1000},
)


def run(context: Context) -> dict[str, t.Any]:
    items = replication.load(context.pair.name, context.params.get("manifest"), context.params.get("item_paths"))
    views, samples = read_facts(context, strict=False)
    roles = find_roles(context.pair, views)
    clocks = both_samples(samples, *context.pair.names)
    offset, uncertainty = clock_offset(*clocks) if clocks else (None, None)
    info: dict[str, t.Any] = {
        "changed": False,
        "pair": context.pair.name,
        "recorder_id": context.pair.recorder_id,
        "service_address": context.pair.service_address.address,
        "attached": roles.attached,
        "headless": roles.headless,
        "epoch": roles.epoch,
        "guarded": roles.guarded,
        "nodes": [status.node_summary(context.pair, views[name], roles) for name in context.pair.names],
        "voting": status.voting_summary(context.pair, views, roles),
        "clock_offset_seconds": None if offset is None else round(offset, 3),
        "coverage": _coverage(context, views) if context.params["coverage"] else None,
        "configuration": _configuration(context, views, roles, items) if context.params["configuration"] else None,
        "fingerprint": _fingerprint(context),
    }
    differing = [item["id"] for item in (info["configuration"] or {}).get("items", []) if item["equal"] is False]
    # Only what is beyond the measurement's own error is told as a fault of the clocks.
    sure = offset if offset is not None and uncertainty is not None and abs(offset) - uncertainty > status.MAX_CLOCK_OFFSET else None
    info["problems"] = status.problems_of(context.pair, views, roles, sure, differing)
    info["problems"] += [item["error"] for item in (info["configuration"] or {}).get("items", []) if item["error"]]
    info["report"] = report.status_text(info).splitlines()
    return info


def _coverage(context: Context, views: t.Mapping[str, NodeView]) -> dict[str, t.Any] | None:
    """The totals; module media_coverage_info gives the spans."""
    names = [name for name in context.pair.names if views[name].reachable]
    try:
        reports, errors = read_coverage(context, names)
    except TandemError as error:
        context.warn(f"the coverage could not be read: {error.message}")
        return None
    for name, reason in errors.items():
        context.warn(f"the coverage of node {name} could not be read: {reason}")
    devices = coverage.pair_coverage(reports, int(time.time() * 1000), context.params["tolerance_ms"])
    return coverage.summary(devices, [name for name in names if name in reports])


def _configuration(context: Context, views: t.Mapping[str, NodeView], roles: Roles, items: list[replication.Item]) -> dict[str, t.Any]:
    """How far the headless node's files are behind those of the attached one."""
    silent = [name for name in context.pair.names if not views[name].reachable]
    if silent:
        return {"compared": False, "reason": f"node {silent[0]} is unreachable", "items": []}
    source = roles.attached or context.pair.names[0]
    target = context.pair.partner(source).name
    try:
        compared = compare_items(context, source, target, items)
    except TandemError as error:
        return {"compared": False, "reason": error.message, "items": []}
    return {"compared": True, "reason": None, "source": source, "target": target, "items": compared}


def _fingerprint(context: Context) -> dict[str, t.Any] | None:
    if not context.params["fingerprint"] or not context.params.get("management_server"):
        return None
    try:
        return {**fingerprint.read(context.management_server(), context.pair.recorder_id).summary(), "error": None}
    except TandemError as error:
        return {"sha256": None, "error": error.message}
