# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a camera's frames is recorded: always, on motion, by hand."""

from __future__ import annotations

import asyncio
import dataclasses
import os

import pytest

from tandem_lab.cameras import frames
from tandem_lab.recorder import device as device_module
from tandem_lab.recorder.configuration import CameraSettings
from tandem_lab.recorder.device import Device, LiveFeed, motion_level
from tandem_lab.recorder.media import layout
from tandem_lab.recorder.media.bank import Storage
from tandem_lab.recorder.media.store import MediaStore

ID = "b01d0219-36ee-4720-afb2-025cfa3bd231"
STORAGE = "444b824b-0000-4000-8000-000000000001"
T0 = 1_800_000_000_000
PICTURE = b"\xff\xd8" + bytes(50) + b"\xff\xd9"


class Clock:
    def __init__(self):
        self.ms = T0

    def time(self):
        return self.ms / 1000

    def monotonic(self):
        return self.ms / 1000

    def now_ms(self):
        return self.ms


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(device_module, "time", clock)
    monkeypatch.setattr(device_module, "clock", clock)
    return clock


class Bench:
    def __init__(self, folder, clock, mode, threshold=0.25, **settings):
        self.clock = clock
        self.lines = []
        self.store = MediaStore(lambda level, text: self.lines.append(text), lambda ms: f"{ms}", table_seconds=10)
        storage = Storage(STORAGE, "s", "D:\\M", folder / "M", folder, 60, 1000)
        self.store.configure([storage], T0)
        self.settings = CameraSettings(ID, "Entrance", True, "127.0.0.1", 80, "/", settings.pop("recording_enabled", True), mode, STORAGE,
                                       settings.pop("manual_timeout_ms", 900_000))
        self.device = Device(self.settings, self.store, threshold, lambda level, text: self.lines.append(text))
        self.device.link(None)
        self.counter = 0

    def frames(self, levels):
        for level in levels:
            self.device.frame(frames.stamp(PICTURE, "cam-1", self.counter, self.clock.ms, level))
            self.counter += 1
            self.clock.ms += 200

    def recorded(self):
        timeline, counters = self.store.timeline(ID), []
        picture = timeline.first()
        while picture is not None:
            counters.append(frames.read_stamp(picture.frame.read())["counter"])
            if picture.next == picture.time:
                break
            picture = timeline.next(picture.time)
        return counters

    def spans(self, column=layout.SEQUENCES):
        spans = asyncio.run(self.store.timeline(ID).sequences(column))
        return [((begin - T0) // 200, (end - T0) // 200) for begin, end in spans]


def test_motion_level_of_strange_pictures():
    assert motion_level(frames.stamp(PICTURE, "c", 1, 2, 0.4)) == 0.4
    for odd in (PICTURE, b"", b"\xff\xd8\xff\xfe\x00\x20TANDEM1 {broken", b"\xff\xd8\xff\xfe\x00\x0bTANDEM1 7"):
        assert motion_level(odd) == 0.0


def test_always_records_every_frame(tmp_path, clock):
    bench = Bench(tmp_path, clock, "always")
    bench.frames([0.0] * 30)
    assert bench.recorded() == list(range(30)) and bench.spans() == [(0, 29)]


def test_motion_records_a_second_before_and_after(tmp_path, clock):
    bench = Bench(tmp_path, clock, "motion")
    bench.frames([0.0] * 20 + [1.0] * 10 + [0.0] * 20)
    assert bench.recorded() == list(range(15, 35))  # 5 fps: five frames of lead, ten of motion, five of tail
    assert bench.spans() == [(15, 34)] and bench.spans(layout.MOTION) == [(20, 29)]


@pytest.mark.parametrize("threshold, begin", [(0.25, 11), (0.4, 13)])
def test_machines_with_other_thresholds_begin_at_other_frames(tmp_path, clock, threshold, begin):
    bench = Bench(tmp_path, clock, "motion", threshold)
    bench.frames([0.0] * 10 + [0.2, 0.3, 0.4, 0.5] + [1.0] * 5)
    assert bench.spans(layout.MOTION) == [(begin, 18)]
    assert bench.recorded() == list(range(begin - 5, 19))


def test_motion_that_comes_back_soon_is_one_sequence(tmp_path, clock):
    bench = Bench(tmp_path, clock, "motion")
    bench.frames([1.0] * 3 + [0.0] * 4 + [1.0] * 3 + [0.0] * 30)
    assert bench.spans() == [(0, 14)] and bench.spans(layout.MOTION) == [(0, 2), (7, 9)]


def test_motion_that_comes_back_later_repeats_no_frame(tmp_path, clock):
    bench = Bench(tmp_path, clock, "motion")
    bench.frames([1.0] * 3 + [0.0] * 7 + [1.0] * 3 + [0.0] * 30)
    assert bench.recorded() == [*range(0, 18)]
    assert bench.spans() == [(0, 7), (8, 17)]


def test_motion_over_a_split(tmp_path, clock):
    bench = Bench(tmp_path, clock, "motion")
    bench.frames([1.0] * 60)
    bench.store.tick(clock.ms)
    bench.frames([1.0] * 20)
    assert len(bench.store.banks[STORAGE].closed) == 1
    assert bench.recorded() == list(range(80))
    assert bench.spans() == bench.spans(layout.MOTION) == [(0, 79)]


def test_manual_records_between_start_and_stop(tmp_path, clock):
    bench = Bench(tmp_path, clock, "manual")
    bench.frames([1.0] * 5)
    bench.device.start_manual()
    bench.frames([0.0] * 5)
    bench.device.stop_manual()
    bench.frames([0.0] * 5)
    assert bench.recorded() == [5, 6, 7, 8, 9] and bench.spans() == [(5, 9)]


def test_manual_ends_by_itself(tmp_path, clock):
    bench = Bench(tmp_path, clock, "manual", manual_timeout_ms=1000)
    bench.device.start_manual()
    bench.frames([0.0] * 20)
    assert bench.recorded() == [0, 1, 2, 3, 4] and not bench.device.manual


def test_stop_does_not_end_what_motion_records(tmp_path, clock):
    bench = Bench(tmp_path, clock, "motion")
    bench.device.start_manual()
    bench.frames([0.0] * 3 + [1.0] * 3)
    bench.device.stop_manual()
    bench.frames([1.0] * 3)
    assert bench.recorded() == list(range(9)) and bench.spans() == [(0, 8)]


def test_nothing_is_recorded_when_recording_is_off(tmp_path, clock):
    bench = Bench(tmp_path, clock, "always", recording_enabled=False)
    bench.frames([1.0] * 10)
    assert bench.recorded() == [] and bench.device.latest is not None


def test_times_rise_even_when_the_clock_falls(tmp_path, clock):
    bench = Bench(tmp_path, clock, "always")
    bench.frames([0.0] * 3)
    clock.ms -= 10_000
    bench.frames([0.0] * 3)
    assert bench.recorded() == list(range(6))


def test_a_lost_camera_ends_the_sequence(tmp_path, clock):
    bench = Bench(tmp_path, clock, "always")
    bench.frames([0.0] * 5)
    bench.device.lost("gone")
    clock.ms += 1_000
    bench.device.link(None)
    bench.frames([0.0] * 5)
    assert bench.spans() == [(0, 4), (10, 14)] and bench.recorded() == list(range(10))


def test_a_new_mode_takes_effect_with_the_next_frame(tmp_path, clock):
    bench = Bench(tmp_path, clock, "always")
    bench.frames([0.0] * 5)
    bench.device.configure(dataclasses.replace(bench.settings, recording_mode="manual", name="New name"))
    bench.frames([0.0] * 5)
    bench.device.configure(bench.settings)
    bench.frames([0.0] * 5)
    assert bench.recorded() == [*range(5), *range(10, 15)]


def test_a_full_disk_is_reported_and_recording_comes_back(tmp_path, clock, monkeypatch):
    bench = Bench(tmp_path, clock, "always")
    bench.frames([0.0] * 5)
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        bench.frames([0.0] * 5)
        assert bench.device.write_error and not bench.device.recording
    bench.frames([0.0] * 5)
    assert not bench.device.write_error
    assert bench.recorded() == [*range(5), *range(10, 15)] and bench.spans() == [(0, 4), (10, 14)]
    assert sum("cannot be written" in line for line in bench.lines) == 1


def test_a_disk_that_is_full_from_the_start_leaves_no_table(tmp_path, clock, monkeypatch):
    bench = Bench(tmp_path, clock, "always")
    with monkeypatch.context() as patch:
        patch.setattr(os, "writev", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        bench.frames([1.0] * 5)
        bench.store.tick(clock.ms + 60_000)
    bank = bench.store.banks[STORAGE]
    assert [path.name for path in bank.path.iterdir() if path.is_dir()] == [] and bench.recorded() == []
    bench.frames([0.0] * 5)
    assert bench.recorded() == list(range(5, 10))


def test_a_slow_viewer_misses_the_oldest_pictures():
    feed = LiveFeed()
    for number in range(60):
        feed.put(number, b"")
    assert [time_ms for time_ms, _ in feed.frames] == list(range(10, 60))
