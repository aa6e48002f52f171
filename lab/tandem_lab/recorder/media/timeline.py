# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playback of one device over all its tables, in order of time.

Tables may overlap (those of the partner are imported whole), and the same picture may lie in two of them at slightly
different times, for each recorder stamps it when it arrives. Such a picture plays once: the earliest copy counts. Two
different pictures of one millisecond are shown one millisecond apart, so that times rise strictly.

The timeline is made in windows of some seconds. Whether a picture is a copy is decided with what lies up to LOOK_BACK_MS
before its window, which is longer than the delay with which a recorder can get a frame at all.
"""

from __future__ import annotations

import asyncio
import bisect
import typing as t
from collections import OrderedDict

from . import layout
from .table import Frame, Span, Table

WINDOW_MS = 10_000
LOOK_BACK_MS = 30_000
SPILL_MS = 2_000  # how far pictures of one window can be moved into the next by making times strictly rising
WINDOWS_MAX = 16
SPANS_SLICE = 200


class Picture(t.NamedTuple):
    """A frame with its time in playback and its neighbours' times."""

    time: int
    previous: int
    next: int
    frame: Frame


class _Window:
    __slots__ = ("times", "frames", "version", "open_count")

    def __init__(self, times: list[int], frames: list[Frame], version: int, open_count: int) -> None:
        self.times = times
        self.frames = frames
        self.version = version
        self.open_count = open_count  # frames of the open table that were seen; -1 when no more can come


