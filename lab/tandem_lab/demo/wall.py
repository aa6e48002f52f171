# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live wall as a witness: a process of its own that shows every camera, and what its record says about service."""

from __future__ import annotations

import subprocess
import sys
import time

from ..integrations import live_wall
from ..site import Site
from .accounting import wait_for


SILENCE_MS = 1000  # eight cameras at five frames a second are never all silent for so long while they are served


class Wall:
    """Starts the wall against a raised site; `stop` it in the end. All times are unix milliseconds of this machine."""

    def __init__(self, site: Site) -> None:
        self.file = site.directory / "wall.jsonl"
        self.cameras = len(site.describe()["cameras"])
        self.log = open(site.directory / "logs" / "live_wall.log", "a", encoding="utf-8")
        self.process = subprocess.Popen([sys.executable, "-m", "tandem_lab.integrations.live_wall", "--site",
                                         str(site.directory / "site.json"), "--out", str(self.file)],
                                        stdout=self.log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        wait_for("live pictures of every camera", lambda: len(self.seen_since(0)) == self.cameras)

    def seen_since(self, since_ms: int) -> dict[str, int]:
        """Camera id -> when its first frame after `since_ms` reached the wall."""
        seen: dict[str, int] = {}
        for row in live_wall.rows(self.file):
            if row["received_ms"] >= since_ms:
                seen.setdefault(row["camera"], row["received_ms"])
        return seen

    def served_again(self, lost_ms: int) -> int:
        """When the first client was served again after service was lost at about `lost_ms`: the end of the first silence of all.

        Frames that were on their way when the machine died still arrive, so a silence is what tells before from after.
        """
        def end_of_silence() -> int | None:
            times = sorted(row["received_ms"] for row in live_wall.rows(self.file) if row["received_ms"] >= lost_ms - SILENCE_MS)
            return next((after for before, after in zip(times, times[1:]) if after - before >= SILENCE_MS and after > lost_ms), None)

        return wait_for("a client to be served again", end_of_silence)

    def wait_all_served(self, since_ms: int) -> None:
        wait_for("every camera on the wall", lambda: len(self.seen_since(since_ms)) == self.cameras)

    def interruption(self, from_ms: int, to_ms: int | None = None) -> float:
        """The longest pause that any camera showed, in seconds, one frame interval taken off."""
        pauses = live_wall.interruptions(self.file, from_ms, to_ms or int(time.time() * 1000))
        return round(max(pauses.values()), 2)

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
