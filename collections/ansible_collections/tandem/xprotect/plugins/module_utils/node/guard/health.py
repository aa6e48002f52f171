# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How healthy a node is, whether it should give way to its partner, and whether a candidate is worse: pure functions.

No clock, no disk, no network. Each cause costs points of 100. A device that stands still proves nothing by itself, because it
may be recorded by motion or by a schedule: it counts as stopped when the partner writes it and this node does not.
"""

from __future__ import annotations

import typing as t

from .decisions import Verdict
from .health_terms import (CAMERAS_UNREACHABLE, CLOCK_OFF, CLOCKS_DISAGREE, DEVICES_MISSING, DEVICES_STOPPED, DISK_FULL, DISK_GONE,
                           DISK_LOW, DISK_READ_ONLY, FRESH, HUNG, LACKS_DEVICES, NOT_ANSWERING, NOT_RECORDING, QUIET_LIMIT,
                           RECORDS_NOTHING, SERVICE_STARTING, SERVICE_STOPPED, SERVICE_UNKNOWN, STALE, STORAGE_HANGS, STORAGE_UNREADABLE,
                           Cause, DriveState, Health, Observation, Policy, Standing)

_MB = 1 << 20


# -- the state of one node ---------------------------------------------------------------------------------------------

def assess(observation: Observation, partner: Standing | None, policy: Policy, now: float) -> Health:
    """What is wrong with this node at this moment, worst first."""
    partner = fresh(partner, now)
    if now - observation.at > STALE:
        hangs = Cause(STORAGE_HANGS, f"nothing was seen of its recorder for {now - observation.at:.0f} s: its disk or its service manager "
                      "does not answer", 100)
        return Health((hangs, *_clock(observation, policy)), False)
    disks = [*_storage(observation), *(cause for drive in observation.drives for cause in _drive(drive, policy))]
    if observation.service_state == "unknown":
        return Health((), False)
    recorder = _service(observation.service_state) or _recorder(observation, partner, policy, now, bool(disks))
    causes = sorted([*recorder, *disks, *_clock(observation, policy)], key=lambda cause: -cause.points)
    return Health(tuple(causes), not _records_nothing(causes, observation, partner, now))


def fresh(standing: Standing | None, now: float) -> Standing | None:
    """The partner's word, None when it is too old to count."""
    return standing if standing is not None and now - standing.heard_at <= FRESH else None


def _service(state: str) -> list[Cause]:
    if state == "running":
        return []
    if state.startswith("unknown"):  # the service manager gave an error: that is no dead recorder
        return [Cause(SERVICE_UNKNOWN, f"its recorder service is {state}", 40)]
    return [Cause(SERVICE_STARTING if state == "start_pending" else SERVICE_STOPPED, f"its recorder service is {state}", 100)]


def _recorder(seen: Observation, partner: Standing | None, policy: Policy, now: float, disks: bool) -> list[Cause]:
    """A service that runs: does it answer, does it write?"""
    hung = _hung(seen, policy, now)
    if hung:
        return [hung]
    causes = [] if _answers(seen, policy) else [
        Cause(NOT_ANSWERING, f"its recorder runs but answered none of the last {seen.unanswered} questions", 40)]
    stopped = _stopped(seen, policy, now)
    had = [guid for guid in stopped if guid in seen.known or guid in seen.devices]
    if not seen.writing(now) and (had or _still(seen, partner, policy, now)):
        return [*causes, _nothing(seen, stopped, disks)]
    return causes + _some(seen, partner, had, [guid for guid in stopped if guid not in had])


def _answers(seen: Observation, policy: Policy) -> bool:
    """Silence counts only of one that answered before, and a closed port not at all: a headless recorder may close it
    (assumption `detached_recorder_answers_media_port`)."""
    return seen.refused or seen.answered_at is None or seen.unanswered < policy.hung_looks


def _hung(seen: Observation, policy: Policy, now: float) -> Cause | None:
    wrote = any(device.wrote_at is not None for device in seen.devices.values())
    lived = wrote or (seen.answered_at is not None and not seen.refused)
    quiet_for = _quiet_for(seen, now)
    if seen.unanswered < policy.hung_looks or not lived or quiet_for < policy.stopped_after:
        return None
    return Cause(HUNG, f"its recorder runs, but answered none of the last {seen.unanswered} questions and wrote nothing for "
                 f"{quiet_for:.0f} s", 100)


