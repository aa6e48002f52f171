# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terms of a node's health: what is seen of it, what is wrong with it, what it says of itself, and the policy's figures.

Values only. Times are seconds of the own machine's monotonic clock unless a name says otherwise.
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..errors import NodeError
from ..numbers import is_whole

#: A device counts as being written for so long after its files last changed (as `recorder_tables.WRITING_WINDOW`).
WINDOW = 5.0
#: A partner's word counts for so long.
FRESH = 5.0
#: A device that was written without a pause for so long is one that is recorded all the time, not by motion.
STEADY_AFTER = 30.0
#: It is taken for one until nobody has written it for so long: its schedule may have ended.
STEADY_KEPT = 60.0

#: A recorder that writes nothing at all for so long is taken for one that does not record (motion-only sites are quiet).
QUIET_LIMIT = 600.0
#: A look at the recorder that is older than this is none: the disk or the service manager does not answer the guard.
STALE = 15.0
#: At most so many devices are named in a report.
MAX_NAMED = 100
MAX_DEVICES = 4096

SERVICE_STOPPED, SERVICE_STARTING, SERVICE_UNKNOWN = "recorder_stopped", "recorder_starting", "recorder_unknown"
HUNG, NOT_ANSWERING = "recorder_hung", "recorder_not_answering"
NOT_RECORDING, CAMERAS_UNREACHABLE = "not_recording", "cameras_unreachable"
DEVICES_STOPPED, DEVICES_MISSING = "devices_stopped", "devices_missing"
STORAGE_HANGS, STORAGE_UNREADABLE = "storage_hangs", "storage_unreadable"
DISK_GONE, DISK_READ_ONLY, DISK_FULL, DISK_LOW = "disk_gone", "disk_read_only", "disk_full", "disk_low"
CLOCK_OFF, CLOCKS_DISAGREE = "clock_off", "clocks_disagree"

#: Causes with which a node records nothing at all.
RECORDS_NOTHING = frozenset({SERVICE_STOPPED, SERVICE_STARTING, HUNG, NOT_RECORDING, CAMERAS_UNREACHABLE, STORAGE_HANGS,
                             STORAGE_UNREADABLE})
#: Causes that are about some devices: what `coverage` means among the reasons for which a candidate is refused.
LACKS_DEVICES = frozenset({DEVICES_STOPPED, DEVICES_MISSING})

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


@dataclasses.dataclass(frozen=True)
class Policy:
    """The figures by which health is judged. ``health`` of node.json holds those that differ; null and {} mean all of these."""

    stand: float = 10.0  # seconds for which a cause must stand before a node is given up for it
    better_by: int = 20  # points by which the partner must be better ...
    better_for: float = 10.0  # ... for so many seconds
    between: float = 300.0  # seconds between two unattended hand-overs
    stopped_after: float = 10.0  # a device that is recorded all the time has stopped when only the partner wrote it for so long
    motion_stopped_after: float = 30.0  # the same for a device that is recorded by motion
    hung_looks: int = 3  # questions in a row without an answer after which a recorder that writes nothing is hung
    disk_full_mb: int = 250  # the recorder stops writing below this (documented)
    disk_low_mb: int = 1024  # the recorder deletes its oldest media below this (documented)
    clock_limit: float = 5.0  # seconds by which a machine's clock may be off
    worse_by: int = 20  # points by which a candidate may be worse than the holder in a planned switchover
    devices_worse: int = 0  # devices that it may lack

    @classmethod
    def parse(cls, document: t.Any) -> Policy:
        """Typed figures. Everything that is wrong is named in one error."""
        if document is None:
            return cls()
        if not isinstance(document, dict):
            raise _invalid(["health must be an object of figures"])
        problems = [f"health.{name} is not known" for name in sorted(map(str, document)) if name not in LIMITS]
        values: dict[str, t.Any] = {}
        for name, (low, high) in LIMITS.items():
            if name not in document:
                continue
            value, whole = document[name], isinstance(getattr(cls, name), int)
            good = is_whole(value) if whole else isinstance(value, (int, float)) and not isinstance(value, bool)
            if good and low <= value <= high:
                values[name] = value if whole else float(value)
            else:
                problems.append(f"health.{name} must be a {'whole ' if whole else ''}number from {low} to {high}")
        if problems:
            raise _invalid(problems)
        return cls(**values)


LIMITS: dict[str, tuple[int, int]] = {
    "stand": (0, 600), "better_by": (1, 100), "better_for": (0, 600), "between": (0, 86400), "stopped_after": (5, 600),
    "motion_stopped_after": (5, 3600), "hung_looks": (1, 100), "disk_full_mb": (0, 1 << 20), "disk_low_mb": (0, 1 << 20),
    "clock_limit": (1, 3600), "worse_by": (1, 100), "devices_worse": (0, MAX_DEVICES)}


@dataclasses.dataclass(frozen=True)
class Device:
    wrote_at: float | None  # when its files were last seen to change, None: not by this process of the recorder
    steady: bool = False  # it was written without a pause for a while: it is recorded all the time


