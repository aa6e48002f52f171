# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When something moves in front of a camera: by schedule, or because somebody asked for it.

A strong frame has level 1.0. Weak frames lead in and out (0.2 to 0.5), so that recorders with different thresholds decide
differently about the edges of an event. Only strong frames count as motion in the camera's truth.
"""

from __future__ import annotations

import collections

from .config import MotionSchedule

DEFAULT_RAMP_FRAMES = 4
MAX_EVENTS = 7200  # 24 h of an event every 12 s


def ramp(frames: int) -> list[float]:
    """Levels of the weak frames in rising order, from 0.2 to 0.5."""
    if frames <= 1:
        return [0.35] * frames
    return [round(0.2 + 0.3 * step / (frames - 1), 3) for step in range(frames)]


class Motion:
    def __init__(self, schedule: MotionSchedule | None, fps: float) -> None:
        self.events: collections.deque[list[int | None]] = collections.deque(maxlen=MAX_EVENTS)
        self._ramp = ramp(schedule.ramp_frames if schedule else DEFAULT_RAMP_FRAMES)
        self._cycle = round(schedule.every_seconds * fps) if schedule else 0
        self._strong = round(schedule.for_seconds * fps) if schedule else 0
        self._lead = round(fps) + len(self._ramp)
        self._wanted = False
        self._step = 0  # of an asked event: how far up its ramp it is
        self._counter = -1

    def ask(self, active: bool) -> None:
        self._wanted = active

    @property
    def active(self) -> bool:
        return bool(self.events) and self.events[-1][1] is None

    def level(self, counter: int) -> float:
        """The level of the next frame; called once for each frame, in order."""
        level = max(self._scheduled(counter), self._asked())
        if level == 1.0 and not self.active:
            self.events.append([counter, None])
        elif level < 1.0 and self.active:
            self.events[-1][1] = counter - 1
        return level

    def _scheduled(self, counter: int) -> float:
        if not self._cycle:
            return 0.0
        phase = counter % self._cycle - self._lead
        if 0 <= phase < self._strong:
            return 1.0
        if -len(self._ramp) <= phase < 0:
            return self._ramp[phase + len(self._ramp)]
        if self._strong <= phase < self._strong + len(self._ramp):
            return self._ramp[-1 - (phase - self._strong)]
        return 0.0

    def _asked(self) -> float:
        top = len(self._ramp) + 1
        self._step = min(self._step + 1, top) if self._wanted else max(self._step - 1, 0)
        if self._step == top:
            return 1.0
        return self._ramp[self._step - 1] if self._step else 0.0
