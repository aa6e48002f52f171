# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One camera in the recorder: stamps its frames, gives them to live viewers, and decides which are recorded."""

from __future__ import annotations

import asyncio
import collections
import json
import time
import typing as t

from . import clock
from .configuration import CameraSettings
from .media.store import MediaStore
from .media.track import Track

PRE_MS = POST_MS = 1000
LIVE_QUEUE = 50
ERROR_LOG_MS = 10_000
_PREFIX = b"TANDEM1 "


def motion_level(frame: bytes) -> float:
    """How much moves, as the lab's cameras say in the comment of each frame; 0 for a picture without it."""
    if frame[2:4] != b"\xff\xfe" or frame[6:14] != _PREFIX:
        return 0.0
    try:
        return float(json.loads(frame[14 : 4 + int.from_bytes(frame[4:6], "big")])["motion"])
    except (ValueError, KeyError, TypeError):
        return 0.0


class LiveFeed:
    """A live viewer's queue. A viewer that is too slow misses the oldest frames."""

    def __init__(self) -> None:
        self.frames: collections.deque[tuple[int, bytes]] = collections.deque(maxlen=LIVE_QUEUE)
        self.wake = asyncio.Event()

    def put(self, time_ms: int, frame: bytes) -> None:
        self.frames.append((time_ms, frame))
        self.wake.set()


class Device:
    def __init__(self, settings: CameraSettings, store: MediaStore, threshold: float, log: t.Callable[[str, str], None]) -> None:
        self.settings = settings
        self.connected = False
        self.moving = False
        self.write_error = False
        self.silent = False  # a fault of the lab: it says that it records, and writes nothing
        self.gone = False  # no longer in the configuration: whoever holds this object lets it go
        self.latest: tuple[int, bytes] | None = None
        self.feeds: set[LiveFeed] = set()
        self.changed_ms = clock.now_ms()
        self.on_change: t.Callable[[], None] = lambda: None
        self._store = store
        self._threshold = threshold
        self._log = log
        self._track: Track | None = None
        self._last_ms = 0
        self._last_motion_ms = -POST_MS - 1
        self._manual_until: float | None = None
        self._before: collections.deque[tuple[int, bytes]] = collections.deque()
        self._next_error_log = 0
        self._trouble = ""
        self._believed = False  # while silent: whether it would record
        self._take_track()

    # ---- configuration

    def configure(self, settings: CameraSettings) -> None:
        """New settings for the same camera; a running sequence goes on unless it is no longer wanted."""
        self.settings = settings
        self._take_track()

    def _take_track(self) -> None:
        now = clock.now_ms()
        self._track = self._store.track(self.settings.id, self.settings.name, self.settings.storage_id, now)

    def close(self) -> None:
        self.gone = True
        self.lost("the camera is no longer recorded here")
        self._store.drop_track(self.settings.id, clock.now_ms())

    # ---- frames

    @property
    def recording(self) -> bool:
        """What the recorder says; a silent one says it wrongly."""
        if self.silent:
            return self._believed
        return self._track is not None and self._track.recording

    def link(self, reason: str | None) -> None:
        """The video runs (None), or why it does not."""
        if reason is None:
            self.connected = True
            self._trouble = ""
            self._log("INFO", f"{self.settings.id}: Device communication established")
            self._changed()
        else:
            self.lost(reason)

    def lost(self, reason: str) -> None:
        if reason != self._trouble:  # a camera that stays away is tried twice a second: say it once
            self._trouble = reason
            self._log("ERROR", f"{self.settings.id}: Device communication error. Error: {reason}")
        was = self.connected
        self.connected = False
        self._before.clear()
        self._see_motion(self._last_ms, 0.0)
        self._end_sequence()
        self._believed = False
        if was:
            self._changed()

    def frame(self, payload: bytes) -> None:
        """A frame has arrived: stamp it with this machine's clock, strictly rising."""
        now = max(clock.now_ms(), self._last_ms + 1)
        self._last_ms = now
        self.latest = (now, payload)
        self._see_motion(now, motion_level(payload))
        self._record(now, payload)
        for feed in self.feeds:
            feed.put(now, payload)

    def _see_motion(self, now: int, level: float) -> None:
        moving = level > self._threshold
        if moving:
            self._last_motion_ms = now
        if moving != self.moving:
            self.moving = moving
            if self._track is not None:
                self._guarded(lambda track: track.motion(now, moving))
            self._changed()

    def _wanted(self, now: int) -> bool:
        settings = self.settings
        if not settings.recording_enabled:
            return False
        return (
            settings.recording_mode == "always"
            or (settings.recording_mode == "motion" and now - self._last_motion_ms <= POST_MS)
            or self.manual
        )

    def silence(self, silent: bool) -> None:
        """What is written ends with the last frame before; afterwards a new sequence begins."""
        if silent and not self.silent:
            self._believed = self.recording
            self._before.clear()
            self._end_sequence()
        self.silent = silent

    def _pretend(self, now: int) -> None:
        wanted = self._wanted(now)
        if wanted != self._believed:
            self._believed = wanted
            self._changed()

    def _record(self, now: int, payload: bytes) -> None:
        if self.silent:
            self._pretend(now)
            return
        if self._track is None:
            return
        if not self._wanted(now):
            self._end_sequence()
            self._remember(now, payload)
            return
        frames = [*(entry for entry in self._before if entry[0] >= now - PRE_MS), (now, payload)]
        self._before.clear()
        if not self._track.recording:
            self._track.begin(frames[0][0])
            self._changed()
        for time_ms, frame in frames:
            if not self._guarded(lambda track: track.append(time_ms, frame)):
                self._guarded(lambda track: track.end())
                self._changed()
                return
        if self.write_error:
            self.write_error = False
            self._changed()

    def _remember(self, now: int, payload: bytes) -> None:
        if self.settings.recording_mode != "motion" or not self.settings.recording_enabled:
            self._before.clear()
            return
        while self._before and self._before[0][0] < now - PRE_MS:
            self._before.popleft()
        self._before.append((now, payload))

    def _end_sequence(self) -> None:
        if self._track is not None and self._track.recording:
            self._guarded(lambda track: track.end())
            self._changed()

    def _guarded(self, action: t.Callable[[Track], None]) -> bool:
        """The disk may be full or gone: the recorder says so and goes on with the next frame."""
        assert self._track is not None
        try:
            action(self._track)
            return True
        except OSError as error:
            self.write_error = True
            now = clock.now_ms()
            if now >= self._next_error_log:
                self._next_error_log = now + ERROR_LOG_MS
                self._log("ERROR", f"{self.settings.id}: the media database cannot be written: {error}")
            return False

    # ---- manual recording

    @property
    def manual(self) -> bool:
        return self._manual_until is not None and time.monotonic() < self._manual_until

    def start_manual(self) -> None:
        timeout = self.settings.manual_timeout_ms
        self._manual_until = time.monotonic() + timeout / 1000 if timeout else float("inf")

    def stop_manual(self) -> None:
        self._manual_until = None
        if self._track is not None and not self._wanted(clock.now_ms()):
            self._end_sequence()

    def _changed(self) -> None:
        self.changed_ms = clock.now_ms()
        self.on_change()
        for feed in self.feeds:
            feed.wake.set()
