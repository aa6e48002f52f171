# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One camera: makes its frames on a fixed grid of time and hands each to every session."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import time
import typing as t

from . import frames
from .config import CameraConfig
from .motion import Motion

BOUNDARY = "tandemframe"


class Session:
    """A client that watches the video. Its own bounded queue carries it over short stalls; the oldest frames go first."""

    def __init__(self, source: str, frames_max: int) -> None:
        self.source = source
        self.since_ms = int(time.time() * 1000)
        self.queue: collections.deque[bytes] = collections.deque(maxlen=frames_max)
        self.wake = asyncio.Event()
        self.dropped = 0

    def put(self, part: bytes) -> None:
        if len(self.queue) == self.queue.maxlen:
            self.dropped += 1
        self.queue.append(part)
        self.wake.set()


@dataclasses.dataclass
class Count:
    """Of the sessions of one client computer."""

    now: int = 0
    peak: int = 0
    total: int = 0


def _host(source: str) -> str:
    return source.rpartition(":")[0] or source


class Camera:
    def __init__(self, config: CameraConfig) -> None:
        self.config = config
        self.motion = Motion(config.motion, config.fps)
        self.sessions: list[Session] = []
        self.sessions_peak = 0
        self.refused = 0
        self.counts: dict[str, Count] = {}  # by the client's address
        self.dropped = 0
        self.first_ms = 0
        self.last_counter = -1
        self.last_frame = b""
        self._pictures = frames.render(f"{config.name} ({config.serial})", config.number)
        self._first_tick = 0.0

    def time_of(self, counter: int) -> int:
        return int(self.first_ms + counter * self.config.interval_ms)

    def start_clock(self) -> None:
        """Fix the grid. Ticks follow the monotonic clock, so a step of the wall clock neither skips nor doubles frames."""
        self._first_tick = time.monotonic()
        self.first_ms = int(time.time() * 1000)

    async def run(self) -> None:
        interval = self.config.interval_ms / 1000
        counter = 0
        while True:
            delay = self._first_tick + counter * interval - time.monotonic()
            if delay > 0:
                await asyncio.sleep(delay)
            elif counter % 64 == 0:
                await asyncio.sleep(0)  # a long catch-up must not starve the sessions
            self._make(counter)
            counter += 1

    def _make(self, counter: int) -> None:
        level = self.motion.level(counter)
        picture = self._pictures[counter % len(self._pictures)]
        frame = frames.stamp(picture, self.config.serial, counter, self.time_of(counter), level)
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(frame)}\r\n\r\n".encode()
        part = head + frame + b"\r\n"
        self.last_frame = frame
        self.last_counter = counter
        for session in self.sessions:
            session.put(part)

    def open_session(self, source: str) -> Session | None:
        """A new session, or None when the camera has no more to give."""
        if len(self.sessions) >= self.config.sessions_max:
            self.refused += 1
            return None
        session = Session(source, max(1, round(self.config.queue_seconds * self.config.fps)))
        count = self.counts.setdefault(_host(source), Count())
        count.now, count.total = count.now + 1, count.total + 1
        count.peak = max(count.peak, count.now)
        self.sessions.append(session)
        self.sessions_peak = max(self.sessions_peak, len(self.sessions))
        return session

    def close_session(self, session: Session) -> None:
        self.sessions.remove(session)
        self.counts[_host(session.source)].now -= 1
        self.dropped += session.dropped

    def status(self) -> dict[str, t.Any]:
        return {
            "name": self.config.name,
            "serial": self.config.serial,
            "fps": self.config.fps,
            "first_counter": 0,
            "last_counter": self.last_counter,
            "frame_times": {"first_ms": self.first_ms, "last_ms": self.time_of(max(self.last_counter, 0))},
            "sessions": [
                {"source": s.source, "since_ms": s.since_ms, "queued": len(s.queue), "dropped": s.dropped} for s in self.sessions
            ],
            "sessions_max": self.config.sessions_max,
            "sessions_peak": self.sessions_peak,
            "sessions_refused": self.refused,
            "sessions_by_source": {host: dataclasses.asdict(count) for host, count in self.counts.items()},
            "frames_dropped": self.dropped + sum(s.dropped for s in self.sessions),
            "motion": [list(event) for event in self.motion.events],
        }
