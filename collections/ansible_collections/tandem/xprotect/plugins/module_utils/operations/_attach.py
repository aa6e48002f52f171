# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a planned attachment: the guards do it, this calls them and measures what comes of it."""

from __future__ import annotations

import time
import typing as t

from ..errors import TandemError
from ..pair.attachment import SWITCHOVER, AttachmentPlan
from ._integrations import Integrations
from .context import Context

VERB_TIMEOUT = 90.0  # beyond what the guards may take: connecting, and one restart of the recorder


def carry_out(context: Context, plan: AttachmentPlan, integrations: Integrations, *, permit_wait: float = 15.0, force: str | None = None,
              serve_wait: float = 30.0) -> dict[str, t.Any]:
    """Attach `plan.target`, wait until it serves, compare the fingerprint."""
    started = time.monotonic()
    answer = _call_guard(context, plan, permit_wait, force)
    for text in answer.get("warnings") or []:
        context.warn(f"node {plan.target}: {text}")
    steps = [dict(step) for step in answer.get("steps") or []]
    if integrations.before is not None:
        steps += integrations.watch(serve_wait)
    return {
        "changed": bool(answer.get("changed", True)),
        "epoch": answer.get("epoch"),
        "steps": steps,
        "seconds": round(time.monotonic() - started, 3),
        "fingerprint": integrations.compare(),
    }


def _call_guard(context: Context, plan: AttachmentPlan, permit_wait: float, force: str | None) -> dict[str, t.Any]:
    if plan.mode == SWITCHOVER:
        return context.call(str(plan.holder), "attachment.release", {"successor": plan.target, "fetches": plan.fetches},
                            timeout=VERB_TIMEOUT)
    request = {"mode": "failover", "wait": permit_wait, "force": force}
    try:
        return context.call(plan.target, "attachment.take", request, timeout=VERB_TIMEOUT + permit_wait)
    except TandemError as error:
        if error.code == "permit_may_be_open":
            error.next_step = error.next_step or "wait that long and run again, or raise permit_wait."
        raise