@dataclasses.dataclass(frozen=True)
class DriveState:
    """A drive that holds media. `state`: ok | read-only | gone."""

    letter: str
    state: str = "ok"
    free_bytes: int | None = None


@dataclasses.dataclass(frozen=True)
class ClockView:
    """Seconds by which this machine's clock is ahead, None: not known. Errors are already taken off."""

    management: float | None = None  # of the Management Server's
    partner: float | None = None  # of the partner's
    by_partner: bool = False  # `management` is what the partner knows, and not this machine itself


@dataclasses.dataclass(frozen=True)
class Observation:
    """One look at this node's recorder."""

    at: float
    service_state: str = "unknown"  # exactly this: nobody has looked yet
    running_since: float | None = None  # since when the guard has seen this very process
    answered_at: float | None = None  # its last answer of any kind, by this process
    unanswered: int = 0  # questions without an answer since then
    refused: bool = False  # it did not even take the last question: its port is closed
    known: frozenset[str] = frozenset()  # devices that have media here
    devices: t.Mapping[str, Device] = dataclasses.field(default_factory=dict)
    missed: t.Mapping[str, float] = dataclasses.field(default_factory=dict)  # devices that only the partner writes: since when
    last_write: float | None = None  # of any device, by any process of the recorder
    storage_error: str | None = None
    drives: tuple[DriveState, ...] = ()
    clock: ClockView = ClockView()

    def writing(self, now: float) -> list[str]:
        return [guid for guid, device in self.devices.items() if device.wrote_at is not None and now - device.wrote_at <= WINDOW]


@dataclasses.dataclass(frozen=True)
class Cause:
    """One thing that is wrong, and how many of a healthy node's 100 points it costs."""

    code: str
    message: str
    points: int
    devices: tuple[str, ...] = ()

    def to_document(self) -> dict:
        return {"code": self.code, "message": self.message, "points": self.points, "devices": list(self.devices[:MAX_NAMED])}


@dataclasses.dataclass(frozen=True)
class Health:
    """`serving_fit`: good enough to be attached when the partner cannot serve. Poor is better than nobody."""

    causes: tuple[Cause, ...] = ()
    serving_fit: bool = True

    @property
    def score(self) -> int:
        return max(0, 100 - sum(cause.points for cause in self.causes))

    def to_document(self) -> dict:
        return {"score": self.score, "causes": [cause.to_document() for cause in self.causes], "serving_fit": self.serving_fit}


@dataclasses.dataclass(frozen=True)
class Standing:
    """What a node says of its recorder and its health: of the own node, or the partner's last word."""

    heard_at: float
    service_state: str = "unknown"
    health: Health = Health()
    writing: frozenset[str] | None = None  # devices, None: it did not say
    clock_offset: float | None = None  # how far its clock is ahead of the Management Server's, as it measured itself
    wall: float | None = None  # its clock when it answered
    maintenance: bool = False

    @property
    def records(self) -> bool:
        """Could it record, if there were something to record?"""
        return self.service_state == "running" and not any(cause.code in RECORDS_NOTHING for cause in self.health.causes)

    @classmethod
    def parse(cls, report: t.Any, heard_at: float) -> Standing | None:
        """Out of a guard's report, as far as it is plausible; None when it says nothing of its health."""
        fields = report if isinstance(report, dict) else {}
        recorder = fields["recorder"] if isinstance(fields.get("recorder"), dict) else {}
        health = fields.get("health") if isinstance(fields.get("health"), dict) else recorder.get("health")
        if not isinstance(health, dict):
            return None
        clock = recorder["clock"] if isinstance(recorder.get("clock"), dict) else {}
        wall_ms = _number(clock.get("wall_ms"))
        return cls(heard_at=heard_at, service_state=str(recorder.get("service_state"))[:64], health=_health(health),
                   writing=_writing(recorder.get("writing_devices")), clock_offset=_number(clock.get("management_offset")),
                   wall=None if wall_ms is None else wall_ms / 1000, maintenance=isinstance(fields.get("maintenance"), dict))


def _health(document: dict) -> Health:
    causes = document["causes"] if isinstance(document.get("causes"), list) else []
    return Health(tuple(_cause(cause) for cause in causes[:32] if isinstance(cause, dict)), document.get("serving_fit") is True)


def _cause(document: dict) -> Cause:
    points, devices = document.get("points"), document.get("devices")
    return Cause(str(document.get("code"))[:64], str(document.get("message") or "")[:500],
                 min(100, max(0, points)) if is_whole(points) else 0,
                 tuple(str(device)[:64] for device in devices[:MAX_NAMED]) if isinstance(devices, list) else ())


def _writing(document: t.Any) -> frozenset[str] | None:
    if not isinstance(document, list) or len(document) > MAX_DEVICES:
        return None
    return frozenset(device for device in document if isinstance(device, str) and _GUID.match(device))


def _number(value: t.Any) -> float | None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15
    return float(value) if good else None


def _invalid(problems: list[str]) -> NodeError:
    return NodeError("node_config_invalid", f"The health figures of node.json are not usable: {'; '.join(problems)}.",
                     "Correct the pair's definition in the inventory and run the role that configures the guards.", {"problems": problems})
