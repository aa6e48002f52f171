# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The independent judge: the promises of the design as functions of the evidence. Pure; it knows no scenario and trusts no guard.

The one stated exception to *never two attached* is a machine that stood still as a whole (frozen, paused, turned back): when it goes on,
it may overlap for at most one renewal and its round trip, plus the time to detach. `Bounds` has the figures.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .evidence import Evidence, Fault, Frames
from .spans import Span, holds, intersection, subtract, total, union

#: Faults that stop a machine as a whole, and after which its processes go on as if nothing had been.
STANDSTILL = ("freeze", "pause", "revert")
#: Faults that keep a node from recording, whatever Tandem does.
STOP_RECORDING = ("power_off", "freeze", "pause", "revert", "disk", "cameras_unreachable", "recorder")
STOP_BY_PROCESS = ("kill_process", "freeze_process")
STOP_BY_LINK = ("partition", "loss")
#: Faults that end the recorder's process.
END_RECORDER = ("power_off", "revert")


@dataclasses.dataclass(frozen=True)
class Bounds:
    """All in milliseconds."""

    ttl: float
    round_trip: float = 1000.0  # of one renewal, on a busy machine
    detach: float = 500.0
    log: float = 50.0  # a kernel's log line may be so late
    unflushed: float = 1500.0  # what a power cut takes from a disk
    recovery: float = 30_000.0  # a boot, or a restart of the recorder, until it records
    standing: float = 3000.0  # a healthy node without a frame of a camera for so long has stopped recording it

    @property
    def exception(self) -> float:
        return min(1000.0, self.ttl / 8) + self.round_trip + self.detach


@dataclasses.dataclass(frozen=True)
class Finding:
    invariant: str
    text: str


@dataclasses.dataclass
class Verdict:
    findings: list[Finding]
    figures: dict[str, t.Any]

    @property
    def kept(self) -> bool:
        return not self.findings


def check(evidence: Evidence, bounds: Bounds | None = None) -> Verdict:
    bounds = bounds or Bounds(evidence.ttl * 1000)
    figures: dict[str, t.Any] = {}
    findings: list[Finding] = []
    for name, invariant in INVARIANTS.items():
        findings += [Finding(name, text) for text in invariant(evidence, bounds, figures)]
    return Verdict(findings, figures)


# -- never two attached ----------------------------------------------------------------------------------------------
def effective_permits(evidence: Evidence, machine: str) -> list[Span]:
    """While a machine stands still its open fence lets nothing through."""
    still = [fault.span for fault in evidence.faults if fault.kind in ("freeze", "pause") and fault.on(machine)]
    return subtract(evidence.machines[machine].permits, still)


def never_two_attached(evidence: Evidence, bounds: Bounds, figures: dict[str, t.Any]) -> t.Iterator[str]:
    """No two permits at once, beyond the stated exception."""
    one, two = evidence.machines
    both = _within(evidence, intersection(effective_permits(evidence, one), effective_permits(evidence, two)))
    figures["overlap_ms"] = round(total(both))
    anybody = union([*effective_permits(evidence, one), *effective_permits(evidence, two)])
    figures["unattached_ms"] = round(total(subtract([evidence.span], anybody)))
    for overlap in both:
        limit = _allowed(evidence, overlap, (one, two), bounds)
        if overlap.length > limit:
            yield (f"{one} and {two} were both attached for {overlap.length:.0f} ms from {overlap.begin:.0f}; "
                   f"{limit:.0f} ms are the most here")


def one_session(evidence: Evidence, bounds: Bounds, _figures: dict[str, t.Any]) -> t.Iterator[str]:
    """The Management Server had the recorder from both nodes: only what the fences let through counts, the rest it had not noticed yet."""
    live = {machine: intersection([session.span for session in evidence.sessions if session.machine == machine],
                                  effective_permits(evidence, machine)) for machine in evidence.machines}
    one, two = live
    for overlap in _within(evidence, intersection(live[one], live[two])):
        limit = _allowed(evidence, overlap, (one, two), bounds)
        if overlap.length > limit:
            yield f"the Management Server had the recorder from both nodes for {overlap.length:.0f} ms from {overlap.begin:.0f}"


def fence_holds(evidence: Evidence, bounds: Bounds, _figures: dict[str, t.Any]) -> t.Iterator[str]:
    """No connection to the Management Server begins at a node whose fence is closed."""
    for session in evidence.sessions:
        machine = evidence.machines.get(session.machine)
        if machine is None or not evidence.span.holds(session.span.begin) or session.span.begin < machine.fence_since:
            continue
        wide = [Span(permit.begin - bounds.log, permit.end + bounds.log) for permit in machine.permits]
        if not holds(wide, session.span.begin):
            yield f"{session.machine} connected to the Management Server at {session.span.begin:.0f} with its fence closed"


