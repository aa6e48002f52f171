# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Python and the node runtime on the nodes of a pair.

All nodes are looked at before anything is brought to one of them, and the Management Server is asked whether there is such a
recorder: a wrong password of one machine or a mistyped id leaves both as they were.
"""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair.roles import SILENT
from ..runtime_deploy import Archive, bring, guard_runtime, judge, look, older_runtimes
from .. import _runtime_build as runtime
from .context import Context

ARGUMENT_SPEC = with_pair(
    python_archive={"type": "path"},
    node={"type": "str"},
)


def run(context: Context) -> dict[str, t.Any]:
    path = context.params.get("python_archive")
    archive = Archive.load(path) if path else None
    wanted = [context.pair.node(context.params["node"]).name] if context.params.get("node") else None
    found = context.on_nodes(look, wanted)
    answers = context.on_nodes(lambda session: judge(session, found[session.node_name], archive), wanted)
    _refuse_unknown_recorder(context)
    if not context.check_mode:
        answers = context.on_nodes(lambda session: bring(session, answers[session.node_name], archive), wanted)
    nodes = {name: _node(answer) for name, answer in answers.items()}
    for name, answer in answers.items():
        used = guard_runtime(answer["facts"] or {})
        if used and used in nodes[name]["older_runtimes"]:
            context.warn(f"pair {context.pair.name}, node {name}: the guard still uses {used}; module node_guard moves it to the new"
                         " runtime.")
    return {
        "changed": any(answer["changed"] for answer in answers.values()),
        "runtime_sha256": runtime.sha256(),
        "runtime_path": runtime.runtime_path(runtime.sha256()),
        "nodes": nodes,
        "diff": {side: {name: answer[side] for name, answer in answers.items()} for side in ("before", "after")},
    }


def _refuse_unknown_recorder(context: Context) -> None:
    """The Management Server, when one is given and answers, must know the pair's recorder."""
    if not context.params.get("management_server"):
        return
    try:
        context.management_server().recorder(context.pair.recorder_id)
    except TandemError as error:
        if error.code not in SILENT and int(error.details.get("status") or 0) < 500:
            raise  # it answers, and what it says is a mistake to be mended
        context.warn(f"pair {context.pair.name}: whether there is a recorder {context.pair.recorder_id} could not be asked:"
                     f" {error.message}")


def _node(answer: dict[str, t.Any]) -> dict[str, t.Any]:
    facts = answer["facts"]
    about = (facts or {}).get("runtime", {})
    return {"changed": answer["changed"], "before": answer["before"], "after": answer["after"], "python": about.get("python"),
            "version": about.get("version"), "older_runtimes": older_runtimes(facts)}
