# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One table on disk: its name, its files, the size laws that a closed table obeys, and the spans it holds.

A table is a folder of about one hour of one device's media. The open one is named by the device alone and is never
read for copying; a closed one carries a tag and the local time of closing (documented). The size laws were found on
the vendor's own sample exports. Index files and media blocks stay opaque: only sizes are checked, and the 32-byte
records of the recording sequence column are read (assumption `sequence_records_concatenate`).
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import pathlib
import re
import struct
import typing as t

from . import intervals

MEDIA_COLUMN = "7ea9b53b-749e-420b-891b-43b238f6144e"
SEQUENCE_COLUMN = "8b742df9-5ba1-49df-ace1-66e54f5dc295"
TAGS = ("LOCAL", "ARCHIVE")  # assumption `table_tags_complete`: tables of other origin stay where they are
MERGE_MS = 1500  # recorded spans that are closer than this are one
MAX_FILES = 20_000
MAX_FILE_BYTES = 1 << 30
BLOCK_LIMIT = 16 * 1024 * 1024
_MAX_SEQUENCE_BYTES = 8 * BLOCK_LIMIT

GUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_NAME = re.compile(rf"({GUID.pattern})(?:_([A-Za-z0-9]{{1,16}})_(\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d))?")
_STAMP = "%Y-%m-%d_%H-%M-%S"
_INDEX = re.compile(r"(cindex|pindex|sindex(?:0|[1-9]\d{0,4}))\.idx")
_BLOCK = re.compile(r"block(0|[1-9]\d{0,5})\.blk")
_COLUMN_FILE = re.compile(rf"{_INDEX.pattern}|{_BLOCK.pattern}|Public Key Certificate\.xml")
_TABLE_FILE = re.compile(r"config\.xml|desktop\.ini")
_SEQUENCE_RECORD = struct.Struct("<QQQQ")
_FILETIME_EPOCH_MS = 11_644_473_600_000


@dataclasses.dataclass(frozen=True)
class TableName:
    device: str
    tag: str | None = None
    stamp: str | None = None

    @property
    def open(self) -> bool:
        return self.tag is None

    def __str__(self) -> str:
        return self.device if self.open else f"{self.device}_{self.tag}_{self.stamp}"


@dataclasses.dataclass(frozen=True)
class Column:
    """What a cache says about one column; no times when it is empty."""

    name: str
    size: int
    begin: int | None = None
    end: int | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a cache says about one table."""

    name: str
    size: int = 0
    description: str = ""
    encrypted: bool = False
    columns: tuple[Column, ...] = ()

    def column(self, name: str) -> Column | None:
        return next((column for column in self.columns if column.name.lower() == name), None)

    def times(self) -> tuple[int, int] | None:
        """Begin and end of what was recorded: of the sequences, else of the media, else of anything."""
        filled = [column for column in self.columns if column.begin is not None and column.end is not None]
        for wanted in (SEQUENCE_COLUMN, MEDIA_COLUMN):
            for column in filled:
                if column.name.lower() == wanted:
                    return column.begin, column.end  # type: ignore[return-value]
        if not filled:
            return None
        return min(column.begin for column in filled), max(column.end for column in filled)  # type: ignore[type-var]


@dataclasses.dataclass(frozen=True)
class TableFile:
    """One file of a table; `path` is ``config.xml`` or ``<column>/block0.blk``."""

    path: str
    size: int
    mtime_ns: int


class DamagedTable(Exception):
    """The table breaks a rule that every closed table obeys. The text says which one."""


# -- names -------------------------------------------------------------------------------------------------------------

def parse_name(name: str) -> TableName | None:
    """The parts of a table's name, or None when this is no table."""
    match = _NAME.fullmatch(name)
    if not match:
        return None
    if match.group(3):
        try:
            datetime.datetime.strptime(match.group(3), _STAMP)
        except ValueError:
            return None
    return TableName(match.group(1).lower(), match.group(2), match.group(3))


def next_name(name: str) -> str:
    """The same name one second later: what a table gets when its name is taken."""
    parts = parse_name(name)
    if parts is None or parts.open:
        raise ValueError(f"not the name of a closed table: {name!r}")
    later = datetime.datetime.strptime(parts.stamp or "", _STAMP) + datetime.timedelta(seconds=1)
    return str(dataclasses.replace(parts, stamp=later.strftime(_STAMP)))


def valid_file(path: str) -> bool:
    """Whether `path` can be a file of a table. Nothing else is ever read from a partner or written for one."""
    column, slash, name = path.rpartition("/")
    if not slash:
        return bool(_TABLE_FILE.fullmatch(path))
    return bool(GUID.fullmatch(column) and _COLUMN_FILE.fullmatch(name))


# -- files and laws ----------------------------------------------------------------------------------------------------

def list_files(folder: pathlib.Path) -> list[TableFile]:
    """All files of a table, sorted. Raises DamagedTable for anything that does not belong in one."""
    files: list[TableFile] = []

    def add(place: pathlib.Path, prefix: str) -> None:
        with os.scandir(place) as entries:
            for entry in entries:
                path = prefix + entry.name
                if entry.is_symlink():
                    raise DamagedTable(f"{path} is a link")
                if entry.is_dir():
                    if prefix or not GUID.fullmatch(entry.name):
                        raise DamagedTable(f"unknown folder {path}")
                    add(place / entry.name, f"{entry.name}/")
                    continue
                if not valid_file(path):
                    raise DamagedTable(f"unknown file {path}")
                about = os.stat(place / entry.name)  # not entry.stat(): on Windows that may be out of date
                files.append(TableFile(path, about.st_size, about.st_mtime_ns))
                if len(files) > MAX_FILES or about.st_size > MAX_FILE_BYTES:
                    raise DamagedTable(f"more than {MAX_FILES} files, or {path} above {MAX_FILE_BYTES} bytes")

    add(folder, "")
    return sorted(files, key=lambda file: file.path)


