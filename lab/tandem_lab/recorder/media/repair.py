# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check a closed table against the rules of the format, and repair one that a crash left open."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

from . import caches, layout
from .writer import write_indexes, write_span_indexes


class _Sizes(t.NamedTuple):
    blocks: list[int]
    index: int

    @property
    def total(self) -> int:
        return sum(self.blocks) + self.index


def _sizes(folder: Path) -> _Sizes:
    """Sizes of the block files in order and of all index files; block numbers must have no gap."""
    blocks: dict[int, int] = {}
    index = 0
    with os.scandir(folder) as files:
        for file in files:
            match = layout.BLOCK_NAME.match(file.name)
            if match:
                blocks[int(match.group(1))] = file.stat().st_size
            elif file.name.endswith(".idx"):
                index += file.stat().st_size
    if sorted(blocks) != list(range(len(blocks))):
        raise layout.TableDamaged(f"{folder}: the block files {sorted(blocks)} have a gap")
    return _Sizes([blocks[number] for number in range(len(blocks))], index)


def _expect(what: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise layout.TableDamaged(f"{what} has {found} bytes, {wanted} are right")


def inspect_column(folder: Path) -> caches.ColumnEntry:
    """The cache entry of one column of a closed table, from its files; TableDamaged when they break a size law."""
    sizes = _sizes(folder)
    chunks = (folder / layout.CINDEX).read_bytes()
    primary = (folder / layout.PINDEX).read_bytes()
    if not chunks.startswith(layout.CINDEX_HEAD) or not primary.startswith(layout.PINDEX_HEAD):
        raise layout.TableDamaged(f"{folder}: an index file has no valid header")
    _expect(f"{folder}/{layout.CINDEX}", len(chunks), len(layout.CINDEX_HEAD) + layout.CHUNK.size * len(sizes.blocks))
    recorded = [length for _, _, length, _ in layout.CHUNK.iter_unpack(chunks[len(layout.CINDEX_HEAD) :])]
    for number, (found, wanted) in enumerate(zip(sizes.blocks, recorded)):
        _expect(f"{folder}/{layout.block_name(number)}", found, wanted)
        if found >= layout.MAX_BLOCK_BYTES:
            raise layout.TableDamaged(f"{folder}/{layout.block_name(number)} has {found} bytes, 16 MiB or more")
    sindex = folder / layout.SINDEX
    has_sindex = sindex.exists()
    _expect(f"{folder}/{layout.PINDEX}", len(primary), len(layout.PINDEX_HEAD) + layout.PRIMARY.size * has_sindex)
    if not has_sindex:
        if sizes.blocks:
            raise layout.TableDamaged(f"{folder}: there are block files but no {layout.SINDEX}")
        return caches.ColumnEntry(folder.name, sizes.total)
    begin, end, count = layout.PRIMARY.unpack(primary[len(layout.PINDEX_HEAD) :])
    _expect(str(sindex), sindex.stat().st_size, len(layout.SINDEX_HEAD) + layout.GROUP.size * count)
    return caches.ColumnEntry(folder.name, sizes.total, begin, end)


def inspect(path: Path) -> caches.TableEntry:
    """The cache entry of a closed table, from its files."""
    try:
        columns = tuple(inspect_column(path / name) for name in sorted(folder.name for folder in path.iterdir() if folder.is_dir()))
        config = path / caches.CONFIG
        entry = caches.TableEntry(
            path.name, sum(column.size for column in columns) + config.stat().st_size, caches.read_description(config), columns
        )
    except (OSError, caches.CacheDamaged) as error:
        raise layout.TableDamaged(f"{path}: {error}") from error
    media = entry.column(layout.MEDIA)
    if media is None or media.begin is None:
        raise layout.TableDamaged(f"{path}: there is no media in it")
    return entry


def repair(path: Path) -> caches.TableEntry | None:
    """Bring a table that was left open into the state of a closed one: cut the torn tail, rebuild the indexes.

    None when nothing of it can be played.
    """
    if not (path / caches.CONFIG).exists():
        (path / caches.CONFIG).write_bytes(caches.table_config(""))
    for column in layout.COLUMNS:
        (path / column).mkdir(exist_ok=True)
        for index in (path / column).glob("*.idx"):
            index.unlink()
    begin, end = _repair_media(path / layout.MEDIA)
    if begin is None or end is None:
        return None
    _repair_spans(path / layout.SEQUENCES, end, fallback=(begin, end))
    _repair_spans(path / layout.MOTION, end, fallback=None)
    return inspect(path)


def _repair_media(folder: Path) -> tuple[int, int] | tuple[None, None]:
    chunks: list[layout.ChunkRecord] = []
    groups: list[layout.Group] = []
    damaged = False
    for number in range(len(_sizes(folder).blocks)):
        block = folder / layout.block_name(number)
        if damaged:
            block.unlink()  # what follows a torn frame was never finished
            continue
        frames, good, size = _scan_block(block)
        if good < size:
            os.truncate(block, good)
            damaged = True
        if not frames:
            block.unlink()
            damaged = True
            continue
        chunks.append(layout.ChunkRecord(frames[0][0], frames[-1][0], good, len(frames)))
        for time, offset, length in frames:
            last = groups[-1] if groups else None
            if last is None or time - last.begin >= layout.GROUP_MS:
                groups.append(layout.Group(time, time, number, offset, 1, length))
            else:
                groups[-1] = last._replace(end=time, count=last.count + 1, length=last.length + length)
    write_indexes(folder, chunks, groups)
    return (groups[0].begin, groups[-1].end) if groups else (None, None)


def _scan_block(path: Path) -> tuple[list[tuple[int, int, int]], int, int]:
    """(frames as time, offset, bytes with header), length of the good part, and length of the file."""
    frames: list[tuple[int, int, int]] = []
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size, at = os.fstat(handle).st_size, 0
        while at < size:
            head = layout.unpack_frame_head(os.pread(handle, layout.FRAME.size, at))
            if head is None or at + layout.FRAME.size + head[1] > size:
                break
            length = layout.FRAME.size + head[1]
            frames.append((head[0], at, length))
            at += length
        return frames, at, size
    finally:
        os.close(handle)


def _repair_spans(folder: Path, last_frame: int, fallback: tuple[int, int] | None) -> None:
    """Keep whole records; the last recording sequence reaches to the last frame, for it was only kept current each second."""
    block = folder / layout.block_name(0)
    spans = layout.unpack_sequences(block.read_bytes()) if block.exists() else []
    spans = [(begin, end) for begin, end in spans if 0 < begin <= end]
    if fallback is not None:
        if spans:
            spans[-1] = (spans[-1][0], max(spans[-1][1], last_frame))
        else:
            spans = [fallback]
    if spans:
        block.write_bytes(b"".join(layout.pack_sequence(*span) for span in spans))
    elif block.exists():
        block.unlink()
    write_span_indexes(folder, spans)