class Timeline:
    def __init__(self, device: str, play_once: bool = True, report: t.Callable[[str], None] = lambda text: None) -> None:
        self.device = device
        self._play_once = play_once
        self._report = report
        self._tables: list[Table] = []  # by begin
        self._begins: list[int] = []
        self._longest = 0  # no closed table is longer
        self._open: Table | None = None
        self._version = 0
        self._windows: OrderedDict[int, _Window] = OrderedDict()
        self._merged: dict[str, tuple[int, list[Span]]] = {}

    # ---- tables

    def add(self, table: Table) -> None:
        """A new open or closed table, or the open one that has been closed."""
        if table.is_open:
            self._open = table
        else:
            if self._open is table:
                self._open = None
            at = bisect.bisect_right(self._begins, table.begin)
            self._tables.insert(at, table)
            self._begins.insert(at, table.begin)
            self._longest = max(self._longest, table.end - table.begin)
        self._version += 1

    def remove(self, table: Table) -> None:
        if self._open is table:
            self._open = None
        elif table in self._tables:
            at = self._tables.index(table)
            del self._tables[at], self._begins[at]
        self._version += 1

    @property
    def tables(self) -> list[Table]:
        return [*self._tables, self._open] if self._open else list(self._tables)

    def _overlapping(self, begin: int, end: int) -> list[Table]:
        """Tables with media in begin <= time < end."""
        low = bisect.bisect_left(self._begins, begin - self._longest)
        high = bisect.bisect_left(self._begins, end)
        found = [table for table in self._tables[low:high] if table.end >= begin]
        if self._open and self._open.begin < end and self._open.end >= begin:
            found.append(self._open)
        return found

    def drop_unreadable(self, table: Table, error: Exception) -> None:
        """A table that cannot be read leaves playback; the others go on."""
        self._report(f"Table {table.name} leaves playback: {error}")
        self.remove(table)

    def _first_from(self, time: int) -> int | None:
        """Time of the first frame of any table at or after `time`."""
        at = bisect.bisect_left(self._begins, time)
        best = self._begins[at] if at < len(self._begins) else None
        for table in self._overlapping(time, time + 1):
            found = self._safely(table, table.first_time_from, time)
            if found is not None and (best is None or found < best):
                best = found
        if self._open and self._open.begin >= time and (best is None or self._open.begin < best):
            best = self._open.begin
        return best

    def _last_before(self, time: int) -> int | None:
        """Time of the last frame of any table before `time`."""
        best = self._safely(self._open, self._open.last_time_before, time) if self._open else None
        for at in range(bisect.bisect_left(self._begins, time) - 1, -1, -1):
            if best is not None and self._begins[at] + self._longest < best:
                break  # this table and all before it end earlier
            table = self._tables[at]
            found = self._safely(table, table.last_time_before, time)
            if found is not None and (best is None or found > best):
                best = found
        return best

    def _safely(self, table: Table, question: t.Callable[[int], int | None], time: int) -> int | None:
        try:
            return question(time)
        except (OSError, layout.TableDamaged) as error:
            self.drop_unreadable(table, error)
            return None

    # ---- windows

    def _window(self, number: int) -> _Window:
        window = self._windows.get(number)
        if window is not None and window.version == self._version:
            if window.open_count < 0 or window.open_count == (len(self._open.times) if self._open else 0):
                self._windows.move_to_end(number)
                return window
        window = self._windows[number] = self._make_window(number)
        self._windows.move_to_end(number)
        if len(self._windows) > WINDOWS_MAX:
            self._windows.popitem(last=False)
        return window

    def _make_window(self, number: int) -> _Window:
        begin, end = number * WINDOW_MS, (number + 1) * WINDOW_MS
        complete = self._open is None or self._open.end >= end
        open_count = -1 if complete else len(self._open.times) if self._open else 0
        frames = self._gather(begin - LOOK_BACK_MS, end)
        times: list[int] = []
        kept: list[Frame] = []
        last = 0
        for frame in frames:
            last = max(frame.time, last + 1)
            if frame.time >= begin:
                times.append(last)
                kept.append(frame)
        return _Window(times, kept, self._version, open_count)

    def _gather(self, begin: int, end: int) -> list[Frame]:
        """All frames of a span in order of time, copies left out."""
        tables = self._overlapping(begin, end)
        frames: list[Frame] = []
        for table in tables:
            try:
                frames.extend(table.frames_between(begin, end))
            except (OSError, layout.TableDamaged) as error:
                self.drop_unreadable(table, error)
        if len(tables) < 2:
            return frames
        frames.sort(key=lambda frame: (frame.time, frame.table.name))
        if not self._play_once:
            return frames
        owners: dict[bytes, Table] = {}
        return [frame for frame in frames if owners.setdefault(frame.digest, frame.table) is frame.table]

    # ---- navigation

    def _after(self, time: int) -> tuple[int, Frame] | None:
        """The first picture later than `time`."""
        number = max(0, time - SPILL_MS) // WINDOW_MS
        while True:
            window = self._window(number)
            at = bisect.bisect_right(window.times, time)
            if at < len(window.times):
                return window.times[at], window.frames[at]
            following = self._first_from((number + 1) * WINDOW_MS)
            if following is None:
                return None
            number = following // WINDOW_MS

    def _before(self, time: int) -> tuple[int, Frame] | None:
        """The last picture earlier than `time`."""
        number = time // WINDOW_MS
        while True:
            window = self._window(number)
            at = bisect.bisect_left(window.times, time) - 1
            if at >= 0:
                return window.times[at], window.frames[at]
            preceding = self._last_before(number * WINDOW_MS)
            if preceding is None:
                return None
            number = preceding // WINDOW_MS

    def _picture(self, found: tuple[int, Frame] | None) -> Picture | None:
        if found is None:
            return None
        time, frame = found
        before, after = self._before(time), self._after(time)
        return Picture(time, before[0] if before else time, after[0] if after else time, frame)

    def at_or_before(self, time: int) -> Picture | None:
        """The picture at or before a time; before the first picture it is the first one."""
        return self._picture(self._before(time + 1) or self._after(time))

    def at_or_after(self, time: int) -> Picture | None:
        return self._picture(self._after(time - 1))

    def next(self, time: int) -> Picture | None:
        """The picture after `time`; at the newest one that one again."""
        return self._picture(self._after(time) or self._before(time + 1))

    def previous(self, time: int) -> Picture | None:
        return self._picture(self._before(time) or self._after(time - 1))

    def first(self) -> Picture | None:
        return self._picture(self._after(-1))

    def last(self) -> Picture | None:
        end = max((table.end for table in self.tables), default=0)
        return self._picture(self._before(end + SPILL_MS))

    # ---- sequences

    async def sequences(self, column: str) -> list[Span]:
        """All recording or motion sequences; those that touch or overlap are one."""
        version, merged = self._merged.get(column, (-1, []))
        if version != self._version:
            version = self._version
            spans: list[Span] = []
            for number, table in enumerate(list(self._tables)):
                try:
                    spans.extend(table.spans_of(column))
                except (OSError, layout.TableDamaged) as error:
                    self._report(f"Table {table.name}: its sequences cannot be read: {error}")
                if number % SPANS_SLICE == SPANS_SLICE - 1:
                    await asyncio.sleep(0)
            merged = merge(spans)
            self._merged[column] = (version, merged)
        if self._open is None:
            return merged
        return merge([*merged, *self._open.spans_of(column)])


def merge(spans: t.Iterable[Span]) -> list[Span]:
    merged: list[Span] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged
