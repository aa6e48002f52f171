# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The decisions of the plan, as tables, and the verb over two machines."""
from __future__ import annotations

import json
import random

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import ledger
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import intervals, plan
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media.coverage import Coverage, Device
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    BANK, MEDIA, available, device, make_pair, now_ms, quiet, refused,
)

S = 1000
DOOR, GATE = device(1), device(2)
NOW = 1000 * S
ALWAYS = ((0, NOW),)


def lacks(own, partner, *, own_open=(), partner_open=(), availability=ALWAYS, restarts=(), **options):
    """What one device lacks, all numbers in seconds."""
    def ms(spans):
        return [tuple(int(moment * S) for moment in span) for span in spans]

    chosen = plan.Options.parse(options)
    away = plan.Away.make(availability if availability is ALWAYS else ms(availability), ms(restarts), chosen, NOW)
    mine, theirs = Coverage(), Coverage()
    if own or own_open:
        mine.devices[DOOR] = Device(spans=ms(own), open_spans=ms(own_open))
    theirs.devices[DOOR] = Device(spans=ms(partner), open_spans=ms(partner_open))
    found = plan.missing(mine, theirs, away, chosen, NOW).get(DOOR, plan.Missing())
    return {kind: [(begin / S, end / S) for begin, end in spans] for kind, spans in vars(found).items() if spans}


@pytest.mark.parametrize(("why", "arguments", "expected"), [
    ("both have the same", dict(own=[(0, 900)], partner=[(0, 900)]), {}),
    ("the node has more", dict(own=[(0, 900)], partner=[(100, 800)]), {}),
    ("a difference within the tolerance", dict(own=[(0, 99), (100, 900)], partner=[(0, 901)]), {}),
    ("the tolerance can be smaller", dict(own=[(0, 98), (100, 900)], partner=[(0, 900.5)], variance="all", tolerance_ms=100),
     {"variance": [(98, 100), (900, 900.5)]}),
    ("neighbouring tables with the usual pause of a split", dict(own=[(0, 98.6), (100, 900)], partner=[(0, 900)], variance="all"), {}),
    ("nothing here, never available", dict(own=[], partner=[(100, 900)], availability=[]), {"gap": [(100, 900)]}),
    ("not available in the middle", dict(own=[(0, 200), (400, 900)], partner=[(0, 900)], availability=[(0, 200), (400, 1000)]),
     {"gap": [(200, 400)]}),
    ("available a moment before the first media", dict(own=[(0, 200), (402, 900)], partner=[(0, 900)],
                                                       availability=[(0, 201), (400.5, 1000)]),
     {"gap": [(200, 402)]}),
    ("camera lost while available", dict(own=[(0, 200), (400, 900)], partner=[(0, 900)]), {"variance": [(200, 400)]}),
    ("not wanted at all", dict(own=[(0, 200), (400, 900)], partner=[(0, 900)], variance="none"), {}),
    ("short variance", dict(own=[(0, 200), (205, 900)], partner=[(0, 900)]), {}),
    ("short variance, all wanted", dict(own=[(0, 200), (205, 900)], partner=[(0, 900)], variance="all"), {"variance": [(200, 205)]}),
    ("long by a smaller limit", dict(own=[(0, 200), (205, 900)], partner=[(0, 900)], variance_min_ms=5000), {"variance": [(200, 205)]}),
    ("down, then only the camera was away", dict(own=[(0, 200), (500, 900)], partner=[(0, 900)], availability=[(0, 200), (300, 1000)]),
     {"gap": [(200, 302)], "variance": [(302, 500)]}),
    ("a sliver of variance beside a gap is no reason", dict(own=[(0, 200), (302.9, 900)], partner=[(0, 900)],
                                                            availability=[(0, 200), (300, 1000)],
     variance="all"), {"gap": [(200, 302)]}),
    ("only in the partner's open table", dict(own=[(0, 200)], partner=[(0, 500)], partner_open=[(500.2, 990)],
                                              availability=[(0, 200), (989, 1000)]),
     {"gap": [(200, 500)], "open": [(500.2, 989 + 2 - 1)]}),
    ("recorded in the own open table", dict(own=[(0, 200)], own_open=[(200.2, 990)], partner=[(0, 400)], partner_open=[(400.2, 995)]), {}),
    ("the own open table is being written", dict(own=[], own_open=[(0, 995)], partner=[], partner_open=[(0, 999.9)], variance="all"), {}),
    ("the own open table stopped growing", dict(own=[], own_open=[(0, 900)], partner=[], partner_open=[(0, 999)], variance="all"),
     {"open": [(900, 999)]}),
    ("restart", dict(own=[(0, 500), (506, 900)], partner=[(0, 900)], restarts=[(501, 504)], availability=[(0, 500), (505, 1000)]),
     {"restart": [(500, 506)]}),
    ("restart seen in the partner's open table", dict(own=[(0, 500)], own_open=[(506, 999)], partner=[(0, 400)], partner_open=[(400, 999)],
                                                      restarts=[(501, 504)],
     availability=[(0, 500), (505, 1000)]), {"restart": [(500, 506)]}),
    ("a recording by hand that began beside a restart", dict(own=[(0, 503.5), (515, 900)], partner=[(0, 900)], restarts=[(501, 502)]),
     {"variance": [(507, 515)], "restart": [(503.5, 507)]}),
    ("a short hole of a restart that was bridged", dict(own=[(0, 501), (502, 900)], partner=[(0, 900)], restarts=[(501, 502)]),
     {"restart": [(501, 502)]}),
    ("a restart that took too long is a gap", dict(own=[(0, 400), (506, 900)], partner=[(0, 900)], restarts=[(400, 505)],
                                                   restart_span_max_ms=60_000,
     availability=[(0, 400), (505, 1000)]), {"gap": [(400, 506)]}),
    ("down until after a restart", dict(own=[(0, 300), (506, 900)], partner=[(0, 900)], restarts=[(501, 504)],
                                        availability=[(0, 300), (505, 1000)]),
     {"gap": [(300, 496)], "restart": [(496, 506)]}),
    ("older than asked for", dict(own=[], partner=[(0, 900)], availability=[], since_ms=600 * S), {"gap": [(600, 900)]}),
    ("the heartbeat is a little old", dict(own=[(0, 500)], partner=[(0, 500), (996, 999)], availability=[(0, 995)], variance="none"), {}),
], ids=lambda value: value if isinstance(value, str) else "")
def test_missing_time_is_sorted_by_its_cause(why, arguments, expected):
    assert lacks(**arguments) == expected


