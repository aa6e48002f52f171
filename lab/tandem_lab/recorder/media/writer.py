# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write an open table: append frames, keep its sequences current, and finish it with its index files.

A frame goes to the operating system in one write when it arrives, so that the death of the process loses at most the frame in
flight. Index files are written when the table is finished; a table that never was is rebuilt by `repair`.
"""

from __future__ import annotations

import os
from pathlib import Path

from . import caches, layout
from .table import Table, digest


class MediaColumn:
    """The frames, in block files below 16 MiB."""

    def __init__(self, folder: Path, max_block_bytes: int) -> None:
        self.folder = folder
        self.blocks: list[layout.ChunkRecord] = []
        self.groups: list[layout.Group] = []
        self._max = max_block_bytes
        self._handle = -1
        self._count = 0

    def append(self, time: int, payload: bytes) -> tuple[int, int]:
        """Write one frame; returns its block and offset. After an error the file is as before."""
        size = layout.FRAME.size + len(payload)
        if self._handle < 0 or self.blocks[-1].length + size > self._max - 1:
            self._next_block(time)
        block = self.blocks[-1]
        head = layout.pack_frame_head(time, self._count, len(payload))
        try:
            written = os.writev(self._handle, (head, payload))
            if written != size:
                raise OSError(28, f"only {written} of {size} bytes could be written", str(self.folder))
        except OSError:
            os.ftruncate(self._handle, block.length)
            raise
        number = len(self.blocks) - 1
        self._note(time, number, block.length, size)
        begin = block.begin if block.count else time
        self.blocks[-1] = layout.ChunkRecord(begin, time, block.length + size, block.count + 1)
        self._count += 1
        return number, block.length

    def _next_block(self, time: int) -> None:
        path = self.folder / layout.block_name(len(self.blocks))
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self.close()
        self._handle = handle
        self.blocks.append(layout.ChunkRecord(time, time, 0, 0))

    def _note(self, time: int, block: int, offset: int, size: int) -> None:
        last = self.groups[-1] if self.groups else None
        if last is None or time - last.begin >= layout.GROUP_MS:
            self.groups.append(layout.Group(time, time, block, offset, 1, size))
        else:
            self.groups[-1] = last._replace(end=time, count=last.count + 1, length=last.length + size)

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def finish(self) -> None:
        self.close()
        write_indexes(self.folder, self.blocks, self.groups)

    @property
    def block_bytes(self) -> int:
        return sum(block.length for block in self.blocks)


class SpanColumn:
    """Recording or motion sequences: 32-byte records, the last one rewritten in place while it grows."""

    def __init__(self, folder: Path, spans: list[tuple[int, int]]) -> None:
        self.folder = folder
        self.spans = spans
        self.running = False
        self._handle = -1
        self._written_end = 0

    def begin(self, time: int) -> None:
        if self._handle < 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._handle = os.open(self.folder / layout.block_name(0), flags, 0o644)
        self.spans.append((time, time))
        self.running = True
        self._write()

    def extend(self, end: int) -> None:
        """Move the end of the running sequence, in memory; `flush` brings it to disk."""
        if self.running and end > self.spans[-1][1]:
            self.spans[-1] = (self.spans[-1][0], end)

    def end(self, time: int) -> None:
        self.extend(time)
        self.flush()
        self.running = False

    def withdraw(self) -> None:
        """The sequence that has just begun got no frame."""
        self.running = False
        self.spans.pop()
        os.ftruncate(self._handle, len(self.spans) * layout.SEQUENCE.size)

    def flush(self) -> None:
        if self.running and self.spans[-1][1] != self._written_end:
            self._write()

    def _write(self) -> None:
        begin, end = self.spans[-1]
        os.pwrite(self._handle, layout.pack_sequence(begin, end), (len(self.spans) - 1) * layout.SEQUENCE.size)
        self._written_end = end

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def finish(self) -> None:
        self.close()
        write_span_indexes(self.folder, self.spans)

    @property
    def block_bytes(self) -> int:
        return len(self.spans) * layout.SEQUENCE.size


def write_indexes(folder: Path, blocks: list[layout.ChunkRecord], groups: list[layout.Group]) -> None:
    if groups:
        (folder / layout.SINDEX).write_bytes(layout.sindex(groups))
    (folder / layout.PINDEX).write_bytes(layout.pindex(groups))
    (folder / layout.CINDEX).write_bytes(layout.cindex(blocks))


def write_span_indexes(folder: Path, spans: list[tuple[int, int]]) -> None:
    """Indexes of a sequence column: one record of sindex0.idx for each sequence."""
    size = layout.SEQUENCE.size
    groups = [layout.Group(begin, end, 0, number * size, 1, size) for number, (begin, end) in enumerate(spans)]
    blocks = [layout.ChunkRecord(spans[0][0], max(end for _, end in spans), len(spans) * size, len(spans))] if spans else []
    write_indexes(folder, blocks, groups)


class TableWriter:
    """The writing end of one open table."""

    def __init__(self, folder: Path, description: str, first_time: int, max_block_bytes: int = layout.MAX_BLOCK_BYTES) -> None:
        self.table = Table(folder, first_time, first_time)
        self.description = description
        self._config = caches.table_config(description)
        folder.mkdir()
        (folder / caches.CONFIG).write_bytes(self._config)
        for column in layout.COLUMNS:
            (folder / column).mkdir()
            write_indexes(folder / column, [], [])
        self.media = MediaColumn(folder / layout.MEDIA, max_block_bytes)
        self.sequences = SpanColumn(folder / layout.SEQUENCES, self.table.spans[layout.SEQUENCES])
        self.motion = SpanColumn(folder / layout.MOTION, self.table.spans[layout.MOTION])

    def append(self, time: int, payload: bytes) -> None:
        block, offset = self.media.append(time, payload)
        self.table.add(time, block, offset, len(payload), digest(payload))
        self.sequences.extend(time)

    def flush(self) -> None:
        self.sequences.flush()
        self.motion.flush()

    def live_entry(self) -> caches.TableEntry:
        """What ``cache.xml`` says about the open table: times so far, sizes without the index records to come."""
        return self._entry({column: (len(layout.CINDEX_HEAD) + len(layout.PINDEX_HEAD)) for column in layout.COLUMNS}, self.table.name)

    def finish(self, end: int, name: str) -> caches.TableEntry:
        """End running sequences at `end`, write all indexes and return the entry of the closed table."""
        for column in (self.sequences, self.motion):
            if column.running:
                column.end(end)
        self.media.finish()
        self.sequences.finish()
        self.motion.finish()
        return self._entry({column: index_bytes(self.table.path / column) for column in layout.COLUMNS}, name)

    def _entry(self, idx_bytes: dict[str, int], name: str) -> caches.TableEntry:
        columns = [caches.ColumnEntry(layout.MEDIA, idx_bytes[layout.MEDIA] + self.media.block_bytes, self.table.begin, self.table.end)]
        for column, part in ((layout.SEQUENCES, self.sequences), (layout.MOTION, self.motion)):
            size = idx_bytes[column] + part.block_bytes
            begin, end = (part.spans[0][0], max(end for _, end in part.spans)) if part.spans else (None, None)
            columns.append(caches.ColumnEntry(column, size, begin, end))
        total = sum(column.size for column in columns) + len(self._config)
        return caches.TableEntry(name, total, self.description, tuple(columns))

    def abandon(self) -> None:
        for column in (self.media, self.sequences, self.motion):
            column.close()


def index_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.idx"))
