# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Staging: what arrives is what was sent, whatever happens on the way."""
from __future__ import annotations

import builtins
import errno
import json
import shutil

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import transfer
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    BANK, MEDIA, SEQUENCES, available, device, make_pair, now_ms, quiet, refused, tree,
)

S = 1000
DOOR, GATE = device(1), device(2)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    pair = make_pair(tmp_path, monkeypatch)
    base = now_ms() - 3600 * S
    held = [(base, base + 50 * S), (base + 55 * S, base + 60 * S)]
    pair.names = [pair.b.recorder.close_table(guid, held, blocks=3) for guid in (DOOR, GATE)]
    available(pair.a, [])
    return pair


def plan(pair, **request):
    return json.loads(json.dumps(media.media_plan(pair.a.host, request, quiet)))


def stage(pair, wanted=None, progress=quiet, **request):
    request = json.loads(json.dumps({"plan": wanted or plan(pair), **request}))
    return json.loads(json.dumps(media.media_stage(pair.a.host, request, progress)))


def staged(pair, name):
    return pair.a.host.path(f"D:\\TandemStaging\\{BANK}\\{name}")


def reads(pair):
    asked = [(message["table"], message["file"]) for message in pair.asked if message["op"] == "media.read"]
    pair.asked.clear()
    return asked


def is_complete(pair, name):
    state = staged(pair, f"{name}.stage.json")
    return state.exists() and json.loads(state.read_text())["complete"]


def test_tables_arrive_whole_with_their_times(pair):
    events = []
    found = plan(pair)
    result = stage(pair, found, progress=lambda step, **fields: events.append((step, fields)))
    assert (result["tables"], result["bytes"], result["failed"]) == (2, found["bytes"], [])
    for name in pair.names:
        source = pair.b.recorder.bank / name
        assert tree(staged(pair, name)) == tree(source)
        for file in source.rglob("*.blk"):
            assert (staged(pair, name) / file.relative_to(source)).stat().st_mtime_ns == file.stat().st_mtime_ns
        assert is_complete(pair, name)
    assert events[-1] == ("stage", {"done_bytes": found["bytes"], "total_bytes": found["bytes"], "table": found["tables"][-1]["name"]})
    assert all(place.is_file() for place in pair.a.recorder.bank.iterdir()), "the bank is untouched"


def test_a_second_run_copies_nothing(pair):
    found = plan(pair)
    stage(pair, found)
    reads(pair)
    result = stage(pair, found)
    assert (result["tables"], result["bytes"], result["failed"]) == (2, 0, [])
    assert reads(pair) == []


def breaking_off(pair, seen):
    """A wire that notes what is read and breaks in the second file."""
    def interrupt(message, data):
        seen.append((message["table"], message["file"]))
        pair.cut = len(seen) == 2 and bool(data)
        return data

    return interrupt


def test_resumes_at_every_file(pair):
    """The wire breaks in the middle of each file in turn; what had arrived is not asked for again."""
    found = plan(pair)
    files = sum(len(tree(pair.b.recorder.bank / name)) for name in pair.names)
    arrived: set[tuple[str, str]] = set()
    for broken in range(files):
        seen: list[tuple[str, str]] = []
        pair.cut, pair.on_read = False, breaking_off(pair, seen)
        try:
            stage(pair, found)
            break
        except Exception as error:  # noqa: BLE001
            assert getattr(error, "code", "") == "partner_unreachable", error
        assert not arrived & set(seen), "a file that had arrived was fetched again"
        arrived.add(seen[0])
    pair.cut, pair.on_read = False, lambda message, data: data
    assert broken > 10
    for name in pair.names:
        assert is_complete(pair, name)
        assert tree(staged(pair, name)) == tree(pair.b.recorder.bank / name)


def test_bytes_that_changed_on_the_way_are_never_kept(pair):
    found = plan(pair)

    def flip(message, data):
        hit = message["file"].endswith("block1.blk") and DOOR in message["table"]
        return data[:-1] + bytes([data[-1] ^ 1]) if hit else data

    pair.on_read = flip
    result = stage(pair, found)
    assert [(table["name"], table["code"]) for table in result["failed"]] == [(pair.names[0], "damaged")]
    assert (result["tables"], is_complete(pair, pair.names[0]), is_complete(pair, pair.names[1])) == (1, False, True)
    assert not (staged(pair, pair.names[0]) / MEDIA / "block1.blk").exists()
    pair.on_read = lambda message, data: data
    reads(pair)
    assert stage(pair, found)["failed"] == []
    assert (pair.names[0], f"{MEDIA}/block0.blk") not in reads(pair)
    assert tree(staged(pair, pair.names[0])) == tree(pair.b.recorder.bank / pair.names[0])


def test_tables_damaged_after_the_plan_are_named_and_the_others_come(pair):
    found = plan(pair)
    (pair.b.recorder.bank / pair.names[0] / MEDIA / "block2.blk").write_bytes(b"torn")
    result = stage(pair, found)
    assert [(table["name"], table["code"]) for table in result["failed"]] == [(pair.names[0], "damaged")]
    assert is_complete(pair, pair.names[1])
    shutil.rmtree(pair.b.recorder.bank / pair.names[0])
    assert stage(pair, found)["failed"][0]["code"] == "missing"


