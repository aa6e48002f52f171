# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playback over many tables: each picture once, in rising time."""

from __future__ import annotations

import asyncio
import os
import random

import pytest

from tandem_lab.recorder.media import layout
from tandem_lab.recorder.media.table import Table
from tandem_lab.recorder.media.timeline import WINDOW_MS, Timeline, merge
from tandem_lab.recorder.media.writer import TableWriter

DEVICE = "b01d0219-36ee-4720-afb2-025cfa3bd231"
T0 = 1_800_000_000_000


def payload(number: int) -> bytes:
    return b"\xff\xd8" + f"picture {number:06d}".encode() + b"\xff\xd9"


def number_of(data: bytes) -> int:
    return int(data[10:16])


class Bench:
    """Tables for a timeline: lists of (time, number)."""

    def __init__(self, folder, play_once=True):
        self.folder = folder
        self.reports = []
        self.timeline = Timeline(DEVICE, play_once, self.reports.append)
        self.count = 0

    def writer(self, frames) -> TableWriter:
        path = self.folder / f"{self.count}"
        self.count += 1
        path.mkdir()
        writer = TableWriter(path / DEVICE, "x", frames[0][0])
        writer.sequences.begin(frames[0][0])
        for time, number in frames:
            writer.append(time, payload(number))
        return writer

    def closed(self, frames) -> Table:
        writer = self.writer(frames)
        name = f"{DEVICE}_LOCAL_{self.count:04d}-01-01_00-00-00"
        entry = writer.finish(frames[-1][0], name)
        path = writer.table.path.with_name(name)
        os.rename(writer.table.path, path)
        table = Table(path, entry.columns[0].begin, entry.columns[0].end, entry)
        self.timeline.add(table)
        return table

    def forward(self) -> list[tuple[int, int]]:
        played = []
        picture = self.timeline.first()
        while picture is not None:
            played.append((picture.time, number_of(picture.frame.read())))
            if picture.next == picture.time:
                return played
            following = self.timeline.next(picture.time)
            assert following.time == picture.next and following.previous == picture.time
            picture = following
        return played

    def check(self, expected: set[int]) -> list[tuple[int, int]]:
        played = self.forward()
        times = [time for time, _ in played]
        numbers = [number for _, number in played]
        assert all(a < b for a, b in zip(times, times[1:]))
        assert len(set(numbers)) == len(numbers) and set(numbers) == expected
        for time, number in played:
            picture = self.timeline.at_or_before(time)
            assert (picture.time, number_of(picture.frame.read())) == (time, number)
        return played


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_an_empty_timeline(bench):
    assert bench.timeline.first() is bench.timeline.last() is bench.timeline.at_or_before(T0) is bench.timeline.next(T0) is None


def test_goto_before_inside_in_a_gap_and_after(bench):
    bench.closed([(T0, 0), (T0 + 200, 1)])
    bench.closed([(T0 + 90_000, 2), (T0 + 90_200, 3)])
    goto = lambda time: bench.timeline.at_or_before(time).time - T0  # noqa: E731
    assert [goto(T0 + time) for time in (-5_000, 0, 199, 200, 45_000, 89_999, 90_000, 90_201, 10**9)] == [
        0, 0, 0, 200, 200, 200, 90_000, 90_200, 90_200]
    assert bench.timeline.at_or_after(T0 + 300).time == T0 + 90_000
    gap = bench.timeline.at_or_before(T0 + 45_000)
    assert (gap.previous, gap.next) == (T0, T0 + 90_000)
    newest = bench.timeline.next(T0 + 90_200)
    assert newest.time == newest.next == T0 + 90_200
    oldest = bench.timeline.previous(T0)
    assert oldest.time == oldest.previous == T0


def test_many_tables_and_windows(bench):
    frames = [(T0 + 200 * n, n) for n in range(600)]
    for at in range(0, 600, 45):
        bench.closed(frames[at : at + 45])
    assert bench.check(set(range(600))) == frames


def test_tables_added_in_any_order(bench):
    frames = [(T0 + 3_000 * n, n) for n in range(60)]
    parts = [frames[at : at + 5] for at in range(0, 60, 5)]
    random.Random(1).shuffle(parts)
    for part in parts:
        bench.closed(part)
    bench.check(set(range(60)))


def test_the_partners_whole_table_plays_once(bench):
    own = [(T0 + 200 * n, n) for n in range(100)]
    partner = [(time + 7, number) for time, number in own]
    bench.closed(own[:40])
    bench.closed(own[60:])
    bench.closed(partner[30:70])
    played = bench.check(set(range(100)))
    assert played[50] == (T0 + 10_007, 50)


