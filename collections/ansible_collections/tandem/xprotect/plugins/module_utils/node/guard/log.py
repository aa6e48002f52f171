# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's log file: short, bounded (two files of 1 MiB), and never a reason to fail."""

from __future__ import annotations

import threading
import time

from ..host.base import Host
from ..store import GUARD_FOLDER

LOG_FILE = GUARD_FOLDER + "\\guard.log"
_MAX_BYTES = 1 << 20


class GuardLog:
    def __init__(self, host: Host):
        self._path = host.path(LOG_FILE)
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        line = f"{stamp} {text}".replace("\r", " ").rstrip() + "\n"
        with self._lock:
            try:
                self._rotate()
                with open(self._path, "a", encoding="utf-8", errors="replace") as file:
                    file.write(line)
            except OSError:
                pass  # a full disk must not stop the guard

    def seldom(self, key: str, text: str, pause: float = 60.0) -> None:
        """Log a text that comes again and again at most once in `pause` seconds."""
        now = time.monotonic()
        if now - self._last.get(key, -pause) >= pause:
            self._last[key] = now
            self(text)

    def _rotate(self) -> None:
        try:
            if self._path.stat().st_size < _MAX_BYTES:
                return
        except FileNotFoundError:
            return
        self._path.replace(self._path.with_name(self._path.name + ".1"))
