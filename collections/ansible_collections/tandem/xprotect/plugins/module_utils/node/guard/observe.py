# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches this machine's recorder for the guard: does it run, what does it write, is it attached, how healthy is the node.

Three threads, because neither a recorder that answers slowly nor a disk that hangs nor a silent Management Server may delay
the others. The judgement itself is pure (``health``); here is only the looking.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import typing as t

from ..errors import NodeError
from ..host.base import Host, HostError
from ..recorder_local import RecorderState, StatusProbe, media_folders, read_config
from ..recorder_tables import TableWatch
from ..settings import NodeSettings
from ..store import GUARD_FOLDER, read_json, write_json
from . import clocks, decisions, health
from .comparison import Comparison
from .drives import DriveWatch
from .health_terms import WINDOW, Health, Observation, Policy, Standing
from .heartbeat import Journal

LOOK_PAUSE = 1.0
FAST_PAUSE = 0.05
CONFIG_PAUSE = 60.0
CLOCK_RETRY = 5.0
#: When attachment last moved without an operator, so that a restart of the guard does not forget it.
HANDOVER_FILE = GUARD_FOLDER + "\\unattended.json"


class Observer:
    def __init__(self, host: Host, settings: NodeSettings, log: t.Callable[[str], None]):
        self._host = host
        self._settings = settings
        self._log = log
        self._end = threading.Event()
        self._hurry = threading.Event()
        self._fast_until = 0.0
        self._config: dict[str, str | None] = {}
        self._config_at: float | None = None
        self._pid: int | None = None
        self._watch = TableWatch(host, self._media_folders, host.monotonic)
        self._drives = DriveWatch(host, self._media_folders)
        self._comparison = Comparison()
        self._clocks = clocks.Clocks()
        self._journal = Journal(host)
        self._recorder = decisions.Recorder("unknown", 0, 0, None)
        self._state: RecorderState | None = None
        self._answers: tuple[int | None, float | None, int, bool] = (None, None, 0, False)  # pid, answered at, unanswered, refused
        self._devices = 0
        self._observation = Observation(host.monotonic())
        self._partner: Standing | None = None
        self._shown: dict[str, str] = {}  # causes that the log knows of
        self._troubles: dict[str, str] = {}
        self.on_change: t.Callable[[], None] = lambda: None
        self.policy = self._read_policy()
        self.history = health.History(self._last_handover())
        self._threads = [threading.Thread(target=self._observe, name="observe", daemon=True),
                         threading.Thread(target=self._ask, name="recorder-status", daemon=True),
                         threading.Thread(target=self._ask_time, name="clocks", daemon=True)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        self._hurry.set()
        for thread in self._threads:
            thread.join(5.0)

    # -- what is seen --------------------------------------------------------------------------------------------------
    def recorder(self) -> decisions.Recorder:
        return self._recorder

    def state(self) -> RecorderState | None:
        return self._state

    def observation(self) -> Observation:
        """The last look, with what was answered and measured since."""
        seen = self._observation
        pid, answered_at, unanswered, refused = self._answers
        asked = pid == self._pid
        return dataclasses.replace(
            seen, answered_at=answered_at if asked else None, unanswered=unanswered if asked else 0, refused=refused and asked,
            clock=self._clocks.view(self._partner, self._host.monotonic()))

    def health(self) -> Health:
        """As of now: an observation that grows old is a cause of its own."""
        return health.assess(self.observation(), self._partner, self.policy, self._host.monotonic())

    def standing(self) -> Standing:
        """This node as its partner sees it in a report."""
        now, seen = self._host.monotonic(), self.observation()
        return Standing(now, seen.service_state, health.assess(seen, self._partner, self.policy, now), frozenset(seen.writing(now)),
                        self._clocks.management_offset(now), self._host.wall())

    def partner(self) -> Standing | None:
        """The partner's last word about itself, however old."""
        return self._partner

    def watch_closely(self, seconds: float) -> None:
        """Ask the recorder 20 times a second until it is attached or the time is over: a promotion is under way."""
        self._fast_until = time.monotonic() + seconds
        self._hurry.set()

    def describe(self, devices: bool = True) -> dict:
        """For reports. Without `devices`, for those who do not compare them: a report of 500 devices is large."""
        recorder, state, standing = self._recorder, self._state, self.standing()
        document = {
            "service_state": recorder.service_state, "attach_state": state.attach_state if state else None,
            "connection_state": state.connection_state if state else None, "devices": self._devices,
            "writing": recorder.writing, "recording": decisions.recording(recorder), "version": recorder.version,
            "quiet_for": None if recorder.quiet_for is None else round(recorder.quiet_for, 1),
            "known_devices": recorder.known_devices, "storage_error": recorder.storage_error,
            "health": standing.health.to_document(), "clock": self._describe_clock(standing)}
        if devices:
            document["writing_devices"] = sorted(standing.writing or ())
        else:
            document["health"]["causes"] = [{**cause, "devices": []} for cause in document["health"]["causes"]]
        return document

    def _describe_clock(self, standing: Standing) -> dict:
        view = self._clocks.view(self._partner, standing.heard_at)
        return {"wall_ms": int((standing.wall or 0.0) * 1000), "management_offset": _rounded(standing.clock_offset),
                "partner_offset": _rounded(view.partner)}

    # -- the partner, and giving way to it -----------------------------------------------------------------------------
    def hear_partner(self, report: t.Any, sent: float | None = None, received: float | None = None) -> None:
        """The partner's report; `sent` and `received`: this machine's `Host.wall` when it was asked for and had come."""
        now = self._host.monotonic()
        standing = Standing.parse(report, now)
        if standing is None:
            return
        self._partner = standing
        if standing.wall is not None and sent is not None and received is not None:
            self._clocks.partner_answered(sent, received, standing.wall, now)

    def should_yield(self, maintenance: bool = False) -> decisions.Verdict:
        """Should this node, which is attached, hand over by itself? ``ok`` is yes, the message says why."""
        return health.should_yield(self.health(), self._partner, self.history, self.policy, self._host.monotonic(), maintenance)

    def handed_over(self) -> None:
        """Attachment moved to or from this node without an operator."""
        self.history.handed_over(self._host.monotonic())
        try:
            write_json(self._host, HANDOVER_FILE, {"at_ms": int(self._host.wall() * 1000)})
        except NodeError as error:
            self._log(f"the hand-over could not be noted for the next guard: {error.message}")

    def _last_handover(self) -> float | None:
        try:
            document = read_json(self._host, HANDOVER_FILE, 4096)
            at_ms = document["at_ms"]
            ago = self._host.wall() - at_ms / 1000
        except (NodeError, TypeError, KeyError, OverflowError):
            return None
        return self._host.monotonic() - max(0.0, ago)  # one from the future is one of just now: the clock was set back

    def _read_policy(self) -> Policy:
        """Wrong figures must not keep a guard from guarding."""
        try:
            return Policy.parse(getattr(self._settings, "health", None))
        except NodeError as error:
            self._log(f"{error.message} The default figures are used.")
            return Policy()

    # -- threads -------------------------------------------------------------------------------------------------------
    def _observe(self) -> None:
        while not self._end.is_set():
            started = time.monotonic()
            self._guarded("the recorder could not be observed", self.look)
            self._end.wait(max(0.05, LOOK_PAUSE - (time.monotonic() - started)))
        try:
            self._journal.close()
        except NodeError as error:
            self._log(f"the availability journal could not be closed: {error}")

    def _ask(self) -> None:
        judged = 0.0
        while not self._end.is_set():
            self._hurry.clear()
            self._guarded("the recorder could not be asked", self.ask)
            if time.monotonic() - judged >= LOOK_PAUSE / 2:  # also here, because a hanging disk stops the other thread
                judged = time.monotonic()
                self._guarded("the node's health could not be judged", self.judge)
            attached = self._state is not None and self._state.attached
            fast = time.monotonic() < self._fast_until and not attached
            self._hurry.wait(FAST_PAUSE if fast else LOOK_PAUSE)

    def _ask_time(self) -> None:
        due, steps = 0.0, clocks.StepWatch()
        while not self._end.wait(1.0):
            if steps.stepped(self._host.wall() - self._host.monotonic()):
                due = 0.0
                self._clocks.forget()  # what was measured before the clock was set is worth nothing
            attached = self._state is not None and self._state.attached
            if attached and time.monotonic() >= due:
                due = time.monotonic() + (clocks.ASK_PAUSE if self.ask_time() else CLOCK_RETRY)

    def _guarded(self, what: str, call: t.Callable[[], object]) -> None:
        """The guard goes on without this look. A trouble that stays is logged once."""
        try:
            call()
            text = ""
        except Exception as error:  # noqa: BLE001
            text = f"{what}: {type(error).__name__}: {error}"
        if text and self._troubles.get(what) != text:
            self._log(text)
        self._troubles[what] = text

    # -- one look ------------------------------------------------------------------------------------------------------
    def look(self) -> None:
        now = self._host.monotonic()
        try:
            service = self._host.service(self._settings.recorder_service)
            service_state, pid = service.state, service.pid
        except HostError as error:
            service_state, pid = f"unknown ({error})", None
        running_since = self._observation.running_since
        if pid != self._pid:
            self._pid, self._config_at, running_since = pid, None, now
        if pid is None or self._config_at is None:
            self._watch.forget_changes()  # what another process wrote proves nothing about this one
        self._read_config(now)
        self._watch.look()
        last = self._watch.last_change
        self._devices = self._watch.devices
        self._recorder = decisions.Recorder(service_state, self._watch.writing(), self._watch.known,
                                            None if last is None else max(0.0, self._host.monotonic() - last),
                                            self._watch.error, self._config.get("version"))
        self._compare(running_since)
        self._note_availability()

    def _compare(self, running_since: float | None) -> None:
        now, watch = self._host.monotonic(), self._watch
        devices = self._comparison.look(watch.changes(), self._partner, now)
        seen = Observation(
            at=now, service_state=self._recorder.service_state, running_since=running_since, known=watch.known_devices, devices=devices,
            missed=dict(self._comparison.missed), last_write=self._comparison.last_write, storage_error=watch.error,
            drives=self._observation.drives)
        last = seen.last_write
        suspicious = bool(seen.missed) or (bool(seen.known) and (last is None or now - last > WINDOW))
        self._observation = seen
        self._guarded("the drives could not be looked at", lambda: self._look_at_drives(seen, suspicious))

    def _look_at_drives(self, seen: Observation, suspicious: bool) -> None:
        self._observation = dataclasses.replace(seen, drives=self._drives.look(seen.at, suspicious))

    def _note_availability(self) -> None:
        now_ms, recorder = time.time_ns() // 1_000_000, self._recorder
        quiet = recorder.quiet_for
        last_write_ms = None if quiet is None or recorder.service_state != "running" else now_ms - int(quiet * 1000)
        self._journal.look(now_ms, decisions.recording(recorder), last_write_ms)

    def ask(self) -> None:
        """One question to the recorder."""
        pid = self._pid
        if self._recorder.service_state not in ("running", "start_pending"):
            self._state, self._answers = None, (pid, None, 0, False)
            return
        answer = self._probe().question(2.0)
        before_pid, answered_at, unanswered, _refused = self._answers
        if before_pid != pid:
            answered_at, unanswered = None, 0
        self._state = answer.state
        self._answers = ((pid, self._host.monotonic(), 0, False) if answer.alive
                         else (pid, answered_at, unanswered + 1, answer.refused))

    def judge(self) -> None:
        """Keep the history of causes, and say in the log when one comes or goes."""
        found = self.health()
        self.history.look(found, self._partner, self.policy, self._host.monotonic())
        now = {cause.code: cause.message for cause in found.causes}
        for code, message in now.items():
            if code not in self._shown:
                self._log(f"health {found.score}: {message}")
        gone = sorted(set(self._shown) - set(now))
        if gone:
            self._log(f"health {found.score}: {', '.join(gone)} is over")
        changed, self._shown = self._shown.keys() != now.keys(), now
        if changed:
            self.on_change()  # partner and witness are to hear of it at once

    def ask_time(self) -> bool:
        """Ask the Management Server for its time. It need not answer: the clock is then not judged by it."""
        for address in self._settings.management_addresses:
            for port in self._settings.management_ports:
                answer = clocks.ask_date(self._host, address, port)
                if answer is not None:
                    self._clocks.management_answered(*answer, self._host.monotonic())
                    return True
                if self._end.is_set():
                    return False
        return False

    def _media_folders(self) -> list[str]:
        return media_folders(self._host, self._config)

    def _read_config(self, now: float) -> None:
        if self._config_at is not None and now - self._config_at < CONFIG_PAUSE:
            return
        self._config_at = now
        try:
            self._config = read_config(self._host)
        except NodeError:
            pass  # what was known stays in use; the facts verb reports the damage

    def _probe(self) -> StatusProbe:
        return StatusProbe.find(self._host, self._settings.address, self._config)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
