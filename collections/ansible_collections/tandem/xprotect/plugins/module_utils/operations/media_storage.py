# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``media_storage``: the folders of the pair's storages exist on both nodes, on drives with enough room."""

from __future__ import annotations

import ntpath
import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair.roles import find_roles
from ._fitness import refuse_unfit_twin
from ._nodes import read_facts
from ._work import WorkLock
from .context import Context

ARGUMENT_SPEC = with_pair(
    folders={"type": "list", "elements": "str", "default": []},
    # Below 5 GB of free space a recorder archives or deletes its oldest media (documented, vendor manual).
    reserve_bytes={"type": "int", "default": 5 * 1024 ** 3},
)


def run(context: Context) -> dict[str, t.Any]:
    views, samples = read_facts(context)
    refuse_unfit_twin(context, views, samples, "prepare the storages")
    folders = storage_folders(context) or _folders_of_recorder(context, views)
    local = [folder for folder in folders if ntpath.splitdrive(folder)[0].endswith(":")]
    for folder in sorted(set(folders) - set(local)):
        context.warn(f"storage {folder} is not on a drive of the nodes and is left alone")
    if not local:
        raise TandemError("no storage folder is known", pair=context.pair.name, code="no_folders",
                          next_step="give management_server, or list the folders in option folders.")
    request = {"folders": local, "required_free_bytes": context.params["reserve_bytes"], "check": True}
    answers = context.on_nodes(lambda session: session.call("storage.prepare", request))
    if not context.check_mode and any(answer.get("changed") for answer in answers.values()):
        with WorkLock(context, context.node_names, "preparing the storages"):
            answers = context.on_nodes(lambda session: session.call("storage.prepare", {**request, "check": False}))
    created = {name: list(answer.get("created") or []) for name, answer in answers.items()}
    return {
        "changed": any(bool(answer.get("changed")) for answer in answers.values()),
        "folders": local,
        "nodes": {name: {"changed": bool(answer.get("changed")), "created": created[name], "drives": views[name].part("machine", "drives")}
                  for name, answer in answers.items()},
        "diff": {"before": "", "after": "".join(f"node {name}: {folder}\n" for name in context.node_names for folder in created[name])},
    }


def storage_folders(context: Context) -> list[str]:
    """The folders that are asked for: those of the option, else those of the storages and archives at the Management Server."""
    if context.params.get("folders"):
        return _unique(context.params["folders"])
    if not context.params.get("management_server"):
        return []
    rest = context.management_server().rest
    storages = rest.list(f"recordingServers/{context.pair.recorder_id}/storages", disabled=False)
    found = [storage.get("diskPath") for storage in storages]
    for storage in storages:
        found += [archive.get("diskPath") for archive in _archives(rest, storage.get("id"))]
    return _unique(found)


def _archives(rest: t.Any, storage_id: t.Any) -> list[dict[str, t.Any]]:
    """A storage's archives; a server that does not know the resource has none."""
    try:
        return rest.list(f"storages/{storage_id}/archiveStorages", disabled=False)
    except TandemError as error:
        if error.code == "not_found":
            return []
        raise


def _folders_of_recorder(context: Context, views: t.Mapping[str, t.Any]) -> list[str]:
    """Without a Management Server: the media folders of the recorder that has the pair's identity."""
    roles = find_roles(context.pair, views)
    owners = [name for name in context.pair.names if views[name].recorder_id == context.pair.recorder_id]
    source = roles.attached or (owners[0] if owners else None)
    return _unique(views[source].part("recorder", "media_folders") or []) if source else []


def _unique(paths: t.Iterable[t.Any]) -> list[str]:
    """Each folder once, without a trailing backslash; Windows does not tell upper from lower case."""
    found: dict[str, str] = {}
    for path in paths:
        text = path.strip().rstrip("\\") if isinstance(path, str) else ""
        if text:
            found.setdefault(text.casefold(), text + "\\" if text.endswith(":") else text)
    return list(found.values())
