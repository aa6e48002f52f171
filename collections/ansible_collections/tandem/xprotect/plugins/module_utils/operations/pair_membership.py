# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``pair_membership``: who has a vote in the pair. A removed node comes back, the witness votes as the definition says.

Only the attached node changes the membership, by the votes of those who are in it.
"""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair.pair import WITNESS
from ..pair.roles import NodeView
from . import _witness
from ._nodes import need_roles, read_facts
from .context import Context

ARGUMENT_SPEC = with_pair(
    rejoin={"type": "str"},
)
VERB_TIMEOUT = 60.0


def run(context: Context) -> dict[str, t.Any]:
    rejoin = context.pair.node(context.params["rejoin"]).name if context.params.get("rejoin") else None
    views, unused = read_facts(context, strict=False)
    attached = need_roles(context, views, "change who votes").attached or ""
    holder = views[attached]
    if not holder.voters:
        raise TandemError("its guard does not tell who votes", pair=context.pair.name, node=attached, code="unknown_membership",
                          next_step="bring the guards up to date (module node_guard), then run again.")
    changes = _wanted(context, views, holder, rejoin)
    if not context.check_mode:
        for party, change in changes.items():
            _carry_out(context, attached, party, change)
    membership = holder.part("guard", "status", "membership")
    if changes and not context.check_mode:
        membership = context.call(attached, "attachment.status", {}).get("membership")
    after = _after(holder.voters, changes)
    return {
        "changed": bool(changes), "attached": attached, "membership": membership, "voters": after,
        "removed": [name for name in context.pair.names if name not in after], "changes": changes,
        "diff": {"before": f"voters: {', '.join(holder.voters)}\n", "after": f"voters: {', '.join(after)}\n"},
    }


def _wanted(context: Context, views: t.Mapping[str, NodeView], holder: NodeView, rejoin: str | None) -> dict[str, str]:
    changes = {}
    if rejoin and rejoin not in holder.voters:
        _refuse_absent(context, views[rejoin])
        changes[rejoin] = "joins"
    witness = _witness.wanted_change(context, holder)
    if witness:
        changes[WITNESS] = witness
    return changes


def _refuse_absent(context: Context, view: NodeView) -> None:
    """A node that is taken back has to be there, headless and fenced: it votes from that moment."""
    reason = None
    if not view.guard_answers:
        reason = f"its guard does not answer ({view.error or 'its service is ' + str(view.part('guard', 'service', 'state') or 'missing')})"
    elif view.guard_state == "attached":
        reason = "its guard says that it is attached"
    elif not view.fenced:
        reason = "it has no fence (module node_guard installs it)"
    if reason:
        raise TandemError(f"it cannot be taken back: {reason}", pair=context.pair.name, node=view.name, code="cannot_rejoin",
                          next_step="mend that and run again; the pair goes on without its vote meanwhile.")


def _carry_out(context: Context, attached: str, party: str, change: str) -> None:
    if party != WITNESS:
        context.call(attached, "attachment.rejoin", {"node": party}, timeout=VERB_TIMEOUT)
        return
    refused = _witness.bring_membership(context, attached, context.call)
    if refused:
        raise TandemError(f"the witness could not {'join' if change == 'joins' else 'leave'}: {refused}", pair=context.pair.name,
                          node=attached, code="witness_refused",
                          next_step="see to it that the witness runs, knows the pair (module witness_pair) and can be reached from the"
                                    " nodes, then run again.")


def _after(voters: t.Sequence[str], changes: t.Mapping[str, str]) -> list[str]:
    found = [voter for voter in voters if changes.get(voter) != "leaves"]
    return [*found, *(party for party, change in changes.items() if change == "joins")]