def test_only_the_named_devices_are_looked_at():
    assert lacks(own=[], partner=[(0, 900)], availability=[], devices=[GATE]) == {}
    assert lacks(own=[], partner=[(0, 900)], availability=[], devices=[DOOR.upper()]) == {"gap": [(0, 900)]}


@pytest.mark.parametrize("wrong", [{"variance": "some"}, {"tolerance_ms": -1}, {"tolerance_ms": "1"}, {"variance_min_ms": True},
                                   {"devices": "all"}, {"devices": [1]}])
def test_wrong_options_are_named(wrong):
    with refused("bad_request", next(iter(wrong))):
        plan.Options.parse(wrong)


@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_could_not_be_recorded_is_ever_left_out(seed):
    """All missing time of more than the tolerance is in one of the answers, and nothing else is."""
    chance = random.Random(seed)

    def some(count):
        moments = sorted(chance.randrange(0, 990) * S for unused in range(2 * count))
        return intervals.union([(moments[n], moments[n + 1]) for n in range(0, 2 * count, 2)])

    for unused in range(100):
        own, theirs = Coverage(), Coverage()
        mine, other = some(chance.randrange(5)), some(chance.randrange(1, 6))
        own.devices[DOOR], theirs.devices[DOOR] = Device(spans=mine), Device(spans=other)
        options = plan.Options(tolerance_ms=0, variance="all")
        restarts = [(*span, "import") for span in some(1)]
        lack = plan.missing(own, theirs, plan.Away.make(some(3), restarts, options, NOW), options, NOW).get(DOOR, plan.Missing())
        everything = intervals.subtract(other, intervals.union(mine, bridge=1500))
        assert intervals.union(lack.wanted, lack.restart) == everything
        assert not intervals.intersect(lack.gap, lack.variance)


