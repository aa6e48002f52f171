# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness's log file: bounded as the guard's, written by a thread of its own, so that a slow disk delays no vote."""

from __future__ import annotations

import collections
import queue
import threading
import time

from ..guard.log import GuardLog
from ..host.base import Host
from .settings import FOLDER

LOG_FILE = FOLDER + "\\witness.log"
_MAX_WAITING = 1000
_MAX_KEYS = 4096  # peers choose what keys there are


class WitnessLog(GuardLog):
    def __init__(self, host: Host):
        super().__init__(host)
        self._path = host.path(LOG_FILE)
        self._last: collections.OrderedDict[str, float] = collections.OrderedDict()
        self._waiting: queue.Queue[str | None] = queue.Queue(_MAX_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._write, name="witness-log", daemon=True)
        self._thread.start()

    def __call__(self, text: str) -> None:
        try:
            self._waiting.put_nowait(text)
        except queue.Full:
            self._lost += 1

    def seldom(self, key: str, text: str, pause: float = 60.0) -> None:
        now = time.monotonic()
        if now - self._last.get(key, -pause) < pause:
            return
        self._last[key] = now
        self._last.move_to_end(key)
        while len(self._last) > _MAX_KEYS:
            self._last.popitem(last=False)
        self(text)

    def close(self) -> None:
        """Write what waits, for at most five seconds."""
        try:
            self._waiting.put(None, timeout=1.0)
        except queue.Full:
            return
        self._thread.join(5.0)

    def _write(self) -> None:
        while (text := self._waiting.get()) is not None:
            super().__call__(text)
            if self._lost:
                lost, self._lost = self._lost, 0
                super().__call__(f"{lost} lines were left out, because the disk was slower than they came")
