# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables on disk: written, finished, checked, repaired."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from tandem_lab.recorder.media import caches, layout, repair
from tandem_lab.recorder.media.table import Table
from tandem_lab.recorder.media.writer import TableWriter

DEVICE = "b01d0219-36ee-4720-afb2-025cfa3bd231"
T0 = 1_800_000_000_000


def payload(number: int, size: int = 300) -> bytes:
    return b"\xff\xd8" + f"picture {number} ".encode().ljust(size, b".") + b"\xff\xd9"


def write(folder, times, *, max_block=layout.MAX_BLOCK_BYTES, sequence=True) -> TableWriter:
    writer = TableWriter(folder, "Entrance & <exit>", times[0], max_block)
    if sequence:
        writer.sequences.begin(times[0])
    for number, time in enumerate(times):
        writer.append(time, payload(number))
    return writer


def frames_of(path) -> list[tuple[int, bytes]]:
    entry = repair.inspect(path)
    media = entry.column(layout.MEDIA)
    table = Table(path, media.begin, media.end, entry)
    frames = [(frame.time, frame.read()) for frame in table.frames_between(0, 2 * T0)]
    table.forget_files()
    return frames


def test_the_published_sequence_record_is_reproduced():
    record = layout.pack_sequence(1738261833508, 1738261893408)
    assert hashlib.sha256(record).hexdigest() == "e716e8e1fdd7cd38bfd2f4da081a1f23388e882a174de102f43ba4144dd45734"
    assert layout.unpack_sequences(record * 2 + record[:31]) == [(1738261833508, 1738261893408)] * 2


def test_index_records_have_the_published_sizes():
    assert (len(layout.CINDEX_HEAD), layout.CHUNK.size) == (12, 24)
    assert (len(layout.PINDEX_HEAD), layout.PRIMARY.size) == (12, 20)
    assert (len(layout.SINDEX_HEAD), layout.GROUP.size) == (8, 40)
    assert layout.ONE_SPAN_BYTES == 148  # the size of such a column in the vendor's sample exports


def test_a_finished_table_keeps_the_size_laws(tmp_path):
    times = [T0 + 200 * n for n in range(25)]
    writer = write(tmp_path / DEVICE, times)
    entry = writer.finish(times[-1], DEVICE)
    assert entry == repair.inspect(tmp_path / DEVICE)
    media, sequences, motion = (entry.column(column) for column in layout.COLUMNS)
    assert (media.begin, media.end) == (sequences.begin, sequences.end) == (times[0], times[-1])
    assert (motion.begin, motion.size, sequences.size) == (None, 24, 148)
    assert (tmp_path / DEVICE / layout.MEDIA / layout.SINDEX).stat().st_size == 8 + 40 * 5  # one group a second
    assert sorted(path.name for path in (tmp_path / DEVICE / layout.MOTION).iterdir()) == ["cindex.idx", "pindex.idx"]
    assert frames_of(tmp_path / DEVICE) == [(time, payload(n)) for n, time in enumerate(times)]
    assert caches.read_description(tmp_path / DEVICE / caches.CONFIG) == "Entrance & <exit>"


def test_groups_go_on_over_blocks_and_frames_do_not(tmp_path):
    times = [T0 + 100 * n for n in range(60)]
    write(tmp_path / DEVICE, times, max_block=1500).finish(times[-1], DEVICE)
    blocks = list((tmp_path / DEVICE / layout.MEDIA).glob("block*.blk"))
    assert len(blocks) == 15 and all(block.stat().st_size < 1500 for block in blocks)
    assert (tmp_path / DEVICE / layout.MEDIA / layout.CINDEX).stat().st_size == 12 + 24 * 15
    assert frames_of(tmp_path / DEVICE) == [(time, payload(n)) for n, time in enumerate(times)]


def test_frames_are_on_disk_as_soon_as_they_are_appended(tmp_path):
    writer = write(tmp_path / DEVICE, [T0, T0 + 200])
    block = (tmp_path / DEVICE / layout.MEDIA / "block0.blk").read_bytes()
    assert block.count(b"picture") == 2
    assert len((tmp_path / DEVICE / layout.SEQUENCES / "block0.blk").read_bytes()) == 32
    writer.abandon()


def test_a_running_sequence_is_rewritten_in_place(tmp_path):
    writer = write(tmp_path / DEVICE, [T0, T0 + 200])
    writer.flush()
    writer.append(T0 + 400, payload(9))
    block = tmp_path / DEVICE / layout.SEQUENCES / "block0.blk"
    assert layout.unpack_sequences(block.read_bytes()) == [(T0, T0 + 200)]
    writer.flush()
    assert layout.unpack_sequences(block.read_bytes()) == [(T0, T0 + 400)]
    writer.sequences.end(T0 + 400)
    writer.sequences.begin(T0 + 2000)
    assert layout.unpack_sequences(block.read_bytes()) == [(T0, T0 + 400), (T0 + 2000, T0 + 2000)]
    writer.abandon()


