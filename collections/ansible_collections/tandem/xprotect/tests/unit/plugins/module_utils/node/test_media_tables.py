# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, size laws and sequence records of one table."""
from __future__ import annotations

import hashlib
import struct

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import tables
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    MEDIA, MOTION, SEQUENCES, device, table_files, write_files,
)

DOOR = device(1)
BEGIN = 1_738_261_833_508
NAME = f"{DOOR}_LOCAL_2026-03-01_10-59-59"


@pytest.mark.parametrize(("name", "tag", "stamp"), [
    (DOOR, None, None), (DOOR.upper(), None, None), (NAME, "LOCAL", "2026-03-01_10-59-59"),
    (f"{DOOR}_ARCHIVE_2024-02-29_00-00-00", "ARCHIVE", "2024-02-29_00-00-00")])
def test_names_are_taken_apart(name, tag, stamp):
    parts = tables.parse_name(name)
    assert (parts.device, parts.tag, parts.stamp, parts.open) == (DOOR, tag, stamp, tag is None)


@pytest.mark.parametrize("name", [
    "", "config.xml", DOOR[:-1], f"{DOOR}x", f"{DOOR}_", f"{DOOR}_LOCAL", f"{DOOR}_2026-03-01_10-00-00", f"{NAME}x", f"{NAME}\n",
    f"../{NAME}",
    f"{NAME}/..", f"{DOOR}_LO/CAL_2026-03-01_10-00-00", f"{DOOR}_LOCAL_2026-02-30_10-00-00", f"{DOOR}_LOCAL_2026-03-01_24-00-00"])
def test_what_is_no_table_is_not_one(name):
    assert tables.parse_name(name) is None


def test_next_name_is_one_second_later_across_every_border():
    assert tables.next_name(NAME) == f"{DOOR}_LOCAL_2026-03-01_11-00-00"
    assert tables.next_name(f"{DOOR}_LOCAL_2027-12-31_23-59-59") == f"{DOOR}_LOCAL_2028-01-01_00-00-00"
    with pytest.raises(ValueError, match="closed"):
        tables.next_name(DOOR)


@pytest.mark.parametrize("path", ["config.xml", "desktop.ini", f"{MEDIA}/block0.blk", f"{MEDIA}/block123.blk", f"{MEDIA}/sindex0.idx",
                                  f"{MEDIA}/cindex.idx",
                                  f"{MEDIA}/Public Key Certificate.xml"])
def test_files_of_a_table(path):
    assert tables.valid_file(path)


@pytest.mark.parametrize("path", ["", "cache.xml", "../config.xml", f"{MEDIA}/../config.xml", f"{MEDIA}/config.xml", f"{MEDIA}/block01.blk",
                                  f"{MEDIA}\\block0.blk",
                                  f"/{MEDIA}/block0.blk", f"x/{MEDIA}/block0.blk", f"{MEDIA}/block0.blk.part", f"{MEDIA}/block0.blk\n",
                                  "C:config.xml"])
def test_nothing_else_is_a_file_of_a_table(path):
    assert not tables.valid_file(path)


def entry(files: dict[str, bytes], spans) -> tables.Entry:
    columns = []
    for column in (MEDIA, SEQUENCES, MOTION):
        size = sum(len(data) for path, data in files.items() if path.startswith(column) and not path.endswith(".xml"))
        filled = f"{column}/block0.blk" in files
        columns.append(tables.Column(column, size, spans[0][0] if filled else None, spans[-1][1] if filled else None))
    return tables.Entry(NAME, columns=tuple(columns))


SPANS = [(BEGIN, BEGIN + 20_000), (BEGIN + 30_000, BEGIN + 60_000)]


def sizes(files):
    return [(path, len(data)) for path, data in files.items()]


def test_sound_tables_pass():
    for spans in ([], SPANS, SPANS[:1]):
        for blocks in (1, 3):
            files = table_files(spans, blocks=blocks)
            tables.check_laws(sizes(files), entry(files, spans))
            tables.check_laws(sizes(files), None)
    files[f"{MEDIA}/Public Key Certificate.xml"] = b"x"
    tables.check_laws(sizes(files), entry(files, spans))


@pytest.mark.parametrize(("path", "data", "text"), [
    ("config.xml", None, "config.xml"), ("config.xml", b"", "config.xml"),
    (f"{MEDIA}/cindex.idx", None, "cindex.idx has no bytes"), (f"{MEDIA}/cindex.idx", bytes(36), "instead of 60"),
    (f"{MEDIA}/pindex.idx", bytes(12), "instead of 32"), (f"{MOTION}/pindex.idx", bytes(32), "instead of 12"),
    (f"{MEDIA}/sindex0.idx", None, "secondary"), (f"{MEDIA}/sindex0.idx", bytes(47), "8 [+] 40 n"),
    (f"{MEDIA}/sindex0.idx", bytes(8), "8 [+] 40 n"),
    (f"{MEDIA}/block0.blk", None, "not numbered"), (f"{MEDIA}/block1.blk", b"", "0 bytes"), (f"{MEDIA}/block7.blk", b"x", "not numbered"),
    (f"{MEDIA}/block1.blk", None, "instead of"), (f"{MEDIA}/block1.blk", b"short", "the cache says"),
    (f"{MEDIA}/block1.blk", bytes(1 << 24), "16777216"), (f"{MOTION}/sindex0.idx", bytes(48), "secondary"),
    ("2df16e48-06be-11e1-a0ff-e1314924019b/cindex.idx", bytes(12), "instead of 12|the cache names")])
