# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a planned attachment: the guards do it, this calls them and measures what comes of it."""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ..errors import TandemError
from ..pair.attachment import ACCEPTABLE, RELEASE, AttachmentPlan
from ._integrations import Integrations
from .context import Context

VERB_TIMEOUT = 90.0  # beyond what the guards may take: connecting, and one restart of the recorder
RETRY_PAUSE = 0.2


@dataclasses.dataclass(frozen=True)
class Taking:
    """How a node takes what its partner does not release. `look` is called each time the lease has run out, and may refuse."""

    wait: float = 15.0
    force: str | None = None
    without_witness: bool = False
    evidence: str | None = None
    look: t.Callable[[], None] | None = None


def carry_out(context: Context, plan: AttachmentPlan, integrations: Integrations, *, taking: Taking = Taking(),
              serve_wait: float = 30.0) -> dict[str, t.Any]:
    """Attach `plan.target`, wait until it serves, compare the fingerprint."""
    started = time.monotonic()
    try:
        answer = _release(context, plan) if plan.by == RELEASE else _take(context, plan, taking)
    except TandemError as error:
        raise _explained(error)
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


def _release(context: Context, plan: AttachmentPlan) -> dict[str, t.Any]:
    request = {"successor": plan.target, "fetches": plan.fetches, "accept": list(plan.accept)}
    return context.call(str(plan.holder), "attachment.release", request, timeout=VERB_TIMEOUT)


def _take(context: Context, plan: AttachmentPlan, taking: Taking) -> dict[str, t.Any]:
    """Take as soon as the lease is free. Waited is here and not on the node, because evidence is gathered after the wait."""
    started = time.monotonic()
    waited = False
    while True:
        left = max(0.0, started + taking.wait - time.monotonic())
        request = {"wait": 0.0 if taking.look else left, "force": taking.force, "without_witness": taking.without_witness,
                   "accept": list(plan.accept), "evidence": taking.evidence}
        began = time.monotonic()
        if waited:
            context.report(plan.target, {"step": "permit_wait", "seconds": round(began - started, 3)})
        try:
            answer = context.call(plan.target, "attachment.take", request, timeout=VERB_TIMEOUT + request["wait"])
        except TandemError as error:
            pause = _pause(error)
            if not taking.look or pause > max(0.0, started + taking.wait - time.monotonic()):
                raise
            if not waited:
                context.report(plan.target, {"step": "waiting", "seconds": round(pause, 1), "reason": error.message})
            waited = True
            time.sleep(pause)
            if error.code != "busy":
                taking.look()
            continue
        return _with_wait(answer, began - started) if waited else answer


def _pause(error: TandemError) -> float:
    """After how many seconds it is worth asking again: a guard tells that of a lease. Infinite for a refusal that stays one."""
    wait = error.details.get("wait")
    return max(RETRY_PAUSE, float(wait) + 0.02) if isinstance(wait, (int, float)) else RETRY_PAUSE if error.code == "busy" else float("inf")


def _with_wait(answer: dict[str, t.Any], seconds: float) -> dict[str, t.Any]:
    return {**answer, "steps": [{"step": "permit_wait", "seconds": round(seconds, 3)}, *(answer.get("steps") or [])]}


def _explained(error: TandemError) -> TandemError:
    """A guard's refusal with all its reasons in the message, and what a person can do about it."""
    if error.code == "lease_not_free":
        error.next_step = error.next_step or "wait that long and run again, or raise permit_wait."
    reasons = [reason for reason in error.details.get("reasons") or [] if isinstance(reason, dict)]
    if error.code == "worse" and reasons:
        untold = [str(reason.get("message")) for reason in reasons if str(reason.get("message")) not in error.message]
        error.message = "; ".join([error.message.rstrip("."), *untold]) if untold else error.message
        error.args = (error.message,)
        names = [name for name in ACCEPTABLE if name in {reason.get("name") for reason in reasons}]
        error.next_step = (f"mend what is listed and run again, or accept it by name (accept: [{', '.join(names)}])." if names else
                           error.next_step)
    return error