def _quiet_for(seen: Observation, now: float) -> float:
    """Seconds without any media, as far back as the guard can tell."""
    moments = [moment for moment in (seen.last_write, seen.running_since) if moment is not None]
    return now - max(moments) if moments else 0.0


def _stopped(seen: Observation, policy: Policy, now: float) -> list[str]:
    """Devices that the partner has been writing for so long, and this node has not, that it cannot be chance."""
    def limit(guid: str) -> float:
        device = seen.devices.get(guid)
        return policy.stopped_after if device is not None and device.steady else policy.motion_stopped_after
    return sorted(guid for guid, since in seen.missed.items() if now - since >= limit(guid))


def _still(seen: Observation, partner: Standing | None, policy: Policy, now: float) -> bool:
    """Nothing is written, and nobody can tell whether there is a reason to write.

    While a partner that could record writes nothing either, there is none: a schedule ended, or nothing moves.
    """
    if partner is not None and partner.records:
        return False
    steady = any(device.steady for device in seen.devices.values())
    return bool(seen.known) and _quiet_for(seen, now) >= (policy.stopped_after if steady else QUIET_LIMIT)


def _nothing(seen: Observation, stopped: list[str], disks: bool) -> Cause:
    what = f"none of the {len(stopped)} devices that its partner writes" if stopped else "no media"
    if seen.unanswered == 0 and not disks:
        return Cause(CAMERAS_UNREACHABLE, f"its recorder runs and answers but writes {what}: its camera network is down, or the "
                     "recorder does not record", 100, tuple(stopped))
    return Cause(NOT_RECORDING, f"its recorder runs but writes {what}", 100, tuple(stopped))


def _some(seen: Observation, partner: Standing | None, stopped: list[str], missing: list[str]) -> list[Cause]:
    """Some devices stand still while others are written, or this recorder does not know them: it has no, or an old, configuration."""
    total = len(set(seen.devices) | seen.known | set((partner.writing if partner else None) or ()))
    causes = []
    if stopped:
        causes.append(Cause(DEVICES_STOPPED, f"its recorder stopped writing {len(stopped)} of {total} devices, which its partner writes",
                            _share(len(stopped), total), tuple(stopped)))
    if missing:
        causes.append(Cause(DEVICES_MISSING, f"its recorder has never written {len(missing)} of {total} devices, which its partner writes",
                            _share(len(missing), total), tuple(missing)))
    return causes


def _share(part: int, total: int) -> int:
    return max(10, round(80 * part / max(part, total)))


def _storage(seen: Observation) -> list[Cause]:
    return [Cause(STORAGE_UNREADABLE, f"its media storage cannot be read: {seen.storage_error}", 100)] if seen.storage_error else []


def _drive(drive: DriveState, policy: Policy) -> list[Cause]:
    if drive.state == "gone":
        return [Cause(DISK_GONE, f"its media drive {drive.letter} is not there", 60)]
    if drive.state == "read-only":
        return [Cause(DISK_READ_ONLY, f"its media drive {drive.letter} takes no writes", 60)]
    free = drive.free_bytes
    if free is None or free >= policy.disk_low_mb * _MB:
        return []
    text = f"its media drive {drive.letter} has {free // _MB} MB free"
    if free < policy.disk_full_mb * _MB:
        return [Cause(DISK_FULL, f"{text}: the recorder stops writing", 40)]
    return [Cause(DISK_LOW, f"{text}: the recorder deletes its oldest media", 5)]


def _clock(seen: Observation, policy: Policy) -> list[Cause]:
    clock = seen.clock
    if clock.management is not None:
        if abs(clock.management) <= policy.clock_limit:
            return []
        how = " (as its partner measured it)" if clock.by_partner else ""
        return [Cause(CLOCK_OFF, f"its clock is {_ahead(clock.management)} the Management Server's{how}", 30)]
    if clock.partner is not None and abs(clock.partner) > policy.clock_limit:
        return [Cause(CLOCKS_DISAGREE, f"its clock is {_ahead(clock.partner)} its partner's, and nobody knows which one is right", 5)]
    return []


def _ahead(seconds: float) -> str:
    return f"{abs(seconds):.1f} s {'ahead of' if seconds > 0 else 'behind'}"


