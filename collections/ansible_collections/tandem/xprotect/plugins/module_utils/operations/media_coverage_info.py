# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``media_coverage_info``: per device what each node holds, what both hold together, and what neither does."""

from __future__ import annotations

import time
import typing as t

from ..arguments import with_pair
from ..errors import SeveralErrors, TandemError
from ..pair import coverage
from .context import Context

ARGUMENT_SPEC = with_pair(
    devices={"type": "list", "elements": "str", "default": []},
    tolerance_ms={"type": "int", "default": 1000},
    spans={"type": "bool", "default": True},
)
TIMEOUT = 300.0


def run(context: Context) -> dict[str, t.Any]:
    reports, errors = read_coverage(context)
    found = coverage.pair_coverage(reports, int(time.time() * 1000), context.params["tolerance_ms"])
    chosen = _chosen(context, found)
    if not context.params["spans"]:
        chosen = [_without_spans(device) for device in chosen]
    return {
        "changed": False,
        "devices": chosen,
        "summary": coverage.summary(chosen, [name for name in context.node_names if name in reports]),
        "nodes": {name: {"reachable": name in reports, "error": errors.get(name), "tables": reports.get(name, {}).get("tables"),
                         "bytes": reports.get(name, {}).get("bytes"), "restarts": reports.get(name, {}).get("restarts") or []}
                  for name in context.node_names},
    }


def read_coverage(context: Context, nodes: t.Iterable[str] | None = None) -> tuple[dict[str, dict[str, t.Any]], dict[str, str]]:
    """The coverage of the nodes that answer, and why the others did not. Fails when none answers."""
    outcomes = context.try_on_nodes(lambda session: session.call("media.coverage", {}, timeout=TIMEOUT), nodes)
    errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, TandemError)}
    if len(errors) == len(outcomes):
        raise SeveralErrors(errors, context.pair.name)
    return ({name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, TandemError)},
            {name: error.message for name, error in errors.items()})


def _chosen(context: Context, devices: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    wanted = {text.strip().casefold() for text in context.params["devices"]}
    if not wanted:
        return devices
    chosen = [device for device in devices if device["id"].casefold() in wanted or device["name"].casefold() in wanted]
    unknown = wanted - {value for device in chosen for value in (device["id"].casefold(), device["name"].casefold())}
    if unknown:
        raise TandemError(f"no node holds media of {', '.join(sorted(unknown))}", pair=context.pair.name, code="unknown_device",
                          next_step="give ids or names of devices as they are in XProtect, or leave the option out.")
    return chosen


def _without_spans(device: dict[str, t.Any]) -> dict[str, t.Any]:
    nodes = {name: {key: value for key, value in own.items() if key != "spans"} for name, own in device["nodes"].items()}
    return {**{key: value for key, value in device.items() if key != "union"}, "nodes": nodes}