def _allowed(evidence: Evidence, overlap: Span, machines: tuple[str, str], bounds: Bounds) -> float:
    """How long this overlap may last: nothing but the lateness of logs, unless one of them has just gone on after a standstill."""
    for fault in evidence.faults:
        if fault.kind in STANDSTILL and any(map(fault.on, machines)):
            went_on = fault.span.begin if fault.kind == "revert" else fault.span.end
            if went_on - bounds.log <= overlap.begin <= went_on + bounds.exception:
                return bounds.exception
    return bounds.log


def _within(evidence: Evidence, spans: t.Iterable[Span]) -> list[Span]:
    return intersection(spans, [evidence.span])


# -- the epoch never falls -------------------------------------------------------------------------------------------
def epoch_never_falls(evidence: Evidence, _bounds: Bounds, figures: dict[str, t.Any]) -> t.Iterator[str]:
    """Not in a node's attachments, not in a voter's record (unless its disk was turned back), and one epoch belongs to one node."""
    for name, machine in evidence.machines.items():
        for before, after in zip(machine.attachments, machine.attachments[1:]):
            if after < before:
                yield f"{name} attached with epoch {after} after epoch {before}"
    one, two = (set(machine.attachments) for machine in evidence.machines.values())
    for epoch in sorted(one & two):
        yield f"both nodes attached with epoch {epoch}"
    yield from _records_never_fall(evidence)
    numbers = [record.epoch for record in evidence.records]
    figures["epochs"] = [min(numbers), max(numbers)] if numbers else []


def _records_never_fall(evidence: Evidence) -> t.Iterator[str]:
    latest: dict[str, tuple[float, int]] = {}
    for record in sorted(evidence.records, key=lambda record: record.moment):
        moment, epoch = latest.get(record.voter, (record.moment, record.epoch))
        if record.epoch < epoch and not _turned_back(evidence, record.voter, Span(moment, record.moment + 1)):
            yield f"the durable record of {record.voter} fell from epoch {epoch} to {record.epoch}"
        latest[record.voter] = (record.moment, record.epoch)


def _turned_back(evidence: Evidence, voter: str, between: Span) -> bool:
    """Was this disk turned back between two samples? A sample may be a little older than the fault's own line."""
    slack = 1000.0
    return any(fault.kind == "revert" and fault.on(voter) and between.begin - slack <= fault.span.begin <= between.end + slack
               for fault in evidence.faults)


# -- recording -------------------------------------------------------------------------------------------------------
def recorder_not_stopped(evidence: Evidence, bounds: Bounds, figures: dict[str, t.Any]) -> t.Iterator[str]:
    """The recorder's process ends by a fault, or by an announced restart; never by a decision about attachment."""
    figures["recorder_stops"] = 0
    for name, machine in evidence.machines.items():
        for moment, state in machine.recorder_stops:
            if not evidence.span.holds(moment):
                continue
            figures["recorder_stops"] += 1
            wide = [Span(span.begin - bounds.standing, span.end + bounds.standing) for span in machine.announced]
            if not holds(wide, moment) and not any(_ends_recorder(fault, name, moment, bounds) for fault in evidence.faults):
                yield f"the recorder of {name} went to {state} at {moment:.0f}, without a fault and without an announcement"


def _ends_recorder(fault: Fault, machine: str, moment: float, bounds: Bounds) -> bool:
    if not fault.on(machine) or not fault.span.begin - bounds.log <= moment <= fault.span.end + bounds.recovery:
        return False
    return fault.kind in END_RECORDER or (fault.kind in STOP_BY_PROCESS and "recorder" in _words(fault))


def healthy_node_records(evidence: Evidence, bounds: Bounds, _figures: dict[str, t.Any]) -> t.Iterator[str]:
    """A node to which nothing was done goes on recording every camera."""
    for frames in evidence.frames:
        for name, machine in evidence.machines.items():
            hurt = union([*_hurt(evidence, name, frames, bounds), *_announced(machine.announced, bounds)])
            lacks = sorted(counter for counter in frames.expected - frames.held[name] if not holds(hurt, frames.moment(counter)))
            for first, last in _runs(lacks):
                length = (last - first + 1) * frames.step_ms
                if length >= bounds.standing:
                    yield (f"{name}, to which nothing was done, did not record {frames.name} for {length:.0f} ms "
                           f"from {frames.moment(first):.0f}")