def _records_nothing(causes: t.Iterable[Cause], seen: Observation, partner: Standing | None, now: float) -> bool:
    """Without a partner's word, stillness is a suspicion only: it is shown, but this node may still be the one to serve."""
    still = {NOT_RECORDING, CAMERAS_UNREACHABLE}
    proven = partner is not None or _quiet_for(seen, now) >= QUIET_LIMIT
    return any(cause.code in RECORDS_NOTHING and (proven or cause.code not in still) for cause in causes)


# -- two nodes ---------------------------------------------------------------------------------------------------------

def worse(candidate: Standing | None, holder: Standing | None, policy: Policy) -> list[dict[str, str]]:
    """Why a candidate would serve worse than the holder does: reasons with the names by which they may be overridden."""
    if candidate is None:
        return [{"name": "health", "message": "nothing is known of its health"}]
    reasons = []
    lacks = sorted({guid for cause in candidate.health.causes if cause.code in LACKS_DEVICES for guid in cause.devices})
    if len(lacks) > policy.devices_worse:
        more = f" and {len(lacks) - 8} more" if len(lacks) > 8 else ""
        reasons.append({"name": "coverage", "message": f"it does not record {len(lacks)} device(s) that the attached node records: "
                                                       f"{', '.join(lacks[:8])}{more}"})
    lost, other = _points(candidate), _points(holder) if holder is not None else 0
    if not candidate.health.serving_fit or lost - other >= policy.worse_by:
        causes = [cause.message for cause in candidate.health.causes if cause.code not in LACKS_DEVICES]
        reasons.append({"name": "health", "message": "; ".join(causes) or "it is not fit to serve"})
    return reasons


def _points(standing: Standing) -> int:
    """Points lost for anything but missing devices."""
    return sum(cause.points for cause in standing.health.causes if cause.code not in LACKS_DEVICES)


class History:
    """Since when each cause stands, since when the partner is the better one, and when attachment last moved unattended."""

    def __init__(self, handed_over_at: float | None = None):
        self.handed_over_at = handed_over_at
        self._since: dict[str, float] = {}
        self._better_since: float | None = None

    def look(self, own: Health, partner: Standing | None, policy: Policy, now: float) -> None:
        """One look a second or so."""
        self._since = {cause.code: self._since.get(cause.code, now) for cause in own.causes}
        partner = fresh(partner, now)
        better = partner is not None and partner.health.serving_fit and partner.health.score - own.score >= policy.better_by
        self._better_since = (now if self._better_since is None else self._better_since) if better else None

    def handed_over(self, now: float) -> None:
        """Attachment moved to or from this node without an operator."""
        self.handed_over_at = now

    def stood_for(self, code: str, now: float) -> float:
        return now - self._since.get(code, now)

    def better_for(self, now: float) -> float:
        return 0.0 if self._better_since is None else now - self._better_since


def should_yield(own: Health, partner: Standing | None, history: History, policy: Policy, now: float,
                 maintenance: bool = False) -> Verdict:
    """Should the attached node hand over to its partner by itself? The reason in either case."""
    partner = fresh(partner, now)
    if maintenance or (partner is not None and partner.maintenance):
        return Verdict(False, "maintenance", "planned maintenance is under way")
    if partner is None:
        return Verdict(False, "partner_silent", "the partner's guard says nothing of its health")
    if not partner.health.serving_fit:
        return Verdict(False, "partner_unfit", "the partner is not fit to serve")
    standing = [cause for cause in own.causes if history.stood_for(cause.code, now) >= policy.stand]
    lead = partner.health.score - max(0, 100 - sum(cause.points for cause in standing))
    if lead < policy.better_by:
        return Verdict(False, "not_worse",
                       f"no cause that stands for {policy.stand:g} s makes the partner better by {policy.better_by} points")
    left = policy.better_for - history.better_for(now)
    if left > 0:
        return Verdict(False, "not_yet", "the partner has not been the better one for long enough", wait=left)
    since = None if history.handed_over_at is None else now - history.handed_over_at
    if since is not None and since < policy.between:
        return Verdict(False, "too_soon", f"attachment moved unattended {since:.0f} s ago", wait=policy.between - since)
    return Verdict(True, message="; ".join(cause.message for cause in standing))