# -- tables ------------------------------------------------------------------------------------------------------------

def offer(begin, end, guid=DOOR, **other):
    return {"bank": BANK, "bank_version": "1.2", "name": f"{guid}_LOCAL_{begin}", "device": guid, "begin": begin * S, "end": end * S,
            "bytes": 100,
            "spans": [(begin * S, end * S)], "damaged": None, "refused": None, **other}


def choose(lack, offered, limits=None, **options):
    return plan.choose({DOOR: lack}, offered, {BANK: limits or plan.Limits("1.2")}, plan.Options(**options))


def names(tables):
    return [table["name"].rpartition("_")[2] for table in tables]


def spans(*pairs):
    return [(begin * S, end * S) for begin, end in pairs]


def test_tables_that_bring_something_newest_first():
    chosen = choose(plan.Missing(gap=spans((150, 250)), variance=spans((410, 420))),
                    [offer(0, 100), offer(100, 200), offer(200, 300), offer(300, 400), offer(400, 500), offer(100, 200, GATE)])
    assert names(chosen["tables"]) == ["400", "200", "100"]
    assert [table["reason"] for table in chosen["tables"]] == ["variance", "gap", "gap"]
    assert (chosen["bytes"], chosen["skipped"], chosen["damaged"]) == (300, [], [])


def test_a_table_whose_spans_miss_the_gap_is_left():
    """Begin and end of a motion camera's table say little: its spans decide."""
    assert names(choose(plan.Missing(gap=spans((50, 60))), [offer(0, 100, spans=spans((0, 40), (70, 100)))])["tables"]) == []


def test_restarts_never_make_a_run_of_their_own():
    lack, tables = plan.Missing(restart=spans((50, 60))), [offer(0, 100), offer(200, 300)]
    assert choose(lack, tables)["tables"] == []
    assert plan.remains({DOOR: lack}, [], 999)["left_restarts"] == [{"device": DOOR, "begin": 50 * S, "end": 60 * S}]
    assert names(choose(lack, tables, include_restarts=True)["tables"]) == ["0"]
    lack.gap = spans((250, 260))
    chosen = choose(lack, tables)
    assert names(chosen["tables"]) == ["200", "0"]
    assert plan.remains({DOOR: lack}, chosen["tables"], 999)["left_restarts"] == []


def test_what_stays_out_is_listed_with_its_reason():
    lack = plan.Missing(gap=spans((0, 900)))
    offered = [offer(0, 10, damaged="torn"), offer(10, 20, refused="encrypted storage"), offer(20, 30, bank_version="1.3"),
               offer(30, 40, bank="x"), offer(40, 50), offer(500, 600), offer(600, 700, bytes=500)]
    result = choose(lack, offered, plan.Limits("1.2", 60 * S, 550))
    assert names(result["tables"]) == ["600"]
    assert [(table["reason"]) for table in result["damaged"]] == ["torn"]
    assert dict(zip(names(result["skipped"]), (table["reason"] for table in result["skipped"]), strict=True)) == {
        "10": "encrypted storage", "20": "bank version '1.3' there, '1.2' here", "30": "this node has no bank with this id",
        "40": "older than the retention of this node's bank", "500": "the bank would grow above its maximum size"}


def test_complete_until_is_the_first_moment_that_is_not_closed():
    lacking = {DOOR: plan.Missing(open=spans((700, 800))), GATE: plan.Missing(open=spans((600, 650), (900, 950)))}
    remains = plan.remains(lacking, [], 990 * S)
    assert remains["complete_until"] == 600 * S
    assert remains["not_closed"][0] == {"device": DOOR, "begin": 700 * S, "end": 800 * S}
    assert plan.remains({}, [], 990 * S)["complete_until"] == 990 * S


# -- the verb ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def pair(tmp_path, monkeypatch):
    return make_pair(tmp_path, monkeypatch)


def media_plan(node, **request):
    return json.loads(json.dumps(media.media_plan(node.host, request, quiet)))


