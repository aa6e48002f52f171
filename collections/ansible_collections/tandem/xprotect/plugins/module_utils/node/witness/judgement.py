# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a pair stands, judged from what its nodes say and from their silence. Pure: times come in, changes go out.

Nothing here is a vote. A message of a node counts as a sign of life whatever it says, and its report is taken apart with care: it
comes from another machine.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..guard.health_terms import HUNG, RECORDS_NOTHING, SERVICE_STOPPED

#: A node that was not heard for so long is silent. With a look every `LOOK` seconds that is known within three seconds.
SILENT_AFTER = 2.5
LOOK = 0.2
#: A witness that has just started gives the nodes so long to come back.
FIRST_AFTER = 10.0
#: Before single nodes are called silent, the witness asks itself whether it is the one that is cut off.
SUSPECT_AFTER = 1.7
#: With fewer pairs than these, silent nodes are reported besides, because the witness may well be right.
MANY = 3

OK, DEGRADED, MAINTENANCE, NOBODY_ATTACHED, TWO_ATTACHED, SILENT, UNKNOWN = (
    "ok", "degraded", "maintenance", "nobody_attached", "two_attached", "silent", "unknown")

RUNNING = ("running", "start_pending")
_DEAD = frozenset({HUNG, SERVICE_STOPPED})
_MAX_CAUSES, _MAX_TEXT = 16, 300


@dataclasses.dataclass(frozen=True)
class Change:
    kind: str
    message: str
    node: str | None = None
    details: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Report:
    """What is kept of a guard's report: a few short fields, whatever was sent."""

    state: str = "unknown"
    epoch: int = 0
    voting: bool = True
    service_state: str = "unknown"
    recording: bool | None = None
    attach_state: str = ""
    score: int | None = None
    causes: tuple[tuple[str, str], ...] = ()
    codes: tuple[str, ...] = ()  # of the causes, each once
    serving_fit: bool = True
    maintenance_until_ms: int | None = None
    maintenance_reason: str = ""
    version: str = ""

    @property
    def attached(self) -> bool:
        return self.state == "attached"

    @property
    def recorder_dead(self) -> bool:
        return not self.service_state.startswith((*RUNNING, "unknown")) or not _DEAD.isdisjoint(self.codes)

    @property
    def records(self) -> bool | None:
        """None when it is not known."""
        return False if not RECORDS_NOTHING.isdisjoint(self.codes) else self.recording

    @classmethod
    def parse(cls, document: t.Any) -> Report | None:
        if not isinstance(document, dict):
            return None
        recorder, health = _object(document, "recorder"), _object(document, "health")
        maintenance = _object(document, "maintenance")
        recording, until = recorder.get("recording"), maintenance.get("until_ms")
        told = health.get("causes") if isinstance(health.get("causes"), list) else []
        causes = tuple((_text(cause, "code"), _text(cause, "message")) for cause in told[:_MAX_CAUSES] if isinstance(cause, dict))
        return cls(
            state=_text(document, "state") or "unknown", epoch=_whole(document.get("epoch")) or 0,
            voting=document.get("voting") is not False,
            service_state=_text(recorder, "service_state") or "unknown",
            recording=recording if isinstance(recording, bool) else None,
            attach_state=_text(recorder, "attach_state"), score=_score(health.get("score")), serving_fit=health.get("serving_fit") is not False,
            causes=causes, codes=tuple(sorted({code for code, _message in causes})),
            maintenance_until_ms=_whole(until), maintenance_reason=_text(maintenance, "reason"),
            version=_text(document, "runtime_version"))

    def to_document(self) -> dict:
        return {"state": self.state, "epoch": self.epoch, "voting": self.voting,
                "recorder": {"service_state": self.service_state, "recording": self.recording, "attach_state": self.attach_state or None},
                "health": {"score": self.score, "causes": [{"code": code, "message": message} for code, message in self.causes],
                           "serving_fit": self.serving_fit},
                "maintenance": None if self.maintenance_until_ms is None else
                {"until_ms": self.maintenance_until_ms, "reason": self.maintenance_reason},
                "runtime_version": self.version}


