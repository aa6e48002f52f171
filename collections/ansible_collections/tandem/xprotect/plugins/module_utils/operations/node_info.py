# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the nodes of a pair say about themselves."""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import NodeUnreachable, RuntimeMissing, SeveralErrors, TandemError
from ..winrm import NodeSession
from .context import Context

ARGUMENT_SPEC = with_pair(
    node={"type": "str"},
    selftest={"type": "bool", "default": False},
)


def run(context: Context) -> dict[str, t.Any]:
    wanted = [context.pair.node(context.params["node"]).name] if context.params.get("node") else None

    def ask(session: NodeSession) -> dict[str, t.Any]:
        found = {"facts": session.call("facts", timeout=60.0)}
        if context.params.get("selftest"):
            found["selftest"] = session.call("selftest", timeout=300.0)
        return found

    outcomes = context.try_on_nodes(ask, wanted)
    errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, TandemError)}
    if len(errors) == len(outcomes):  # nothing is known: that is a failure, mostly of the definition or the controller's network
        raise next(iter(errors.values())) if len(errors) == 1 else SeveralErrors(errors, context.pair.name)
    return {"changed": False, "nodes": {name: _node(outcome) for name, outcome in outcomes.items()}}


def _node(outcome: dict[str, t.Any] | TandemError) -> dict[str, t.Any]:
    if not isinstance(outcome, TandemError):
        return {"reachable": True, "runtime_installed": True, "error": None, "error_code": None, **outcome}
    return {"reachable": not isinstance(outcome, NodeUnreachable),
            "runtime_installed": False if isinstance(outcome, RuntimeMissing) else None,
            "error": str(outcome), "error_code": outcome.code, "facts": None}
