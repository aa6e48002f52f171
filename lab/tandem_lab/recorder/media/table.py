# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One table in memory: where its frames and sequences are. An open table keeps them all; a closed one reads its indexes."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import os
import typing as t
from collections import OrderedDict
from pathlib import Path

from . import layout
from .caches import TableEntry

Span = tuple[int, int]
OPEN_FILES_MAX = 48
GROUPS_MAX = 1024
DIGEST_BYTES = 12
_SERIALS = itertools.count()


def digest(payload: bytes | memoryview) -> bytes:
    return hashlib.blake2b(payload, digest_size=DIGEST_BYTES).digest()


class Frame:
    """Where one picture is. `digest` tells equal pictures of overlapping tables."""

    __slots__ = ("time", "table", "block", "offset", "size", "digest")

    def __init__(self, time: int, table: Table, block: int, offset: int, size: int, payload_digest: bytes) -> None:
        self.time = time
        self.table = table
        self.block = block
        self.offset = offset  # of the header; the JPEG follows it
        self.size = size
        self.digest = payload_digest

    def read(self) -> bytes:
        """The JPEG."""
        data = FILES.read(self.table, self.block, self.offset + layout.FRAME.size, self.size)
        if len(data) != self.size:
            raise layout.TableDamaged(f"{self.table.path}: the frame at {self.time} is cut off")
        return data


class OpenFiles:
    """A few block files kept open for reading, least recently used first out."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[int, int], int] = OrderedDict()

    def read(self, table: Table, block: int, offset: int, length: int) -> bytes:
        key = (table.serial, block)
        handle = self._open.get(key)
        if handle is None:
            path = table.path / layout.MEDIA / layout.block_name(block)
            handle = self._open[key] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            if len(self._open) > OPEN_FILES_MAX:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(key)
        return os.pread(handle, length, offset)

    def forget(self, table: Table) -> None:
        for key in [key for key in self._open if key[0] == table.serial]:
            os.close(self._open.pop(key))


class GroupFrames:
    """The frames of recently read groups of closed tables."""

    def __init__(self) -> None:
        self._groups: OrderedDict[tuple[int, int], list[Frame]] = OrderedDict()

    def get(self, table: Table, number: int, group: layout.Group) -> list[Frame]:
        key = (table.serial, number)
        frames = self._groups.get(key)
        if frames is None:
            frames = self._groups[key] = list(_read_group(table, group))
            if len(self._groups) > GROUPS_MAX:
                self._groups.popitem(last=False)
        else:
            self._groups.move_to_end(key)
        return frames

    def forget(self, table: Table) -> None:
        for key in [key for key in self._groups if key[0] == table.serial]:
            del self._groups[key]


FILES = OpenFiles()
GROUPS = GroupFrames()


def _read_group(table: Table, group: layout.Group) -> t.Iterator[Frame]:
    """Frames of a group in file order. A frame lies in one block, a group may go on in the next."""
    block, offset, left, count = group.block, group.offset, group.length, 0
    if left > layout.MAX_BLOCK_BYTES:
        raise layout.TableDamaged(f"{table.path}: a group of {left} bytes")
    while left:
        data = memoryview(FILES.read(table, block, offset, left))
        if not data:
            raise layout.TableDamaged(f"{table.path}: {layout.block_name(block)} ends inside a group")
        at = 0
        while at < len(data):
            head = layout.unpack_frame_head(data[at:])
            if head is None or at + layout.FRAME.size + head[1] > len(data):
                raise layout.TableDamaged(f"{table.path}: no frame at {layout.block_name(block)}+{offset + at}")
            start = at + layout.FRAME.size
            yield Frame(head[0], table, block, offset + at, head[1], digest(data[start : start + head[1]]))
            at, count = start + head[1], count + 1
        left -= len(data)
        block, offset = block + 1, 0
    if count != group.count:
        raise layout.TableDamaged(f"{table.path}: {count} frames in a group of {group.count}")


class Table:
    """`path` changes when the table is closed (its folder is renamed); the object stays, so that frames stay readable."""

    def __init__(self, path: Path, begin: int, end: int, entry: TableEntry | None = None) -> None:
        self.serial = next(_SERIALS)  # names the table in caches; unlike id() it is never used again
        self.path = path
        self.device = layout.device_of(path.name)
        self.begin = begin  # of the media
        self.end = end
        self.entry = entry  # None while the table is open
        self.frames: list[Frame] = []  # of the open table
        self.times: list[int] = []
        self.spans: dict[str, list[Span]] = {layout.SEQUENCES: [], layout.MOTION: []}
        self._groups: list[layout.Group] | None = None
        self._spans_read: set[str] = set()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def is_open(self) -> bool:
        return self.entry is None

    def add(self, time: int, block: int, offset: int, size: int, payload_digest: bytes) -> None:
        self.frames.append(Frame(time, self, block, offset, size, payload_digest))
        self.times.append(time)
        self.end = time

    def close(self, path: Path, entry: TableEntry) -> None:
        self.path = path
        self.entry = entry
        self.frames, self.times = [], []
        self._spans_read = set(self.spans)

    def frames_between(self, begin: int, end: int) -> list[Frame]:
        """Frames with begin <= time < end."""
        if self.is_open:
            return self.frames[bisect.bisect_left(self.times, begin) : bisect.bisect_left(self.times, end)]
        found: list[Frame] = []
        for number, group in enumerate(self.groups()):
            if group.end >= begin and group.begin < end:
                found.extend(frame for frame in GROUPS.get(self, number, group) if begin <= frame.time < end)
        return found

    def first_time_from(self, time: int) -> int | None:
        """Time of the first frame at or after `time`."""
        if self.begin >= time:
            return self.begin
        if self.end < time:
            return None
        if self.is_open:
            at = bisect.bisect_left(self.times, time)
            return self.times[at] if at < len(self.times) else None
        for number, group in enumerate(self.groups()):
            if group.end >= time:
                return min(frame.time for frame in GROUPS.get(self, number, group) if frame.time >= time)
        return None

    def last_time_before(self, time: int) -> int | None:
        """Time of the last frame before `time`."""
        if self.end < time:
            return self.end
        if self.begin >= time:
            return None
        if self.is_open:
            at = bisect.bisect_left(self.times, time)
            return self.times[at - 1] if at else None
        groups = self.groups()
        for number in range(len(groups) - 1, -1, -1):
            if groups[number].begin < time:
                return max(frame.time for frame in GROUPS.get(self, number, groups[number]) if frame.time < time)
        return None

    def groups(self) -> list[layout.Group]:
        if self._groups is None:
            self._groups = layout.parse_sindex((self.path / layout.MEDIA / layout.SINDEX).read_bytes())
        return self._groups

    def spans_of(self, column: str) -> list[Span]:
        """Recording or motion sequences; those of a closed table are read once."""
        if not self.is_open and column not in self._spans_read:
            self.spans[column] = self._read_spans(column)
            self._spans_read.add(column)
        return self.spans[column]

    def _read_spans(self, column: str) -> list[Span]:
        cached = self.entry.column(column) if self.entry else None
        if cached is not None and cached.begin is None:
            return []
        if cached is not None and cached.end is not None and cached.size == layout.ONE_SPAN_BYTES:
            return [(cached.begin, cached.end)]
        block = self.path / column / layout.block_name(0)
        try:
            return layout.unpack_sequences(block.read_bytes())
        except FileNotFoundError:
            return []

    def forget_files(self) -> None:
        FILES.forget(self)
        GROUPS.forget(self)
