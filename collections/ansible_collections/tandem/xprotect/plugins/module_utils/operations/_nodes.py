# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking both nodes for their facts. What an operation decides, it decides on these and never on the inventory."""

from __future__ import annotations

import threading
import time
import typing as t

from ..errors import NodeUnreachable, SeveralErrors, TandemError
from ..pair.identity import ClockSample
from ..pair.roles import SILENT, NodeView, Roles, find_roles, views_of
from .context import Context

FACTS_TIMEOUT = 60.0


def read_facts(context: Context, strict: bool = True, patience: float | None = None) -> tuple[dict[str, NodeView], dict[str, ClockSample]]:
    """Views of both nodes, also of one that does not answer, and samples of the clocks of those that do.

    `strict`: a node that answers and yet gives no facts (refused login, missing runtime) is an error. That is a mistake to
    be mended and no state of a pair. Two silent nodes are an error in any case. `patience`: for how many seconds more the second
    answer is waited for once there is one; a node that is later counts as silent. For a failover, which the lease keeps safe.
    """
    samples: dict[str, ClockSample] = {}

    def ask(session: t.Any) -> dict[str, t.Any]:
        began = time.monotonic()
        facts = session.call("facts", {}, timeout=FACTS_TIMEOUT)
        clock_ms = (facts.get("machine") or {}).get("clock_ms")
        if isinstance(clock_ms, (int, float)):
            samples[session.node_name] = ClockSample(float(clock_ms), began, time.monotonic())
        return facts

    outcomes = context.try_on_nodes(ask) if patience is None else _with_patience(context, ask, patience)
    errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, TandemError)}
    mistakes = {name: error for name, error in errors.items() if strict and error.code not in SILENT}
    if len(errors) == len(outcomes) or len(mistakes) > 1:
        raise SeveralErrors(errors, context.pair.name)
    for error in mistakes.values():
        raise error
    return views_of(outcomes), samples


def _with_patience(context: Context, ask: t.Callable[[t.Any], dict[str, t.Any]], patience: float) -> dict[str, t.Any]:
    """Both nodes' answers, or one of them and its partner as silent."""
    names, outcomes, changed = context.node_names, {}, threading.Condition()

    def one(name: str) -> None:
        outcome = context.try_on_nodes(ask, [name])[name]
        with changed:
            outcomes[name] = outcome
            changed.notify_all()

    for name in names:
        threading.Thread(target=one, args=(name,), name=f"tandem facts {name}", daemon=True).start()
    with changed:
        changed.wait_for(lambda: len(outcomes) == len(names) or any(not isinstance(found, TandemError) for found in outcomes.values()))
        changed.wait_for(lambda: len(outcomes) == len(names), patience)
        found = dict(outcomes)
    for name in names:
        if name not in found:
            found[name] = NodeUnreachable(f"it has not answered {patience:g} s after its partner", context.pair.name, name, code="timeout")
    return found


def both_samples(samples: t.Mapping[str, ClockSample], source: str, twin: str) -> tuple[ClockSample, ClockSample] | None:
    return (samples[source], samples[twin]) if source in samples and twin in samples else None


def need_roles(context: Context, views: t.Mapping[str, NodeView], purpose: str) -> Roles:
    """The roles, refused when no node is attached. `purpose` completes "an attached node is needed to ..."."""
    roles = find_roles(context.pair, views)
    if roles.attached is None:
        silent = "; ".join(f"node {view.name} did not answer: {view.error}" for view in views.values() if not view.reachable)
        raise TandemError(f"an attached node is needed to {purpose}, and no node is attached" + (f" ({silent})" if silent else ""),
                          pair=context.pair.name, code="nobody_attached",
                          next_step="attach a node (module recorder_attachment with mode failover and node), then run again.")
    return roles
