# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import plan as node_plan
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import transfer
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import media_backfill
from ansible_collections.tandem.xprotect.tests.unit.builders import Site

A, B = "north-a", "north-b"
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
BANK, DEVICE = "444B824B-0000-4000-8000-000000000001", "0a0b0c0d-0000-4000-8000-000000000003"


def table(number=1, size=5_000_000):
    return {"bank": BANK, "name": f"{DEVICE}_LOCAL_2026-01-01_10-00-0{number}", "device": DEVICE, "begin": 1_700_000_000_000,
            "end": 1_700_000_010_000, "bytes": size, "reason": "gap", "spans": [[1_700_000_000_000, 1_700_000_010_000]]}


def plan(*tables, **changes):
    return {"tables": list(tables), "bytes": sum(entry["bytes"] for entry in tables), "not_closed": [], "left_restarts": [], "skipped": [],
            "damaged": [], "complete_until": 1_700_000_020_000, "held": False, "unfinished_import": None, **changes}


EMPTY = plan()
IMPORTED = {"changed": True, "imported": [{"bank": BANK, "name": table()["name"], "imported_as": table()["name"]}], "present": [],
            "rejected": [],
            "restart_span": [1, 2]}


def lacking(*tables, **changes):
    return Site(ATTACHED, HEADLESS, **{
        "media__plan": {A: EMPTY, B: plan(*(tables or (table(),)))}, "media__stage": {"tables": 1, "bytes": 5_000_000, "seconds": 1.0,
                                                                                      "failed": []},
        "media__import": IMPORTED, "media__verify": {"ok": True, "missing": []}, **changes})


def run(site, **options):
    context = site.context(media_backfill, **options)
    return media_backfill.run(context), context


def test_plan_stage_import_verify():
    site = lacking()
    result, context = run(site)
    assert result["changed"] and (result["node"], result["partner"]) == (B, A) and result["verified"] is True
    assert site.verbs() == [f"{B} media.plan", f"{B} media.stage", f"{B} media.import", f"{B} media.verify", f"{A} media.plan"]
    assert result["imported"] == IMPORTED["imported"] and result["restart_span"] == [1, 2] and result["bytes"] == 5_000_000
    assert "spans" not in result["tables"][0] and result["tables"][0]["reason"] == "gap"
    assert result["msg"] == ("1 of 1 tables (5.0 MB) were brought to node north-b; complete up to 2023-11-14 22:13:40 UTC")
    assert len(site.requests("lock.acquire")) == 2 == len(site.requests("lock.release"))
    assert (B, {"step": "plan", "tables": 1, "total": "5.0 MB"}) in site.events


def test_what_a_node_is_asked_is_what_it_understands():
    site = lacking()
    run(site, variance="all", tolerance_ms=500, restart_span_max_ms=7000, bytes_per_second=9, reserve_bytes=11)
    options = node_plan.Options.parse(site.requests("media.plan")[0])
    assert (options.variance, options.tolerance_ms, options.restart_span_max_ms, options.include_restarts) == ("all", 500, 7000, False)
    stage = site.requests("media.stage")[0]
    assert [wanted.name for wanted in transfer.parse_plan(stage["plan"])] == [table()["name"]]
    assert (stage["bytes_per_second"], stage["reserve_bytes"]) == (9, 11)
    verify = site.requests("media.verify")[0]
    assert transfer.parse_plan(verify["plan"]) and "spans" in verify["plan"]["tables"][0]


def test_a_second_run_changes_nothing():
    site = Site(ATTACHED, HEADLESS, media__plan=EMPTY)
    result, unused = run(site)
    assert not result["changed"] and result["staged"] is None and result["held"]["tables"] == 0
    assert site.verbs() == [f"{B} media.plan", f"{A} media.plan"]
    assert "node north-b lacks no closed table of node north-a" in result["msg"]


def test_check_mode_gives_the_plan_with_its_bytes_and_takes_no_lock():
    site = lacking(table(1), table(2, 7_000_000))
    context = site.context(media_backfill, check_mode=True)
    result = media_backfill.run(context)
    assert result["changed"] and result["bytes"] == 12_000_000 and len(result["tables"]) == 2
    assert site.verbs(reading=("facts",)) == [f"{B} media.plan", f"{A} media.plan"]
    assert result["diff"]["after"].splitlines()[1] == f"node north-b: {table(2)['name']} (7.0 MB, gap, from 2023-11-14 22:13:20 UTC)"
    assert result["msg"].startswith("2 tables (12.0 MB) would be brought to node north-b")


def test_a_long_list_is_cut():
    result, unused = run(lacking(*[table(1)] * 250))
    assert len(result["diff"]["after"].splitlines()) == 201 and result["diff"]["after"].endswith("and 50 tables more\n")