@pytest.mark.parametrize("max_block", [layout.MAX_BLOCK_BYTES, 1500])
def test_a_torn_table_is_repaired_wherever_it_was_torn(tmp_path, max_block):
    """Cut the last block at many places: all whole frames before the cut stay, nothing else does."""
    times = [T0 + 100 * n for n in range(14)]
    write(tmp_path / DEVICE, times, max_block=max_block).abandon()
    whole = layout.FRAME.size + len(payload(0))
    last = sorted((tmp_path / DEVICE / layout.MEDIA).glob("block*.blk"), key=lambda path: int(path.stem[5:]))[-1]
    in_last = last.stat().st_size // whole
    before = len(times) - in_last
    for cut in [*range(0, 40), whole - 1, whole, whole + 1, whole + 33, in_last * whole - 1, in_last * whole]:
        if cut > last.stat().st_size:
            continue
        copy = tmp_path / "copy" / DEVICE
        shutil.copytree(tmp_path / DEVICE, copy)
        os.truncate(copy / layout.MEDIA / last.name, cut)
        kept = before + cut // whole
        entry = repair.repair(copy)
        if kept == 0:
            assert entry is None
        else:
            assert frames_of(copy) == [(time, payload(n)) for n, time in enumerate(times[:kept])]
            sequences = entry.column(layout.SEQUENCES)
            assert (sequences.begin, sequences.end) == (times[0], times[kept - 1])
        shutil.rmtree(tmp_path / "copy")


def test_repair_ends_at_garbage_and_survives_missing_parts(tmp_path):
    times = [T0 + 200 * n for n in range(10)]
    write(tmp_path / DEVICE, times).abandon()
    with (tmp_path / DEVICE / layout.MEDIA / "block0.blk").open("ab") as block:
        block.write(b"\0" * 1000)
    shutil.rmtree(tmp_path / DEVICE / layout.MOTION)
    (tmp_path / DEVICE / caches.CONFIG).unlink()
    (tmp_path / DEVICE / layout.SEQUENCES / "block0.blk").write_bytes(b"torn")
    entry = repair.repair(tmp_path / DEVICE)
    assert [time for time, _ in frames_of(tmp_path / DEVICE)] == times
    assert (entry.column(layout.SEQUENCES).begin, entry.column(layout.SEQUENCES).end) == (times[0], times[-1])


def test_repair_of_a_table_without_a_frame_says_so(tmp_path):
    TableWriter(tmp_path / DEVICE, "x", T0).abandon()
    assert repair.repair(tmp_path / DEVICE) is None


def test_repair_is_the_same_when_it_is_done_again(tmp_path):
    times = [T0 + 200 * n for n in range(10)]
    finished = write(tmp_path / DEVICE, times).finish(times[-1], DEVICE)
    assert repair.repair(tmp_path / DEVICE) == finished == repair.repair(tmp_path / DEVICE)


def _grow(path):
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("damage", [
    lambda table: os.truncate(table / layout.MEDIA / "block0.blk", 100),
    lambda table: (table / layout.MEDIA / "block0.blk").unlink(),
    lambda table: (table / layout.MEDIA / "block0.blk").rename(table / layout.MEDIA / "block1.blk"),
    lambda table: _grow(table / layout.MEDIA / layout.SINDEX),
    lambda table: _grow(table / layout.MEDIA / layout.CINDEX),
    lambda table: _grow(table / layout.SEQUENCES / layout.PINDEX),
    lambda table: (table / layout.MEDIA / layout.PINDEX).unlink(),
    lambda table: (table / layout.MEDIA / layout.SINDEX).unlink(),
    lambda table: (table / caches.CONFIG).write_bytes(b"<bank"),
    lambda table: shutil.rmtree(table / layout.MEDIA),
])
def test_a_damaged_closed_table_is_found_out(tmp_path, damage):
    times = [T0 + 200 * n for n in range(10)]
    write(tmp_path / DEVICE, times).finish(times[-1], DEVICE)
    damage(tmp_path / DEVICE)
    with pytest.raises(layout.TableDamaged):
        repair.inspect(tmp_path / DEVICE)


def test_a_full_disk_leaves_whole_frames_only(tmp_path, monkeypatch):
    writer = write(tmp_path / DEVICE, [T0, T0 + 200])
    real = os.writev

    def half(handle, parts):
        return real(handle, [b"".join(parts)[:50]])

    monkeypatch.setattr(os, "writev", half)
    with pytest.raises(OSError, match="only 50 of"):
        writer.append(T0 + 400, payload(2))
    monkeypatch.undo()
    writer.append(T0 + 600, payload(3))
    writer.finish(T0 + 600, DEVICE)
    assert frames_of(tmp_path / DEVICE) == [(T0, payload(0)), (T0 + 200, payload(1)), (T0 + 600, payload(3))]


def test_caches_read_what_they_write():
    columns = (caches.ColumnEntry(layout.MEDIA, 500, 1, 2), caches.ColumnEntry(layout.MOTION, 24))
    entry = caches.TableEntry(f"{DEVICE}_LOCAL_2026-01-01_00-00-00", 600, "A & B <c>", columns)
    assert caches.parse(caches.document([entry.xml(), entry.xml()])) == [entry, entry]


@pytest.mark.parametrize("bad", [b"", b"<bank", b"<other/>", b"<bank><table><size>x</size></table></bank>"])
def test_a_damaged_cache_is_found_out(bad):
    with pytest.raises(caches.CacheDamaged):
        caches.parse(bad)
