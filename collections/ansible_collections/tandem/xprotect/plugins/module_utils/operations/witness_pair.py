# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``witness_pair``: the witness knows the pair, its two nodes' certificates and its timing; or it does not know it any more."""

from __future__ import annotations

import typing as t

from ..arguments import with_pair
from ..errors import TandemError
from ..pair.pair import WITNESS
from .context import Context

ARGUMENT_SPEC = with_pair(
    state={"type": "str", "choices": ["present", "absent"], "default": "present"},
    lease_ttl={"type": "float", "default": 8.0},
    lease_drift={"type": "float", "default": 0.01},
)
TIMEOUT = 60.0


def run(context: Context) -> dict[str, t.Any]:
    session = context.witness_session()
    present = context.params["state"] == "present"
    document = _document(context) if present else {"pair": context.pair.name}
    request = {"state": context.params["state"], "pair": document, "check": context.check_mode}
    answer = session.call("witness.pair", request, timeout=TIMEOUT)
    changed = bool(answer.get("changed"))
    if present and not context.check_mode and not answer.get("running"):
        context.warn(f"the pair is registered, but the service of witness {session.node_name} does not answer: it votes once it runs"
                     " (role witness)")
    before, after = ("", f"pair {context.pair.name}: registered\n") if present else (f"pair {context.pair.name}: registered\n", "")
    return {
        "changed": changed, "running": answer.get("running"), "state": answer.get("state"), "certificate": answer.get("certificate"),
        "diff": {"before": before if changed else "", "after": after if changed else ""},
    }


def _document(context: Context) -> dict[str, t.Any]:
    """What the witness keeps of a pair. Private keys are no part of it."""
    pair = context.pair
    certificates = context.on_nodes(lambda session: session.call("guard.tls", {}))
    for name, answer in certificates.items():
        if not answer.get("certificate"):
            raise TandemError("it has no certificate yet", pair=pair.name, node=name, code="no_certificate",
                              next_step="configure the guards of the pair first (module node_guard), then run again.")
    return {
        "pair": pair.name, "recorder_id": pair.recorder_id, "voters": [*sorted(pair.names), WITNESS],
        "nodes": [{"name": name, "certificate": certificates[name]["certificate"]} for name in pair.names],
        "lease_ttl": float(context.params["lease_ttl"]), "lease_drift": float(context.params["lease_drift"]),
    }