def test_what_the_attached_node_lacks_waits_for_a_switchover():
    site = Site(ATTACHED, HEADLESS, media__plan={A: plan(table(), held=True), B: EMPTY})
    result, unused = run(site)
    assert not result["changed"] and result["held"] == {"node": A, "tables": 1, "bytes": 5_000_000, "complete_until": 1_700_000_020_000,
                                                        "staged": None}
    assert result["msg"].endswith("1 tables (5.0 MB) for node north-a wait for a switchover") and not site.requests("media.stage")


@pytest.mark.parametrize(("target", "copied", "changed"), [("attached", 5, True), ("both", 5, True), ("both", 0, False)])
def test_it_can_be_copied_there_already(target, copied, changed):
    site = Site(ATTACHED, HEADLESS, media__plan={A: plan(table()), B: EMPTY}, media__stage={"tables": 1, "bytes": copied, "failed": []})
    result, unused = run(site, target=target)
    assert result["changed"] is changed and f"{A} media.stage" in site.verbs() and not site.requests("media.import")
    assert (f"{B} media.plan" in site.verbs()) is (target == "both")


def test_an_import_that_was_cut_off_is_brought_to_its_end():
    site = Site(ATTACHED, HEADLESS, media__plan={A: EMPTY, B: plan(unfinished_import={"id": "7", "state": "moving", "tables": 2})},
                media__import=IMPORTED, media__verify={"ok": True, "missing": []})
    result, unused = run(site)
    assert result["changed"] and result["imported"] and not site.requests("media.stage")


def test_tables_that_could_not_be_brought_are_told_and_not_missed():
    failed = {"bank": BANK, "name": table(2)["name"], "reason": "it is damaged"}
    site = lacking(table(1), table(2), table(3), media__stage={"tables": 2, "bytes": 1, "failed": [failed]},
                   media__import={**IMPORTED, "rejected": [{"bank": BANK.lower(), "name": table(3)["name"], "reason": "it changed"}]})
    result, context = run(site)
    assert [entry["name"] for entry in site.requests("media.verify")[0]["plan"]["tables"]] == [table(1)["name"]]
    assert "was not copied to node north-b: it is damaged" in context.warnings[0]
    assert "was not imported on node north-b: it changed" in context.warnings[1]


def test_what_the_plan_leaves_out_is_told():
    skipped = [{"name": "x", "reason": "the bank would grow above its maximum size"}] * 3
    site = Site(ATTACHED, HEADLESS, media__plan={A: EMPTY, B: plan(skipped=skipped, damaged=[{"name": "y", "reason": "a file is short"}],
                                                                   left_restarts=[{"device": DEVICE, "begin": 1, "end": 2}])})
    result, context = run(site)
    assert "table y of node north-a is damaged and is not copied: a file is short" in context.warnings
    assert "3 tables are not copied to node north-b: 3 because the bank would grow above its maximum size" in context.warnings
    assert result["left_restarts"] == [{"device": DEVICE, "begin": 1, "end": 2}] and not result["changed"]


def test_a_table_that_is_not_there_afterwards_is_an_error():
    site = lacking(media__verify={"ok": False, "missing": [{"name": table()["name"], "reason": "the recorder does not list it"}]})
    with pytest.raises(TandemError) as caught:
        run(site)
    assert caught.value.code == "not_verified" and f"{table()['name']} (the recorder does not list it)" in str(caught.value)
    assert str(caught.value).startswith("pair north, node north-b: 1 of 1 imported tables") and len(site.requests("lock.release")) == 2


def test_a_second_run_while_one_is_in_progress():
    busy = VerbError("root@awx process 7 (ab12cd) holds the work lock of this node since 2026-01-01 10:00:00 UTC for: backfill.", "north",
                     A,
                     "Wait until it is done; if that process is gone, the lock ends at 2026-01-01 10:10:00 UTC.", code="busy")
    site = lacking(lock__acquire=busy)
    with pytest.raises(TandemError) as caught:
        run(site)
    assert str(caught.value) == (
        "pair north, node north-a: another run is in progress on this pair: root@awx process 7 (ab12cd) holds the work lock of this node"
        " since 2026-01-01 10:00:00 UTC for: backfill. Next: Wait until it is done; if that process is gone, the lock ends at"
        " 2026-01-01 10:10:00 UTC.")
    assert site.verbs() == []


def test_a_full_disk():
    full = VerbError("Drive D: of node north-b has 10 bytes free.", "north", B, "Make room on the drive, or stage fewer tables.",
                     code="disk_full")
    with pytest.raises(TandemError) as caught:
        run(lacking(media__stage=full))
    assert caught.value.code == "disk_full" and "Next: Make room" in str(caught.value)


@pytest.mark.parametrize(("a", "b", "code"), [
    (ATTACHED, NodeUnreachable("no route", "north", B, code="unreachable"), "node_unreachable"), (HEADLESS, HEADLESS, "nobody_attached")])
def test_both_nodes_are_needed(a, b, code):
    with pytest.raises(TandemError) as caught:
        run(Site(a, b))
    assert caught.value.code == code and caught.value.next_step
