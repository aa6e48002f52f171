# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What speaks against attaching or handing over besides the votes: the recorder's fitness, and what was asked of whom.

Pure functions: no clock, no disk, no network. Who may be attached is decided by the votes alone (``protocol``). A state is
"attached" or "headless".
"""

from __future__ import annotations

import dataclasses

ATTACHED, HEADLESS = "attached", "headless"

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
class Verdict:
    """`ok`, or why not: `code` and `message`; `wait` when time alone will change it."""

    ok: bool
    code: str = ""
    message: str = ""
    next: str = ""
    wait: float = 0.0


YES = Verdict(True)


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


def may_adopt(epoch: int, fence_installed: bool, serving: bool | None, partner_state: str | None, force: str | None) -> Verdict:
    """First attachment, of the machine that serves already. `partner_state`: what the partner's guard said just now, None: silent."""
    if epoch > 0:
        return Verdict(False, "already_adopted", f"this pair has been attached before (epoch {epoch})",
                       "Use a switchover or a failover instead.")
    if partner_state not in (None, HEADLESS):
        return Verdict(False, "partner_attached", f"the partner is {partner_state}",
                       "Adopt is only for a new pair. Use a switchover or a failover instead.")
    if partner_state is None and not force:
        return Verdict(False, "partner_silent", "the partner's guard does not answer, so nobody knows whether it is attached",
                       "Start the partner's guard, or give the proof that the other machine does not serve as 'force'.")
    if serving is False and not force:
        return Verdict(False, "not_serving", "the recorder of this machine is not connected to the Management Server",
                       "Adopt the machine that serves now" + (", before the fence is installed." if fence_installed else "."))
    return YES


def may_release(state: str, successor: str, partner_name: str, partner_state: str | None, partner_fit: Verdict) -> Verdict:
    """A planned hand-over, asked of the holder. `partner_fit` is `fit` of the partner's recorder."""
    if state != ATTACHED:
        return Verdict(False, "not_attached", "this node is headless, it has nothing to hand over", "Ask the attached node.")
    if successor != partner_name:
        return Verdict(False, "not_partner", f"{successor!r} is not this node's partner ({partner_name})", "Name the partner.")
    if partner_state is None:
        return Verdict(False, "partner_unreachable", "the partner's guard does not answer",
                       "Start the partner's guard; this node stays attached.")
    if partner_state != HEADLESS:
        return Verdict(False, "partner_attached", f"the partner says it is {partner_state}", "Look at both nodes' status.")
    if not partner_fit.ok:
        return dataclasses.replace(partner_fit, message=f"the partner is not fit to serve: {partner_fit.message}")
    return YES


def may_let_fetch(own: Recorder) -> Verdict:
    """May a partner without a configuration be attached to fetch one? Only while this node, the holder, records on."""
    health = fit(own)
    return health if health.ok else dataclasses.replace(
        health, message=f"the partner has no configuration to record with yet, and of this node {health.message}")


def recording(recorder: Recorder) -> bool:
    """Is the node recording at this moment? This is what the availability journal holds."""
    return recorder.service_state == "running" and not recorder.storage_error and recorder.writing > 0


def may_restart_recorder(waited: float, limit: float, management_reached: bool, partner_writing: int, done: bool) -> bool:
    """The recorder did not connect after the promotion: restart it once, and only while the partner records."""
    return not done and waited >= limit and management_reached and partner_writing > 0
