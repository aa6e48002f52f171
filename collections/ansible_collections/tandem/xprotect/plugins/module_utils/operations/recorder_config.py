# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``recorder_config``: the headless node has the same configuration as the attached one.

Strategy ``copy`` copies the files of the replication manifest. Strategy ``turn`` copies all but the local configuration
cache: for that the headless node is attached for a moment, so that it fetches the configuration itself, and hands back.
"""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..pair import replication
from ..pair.manifest_default import CACHE_ASSUMPTION
from ..pair.roles import NodeView
from ._config_items import read_items
from ._nodes import need_roles, read_facts
from ._turn import RECORD, settled_before, take_turn
from ._work import WorkLock, owner_name
from .context import Context

ARGUMENT_SPEC = with_pair(
    strategy={"type": "str", "choices": ["copy", "turn"], "default": "copy"},
    manifest={"type": "list", "elements": "dict"},
    item_paths={"type": "dict", "default": {}},
    restart={"type": "bool", "default": True},
    author={"type": "str"},
    turn_wait={"type": "float", "default": 60.0},
    turn_accept={"type": "str", "choices": ["equal", "settled"], "default": "settled"},
    serve_wait={"type": "float", "default": 30.0},
)
APPLY_TIMEOUT = 300.0


def run(context: Context) -> dict[str, t.Any]:
    items = replication.load(context.pair.name, context.params.get("manifest"), context.params.get("item_paths"))
    replication.require_paths(context.pair.name, items)
    views, unused = read_facts(context)
    silent = [view for view in views.values() if not view.reachable]
    if silent:
        return _partner_down(context, silent[0])
    roles = need_roles(context, views, "bring the configuration of the headless node up to date")
    source, target = t.cast(str, roles.attached), context.pair.partner(t.cast(str, roles.attached)).name
    differences = _compare(context, source, target, items)
    copied, fetched = _divide(context, differences)
    result = _result(context, source, target, differences)
    start, automatic = _must_start(context, views[target]), _must_become_automatic(context, views[target])
    result["changed"] = bool(copied or fetched) or start or automatic
    result["recorder_start_type_changed"] = automatic
    result["diff"] += [_start_type_diff(views[target])] if automatic else []
    result["msg"] = _text(context, result, target, source, start)
    if context.check_mode or not result["changed"]:
        return result
    with WorkLock(context, context.node_names, "bringing the configuration up to date") as work:
        if copied:
            result.update(_apply(context, work, target, copied))
        if start or automatic:
            work.call(target, "service.start", {"name": "recorder", "start_type": "auto"}, timeout=APPLY_TIMEOUT)
            result["recorder_started"] = start
        if fetched:
            result["turn"] = take_turn(context, work, source, [difference.item for difference in fetched])
    return result


def _partner_down(context: Context, silent: NodeView) -> dict[str, t.Any]:
    text = f"node {silent.name} of pair {context.pair.name} does not answer ({silent.error}): nothing was compared or copied"
    context.warn(text)
    return {"changed": False, "skipped_reason": "partner_down", "msg": text, "source": None, "target": None, "items": [],
            "recorder_started": False, "recorder_start_type_changed": False,
            "restarted": False, "turn": None, "diff": []}


def _compare(context: Context, source: str, target: str, items: t.Sequence[replication.Item]) -> list[replication.ItemDiff]:
    """How `target` differs from `source`; refuses a source item that is missing, empty or broken."""
    contents = context.on_nodes(lambda session: read_items(context, session.node_name, [*items, RECORD]))
    found = []
    for item in items:
        wanted = replication.check_source(context.pair.name, source, item, contents[source][item.id])
        difference = replication.compare(item, wanted, contents[target][item.id])
        if difference.changed and _fetches(context, item) and settled_before(context, item, contents):
            difference = replication.ItemDiff(item, False)
        found.append(difference)
    return found


def _fetches(context: Context, item: replication.Item) -> bool:
    """Whether the node gets this item by itself, by a turn."""
    return context.params["strategy"] == "turn" and item.assumption == CACHE_ASSUMPTION


def _divide(context: Context, differences: t.Sequence[replication.ItemDiff]) -> tuple[list[replication.ItemDiff],
                                                                                      list[replication.ItemDiff]]:
    """Changed items to copy, and those that the node has to fetch itself."""
    changed = [difference for difference in differences if difference.changed]
    return ([difference for difference in changed if not _fetches(context, difference.item)],
            [difference for difference in changed if _fetches(context, difference.item)])


def _must_start(context: Context, view: NodeView) -> bool:
    """A headless recorder that has the pair's identity and stands still records nothing."""
    return context.params["restart"] and not view.recorder_running and view.recorder_id == context.pair.recorder_id


def _must_become_automatic(context: Context, view: NodeView) -> bool:
    """After a reboot a headless recorder has to record again by itself, as the one that it is the twin of does."""
    return (context.params["restart"] and view.recorder_id == context.pair.recorder_id
            and view.part("recorder", "service", "start_type") in ("demand", "disabled"))


def _start_type_diff(view: NodeView) -> dict[str, str]:
    header = f"node {view.name}: recorder service"
    return {"before_header": header, "after_header": header,
            "before": f"start type: {view.part('recorder', 'service', 'start_type')}\n", "after": "start type: auto\n"}


def _apply(context: Context, work: WorkLock, target: str, copied: t.Sequence[replication.ItemDiff]) -> dict[str, t.Any]:
    """Write the items on the headless node; its runtime backs up, reads back and restarts the recorder when that is needed."""
    answer = work.call(target, "config.apply", {
        "items": [replication.apply_request(difference.item, difference.content or b"",
                                            difference.item.restart and context.params["restart"])
                  for difference in copied],
        "author": context.params.get("author") or owner_name(), "check": False,
    }, timeout=APPLY_TIMEOUT)
    return {"changed": True, "restarted": bool(answer.get("restarted")), "version": answer.get("version")}


def _result(context: Context, source: str, target: str, differences: t.Sequence[replication.ItemDiff]) -> dict[str, t.Any]:
    return {
        "source": source, "target": target, "strategy": context.params["strategy"],
        "items": [{"id": difference.item.id, "path": difference.item.path, "changed": difference.changed} for difference in differences],
        "restarted": False, "recorder_started": False, "version": None, "turn": None,
        "diff": [difference.as_diff() for difference in differences if difference.changed],
    }


def _text(context: Context, result: t.Mapping[str, t.Any], target: str, source: str, start: bool) -> str:
    names = [item["id"] for item in result["items"] if item["changed"]]
    if not names and not result["changed"]:
        return f"node {target} has the configuration of node {source}"
    verb = "would be" if context.check_mode else "was"
    if not names:
        done = f"{verb} started" if start else f"service {verb} set to start by itself"
        return f"node {target} has the configuration of node {source}, its recorder {done}"
    return f"{', '.join(names)} of node {target} {verb} brought up to date from node {source}"
