# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``recorder_identity``: the twin gets the pair's identity (``cloned``), or gets back the one it was installed with (``own``)."""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair import identity
from ..pair.roles import NodeView, find_roles, require_reachable, source_and_twin
from ._nodes import both_samples, read_facts
from ._work import WorkLock
from .context import Context
from .media_storage import storage_folders

ARGUMENT_SPEC = with_pair(
    state={"type": "str", "choices": ["cloned", "own"], "default": "cloned"},
)
SERVICE_TIMEOUT = 240.0
ID_FIELD = "recorder/id"


def run(context: Context) -> dict[str, t.Any]:
    views, samples = read_facts(context)
    require_reachable(context.pair, views, "deal with the identity")
    if context.params["state"] == "own":
        return _give_back(context, views)
    source, twin = source_and_twin(context.pair, views)
    clocks = both_samples(samples, source, twin)
    identity.refuse(context.pair, twin, identity.differences(views[source], views[twin], clocks, _folders(context)))
    return _clone(context, views, source, twin)


def _folders(context: Context) -> list[str]:
    return storage_folders(context) if context.params.get("management_server") else []


def _clone(context: Context, views: t.Mapping[str, NodeView], source: str, twin: str) -> dict[str, t.Any]:
    documents = context.on_nodes(lambda session: session.call("identity.read", {}))
    fields = identity.wanted_fields(documents[source].get("fields") or {})
    registry = identity.wanted_registry(documents[source].get("registry") or {}, documents[twin].get("registry") or {})
    _check_read(context, source, fields)
    changes = [*_changes(documents[twin].get("fields") or {}, fields), *_changes(documents[twin].get("registry") or {}, registry)]
    result = _result(context, source, twin, changes)
    if not changes or context.check_mode:
        return result
    _check_safe(context, views, twin)
    with WorkLock(context, context.node_names, "giving the twin its identity") as work:
        answer = work.call(twin, "identity.apply", {"fields": fields, "registry": registry, "check": False}, timeout=SERVICE_TIMEOUT)
        result["changed"] = bool(answer.get("changed"))
        result["recorder_started"] = _start_again(context, work, views[twin])
    return result


def _check_read(context: Context, source: str, fields: t.Mapping[str, t.Any]) -> None:
    ids = [value for xpath, value in fields.items() if identity.short(xpath) == ID_FIELD]
    if [str(value).strip().lower() for value in ids] != [context.pair.recorder_id]:
        raise TandemError(f"its identity was read without recorder id {context.pair.recorder_id} (found {ids or 'none'})",
                          pair=context.pair.name,
                          node=source, code="identity_incomplete",
                          next_step="look at RecorderConfig.xml on that node; nothing was changed.")


def _check_safe(context: Context, views: t.Mapping[str, NodeView], twin: str) -> None:
    """Two recorders of one id may exist only when a fence keeps one of them away from the Management Server."""
    if not views[twin].fenced:
        raise TandemError("it has no fence, and a second recorder of this id must never reach the Management Server",
                          pair=context.pair.name,
                          node=twin, code="not_fenced",
                          next_step="run module node_guard for the pair, then run again; nothing was changed.")
    if find_roles(context.pair, views).attached == twin:
        raise TandemError("it is attached, and the identity of an attached node is never changed", pair=context.pair.name, node=twin,
                          code="attached", next_step="switch over to its partner, then run again; nothing was changed.")


def _start_again(context: Context, work: WorkLock, view: NodeView) -> bool:
    """A twin's recorder that ran before runs again. A new twin's stays stopped: it still has the configuration of another recorder."""
    if not view.recorder_running or view.recorder_id != context.pair.recorder_id:
        return False
    work.call(view.name, "service.start", {"name": "recorder"}, timeout=SERVICE_TIMEOUT)
    return True


def _give_back(context: Context, views: t.Mapping[str, NodeView]) -> dict[str, t.Any]:
    roles = find_roles(context.pair, views)
    documents = context.on_nodes(lambda session: session.call("identity.read", {}))
    twins = [name for name in context.node_names if views[name].recorder_id == context.pair.recorder_id]
    cloned = [name for name in twins if documents[name].get("own_backup")]
    if not cloned:
        return {"changed": False, "msg": f"no node of pair {context.pair.name} has another identity than its own", "node": None,
                "source": None, "recorder_started": False, "diff": {"before": "", "after": ""}}
    if roles.attached in cloned:
        raise TandemError("it has its own identity in reserve and is attached", pair=context.pair.name, node=roles.attached,
                          code="attached",
                          next_step=f"switch over to node {context.pair.partner(roles.attached).name}, then run again; nothing was"
                                    " changed.")
    name = cloned[0]
    result = {"changed": True, "node": name, "source": None, "recorder_started": False,
              "msg": f"node {name} {'would get' if context.check_mode else 'has'} its own identity back",
              "diff": {"before": f"node {name}: recorder id {context.pair.recorder_id}\n",
                       "after": f"node {name}: recorder id of its own\n"}}
    if not context.check_mode:
        with WorkLock(context, context.node_names, "giving a node its own identity back") as work:
            work.call(name, "identity.undo", {}, timeout=SERVICE_TIMEOUT)
    return result


def _changes(before: t.Mapping[str, t.Any], wanted: t.Mapping[str, t.Any]) -> list[tuple[str, str, str]]:
    known = {identity.short(name): value for name, value in before.items()}
    changes = []
    for name, value in sorted(wanted.items()):
        old = known.get(identity.short(name))
        if _plain(old) != _plain(value):
            changes.append((identity.short(name), _plain(old), _plain(value)))
    return changes


def _plain(value: t.Any) -> str:
    return "" if value is None else str(value)


def _result(context: Context, source: str, twin: str, changes: list[tuple[str, str, str]]) -> dict[str, t.Any]:
    verb = "would be" if context.check_mode else "were"
    text = f"{len(changes)} values of node {twin} {verb} taken over from node {source}" if changes else \
        f"node {twin} has the identity of node {source} already"
    return {
        "changed": bool(changes), "node": twin, "source": source, "recorder_started": False, "msg": text,
        "changes": [{"field": field, "before": before, "after": after} for field, before, after in changes],
        "diff": {"before_header": f"node {twin}", "after_header": f"node {twin}",
                 "before": "".join(f"{field}: {before}\n" for field, before, unused in changes),
                 "after": "".join(f"{field}: {after}\n" for field, unused, after in changes)},
    }
