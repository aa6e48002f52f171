# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may be attached: every decision of the guard as a pure function of what it knows. No clock, no disk, no network.

Times are seconds of the guard's own monotonic clock unless a name says otherwise. A state is "attached" or "headless".
This version has two voters only, the nodes themselves: the partner's consent or the partner's silence decides. Where a
third voter (the witness) is added, `holder`, `may_take` and `may_resume` get its voice; nothing else changes.
"""

from __future__ import annotations

import dataclasses

ATTACHED, HEADLESS = "attached", "headless"

#: Added to a partner's silence before its permit is taken as closed.
SILENCE_MARGIN = 1.0
#: A recorder counts as recording when something was written within so many seconds (motion-only sites are quiet).
QUIET_LIMIT = 600.0


@dataclasses.dataclass(frozen=True)
class Recorder:
    """The recorder of one node as far as it matters for attachment."""

    service_state: str
    writing: int
    known_devices: int
    quiet_for: float | None  # seconds since anything was written by this recorder process, None: never
    storage_error: str | None = None
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class PartnerView:
    """What is known of the partner."""

    heard_at: float | None = None  # last message received
    epoch: int = 0
    state: str | None = None
    incarnation: str = ""
    ttl: float = 0.0
    ended: bool = False  # its last words were that its guard ends and its permit is closed
    version: str | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`ok`, or why not: `code` and `message`; `wait` when time alone will change it."""

    ok: bool
    code: str = ""
    message: str = ""
    next: str = ""
    wait: float = 0.0


YES = Verdict(True)


@dataclasses.dataclass(frozen=True)
class HolderView:
    now: float
    ttl: float
    permit_deadline: float
    epoch: int
    incarnation: str
    partner: PartnerView
    partner_acknowledged_at: float  # send time of the last message that the partner answered, or when attached
    management_reached_at: float  # last proof that the Management Server can be reached, or when attached
    clock_jump: float = 0.0  # seconds that the wall clock gained over the monotonic clock since the last look


@dataclasses.dataclass(frozen=True)
class HolderAction:
    kind: str  # renew | detach
    reason: str = ""
    keep_claim: bool = True  # ask the partner to be attached again with the same epoch
    epoch_seen: int = 0


def holder(view: HolderView) -> HolderAction:
    """May the attached node go on? Asked several times a second."""
    if outranked(view.epoch, view.incarnation, view.partner):
        return HolderAction("detach", f"the partner knows epoch {view.partner.epoch}, which is higher than {view.epoch}",
                            keep_claim=False, epoch_seen=view.partner.epoch)
    if view.now >= view.permit_deadline:
        return HolderAction("detach", f"the permit ran out {view.now - view.permit_deadline:.1f} s ago: this machine stood still")
    if view.clock_jump > view.ttl / 2:
        return HolderAction("detach", f"the clock jumped forward by {view.clock_jump:.1f} s: this machine may have been paused")
    alone_since = max(view.partner_acknowledged_at, view.partner.heard_at or view.partner_acknowledged_at,
                      view.management_reached_at)
    if view.now - alone_since > view.ttl / 2:
        return HolderAction("detach", f"neither the partner nor the Management Server was reached for {view.now - alone_since:.1f} s")
    return HolderAction("renew")


def outranked(epoch: int, incarnation: str, partner: PartnerView) -> bool:
    """Does the partner's epoch end this node's attachment? Equal numbers of two attached nodes: the incarnations decide."""
    if partner.epoch != epoch:
        return partner.epoch > epoch
    return partner.state == ATTACHED and partner.incarnation > incarnation


def permit_may_be_open_for(now: float, started_at: float, ttl: float, partner: PartnerView) -> float:
    """Seconds for which the partner's permit may still be open, if it is not heard again."""
    if partner.ended:
        return 0.0
    since = started_at if partner.heard_at is None else partner.heard_at
    return max(0.0, since + max(ttl, partner.ttl) + SILENCE_MARGIN - now)


def fit(recorder: Recorder, expected_version: str | None = None, fetches: bool = False) -> Verdict:
    """Is this node's recorder good enough to serve? Poor is better than nobody: few things refuse.

    `fetches`: it has no configuration and is to be attached to fetch its first one, so that it cannot record yet.
    """
    if recorder.service_state != "running":
        return Verdict(False, "not_recording", f"its recorder service is {recorder.service_state}", "Start the recorder service.")
    if recorder.storage_error:
        return Verdict(False, "not_recording", f"its media storage cannot be read: {recorder.storage_error}", "Check its disks.")
    if not fetches and recorder.known_devices and (recorder.quiet_for is None or recorder.quiet_for > QUIET_LIMIT):
        return Verdict(False, "not_recording", "its recorder runs but writes no media",
                       "Check the recorder's log, its cameras and its disks.")
    if expected_version and recorder.version and recorder.version != expected_version:
        return Verdict(False, "wrong_version", f"its recorder has version {recorder.version}, the partner's {expected_version}",
                       "Bring both recorders to the same version.")
    return YES


@dataclasses.dataclass(frozen=True)
class TakeView:
    """A headless node that is to take over by itself (failover). `answer` is the partner's state when it answered just now."""

    now: float
    started_at: float
    ttl: float
    busy: str | None
    recorder: Recorder
    partner: PartnerView
    answer: str | None
    force: str | None


def may_take(view: TakeView) -> Verdict:
    if view.busy:
        return Verdict(False, "busy", f"this guard is busy: {view.busy}", "Try again in a moment.")
    if view.answer is not None and view.answer != HEADLESS:
        return Verdict(False, "partner_answers", f"the partner's guard answers and says: {view.answer}",
                       "Use a planned switchover, or detach the partner first.")
    health = fit(view.recorder, view.partner.version)
    if not health.ok:
        return health
    if view.answer is None and not view.force:
        wait = permit_may_be_open_for(view.now, view.started_at, view.ttl, view.partner)
        if wait > 0:
            return Verdict(False, "permit_may_be_open", f"the partner's permit may still be open for {wait:.1f} s",
                           "Wait that long, or give the proof that the other machine is off as 'force'.", wait)
    return YES