def test_a_table_that_changes_while_it_is_copied_is_not_taken(pair):
    found = plan(pair)

    def change(message, data):
        if message["table"] == pair.names[0] and message["file"].endswith("config.xml"):
            (pair.b.recorder.bank / pair.names[0] / MEDIA / "block1.blk").write_bytes(bytes(4000))
        return data

    pair.on_read = change
    assert [table["code"] for table in stage(pair, found)["failed"]] == ["changed"]
    assert not is_complete(pair, pair.names[0])
    pair.on_read = lambda message, data: data
    assert stage(pair, found)["failed"] == []
    assert tree(staged(pair, pair.names[0])) == tree(pair.b.recorder.bank / pair.names[0])


def test_a_half_staged_table_of_another_content_is_made_anew(pair):
    found = plan(pair)
    stage(pair, found)
    name = pair.names[0]
    state = staged(pair, f"{name}.stage.json")
    document = json.loads(state.read_text())
    document["complete"], document["files"]["config.xml"]["mtime_ns"] = False, 5
    state.write_text(json.dumps(document))
    (staged(pair, name) / "config.xml").write_text("old")
    assert stage(pair, found)["failed"] == []
    assert tree(staged(pair, name)) == tree(pair.b.recorder.bank / name)


def test_free_space_is_kept(pair):
    found = plan(pair)
    pair.a.host.free["D:"] = transfer.DEFAULT_RESERVE + found["bytes"] - 1
    with refused("disk_full", "D:"):
        stage(pair, found)
    assert not staged(pair, "").exists()
    pair.a.host.free["D:"] += 1
    assert stage(pair, found)["tables"] == 2
    pair.a.host.free["D:"] = 0
    assert stage(pair, found)["tables"] == 2, "nothing is to be copied any more"


def test_reserve_can_be_given(pair):
    found = plan(pair)
    pair.a.host.free["D:"] = found["bytes"] + 10
    with refused("disk_full"):
        stage(pair, found, reserve_bytes=11)
    assert stage(pair, found, reserve_bytes=10)["tables"] == 2


def test_full_disk_while_copying(pair, monkeypatch):
    found = plan(pair)
    open_ = builtins.open

    def full(path, mode="r", *args, **kwargs):
        if str(path).endswith("block1.blk.part"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return open_(path, mode, *args, **kwargs)

    monkeypatch.setattr(builtins, "open", full)
    with refused("disk_full", "D:"):
        stage(pair, found)
    monkeypatch.undo()
    monkeypatch.setattr(transfer, "TandemClient", pair.client)
    reads(pair)
    assert stage(pair, found)["tables"] == 2
    assert (found["tables"][0]["name"], f"{MEDIA}/block0.blk") not in reads(pair)


def test_rate_is_limited(pair):
    found = plan(pair)
    assert stage(pair, found, bytes_per_second=found["bytes"] * 2)["seconds"] >= 0.4


def test_missing_bank_is_named(pair):
    found = plan(pair)
    (pair.a.recorder.bank / "config.xml").unlink()
    with refused("bank_missing", BANK):
        stage(pair, found)


@pytest.mark.parametrize("table", [{}, 5, {"bank": BANK, "name": DOOR, "bytes": 1},
                                   {"bank": "..", "name": f"{DOOR}_LOCAL_2026-01-01_00-00-00", "bytes": 1},
                                   {"bank": BANK, "name": f"..\\{DOOR}_LOCAL_2026-01-01_00-00-00", "bytes": 1},
                                   {"bank": BANK, "name": f"{DOOR}_LOCAL_2026-01-01_00-00-00", "bytes": -1}])
def test_plans_are_checked(pair, table):
    with refused("bad_request", "no closed table"):
        media.media_stage(pair.a.host, {"plan": {"tables": [table]}}, quiet)


@pytest.mark.parametrize("change", [
    lambda files: [["../config.xml", 1, 1], *files], lambda files: [[f"{MEDIA}/../../x", 1, 1], *files], lambda files: [*files, files[0]],
    lambda files: [[files[0][0].upper(), *files[0][1:]], *files], lambda files: [[path, -1, mtime] for path, size, mtime in files],
    lambda files: [file for file in files if "cindex" not in file[0]], lambda files: [["config.xml", "1", 1]], lambda files: None])
def test_manifests_of_a_partner_are_checked(pair, monkeypatch, change):
    found = plan(pair)

    def client(*args, **kwargs):
        real = pair.client(*args, **kwargs)
        call = real.call
        real.call = lambda op, timeout=5, **fields: (answer := call(op, timeout, **fields)) and {**answer, "files": change(answer["files"])}
        return real

    monkeypatch.setattr(transfer, "TandemClient", client)
    assert {table["code"] for table in stage(pair, found)["failed"]} == {"damaged"}
    assert not pair.a.host.path("D:\\TandemStaging").exists()


def test_sequences_survive(pair):
    stage(pair)
    assert (staged(pair, pair.names[0]) / SEQUENCES / "block0.blk").stat().st_size == 64