@dataclasses.dataclass
class NodeView:
    name: str
    started: float
    heard_at: float | None = None
    report: Report | None = None
    silent: bool = False
    told: bool = False  # that it is silent

    def silent_for(self, now: float) -> float:
        return now - (self.started if self.heard_at is None else self.heard_at)


class PairJudgement:
    def __init__(self, pair: str, nodes: t.Iterable[str], now: float):
        self.pair = pair
        self.nodes = {name: NodeView(name, now) for name in nodes}
        self._majority = True
        self._maintenance = False

    # -- what comes in -------------------------------------------------------------------------------------------------
    def heard(self, node: str, document: t.Any, now: float) -> list[Change]:
        view = self.nodes[node]
        view.heard_at, view.silent = now, False
        changes = []
        if view.told:
            view.told = False
            changes.append(Change("node_back", f"{node} is heard again", node))
        report = Report.parse(document)
        if report is not None:
            before, view.report = view.report, report
            changes += _compare(node, before, report)
        return changes

    def look(self, now: float, wall_ms: float, voting: bool, quiet: bool, held_back_until: float = 0.0) -> list[Change]:
        """Find what only time shows. `voting`: of the witness itself. `quiet`: it suspects itself, so wholly silent pairs say nothing.
        `held_back_until`: the witness itself stood still and must not call that silence."""
        changes: list[Change] = []
        for view in self.nodes.values():
            limit = SILENT_AFTER if view.heard_at is not None else FIRST_AFTER
            view.silent = now >= held_back_until and view.silent_for(now) >= limit
        wholly = all(view.silent for view in self.nodes.values())
        for view in self.nodes.values():
            if view.silent and not view.told and not (quiet and wholly):
                view.told = True
                changes.append(_silence(view, now))
        return changes + self._look_majority(voting) + self._look_maintenance(wall_ms)

    def _look_majority(self, voting: bool) -> list[Change]:
        """Does the witness see enough voters? Told only while a node is heard: nobody else could be told apart from a cut line."""
        heard = [view for view in self.nodes.values() if view.heard_at is not None and not view.silent]
        if not heard:
            return []
        votes = sum(view.report is None or view.report.voting for view in heard) + bool(voting)
        majority, self._majority = self._majority, votes >= 2
        if majority and not self._majority:
            return [Change("no_majority", f"only {votes} of 3 voters can vote", details={"votes": votes})]
        return [Change("majority_back", f"{votes} of 3 voters can vote")] if self._majority and not majority else []

    def _look_maintenance(self, wall_ms: float) -> list[Change]:
        active = self._under_maintenance(wall_ms)
        before, self._maintenance = self._maintenance, active is not None
        if active is not None and not before:
            details = {"until_ms": active.maintenance_until_ms, "reason": active.maintenance_reason}
            return [Change("maintenance_begin", f"planned maintenance: {active.maintenance_reason or 'no reason given'}", details=details)]
        return [Change("maintenance_end", "the planned maintenance is over")] if before and active is None else []

    def _under_maintenance(self, wall_ms: float) -> Report | None:
        for view in self.nodes.values():
            if view.report is not None and view.report.maintenance_until_ms is not None and view.report.maintenance_until_ms > wall_ms:
                return view.report
        return None

    # -- what goes out -------------------------------------------------------------------------------------------------
    def state(self, wall_ms: float) -> tuple[str, list[str]]:
        """One word and the reasons for it."""
        views = list(self.nodes.values())
        if all(view.heard_at is None and not view.silent for view in views):
            return UNKNOWN, ["no node was heard yet"]
        if all(view.silent for view in views):
            return SILENT, ["no node is heard"]
        attached = [view.name for view in views if not view.silent and view.report is not None and view.report.attached]
        reasons = [reason for view in views for reason in _reasons(view)]
        if len(attached) > 1:
            return TWO_ATTACHED, [f"{' and '.join(attached)} both say that they are attached", *reasons]
        if self._under_maintenance(wall_ms) is not None:
            return MAINTENANCE, reasons
        if not attached:
            return NOBODY_ATTACHED, ["no node says that it is attached", *reasons]
        return (DEGRADED, reasons) if reasons else (OK, [])

    def unheard_for(self, now: float) -> float | None:
        """Seconds since any of its nodes was heard, None when none ever was."""
        heard = [view.heard_at for view in self.nodes.values() if view.heard_at is not None]
        return now - max(heard) if heard else None

    def describe(self, now: float, wall_ms: float) -> dict:
        state, reasons = self.state(wall_ms)
        return {"pair": self.pair, "state": state, "reasons": reasons,
                "nodes": {view.name: _describe(view, now) for view in self.nodes.values()}}