def test_every_broken_law_is_named(path, data, text):
    files = table_files(SPANS, blocks=2)
    known = entry(files, SPANS)
    if data is None:
        del files[path]
    else:
        files[path] = data
    with pytest.raises(tables.DamagedTable, match=text):
        tables.check_laws(sizes(files), known)


def test_times_without_blocks_are_a_broken_law():
    files = table_files([])
    known = entry(files, [])
    wrong = tables.Entry(NAME, columns=tuple(tables.Column(column.name, column.size, 1, 2) for column in known.columns))
    with pytest.raises(tables.DamagedTable, match="times"):
        tables.check_laws(sizes(files), wrong)


@pytest.mark.parametrize("strange", ["notes.txt", f"{MEDIA}/thumbs.db", f"{MEDIA}/x/block0.blk", "folder/cindex.idx"])
def test_listing_refuses_what_does_not_belong(tmp_path, strange):
    write_files(tmp_path, table_files(SPANS))
    assert [file.path for file in tables.list_files(tmp_path)] == sorted(table_files(SPANS))
    write_files(tmp_path, {strange: b"x"})
    with pytest.raises(tables.DamagedTable, match="unknown"):
        tables.list_files(tmp_path)


def test_listing_refuses_links(tmp_path):
    write_files(tmp_path / "t", table_files(SPANS))
    (tmp_path / "t" / MEDIA / "block1.blk").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(tables.DamagedTable, match="link"):
        tables.list_files(tmp_path / "t")


# -- sequence records --------------------------------------------------------------------------------------------------

def test_generator_writes_the_vendors_sequence_record():
    """The record of a vendor's sample export, known by its SHA-256."""
    record = table_files([(BEGIN, BEGIN + 59_900)])[f"{SEQUENCES}/block0.blk"]
    assert record == struct.pack("<QQQQ", 133_827_354_335_080_000, 133_827_354_934_080_000, 1_738_261_833_508, 0)
    assert hashlib.sha256(record).hexdigest() == "e716e8e1fdd7cd38bfd2f4da081a1f23388e882a174de102f43ba4144dd45734"


def test_spans_come_from_the_records(tmp_path):
    files = table_files(SPANS)
    write_files(tmp_path, files)
    assert tables.recorded_spans(tmp_path, entry(files, SPANS)) == SPANS


def test_close_spans_are_one(tmp_path):
    spans = [(BEGIN, BEGIN + 1000), (BEGIN + 2500, BEGIN + 3000), (BEGIN + 4501, BEGIN + 4501)]
    write_files(tmp_path, table_files(spans))
    assert tables.recorded_spans(tmp_path, None) == [(BEGIN, BEGIN + 3000), (BEGIN + 4501, BEGIN + 4502)]


@pytest.mark.parametrize("records", [
    b"", bytes(31), bytes(32), struct.pack("<QQQQ", 133_827_354_934_080_000, 133_827_354_335_080_000, BEGIN, 0),
    struct.pack("<QQQQ", 133_827_354_335_080_000, 133_827_354_934_080_000, BEGIN + 5000, 0),
    struct.pack("<QQQQ", 133_827_354_335_080_000, 133_827_354_934_080_000, BEGIN, 0)
    + struct.pack("<QQQQ", 133_827_354_335_070_000, 133_827_354_934_080_000, BEGIN - 1, 0)])
def test_strange_records_fall_back_to_the_cache(tmp_path, records):
    files = table_files(SPANS)
    write_files(tmp_path, {**files, f"{SEQUENCES}/block0.blk": records})
    assert tables.recorded_spans(tmp_path, entry(files, SPANS)) == [(SPANS[0][0], SPANS[-1][1])]
    assert tables.recorded_spans(tmp_path, None) == []


def test_encrypted_records_are_not_read(tmp_path):
    files = table_files(SPANS)
    write_files(tmp_path, files)
    known = tables.Entry(NAME, encrypted=True, columns=entry(files, SPANS).columns)
    assert tables.recorded_spans(tmp_path, known) == [(SPANS[0][0], SPANS[-1][1])]


def test_growing_records_may_end_in_the_middle(tmp_path):
    files = table_files(SPANS)
    write_files(tmp_path, {**files, f"{SEQUENCES}/block0.blk": files[f"{SEQUENCES}/block0.blk"][:-7]})
    assert tables.growing_spans(tmp_path, None) == SPANS[:1]
