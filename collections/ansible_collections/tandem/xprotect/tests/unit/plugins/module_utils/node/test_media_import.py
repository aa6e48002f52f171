# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import: the straight way, refusals, names, the way back, and verification."""
from __future__ import annotations

import json
import shutil

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import gates
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import coverage, import_journal, tables
from ansible_collections.tandem.xprotect.plugins.module_utils.node.store import exclusive
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_import import (
    DOOR, HALL, YARD, check_new_state, check_nothing_lost, importer, make, restarts, stage, staged)
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    BANK, MEDIA, now_ms, quiet, refused, tree,
)

S = 1000


@pytest.fixture
def pair(tmp_path, monkeypatch):
    return make(tmp_path, monkeypatch)


# -- the straight way --------------------------------------------------------------------------------------------------

def test_import(pair):
    stage(pair)
    began = now_ms()
    result = json.loads(json.dumps(media.media_import(pair.a.host, {"strategy": "restart"}, quiet)))
    assert result["changed"] is True
    assert {(table["name"], table["imported_as"]) for table in result["imported"]} == {
        (pair.names[0], pair.names[0]), (pair.names[1], tables.next_name(pair.names[1]))}
    assert [table["name"] for table in result["present"]] == [pair.names[2]]
    assert began <= result["restart_span"][0] < result["restart_span"][1] <= now_ms()
    assert restarts(pair) == [(*result["restart_span"], "import")]
    assert pair.a.host.calls == ["stop", "start"]
    assert "archives_cache.xml" in {file.name for file in pair.a.recorder.bank.iterdir()}
    check_new_state(pair)


def test_what_is_renamed_into_the_bank_gets_the_banks_rights(pair):
    """A rename keeps the rights of the staging folder, which the recorder's account may lack."""
    stage(pair)
    states, inherit = [], pair.a.host.inherit_permissions

    def recorded(path):
        states.append((pair.a.recorder.state, path.exists()))
        inherit(path)

    pair.a.host.inherit_permissions = recorded
    importer(pair).run()
    assert pair.a.host.inherited == [pair.a.recorder.bank / pair.names[0], pair.a.recorder.bank / tables.next_name(pair.names[1])]
    assert states == [("stopped", True)] * 2, "before the recorder starts and reads them"


def test_rights_that_cannot_be_set_take_the_import_back(pair, monkeypatch):
    stage(pair)

    def refuse(path):
        raise HostError("access denied", 5)

    monkeypatch.setattr(pair.a.host, "inherit_permissions", refuse)
    with refused("import_failed", "access denied"):
        importer(pair).run()
    assert pair.a.recorder.state == "running" and len(staged(pair)) == 3


def test_the_journal_keeps_both_names(pair):
    stage(pair)
    importer(pair).run()
    document = json.loads(pair.a.host.path(import_journal.FILE).read_text())
    assert {(table["name"], table["target"]) for table in document["tables"]} >= {(pair.names[1], tables.next_name(pair.names[1]))}
    assert document["state"] == "done"


def test_media_that_the_bank_has_and_lists_needs_no_restart(pair):
    stage(pair)
    importer(pair).run()
    pair.a.host.calls.clear()
    media.media_stage(pair.a.host, {"plan": pair.plan}, quiet)
    result = importer(pair).run()
    assert (result["changed"], result["imported"], len(result["present"]), pair.a.host.calls) == (False, [], 3, [])
    check_new_state(pair)


def test_nothing_staged_changes_nothing(pair):
    pair.a.state = "attached"
    assert importer(pair).run() == {"changed": False, "rejected": [], "imported": [], "present": [], "restart_span": None}
    assert pair.a.host.calls == []


def test_a_name_that_is_taken_by_the_stop_itself(pair, monkeypatch):
    """The recorder closes its own table when it stops, under the very name that an incoming table has."""
    stage(pair)
    stop = pair.a.recorder.stop

    def stop_and_take():
        stop()
        if not (pair.a.recorder.bank / pair.names[0]).exists():
            pair.a.recorder.close_table(DOOR, [(pair.base + 9 * S, pair.base + 10 * S)], name=pair.names[0], seed="at stop")

    monkeypatch.setattr(pair.a.recorder, "stop", stop_and_take)
    result = importer(pair).run()
    assert (pair.names[0], tables.next_name(pair.names[0])) in {(table["name"], table["imported_as"]) for table in result["imported"]}
    assert tree(pair.a.recorder.bank / tables.next_name(pair.names[0])) == pair.sent[pair.names[0]]
    assert tree(pair.a.recorder.bank / pair.names[0]) != pair.sent[pair.names[0]]


