# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far the headless node's files are behind those of the attached one."""

from __future__ import annotations

import typing as t

from ..errors import TandemError
from ..pair import replication
from ..pair.roles import NodeView, find_roles
from ._config_items import read_items
from ._turn import RECORD, settled_before
from .context import Context


def compare_items(context: Context, source: str, target: str, items: t.Sequence[replication.Item]) -> list[dict[str, t.Any]]:
    """Each item, and whether it is equal on both nodes (None: it cannot be compared)."""
    found = [item for item in items if item.path is not None]
    contents = context.on_nodes(lambda session: read_items(context, session.node_name, [*found, RECORD]))
    return [_item(context, item, source, target, contents) for item in items]


def lagging_items(context: Context, views: t.Mapping[str, NodeView], items: t.Sequence[replication.Item]) -> list[str]:
    """Items of the headless node that differ from the attached one's. What cannot be read is a warning: it proves no lag."""
    roles = find_roles(context.pair, views)
    if roles.attached is None or roles.headless is None:
        return []
    try:
        compared = compare_items(context, roles.attached, roles.headless, items)
    except TandemError as error:
        context.warn(f"the configuration of the two nodes could not be compared: {error.message}")
        return []
    return [item["id"] for item in compared if item["equal"] is False]


def _item(context: Context, item: replication.Item, source: str, target: str, contents: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Equal (or as a turn left it), different, or (null) not comparable: the source's file is missing or broken, or nobody said where."""
    if item.path is None:
        return {"id": item.id, "path": None, "equal": None, "sha256": {}, "error": None, "note": "not compared: no path given"}
    theirs, ours = contents[source][item.id], contents[target][item.id]
    hashes = {source: replication.fingerprint(item, theirs, ours), target: replication.fingerprint(item, ours, ours)}
    equal, error = hashes[source] == hashes[target] or settled_before(context, item, contents), None
    try:
        replication.check_source(context.pair.name, source, item, theirs)
    except TandemError as problem:
        equal, error = None, f"node {source}: {problem.message}"
    return {"id": item.id, "path": item.path, "equal": equal, "sha256": hashes, "error": error, "note": None}
