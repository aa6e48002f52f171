# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checker judges: logs and disks of a site, brought into plain values. Nothing here is asked of a guard.

`collect` reads it: the machines' event logs, what the Management Server wrote about its connections, the lab's log of faults, the
samples of the voters' durable records, the guards' log files, and the frames on the disks.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import re
import typing as t

from .. import disks
from ..demo import accounting
from .spans import Span, union

ATTACHED_LINE = re.compile(r" attached with epoch (\d+)\b")
RECORDER_ENDS = ("stop_pending", "stopped")


@dataclasses.dataclass
class Fault:
    kind: str
    parties: tuple[str, ...]
    span: Span
    details: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def on(self, machine: str) -> bool:
        return machine in self.parties


@dataclasses.dataclass
class Machine:
    """What the event log of one machine says."""

    permits: list[Span] = dataclasses.field(default_factory=list)
    fence_since: float = math.inf  # from then on the machine is fenced
    recorder_stops: list[tuple[float, str]] = dataclasses.field(default_factory=list)
    announced: list[Span] = dataclasses.field(default_factory=list)  # restarts of the recorder that the ledger announces
    attachments: list[int] = dataclasses.field(default_factory=list)  # the epochs of its attachments, in the order of its guard's log


@dataclasses.dataclass
class Session:
    """The Management Server's view: a recorder was connected from this machine."""

    machine: str
    span: Span


@dataclasses.dataclass
class Record:
    """A voter's durable record at a moment."""

    moment: float
    voter: str
    epoch: int
    holder: str


@dataclasses.dataclass
class Frames:
    """One camera that always records: what it made, and who has it."""

    name: str
    number: int
    first_ms: float
    step_ms: float
    expected: set[int]
    held: dict[str, set[int]]

    def moment(self, counter: int) -> float:
        return self.first_ms + counter * self.step_ms


@dataclasses.dataclass
class Evidence:
    span: Span
    ttl: float
    machines: dict[str, Machine]
    faults: list[Fault] = dataclasses.field(default_factory=list)
    sessions: list[Session] = dataclasses.field(default_factory=list)
    records: list[Record] = dataclasses.field(default_factory=list)
    frames: list[Frames] = dataclasses.field(default_factory=list)
    fingerprint_before: str = ""
    fingerprint_after: str = ""
    vanished: list[str] = dataclasses.field(default_factory=list)  # closed tables that are gone or have another size


def collect(site: t.Any, span: Span, ttl: float, records: t.Iterable[dict]) -> Evidence:
    """Everything of a raised site but the fingerprints and the tables, which are taken before and after."""
    description = site.describe()
    pair = description["pairs"][0]
    faults = read_faults(lines(site.directory / "faults.jsonl"))
    events_of = {node["name"]: _events(site.machine_directory(node["name"])) for node in pair["nodes"]}
    for name, events in events_of.items():
        faults += read_power_cuts(name, events)
    machines = {}
    for name, events in events_of.items():
        machine = read_machine(events, [fault for fault in faults if fault.on(name)])
        machine.announced = [Span(begin, end) for begin, end in disks.restart_spans(site, name)]
        machine.attachments = read_attachments(site.machine_directory(name) / "C/ProgramData/Tandem/guard")
        machines[name] = machine
    evidence = Evidence(span, ttl, machines, faults)
    sources = {node["address"]: node["name"] for node in pair["nodes"]}
    connections = site.directory / "management-server" / "state" / "connections.jsonl"
    evidence.sessions = read_sessions(lines(connections), pair["recorder_id"], sources, faults)
    evidence.records = [Record(row["t_ms"], row["voter"], row["epoch"], row["holder"]) for row in records]
    evidence.frames = _frames(site, description, span, list(machines))
    return evidence


def _frames(site: t.Any, description: dict, span: Span, machines: list[str]) -> list[Frames]:
    story = accounting.Story(description)
    story.begin_ms, story.end_ms = int(span.begin), int(span.end)
    held = {machine: disks.counters(site, machine) for machine in machines}
    found = []
    for number, expectation in enumerate(story.expectations(), 1):
        camera = expectation.camera
        if camera["recording_mode"] == "always":
            status = accounting.camera_status(camera)
            found.append(Frames(camera["name"], number, status["frame_times"]["first_ms"], 1000 / status["fps"], expectation.counters,
                                {machine: held[machine].get(camera["id"], set()) & expectation.counters for machine in machines}))
    return found


def _events(folder: pathlib.Path) -> list[dict]:
    return [*lines(folder / "events.1.jsonl"), *lines(folder / "events.jsonl")]