def nothing_missing(evidence: Evidence, bounds: Bounds, figures: dict[str, t.Any]) -> t.Iterator[str]:
    """Not one frame is missing from both disks, as long as one node was healthy."""
    expected = missing = excused = 0
    for frames in evidence.frames:
        lost = frames.expected.difference(*frames.held.values())
        hurt = [union(_hurt(evidence, name, frames, bounds)) for name in evidence.machines]
        neither = {counter for counter in lost if all(holds(spans, frames.moment(counter)) for spans in hurt)}
        expected, missing, excused = expected + len(frames.expected), missing + len(lost - neither), excused + len(neither)
        if lost - neither:
            first = min(lost - neither)
            yield f"{len(lost - neither)} frames of {frames.name} are on neither disk, the first of {frames.moment(first):.0f}"
    if not expected:
        yield "no frame was to be recorded at all: there is nothing to judge"
    figures.update(frames_expected=expected, frames_missing=missing, frames_neither_could_record=excused)


def _hurt(evidence: Evidence, machine: str, frames: Frames, bounds: Bounds) -> list[Span]:
    """When a fault kept the machine from recording this camera: until it records again, and not for longer than a recovery takes."""
    spans = []
    for fault in evidence.faults:
        if fault.on(machine) and _stops_recording(fault, frames.number):
            begin, end = fault.span.begin - bounds.unflushed, fault.span.end
            back = min((moment for moment in map(frames.moment, frames.held[machine]) if moment >= end), default=end + bounds.recovery)
            spans.append(Span(begin, min(back, end + bounds.recovery)))
    return spans


def _stops_recording(fault: Fault, camera: int) -> bool:
    if fault.kind in STOP_BY_LINK:
        return "cameras" in fault.parties
    if fault.kind in STOP_BY_PROCESS:
        return "recorder" in _words(fault)
    if fault.kind == "recorder":
        return camera in _silent_cameras(fault)
    return fault.kind in STOP_RECORDING


def _silent_cameras(fault: Fault) -> t.Container[int]:
    """Which cameras a recorder that is `silent:1,3` does not record; all of them for every other kind of trouble."""
    for word in _words(fault):
        kind, _, numbers = word.partition(":")
        if kind == "silent" and numbers:
            return {int(number) for number in numbers.replace(" ", "").split(",")}
    return range(1, 1_000_000)


def _words(fault: Fault) -> list[str]:
    """All texts that the log has of a fault, however they are nested."""
    found: list[str] = []
    stack: list[t.Any] = [*fault.parties, *fault.details.values()]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple)):
            stack.extend(item)
    return found


def _announced(spans: t.Iterable[Span], bounds: Bounds) -> list[Span]:
    return [Span(span.begin - bounds.standing, span.end + bounds.standing) for span in spans]


def _runs(counters: list[int]) -> t.Iterator[tuple[int, int]]:
    first = last = None
    for counter in counters:
        if last is not None and counter == last + 1:
            last = counter
            continue
        if first is not None and last is not None:
            yield first, last
        first = last = counter
    if first is not None and last is not None:
        yield first, last


# -- what others hold on to ------------------------------------------------------------------------------------------
def identity_kept(evidence: Evidence, _bounds: Bounds, _figures: dict[str, t.Any]) -> t.Iterator[str]:
    if not evidence.fingerprint_before or evidence.fingerprint_before != evidence.fingerprint_after:
        before, after = (taken or "not taken" for taken in (evidence.fingerprint_before, evidence.fingerprint_after))
        yield f"the fingerprint of the identity was {before} and is {after}"


def media_kept(evidence: Evidence, _bounds: Bounds, _figures: dict[str, t.Any]) -> t.Iterator[str]:
    yield from (f"the closed table {name} is gone or has another size" for name in evidence.vanished)


INVARIANTS: dict[str, t.Callable[[Evidence, Bounds, dict[str, t.Any]], t.Iterator[str]]] = {
    "never two attached": never_two_attached,
    "the Management Server never has two": one_session,
    "the fence holds": fence_holds,
    "the epoch never falls": epoch_never_falls,
    "no recorder is stopped": recorder_not_stopped,
    "a healthy node records": healthy_node_records,
    "no frame is missing": nothing_missing,
    "the identity stays": identity_kept,
    "media is never deleted": media_kept,
}