def check_laws(files: t.Iterable[TableFile | tuple[str, int]], entry: Entry | None) -> None:
    """Raise DamagedTable when the sizes break a law. `entry` (the cache's view) is compared when it is known."""
    sizes = {file.path: file.size for file in files if isinstance(file, TableFile)}
    sizes |= {file[0]: file[1] for file in files if not isinstance(file, TableFile)}
    if not sizes.get("config.xml"):
        raise DamagedTable("config.xml is missing or empty")
    columns: dict[str, dict[str, int]] = {}
    for path, size in sizes.items():
        column, slash, name = path.rpartition("/")
        if slash:
            columns.setdefault(column.lower(), {})[name] = size
    for column, content in columns.items():
        _check_column(column, content)
    if MEDIA_COLUMN not in columns:
        raise DamagedTable("the media column is missing")
    if entry is not None:
        _check_entry(columns, entry)


def _check_column(column: str, content: dict[str, int]) -> None:
    blocks = sorted(int(match.group(1)) for match in map(_BLOCK.fullmatch, content) if match)
    sindexes = sorted(name for name in content if name.startswith("sindex"))
    if blocks != list(range(len(blocks))):
        raise DamagedTable(f"column {column}: the blocks are not numbered 0 to {len(blocks) - 1}")
    if bool(blocks) != bool(sindexes) or (sindexes and "sindex0.idx" not in sindexes):
        raise DamagedTable(f"column {column}: blocks without secondary index, or the other way round")
    for number in blocks:
        size = content[f"block{number}.blk"]
        if not 0 < size < BLOCK_LIMIT:
            raise DamagedTable(f"column {column}: block{number}.blk has {size} bytes")
    _demand(column, content, "cindex.idx", 12 + 24 * len(blocks))
    _demand(column, content, "pindex.idx", 12 + 20 * len(sindexes))
    for name in sindexes:
        if content[name] < 48 or (content[name] - 8) % 40:
            raise DamagedTable(f"column {column}: {name} has {content[name]} bytes, not 8 + 40 n")


def _demand(column: str, content: dict[str, int], name: str, size: int) -> None:
    if content.get(name) != size:
        raise DamagedTable(f"column {column}: {name} has {content.get(name, 'no')} bytes instead of {size}")


def _check_entry(columns: dict[str, dict[str, int]], entry: Entry) -> None:
    known = {column.name.lower(): column for column in entry.columns}
    if set(known) != set(columns):
        raise DamagedTable(f"the cache names the columns {sorted(known)}, the folder has {sorted(columns)}")
    for name, content in columns.items():
        size = sum(size for file, size in content.items() if file.endswith((".blk", ".idx")))
        if size != known[name].size:
            raise DamagedTable(f"column {name} has {size} bytes, the cache says {known[name].size}")
        if (known[name].begin is None) == ("block0.blk" in content):
            raise DamagedTable(f"column {name}: the cache has times and the folder no blocks, or the other way round")


# -- spans -------------------------------------------------------------------------------------------------------------

def recorded_spans(folder: pathlib.Path, entry: Entry | None) -> intervals.Spans:
    """When the closed table's device was recorded: from its sequence records, else begin and end of the cache."""
    spans = None if entry is not None and entry.encrypted else _sequences(_sequence_data(folder))
    return intervals.union(_cache_span(entry) if spans is None else spans, bridge=MERGE_MS)


def growing_spans(folder: pathlib.Path, entry: Entry | None) -> intervals.Spans:
    """The same for an open table, where the last record may be half written and the cache may lag behind."""
    data = _sequence_data(folder)
    spans = None if entry is not None and entry.encrypted else _sequences(data[:len(data) - len(data) % _SEQUENCE_RECORD.size])
    return intervals.union(_cache_span(entry) if spans is None else spans, bridge=MERGE_MS)


def _cache_span(entry: Entry | None) -> intervals.Spans:
    times = entry.times() if entry is not None else None
    return [(times[0], max(times[1], times[0] + 1))] if times else []


def _sequence_data(folder: pathlib.Path) -> bytes:
    """All blocks of the sequence column; nothing when they cannot be read or are too long to be what they should be."""
    data = bytearray()
    for number in range(MAX_FILES):
        try:
            with open(folder / SEQUENCE_COLUMN / f"block{number}.blk", "rb") as block:
                data += block.read(BLOCK_LIMIT)
        except FileNotFoundError:
            break
        except OSError:
            return b""
        if len(data) > _MAX_SEQUENCE_BYTES:
            return b""
    return bytes(data)


def _sequences(data: bytes) -> intervals.Spans | None:
    """The records of a sequence column, None when they are not what they should be."""
    if not data or len(data) % _SEQUENCE_RECORD.size:
        return None
    spans: intervals.Spans = []
    before = 0
    for begin, end, stamp, unused in _SEQUENCE_RECORD.iter_unpack(data):
        first, last = _unix_ms(begin), _unix_ms(end)
        if not before <= first <= last or abs(stamp - first) > 1:
            return None
        before = first
        spans.append((first, max(last, first + 1)))
    return spans


def _unix_ms(filetime: int) -> int:
    return filetime // 10_000 - _FILETIME_EPOCH_MS