def may_adopt(epoch: int, fence_installed: bool, serving: bool | None, answer: PartnerView | None, force: str | None) -> Verdict:
    """First attachment, of the machine that serves already. `answer`: what the partner's guard said just now."""
    if epoch > 0:
        return Verdict(False, "already_adopted", f"this pair has been attached before (epoch {epoch})",
                       "Use a switchover or a failover instead.")
    if answer is not None and (answer.epoch > 0 or answer.state != HEADLESS):
        return Verdict(False, "partner_attached", f"the partner knows epoch {answer.epoch} and is {answer.state}",
                       "Adopt is only for a new pair. Use a switchover or a failover instead.")
    if answer is None and not force:
        return Verdict(False, "partner_silent", "the partner's guard does not answer, so nobody knows whether it is attached",
                       "Start the partner's guard, or give the proof that the other machine does not serve as 'force'.")
    if serving is False and not force:
        return Verdict(False, "not_serving", "the recorder of this machine is not connected to the Management Server",
                       "Adopt the machine that serves now" + (", before the fence is installed." if fence_installed else "."))
    return YES


def may_release(state: str, busy: str | None, successor: str, partner_name: str, answer: PartnerView | None,
                answer_fit: Verdict) -> Verdict:
    """A planned hand-over, asked of the holder. `answer_fit` is `fit` of the partner's recorder."""
    if busy:
        return Verdict(False, "busy", f"this guard is busy: {busy}", "Try again in a moment.")
    if state != ATTACHED:
        return Verdict(False, "not_attached", "this node is headless, it has nothing to hand over", "Ask the attached node.")
    if successor != partner_name:
        return Verdict(False, "not_partner", f"{successor!r} is not this node's partner ({partner_name})", "Name the partner.")
    if answer is None:
        return Verdict(False, "partner_unreachable", "the partner's guard does not answer",
                       "Start the partner's guard; this node stays attached.")
    if answer.state != HEADLESS:
        return Verdict(False, "partner_attached", f"the partner says it is {answer.state}", "Look at both nodes' status.")
    if not answer_fit.ok:
        return dataclasses.replace(answer_fit, message=f"the partner is not fit to serve: {answer_fit.message}")
    return YES


def may_let_fetch(own: Recorder) -> Verdict:
    """May a partner without a configuration be attached to fetch one? Only while this node, the holder, records on."""
    health = fit(own)
    return health if health.ok else dataclasses.replace(
        health, message=f"the partner has no configuration to record with yet, and of this node {health.message}")


@dataclasses.dataclass(frozen=True)
class AskedView:
    """This node is asked by its partner to accept that the partner attaches (resume) or to attach itself (take)."""

    state: str
    epoch: int
    claim: str
    busy: str | None
    asked_epoch: int


def may_resume(view: AskedView) -> Verdict:
    """Does this node agree that its partner attaches with `asked_epoch`?"""
    if view.state == ATTACHED:
        return Verdict(False, "attached", f"this node is attached with epoch {view.epoch}")
    if view.epoch > view.asked_epoch:
        return Verdict(False, "higher_epoch", f"this node knows epoch {view.epoch}, higher than {view.asked_epoch}")
    if view.busy in ("take", "adopt"):
        return Verdict(False, "promoting", "this node is about to be attached itself")
    if view.epoch == view.asked_epoch and view.claim == ATTACHED:
        return Verdict(False, "same_epoch", f"this node was attached with epoch {view.epoch} itself")
    return YES


def may_be_given(view: AskedView, recorder: Recorder, fetches: bool = False) -> Verdict:
    """A releasing holder hands over: does this node take it?"""
    if view.state == ATTACHED:
        return Verdict(False, "attached", f"this node is attached already with epoch {view.epoch}")
    if view.epoch >= view.asked_epoch:
        return Verdict(False, "higher_epoch", f"this node knows epoch {view.epoch}, not lower than {view.asked_epoch}")
    if view.busy:
        return Verdict(False, "busy", f"this guard is busy: {view.busy}")
    return fit(recorder, fetches=fetches)


def resume_epoch(claim_attached: bool, claim_released: bool, epoch: int) -> int | None:
    """With which epoch a headless node asks to be attached again, None when it has no claim.

    After a release the successor was offered epoch + 1: the way back uses epoch + 2, so that a late take is refused.
    """
    if claim_attached:
        return epoch
    return epoch + 2 if claim_released else None


def own_offer(claim_released: bool, releasing: bool, epoch: int, partner: PartnerView) -> bool:
    """Is the partner's higher epoch one that this node itself proposed, so that it does not end this node's claim?

    While it hands over: the successor's new epoch, which the hand-over writes down itself. After a hand-over that was not
    confirmed: the epoch with which this node asks to come back, accepted by a headless partner whose answer may be lost.
    """
    if not claim_released:
        return False
    return (releasing and partner.epoch == epoch + 1) or (partner.state == HEADLESS and partner.epoch == epoch + 2)


def recording(recorder: Recorder) -> bool:
    """Is the node recording at this moment? This is what the availability journal holds."""
    return recorder.service_state == "running" and not recorder.storage_error and recorder.writing > 0


def may_restart_recorder(waited: float, limit: float, management_reached: bool, partner_writing: int, done: bool) -> bool:
    """The recorder did not connect after the promotion: restart it once, and only while the partner records."""
    return not done and waited >= limit and management_reached and partner_writing > 0