# -- refusals ----------------------------------------------------------------------------------------------------------

def untouched(pair):
    assert pair.a.host.calls == [] and pair.a.recorder.state == "running" and len(staged(pair)) == 3
    assert not (pair.a.recorder.bank / pair.names[0]).exists()


def test_refused_on_the_attached_node(pair):
    stage(pair)
    pair.a.state = "attached"
    with refused("attached", "pair1"):
        importer(pair).run()
    pair.a.state, pair.a.host.permit = "headless", True
    with refused("attached"):
        importer(pair).run()
    pair.a.host.permit, pair.a.up = False, False
    with refused("guard_down"):
        importer(pair).run()
    untouched(pair)


def test_refused_while_the_partner_does_not_record(pair):
    stage(pair)
    pair.b.recorder.state = "stopped"
    with refused("partner_not_recording", "stopped"):
        importer(pair).run()
    pair.b.recorder.state = "running"
    pair.b.recorder.open_table(HALL, [(1, 2)], fresh=False)
    with refused("partner_not_recording", HALL):
        importer(pair).run()
    pair.cut = True
    with refused("partner_unreachable"):
        importer(pair).run()
    pair.cut = False
    untouched(pair)
    assert importer(pair, accept=[HALL]).run()["changed"] is True


def test_promotion_while_it_waits_for_the_partner(pair, monkeypatch):
    stage(pair)
    client = pair.client

    def promoted(host, settings, peer="partner", **kwargs):
        if peer == "partner":
            pair.a.state = "attached"
        return client(host, settings, peer)

    monkeypatch.setattr(gates, "TandemClient", promoted)
    with refused("attached"):
        importer(pair).run()
    untouched(pair)


def test_refused_before_the_recorder_has_started_once(pair):
    stage(pair)
    pair.a.recorder.state = "stopped"
    with refused("recorder_not_running"):
        importer(pair).run()


def test_one_import_at_a_time(pair):
    stage(pair)
    pair.a.host.path(import_journal.FOLDER).mkdir(parents=True, exist_ok=True)
    with exclusive(pair.a.host, import_journal.LOCK_FILE, 1), refused("busy"):
        importer(pair).run()


def test_unknown_strategy(pair):
    with refused("unsupported", "remount"):
        media.media_import(pair.a.host, {"strategy": "remount"}, quiet)


def test_staged_media_that_changed_is_not_imported_but_fetched_anew(pair):
    stage(pair)
    folder = pair.a.host.path(f"D:\\TandemStaging\\{BANK}")
    (folder / pair.names[0] / MEDIA / "block0.blk").write_bytes(bytes(4000))
    result = importer(pair).run()
    assert [(table["name"], "SHA-256" in table["reason"]) for table in result["rejected"]] == [(pair.names[0], True)]
    assert not (pair.a.recorder.bank / pair.names[0]).exists()
    assert media.media_stage(pair.a.host, {"plan": pair.plan}, quiet)["failed"] == []
    assert importer(pair).run()["changed"] is True
    check_new_state(pair)


def test_a_table_with_a_foreign_file_is_not_imported(pair):
    stage(pair)
    for name in pair.names:
        (pair.a.host.path(f"D:\\TandemStaging\\{BANK}") / name / "virus.exe").write_bytes(b"x")
    with refused("damaged", "virus.exe"):
        importer(pair).run()


# -- the way back ------------------------------------------------------------------------------------------------------

def check_old_state(pair, code):
    with refused("import_failed" if code is None else code):
        importer(pair).run()
    recorder = pair.a.recorder
    assert recorder.state == "running" and len(staged(pair)) == 3
    assert not (recorder.bank / pair.names[0]).exists() and not (recorder.bank / tables.next_name(pair.names[1])).exists()
    assert pair.own in recorder.listed()
    assert len(restarts(pair)) == 1
    assert import_journal.unfinished(pair.a.host) is None
    check_nothing_lost(pair)
    assert not [guid for guid, held in coverage.read(pair.a.host).devices.items() if guid in (DOOR,
                                                                                              HALL) and not held.spans + held.open_spans], \
        "what the recorder closed when it stopped is still listed"


def test_taken_back_when_the_recorder_does_not_list_a_table(pair):
    stage(pair)
    pair.a.recorder.accepts = lambda name: name != pair.names[0]
    check_old_state(pair, None)
    pair.a.recorder.accepts = lambda name: True
    assert importer(pair).run()["changed"] is True
    check_new_state(pair)


