# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watches this machine's recorder for the guard: is it running, what does it write, is it attached.

Two threads, because a recorder that answers slowly must not delay the heartbeat.
"""

from __future__ import annotations

import threading
import time
import typing as t

from ..errors import NodeError
from ..host.base import Host, HostError
from ..recorder_local import RecorderState, StatusProbe, media_folders, read_config
from ..recorder_tables import TableWatch
from ..settings import NodeSettings
from . import decisions
from .heartbeat import Journal

LOOK_PAUSE = 1.0
FAST_PAUSE = 0.05
CONFIG_PAUSE = 60.0


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
        self._watch = TableWatch(host, lambda: media_folders(host, self._config))
        self._journal = Journal(host)
        self._recorder = decisions.Recorder("unknown", 0, 0, None)
        self._state: RecorderState | None = None
        self._devices = 0
        self._threads = [threading.Thread(target=self._observe, name="observe", daemon=True),
                         threading.Thread(target=self._ask, name="recorder-status", daemon=True)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._end.set()
        self._hurry.set()
        for thread in self._threads:
            thread.join(5.0)

    def recorder(self) -> decisions.Recorder:
        return self._recorder

    def state(self) -> RecorderState | None:
        return self._state

    def watch_closely(self, seconds: float) -> None:
        """Ask the recorder 20 times a second until it is attached or the time is over: a promotion is under way."""
        self._fast_until = time.monotonic() + seconds
        self._hurry.set()

    def describe(self) -> dict:
        recorder, state = self._recorder, self._state
        return {"service_state": recorder.service_state, "attach_state": state.attach_state if state else None,
                "connection_state": state.connection_state if state else None, "devices": self._devices,
                "writing": recorder.writing, "recording": decisions.recording(recorder), "version": recorder.version,
                "quiet_for": None if recorder.quiet_for is None else round(recorder.quiet_for, 1),
                "known_devices": recorder.known_devices, "storage_error": recorder.storage_error}

    # -- threads -------------------------------------------------------------------------------------------------------
    def _observe(self) -> None:
        while not self._end.is_set():
            started = time.monotonic()
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - the guard goes on without this look
                self._log(f"the recorder could not be observed: {type(error).__name__}: {error}")
            self._end.wait(max(0.05, LOOK_PAUSE - (time.monotonic() - started)))
        try:
            self._journal.close()
        except NodeError as error:
            self._log(f"the availability journal could not be closed: {error}")

    def _ask(self) -> None:
        while not self._end.is_set():
            self._hurry.clear()
            self._state = self._probe().ask(2.0) if self._recorder.service_state in ("running", "start_pending") else None
            attached = self._state is not None and self._state.attached
            fast = time.monotonic() < self._fast_until and not attached
            self._hurry.wait(FAST_PAUSE if fast else LOOK_PAUSE)

    # -- one look ------------------------------------------------------------------------------------------------------
    def look(self) -> None:
        now = time.monotonic()
        try:
            service = self._host.service(self._settings.recorder_service)
            service_state, pid = service.state, service.pid
        except HostError as error:
            service_state, pid = f"unknown ({error})", None
        if pid != self._pid:
            self._pid, self._config_at = pid, None
        if pid is None or self._config_at is None:
            self._watch.forget_changes()  # what another process wrote proves nothing about this one
        self._read_config(now)
        self._watch.look()
        last = self._watch.last_change
        self._devices = self._watch.devices
        self._recorder = decisions.Recorder(service_state, self._watch.writing(), self._watch.known,
                                            None if last is None else max(0.0, time.monotonic() - last),
                                            self._watch.error, self._config.get("version"))
        now_ms = time.time_ns() // 1_000_000
        quiet = self._recorder.quiet_for
        last_write_ms = None if quiet is None or service_state != "running" else now_ms - int(quiet * 1000)
        self._journal.look(now_ms, decisions.recording(self._recorder), last_write_ms)

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
