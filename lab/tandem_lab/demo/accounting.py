# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count frames: what the cameras made, what comes back by playback, what each machine holds on its disks.

The truth is the cameras' own: every frame carries its camera's serial and a counter that grows by exactly one. A frame is
expected when its camera's recording mode asks for it: *always* from the start to the end of the story, *motion* for the frames
inside a motion event (recorders may decide differently at its edges), *manual* from the answer to start to the request to stop.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import time
import typing as t
import urllib.request

from ..integrations import exporter


@dataclasses.dataclass
class Expectation:
    """The counters that one camera owes the story."""

    camera: dict
    counters: set[int]


def camera_status(camera: dict) -> dict:
    url = camera["url"].rsplit("/", 1)[0] + "/status"
    with urllib.request.urlopen(url, timeout=5) as answer:
        return json.loads(answer.read(4 * 1024 * 1024))


class Story:
    """The span of time that is accounted for, and the manual recordings in it."""

    def __init__(self, site: dict) -> None:
        self.site = site
        self.begin_ms = 0
        self.end_ms = 0
        self.manual: dict[str, list[tuple[int, int]]] = {}

    def begin(self) -> None:
        self.begin_ms = _now()

    def end(self, at_ms: int | None = None) -> None:
        """End the accounted span now, or for the time being at a moment of the past."""
        self.end_ms = _now() if at_ms is None else at_ms

    def expectations(self) -> list[Expectation]:
        return [self._expect(camera) for camera in self.site["cameras"]]

    def _expect(self, camera: dict) -> Expectation:
        status = camera_status(camera)
        first_ms, fps = status["frame_times"]["first_ms"], status["fps"]

        def counters(from_ms: float, to_ms: float) -> set[int]:
            """Counters of the frames made strictly inside a span; frames are made on a fixed grid."""
            low = int((from_ms - first_ms) * fps / 1000) + 1
            high = int((to_ms - first_ms) * fps / 1000)
            return set(range(max(low, 0), min(high, status["last_counter"]) + 1))

        whole = counters(self.begin_ms, self.end_ms)
        mode = camera["recording_mode"]
        if mode == "always":
            return Expectation(camera, whole)
        if mode == "motion":
            moved: set[int] = set()
            for low, high in status["motion"]:
                if high is not None:
                    moved.update(range(low, high + 1))
            return Expectation(camera, whole & moved)
        spans = self.manual.get(camera["id"], [])
        return Expectation(camera, whole & set().union(*(counters(a, b) for a, b in spans)) if spans else set())


def play_everything(site: dict, from_ms: int, to_ms: int) -> dict[str, set[int]]:
    """What the exporter gets back for each camera id through the service address."""

    def play(camera: dict) -> tuple[str, set[int]]:
        return camera["id"], exporter.play(site, camera["id"], from_ms, to_ms)["counters"]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return dict(pool.map(play, site["cameras"]))


def wait_for(what: str, condition: t.Callable[[], t.Any], timeout: float = 60.0, every: float = 0.25) -> t.Any:
    """The first true answer of `condition`; an error that says what was waited for when the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout:.0f} s for: {what}")
        time.sleep(every)


def _now() -> int:
    return int(time.time() * 1000)
