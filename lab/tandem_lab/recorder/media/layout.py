# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, sizes and records of the media database.

Seen in public code and in the vendor's sample exports: folder and file names, column ids, the 32-byte sequence record, and
the sizes ``cindex.idx`` 12 + 24 * blocks, ``pindex.idx`` 12 + 20 * sindex files, ``sindex0.idx`` 8 + 40 * n, blocks below
16 MiB. The content of the index files and the header in front of a frame are not publicly known (assumptions
`index_file_format_known`, `media_frame_layout_known`): here they are a format of the lab's own, marked LABC, LABP and LABS.
"""

from __future__ import annotations

import re
import struct
import typing as t

MEDIA = "7ea9b53b-749e-420b-891b-43b238f6144e"
SEQUENCES = "8b742df9-5ba1-49df-ace1-66e54f5dc295"
MOTION = "908d3e34-3510-4372-9e3f-20c53b92490a"
COLUMNS = (MEDIA, SEQUENCES, MOTION)  # sorted by name, as the caches list them

CINDEX, PINDEX, SINDEX = "cindex.idx", "pindex.idx", "sindex0.idx"
CINDEX_HEAD = b"LABC" + bytes((1, 0, 0, 0, 0, 0, 0, 0))
PINDEX_HEAD = b"LABP" + bytes((1, 0, 0, 0, 0, 0, 0, 0))
SINDEX_HEAD = b"LABS" + bytes((1, 0, 0, 0))

CHUNK = struct.Struct("<QQII")  # of one block file: begin, end, bytes, records
PRIMARY = struct.Struct("<QQI")  # of the sindex file: begin, end, records
GROUP = struct.Struct("<QQIIIIQ")  # of one group: begin, end, first block, offset in it, frames, reserved, bytes
SEQUENCE = struct.Struct("<QQQQ")  # FILETIME begin, FILETIME end, Unix ms begin, 0
FRAME = struct.Struct(">HIHHHQQI")  # GenericByteData video packet: type, total length, codec, number, flags, sync ms, ms, reserved

VIDEO_PACKET, CODEC_JPEG, KEY_PICTURE = 0x0010, 0x0001, 0x0001
MAX_BLOCK_BYTES = 16 * 1024 * 1024
MAX_FRAME_BYTES = 4 * 1024 * 1024
GROUP_MS = 1000

# Bytes of a sequence column that holds one sequence: both indexes, one sindex record, one 32-byte record.
ONE_SPAN_BYTES = 12 + CHUNK.size + 12 + PRIMARY.size + 8 + GROUP.size + SEQUENCE.size

_GUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
OPEN_NAME = re.compile(rf"^{_GUID}$")
CLOSED_NAME = re.compile(rf"^({_GUID})_(\w+)_(\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d)$")
BLOCK_NAME = re.compile(r"^block(\d+)\.blk$")


class TableDamaged(Exception):
    """A table on disk breaks a rule of the format."""


def block_name(number: int) -> str:
    return f"block{number}.blk"


def device_of(table_name: str) -> str:
    return table_name[:36]


def filetime(unix_ms: int) -> int:
    return unix_ms * 10_000 + 116_444_736_000_000_000


def unix_ms(file_time: int) -> int:
    return (file_time - 116_444_736_000_000_000) // 10_000


def pack_sequence(begin: int, end: int) -> bytes:
    return SEQUENCE.pack(filetime(begin), filetime(end), begin, 0)


def unpack_sequences(data: bytes) -> list[tuple[int, int]]:
    """The sequences of a whole block file; a torn last record is left out."""
    whole = len(data) - len(data) % SEQUENCE.size
    return [(unix_ms(begin), unix_ms(end)) for begin, end, _, _ in SEQUENCE.iter_unpack(data[:whole])]


def pack_frame_head(time_ms: int, number: int, size: int) -> bytes:
    """The GenericByteData header of a JPEG; documented for the wire (vendor protocol page), used on disk by the lab."""
    return FRAME.pack(VIDEO_PACKET, FRAME.size + size, CODEC_JPEG, number & 0xFFFF, KEY_PICTURE, time_ms, time_ms, 0)


def unpack_frame_head(head: bytes | memoryview) -> tuple[int, int] | None:
    """(time, size of the JPEG) of a valid header, else None."""
    if len(head) < FRAME.size:
        return None
    kind, total, codec, _, _, sync, time_ms, _ = FRAME.unpack(head[: FRAME.size])
    if kind != VIDEO_PACKET or codec != CODEC_JPEG or sync != time_ms or not FRAME.size < total <= MAX_FRAME_BYTES:
        return None
    return time_ms, total - FRAME.size


class Group(t.NamedTuple):
    """About one second of frames, or one sequence: what a record of sindex0.idx describes."""

    begin: int
    end: int
    block: int
    offset: int
    count: int
    length: int


class ChunkRecord(t.NamedTuple):
    """One block file: what a record of cindex.idx describes."""

    begin: int
    end: int
    length: int
    count: int


def cindex(blocks: t.Sequence[ChunkRecord]) -> bytes:
    return CINDEX_HEAD + b"".join(CHUNK.pack(*block) for block in blocks)


def pindex(groups: t.Sequence[Group]) -> bytes:
    if not groups:
        return PINDEX_HEAD
    return PINDEX_HEAD + PRIMARY.pack(groups[0].begin, max(group.end for group in groups), len(groups))


def sindex(groups: t.Sequence[Group]) -> bytes:
    return SINDEX_HEAD + b"".join(GROUP.pack(g.begin, g.end, g.block, g.offset, g.count, 0, g.length) for g in groups)


def parse_sindex(data: bytes) -> list[Group]:
    if not data.startswith(SINDEX_HEAD) or (len(data) - len(SINDEX_HEAD)) % GROUP.size:
        raise TableDamaged("sindex0.idx has no valid header or length")
    return [
        Group(begin, end, block, offset, count, length)
        for begin, end, block, offset, count, _, length in GROUP.iter_unpack(data[len(SINDEX_HEAD) :])
    ]