# -- single logs -----------------------------------------------------------------------------------------------------
def read_machine(events: t.Iterable[dict], faults: t.Iterable[Fault] = ()) -> Machine:
    """`faults` are those of this machine: a power cut ends a permit without a line in the log."""
    machine = Machine()
    cuts = sorted(fault.span.begin for fault in faults if fault.kind == "power_off")
    open_permits: dict[t.Any, float] = {}

    def close(pid: t.Any, moment: float) -> None:
        begin = open_permits.pop(pid)
        cut = next((cut for cut in cuts if begin <= cut < moment), moment)
        machine.permits.append(Span(begin, cut))

    for event in events:
        moment, kind = _moment(event), event.get("event")
        if kind in ("boot", "shutdown", "power_cut"):
            for pid in list(open_permits):
                close(pid, moment)
        elif kind == "permit_opened":
            open_permits[event.get("permit", event.get("pid"))] = moment
        elif kind == "permit_closed" and event.get("permit", event.get("pid")) in open_permits:
            close(event.get("permit", event.get("pid")), moment)
        elif kind == "fence_installed":
            machine.fence_since = min(machine.fence_since, moment)
        elif event.get("service") == disks.RECORDER_SERVICE:
            if (kind == "service_state" and event.get("state") in RECORDER_ENDS) or kind == "service_killed":
                machine.recorder_stops.append((moment, str(event.get("state", kind))))
    for pid in list(open_permits):
        close(pid, math.inf)
    machine.permits = union(machine.permits)
    return machine


def read_power_cuts(machine: str, events: t.Iterable[dict]) -> list[Fault]:
    """Power cuts by whomever: a fence agent's are no faults of the lab, but the machine is off all the same."""
    found: list[Fault] = []
    for event in events:
        if event.get("event") == "power_cut":
            found.append(Fault("power_off", (machine,), Span(_moment(event))))
        elif event.get("event") == "boot" and found and found[-1].span.end == math.inf:
            found[-1].span = Span(found[-1].span.begin, _moment(event))
    return found


def read_faults(entries: t.Iterable[dict]) -> list[Fault]:
    begun: dict[t.Any, tuple[float, dict]] = {}
    done: list[Fault] = []

    def fault(begin: float, end: float, entry: dict) -> Fault:
        parties = entry.get("parties") or []
        return Fault(entry["kind"], tuple([parties] if isinstance(parties, str) else parties), Span(begin, end), entry)

    for entry in entries:
        if entry["event"] == "end":
            if entry["id"] in begun:
                began, first = begun.pop(entry["id"])
                done.append(fault(began, _moment(entry), first))
        else:
            begun[entry["id"]] = (_moment(entry), entry)
    done += [fault(began, math.inf, first) for began, first in begun.values()]
    return sorted(done, key=lambda each: each.span)


def read_sessions(entries: t.Iterable[dict], recorder_id: str, sources: dict[str, str], faults: t.Iterable[Fault]) -> list[Session]:
    """A Management Server that goes down takes its connections along, and writes nothing about it."""
    downs = sorted(fault.span.begin for fault in faults if fault.kind == "management_server_down")
    open_sessions: dict[t.Any, list[float]] = {}
    found: list[Session] = []

    def close(source: str, begin: float, moment: float) -> None:
        end = next((down for down in downs if begin <= down < moment), moment)
        found.append(Session(sources.get(source, source), Span(begin, end)))

    for entry in entries:
        event, source = str(entry.get("event", "")), entry.get("from")
        if event in ("start", "started"):
            for known, begins in open_sessions.items():
                for begin in begins:
                    close(known, begin, _moment(entry))
            open_sessions.clear()
        elif entry.get("recorder_id") == recorder_id and event.startswith("connect"):
            open_sessions.setdefault(source, []).append(_moment(entry))
        elif entry.get("recorder_id") == recorder_id and event.startswith("disconnect") and open_sessions.get(source):
            close(str(source), open_sessions[source].pop(0), _moment(entry))
    for source, begins in open_sessions.items():
        for begin in begins:
            close(source, begin, math.inf)
    return sorted(found, key=lambda session: session.span)


def read_attachments(folder: pathlib.Path) -> list[int]:
    """The epochs that a guard says it attached with, in the order of its log: a clock that was set does not mix them up."""
    found = []
    for name in ("guard.log.1", "guard.log"):
        path = folder / name
        if path.exists():
            text = path.read_text(encoding="utf-8", errors="replace")
            found += [int(match[1]) for match in map(ATTACHED_LINE.search, text.splitlines()) if match]
    return found


def lines(path: pathlib.Path) -> list[dict]:
    """All whole lines of a log that may be growing."""
    if not path.exists():
        return []
    with path.open("rb") as file:
        return [json.loads(line) for line in file if line.endswith(b"\n") and line.strip()]


def _moment(entry: dict) -> float:
    """Real time: the machines' kernels call it `time_ms`, all others `t_ms`."""
    return float(entry["t_ms"] if "t_ms" in entry else entry["time_ms"])