def test_taken_back_when_the_cache_is_not_rebuilt(pair):
    """The old cache comes back when it is still true."""
    stage(pair)
    pair.a.recorder.rebuilds, pair.a.recorder.recording = False, []
    for guid in (DOOR, HALL):
        pair.a.recorder.open_table(guid, [(pair.base, pair.base + 9 * S)], fresh=False)
    shutil.rmtree(pair.a.recorder.bank / pair.names[2])  # otherwise the bank has a table that the old cache never listed
    pair.before.pop(pair.names[2])
    check_old_state(pair, None)


def test_taken_back_when_the_recorder_does_not_start(pair, monkeypatch):
    stage(pair)
    start, failures = pair.a.host.service_start, []

    def failing(name, timeout=90.0):
        if not failures:
            failures.append(1)
            raise HostError("error 1053")
        start(name, timeout)

    monkeypatch.setattr(pair.a.host, "service_start", failing)
    check_old_state(pair, None)


def test_a_way_back_that_is_blocked_is_taken_by_the_next_run(pair):
    stage(pair)
    pair.a.host.fail["start"] = "error 1053"
    with refused("import_stuck", "error 1053"):
        importer(pair).run()
    assert import_journal.unfinished(pair.a.host).state == "undoing"
    pair.a.host.fail.clear()
    check_old_state(pair, None)
    assert importer(pair).run()["changed"] is True
    check_new_state(pair)


def test_a_stop_that_fails_leaves_everything(pair):
    stage(pair)
    pair.a.host.fail["stop"] = "error 1061"
    check_old_state(pair, None)
    assert pair.a.host.calls == ["stop", "start"]


def test_a_journal_that_cannot_be_written_does_not_keep_the_recorder_stopped(pair):
    stage(pair)

    def full(name):
        if name == "before journal placing":
            raise NodeError("file_unwritable", "no space left")

    with refused("import_failed", "no space left"):
        importer(pair, hook=full).run()
    assert pair.a.recorder.state == "running"
    check_nothing_lost(pair)
    importer(pair).run()
    check_new_state(pair)


def test_a_motion_recording_that_ends_here_is_not_waited_for_at_the_partner(pair, monkeypatch):
    """The set of devices that matter is that of the moment, on both sides."""
    stage(pair)
    own = iter([{HALL: 1, YARD: 1}, {HALL: 1, YARD: 1}])
    monkeypatch.setattr(coverage, "FRESH_MS", 10**15)
    real = coverage.writing
    monkeypatch.setattr(coverage, "writing", lambda host, now: next(own, {HALL: now + 1}) if host is pair.a.host else real(host, now))
    assert importer(pair, partner_timeout=5.0).run()["changed"] is True


# -- verify ------------------------------------------------------------------------------------------------------------

def verify(pair, **request):
    result = media.media_verify(pair.a.host, {"plan": pair.plan, **request}, quiet)
    return result["ok"], {table["name"]: table["reason"] for table in result["missing"]}


def test_verify_names_what_is_not_there(pair):
    stage(pair)
    ok, missing = verify(pair)
    assert not ok and set(missing) == set(pair.names) and "not imported" in missing[pair.names[0]]
    importer(pair).run()
    assert verify(pair) == (True, {})


def test_verify_finds_every_kind_of_change(pair):
    stage(pair)
    importer(pair).run()
    folder = pair.a.recorder.bank / pair.names[0]
    block = folder / MEDIA / "block0.blk"
    good = block.read_bytes()
    block.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert "SHA-256" in verify(pair)[1][pair.names[0]]
    assert verify(pair, hashes=False) == (True, {})
    block.write_bytes(good[:-1])
    assert "damaged" in verify(pair, hashes=False)[1][pair.names[0]]
    block.write_bytes(good)
    cache = pair.a.recorder.bank / "archives_cache.xml"
    text = cache.read_text()
    cache.write_text(text.replace(f"<begin_time>{pair.base}<", f"<begin_time>{pair.base - 1}<"))
    assert "other times" in verify(pair)[1][pair.names[0]]
    cache.write_text(text.replace(pair.names[0], pair.names[0].replace("LOCAL", "ARCHIVE")))
    assert "does not list" in verify(pair)[1][pair.names[0]]
    cache.write_text(text)
    shutil.rmtree(folder)
    assert set(verify(pair)[1]) == {pair.names[0]}


def test_verify_accepts_media_that_came_another_way(pair):
    """What is covered is there, whoever brought it."""
    stage(pair)
    pair.a.recorder.close_table(DOOR, [(pair.base, pair.base + 60 * S)], name=f"{DOOR}_LOCAL_2020-01-01_00-00-00")
    assert set(verify(pair)[1]) == set(pair.names[1:])