def test_plan_over_two_machines(pair):
    base = now_ms() - 3600 * S
    names_ = [pair.b.recorder.close_table(DOOR, [(base + n * 60 * S, base + (n + 1) * 60 * S - 200)]) for n in range(6)]
    for n in (0, 1, 4, 5):
        pair.a.recorder.close_table(DOOR, [(base + n * 60 * S, base + (n + 1) * 60 * S - 200)], seed="a")
    available(pair.a, [(base, base + 120 * S), (base + 240 * S, now_ms())])
    found = media_plan(pair.a)
    assert [(table["name"], table["reason"], table["bank"]) for table in found["tables"]] == [(names_[3], "gap", BANK),
                                                                                              (names_[2], "gap", BANK)]
    assert (found["direction"], found["held"], found["not_closed"], found["left_restarts"]) == ("b->a", False, [], [])
    assert found["bytes"] == sum(table["bytes"] for table in found["tables"]) > 8000
    assert base + 3590 * S < found["complete_until"] <= now_ms()
    assert media_plan(pair.b)["tables"] == []
    pair.a.state = "attached"
    assert media_plan(pair.a)["held"] is True


def test_the_open_tail_is_named_and_never_planned(pair):
    base = now_ms() - 3600 * S
    pair.b.recorder.open_table(DOOR, [(base, now_ms())])
    available(pair.a, [])
    found = media_plan(pair.a)
    assert found["tables"] == []
    assert found["not_closed"][0]["begin"] == found["complete_until"] == base


def test_restart_spans_of_the_ledger_are_left(pair):
    base = now_ms() - 3600 * S
    pair.b.recorder.close_table(DOOR, [(base, base + 600 * S)])
    pair.a.recorder.close_table(DOOR, [(base, base + 300 * S)])
    pair.a.recorder.close_table(DOOR, [(base + 306 * S, base + 600 * S)])
    available(pair.a, [(base, base + 300 * S), (base + 305 * S, now_ms())])
    assert [table["reason"] for table in media_plan(pair.a)["tables"]] == ["gap"]
    ledger.record(pair.a.host, "import-1", "import", base + 301 * S, base + 304 * S)
    ledger.record(pair.a.host, "import-1", "import", base + 301 * S, base + 999 * S)
    assert ledger.restarts(pair.a.host) == [(base + 301 * S, base + 304 * S, "import")], "the same operation twice is one span"
    found = media_plan(pair.a)
    assert (found["tables"], found["left_restarts"]) == ([], [{"device": DOOR, "begin": base + 300 * S, "end": base + 306 * S}])
    assert len(media_plan(pair.a, include_restarts=True)["tables"]) == 1


def test_plan_names_damaged_tables_and_respects_the_banks_limits(pair):
    base = now_ms() - 3600 * S
    torn = pair.b.recorder.close_table(DOOR, [(base, base + 60 * S)])
    (pair.b.recorder.bank / torn / MEDIA / "cindex.idx").write_bytes(b"")
    old = pair.b.recorder.close_table(DOOR, [(base - 600 * S, base - 500 * S)])
    large = pair.b.recorder.close_table(GATE, [(base, base + 60 * S)], blocks=20, block_bytes=60_000)
    pair.a.recorder.max_minutes, pair.a.recorder.max_size_mb = 65, 1
    pair.a.recorder.write_bank_config()
    found = media_plan(pair.a)
    assert found["tables"] == []
    assert [table["name"] for table in found["damaged"]] == [torn]
    assert {table["name"]: table["reason"] for table in found["skipped"]} == {
        old: "older than the retention of this node's bank", large: "the bank would grow above its maximum size"}


def test_nodes_that_do_not_match_are_refused(pair):
    pair.b.host.zone = "UTC"
    with refused("time_zone", "UTC"):
        media_plan(pair.a)
    pair.b.host.zone = pair.a.host.zone
    object.__setattr__(pair.b.settings, "recorder_id", device(9))
    with refused("identity_differs"):
        media_plan(pair.a)
    pair.b.up = False
    with refused("partner_unreachable"):
        media_plan(pair.a)
    pair.a.up = False
    with refused("guard_down"):
        media_plan(pair.a)