def test_copies_on_both_sides_of_a_window_and_of_a_table(bench):
    """The copies of the last frames of one table arrive later than the table's end, even in the next window."""
    edge = (T0 // WINDOW_MS + 1) * WINDOW_MS
    bench.closed([(edge - 600 + 200 * n, n) for n in range(3)])
    bench.closed([(edge + 300 + 10 * n, n) for n in range(8)])
    bench.check(set(range(8)))


def test_different_pictures_of_one_millisecond_are_shown_apart(bench):
    edge = (T0 // WINDOW_MS + 1) * WINDOW_MS
    bench.closed([(edge - 3 + n, n) for n in range(6)])
    bench.closed([(edge - 3 + n, 100 + n) for n in range(6)])
    bench.check({*range(6), *range(100, 106)})


def test_equal_pictures_of_one_table_all_play(bench):
    """A camera may send the same picture again; that is no copy."""
    writer = bench.writer([(T0, 7), (T0 + 200, 7), (T0 + 400, 7)])
    bench.timeline.add(writer.table)
    assert [number for _, number in bench.forward()] == [7, 7, 7]


def test_copies_play_twice_when_the_lab_is_told_so(tmp_path):
    bench = Bench(tmp_path, play_once=False)
    bench.closed([(T0, 0), (T0 + 200, 1)])
    bench.closed([(T0 + 5, 0), (T0 + 205, 1)])
    assert [number for _, number in bench.forward()] == [0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(12))
def test_random_recorders_with_jitter_splits_gaps_and_stalls(bench, seed):
    """Two recorders see the same camera; what either kept plays exactly once, whatever the tables look like."""
    chance = random.Random(seed)
    count = 400
    expected: set[int] = set()
    for _ in range(2):
        last, frames = 0, []
        down = chance.randrange(count)
        stall = chance.randrange(count)
        for number in range(count):
            if down <= number < down + 80:
                continue
            arrival = T0 + 200 * number + chance.randrange(30)
            if stall <= number < stall + 40:
                arrival = T0 + 200 * (stall + 40)  # nothing for 8 s, then all at once
            last = max(arrival, last + 1)
            frames.append((last, number))
        expected.update(number for _, number in frames)
        while frames:
            size = chance.randrange(1, 80)
            bench.closed(frames[:size])
            frames = frames[size:]
    bench.check(expected)


def test_the_open_table_grows_and_is_closed(bench):
    bench.closed([(T0, 0), (T0 + 200, 1)])
    writer = bench.writer([(T0 + 400, 2)])
    bench.timeline.add(writer.table)
    assert bench.timeline.last().time == T0 + 400
    position = T0 + 400
    for number in range(3, 120):
        assert bench.timeline.next(position).time == position
        position = T0 + 200 * number
        writer.append(position, payload(number))
        assert bench.timeline.next(position - 200).time == position
    path = writer.table.path.with_name(f"{DEVICE}_LOCAL_2026-01-01_00-00-00")
    entry = writer.finish(position, path.name)
    picture = bench.timeline.last()
    os.rename(writer.table.path, path)
    writer.table.close(path, entry)
    bench.timeline.add(writer.table)
    assert number_of(picture.frame.read()) == 119  # found before the close, read after it
    bench.check(set(range(120)))


def test_a_damaged_table_leaves_playback_and_the_others_go_on(bench):
    bench.closed([(T0 + 200 * n, n) for n in range(10)])
    damaged = bench.closed([(T0 + 60_000 + 200 * n, n + 10) for n in range(10)])
    bench.closed([(T0 + 120_000 + 200 * n, n + 20) for n in range(10)])
    os.truncate(damaged.path / layout.MEDIA / "block0.blk", 30)
    bench.check({*range(10), *range(20, 30)})
    assert len(bench.reports) == 1 and damaged.name in bench.reports[0]


def test_a_removed_table_is_played_no_more(bench):
    table = bench.closed([(T0, 0), (T0 + 200, 1)])
    bench.closed([(T0 + 400, 2)])
    bench.check({0, 1, 2})
    bench.timeline.remove(table)
    bench.check({2})


def test_sequences_that_touch_are_one(bench):
    bench.closed([(T0, 0), (T0 + 200, 1)])
    bench.closed([(T0 + 200, 2), (T0 + 400, 3)])
    bench.closed([(T0 + 5_000, 4), (T0 + 5_200, 5)])
    writer = bench.writer([(T0 + 5_100, 6), (T0 + 5_900, 7)])
    bench.timeline.add(writer.table)
    expected = [(T0, T0 + 400), (T0 + 5_000, T0 + 5_900)]
    assert asyncio.run(bench.timeline.sequences(layout.SEQUENCES)) == expected
    writer.append(T0 + 6_500, payload(8))
    expected[1] = (T0 + 5_000, T0 + 6_500)
    assert asyncio.run(bench.timeline.sequences(layout.SEQUENCES)) == expected
    assert asyncio.run(bench.timeline.sequences(layout.MOTION)) == []


def test_merge():
    assert merge([(5, 9), (1, 2), (2, 3), (6, 7)]) == [(1, 3), (5, 9)]