def suspects_itself(judgements: t.Collection[PairJudgement], now: float) -> bool:
    """Is no node heard of more than half of the pairs that were heard before?"""
    unheard = [seconds for seconds in (judgement.unheard_for(now) for judgement in judgements) if seconds is not None]
    return 2 * sum(seconds >= SUSPECT_AFTER for seconds in unheard) > len(unheard)


def _compare(node: str, before: Report | None, after: Report) -> list[Change]:
    known = before or Report(state="headless", service_state="running", recording=True)
    changes = []
    if after.attached != known.attached:
        changes.append(Change("attached", f"{node} is attached with epoch {after.epoch}", node, {"epoch": after.epoch}) if after.attached
                       else Change("detached", f"{node} is no longer attached", node, {"epoch": after.epoch}))
    if after.recorder_dead != known.recorder_dead:
        changes.append(Change("recorder_dead", f"the recorder of {node} does not run ({after.service_state})", node, _health(after))
                       if after.recorder_dead else Change("recorder_back", f"the recorder of {node} runs", node))
    if after.records is not None and after.records != (known.records is not False):
        changes.append(Change("recording", f"{node} records", node) if after.records
                       else Change("not_recording", f"{node} does not record: {_causes(after)}", node, _health(after)))
    if after.codes != known.codes:
        changes.append(Change("health", f"{node}: {_causes(after)}", node, _health(after)))
    if after.voting != known.voting:
        changes.append(Change("voting", f"{node} votes again", node) if after.voting
                       else Change("not_voting", f"{node} has lost its state and does not vote", node))
    return changes


def _silence(view: NodeView, now: float) -> Change:
    if view.heard_at is None:
        return Change("node_silent", f"{view.name} was not heard since this witness started", view.name, {"silent_for": None})
    seconds = round(view.silent_for(now), 2)
    was = view.report.state if view.report is not None else None
    return Change("node_silent", f"{view.name} is silent for {seconds:.1f} s", view.name, {"silent_for": seconds, "was": was})


def _reasons(view: NodeView) -> t.Iterator[str]:
    report = view.report
    if view.silent:
        yield f"{view.name} is silent"
    elif view.heard_at is None:
        yield f"{view.name} was not heard yet"
    elif report is not None:
        if report.recorder_dead:
            yield f"the recorder of {view.name} does not run"
        elif report.records is False:
            yield f"{view.name} does not record"
        if not report.voting:
            yield f"{view.name} does not vote"
        for code, message in report.causes:
            yield f"{view.name}: {message or code}"


def _describe(view: NodeView, now: float) -> dict:
    return {"heard_ago": None if view.heard_at is None else round(now - view.heard_at, 2), "silent": view.silent,
            "report": None if view.report is None else view.report.to_document()}


def _health(report: Report) -> dict:
    return {"score": report.score, "causes": [{"code": code, "message": message} for code, message in report.causes]}


def _causes(report: Report) -> str:
    return "; ".join(message or code for code, message in report.causes) or "no cause is reported"


def _object(fields: dict, name: str) -> dict:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(fields: dict, name: str) -> str:
    value = fields.get(name)
    return value[:_MAX_TEXT] if isinstance(value, str) else ""


def _whole(value: t.Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else None


def _score(value: t.Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 100 else None
