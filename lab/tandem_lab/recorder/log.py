# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder's own log file, bounded in size, in the line format of the real one (documented by the vendor's tools)."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from . import clock

MAX_BYTES = 2 * 1024 * 1024
NAME = "RecorderEngine.log"


class RecorderLog:
    """``log("INFO", "text")`` appends a line; the file before the current one is kept."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._file = self._path.open("a", encoding="utf-8")

    def __call__(self, level: str, message: str) -> None:
        now = clock.now()
        local = time.localtime(now)
        zone = time.strftime("%z", local)
        stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S', local)}.{int(now * 1000) % 1000:03d}{zone[:3]}:{zone[3:]}"
        thread = threading.get_native_id() % 1_000_000
        try:
            self._file.write(f"{stamp} [{thread:6d}] {level:<10} - {' '.join(message.splitlines())}\n")
            self._file.flush()
            if self._file.tell() > MAX_BYTES:
                self._turn_over()
        except OSError:
            pass  # a full disk must not stop the recorder

    def _turn_over(self) -> None:
        self._file.close()
        os.replace(self._path, self._path.with_name("RecorderEngine.1.log"))
        self._file = self._path.open("a", encoding="utf-8")
