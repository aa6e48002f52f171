# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays the faults that the lab orders: the recorder hangs, stops writing, loses a disk or its cameras."""

from __future__ import annotations

import asyncio
import time
import typing as t

from . import clock
from .faults import Faults, Watch

if t.TYPE_CHECKING:
    from .device import Device
    from .engine import Recorder

LOOK_SECONDS = 0.1


class FaultPlayer:
    def __init__(self, recorder: Recorder) -> None:
        self.reachable = asyncio.Event()  # the cameras
        self._recorder = recorder
        self._watch = Watch(recorder.machine.root)
        self._drives: set[str] = set()

    @property
    def _faults(self) -> Faults:
        return self._watch.faults

    def begin(self) -> None:
        """Before anything is recorded: the service starts with the faults that there are."""
        self._watch.changed()
        self._apply()

    async def run(self) -> None:
        while True:
            if self._faults.hung:
                self._hang()
            await asyncio.sleep(LOOK_SECONDS)
            if self._watch.changed():
                self._apply()

    def _apply(self) -> None:
        faults = self._faults
        if faults.cameras_unreachable:
            self.reachable.clear()
        else:
            self.reachable.set()
        for drive in self._drives | set(faults.disk):
            self._recorder.store.disk_changed(self._recorder.machine.drive(drive), faults.disk.get(drive), clock.now_ms())
        self._drives = set(faults.disk)
        for device in self._recorder.devices.values():
            self.take(device)
        self._recorder.note_change()

    def take(self, device: Device) -> None:
        """The faults hold for this camera, too."""
        device.silence(self._faults.silences(device.settings.host))

    def _hang(self) -> None:
        """The whole process does nothing, not even end when it is told to stop; the process stays."""
        began = time.monotonic()
        while self._faults.hung:
            time.sleep(LOOK_SECONDS)
            self._watch.changed()
        self._apply()
        # What the cameras sent meanwhile would get the time of its arrival, which is wrong by as much as the recorder hung.
        self._recorder.reconnect_cameras("the service did not respond")
        self._recorder.log("WARNING", f"The service did not respond for {time.monotonic() - began:.1f} s")
