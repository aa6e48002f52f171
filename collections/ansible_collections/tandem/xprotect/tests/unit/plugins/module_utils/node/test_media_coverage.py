# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Banks, caches, coverage, and what the guard tells the partner."""
from __future__ import annotations

import json
import os
import shutil
import threading
import time

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import banks, coverage, partner, remote
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    BANK, INSTALLATION, MEDIA, available, cache_document, cache_table, device, make_pair, now_ms, quiet, refused, table_files, write_files)

HOUR = 3_600_000
DOOR, GATE = device(1), device(2)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    return make_pair(tmp_path, monkeypatch)


def test_banks_are_found_in_all_media_folders_and_along_archive_links(pair):
    host = pair.a.host
    host.registry[INSTALLATION, "MediaDBFolder"] = "D:\\MediaDatabase\\;C:\\More;E:\\Away;\\\\server\\share; "
    other, archive = BANK.replace("0F", "1A"), BANK.replace("0F", "2B")

    def linked(folder):
        return f"<bank version='1.2'>{{}}<archive><link><destination_bank>{folder}</destination_bank></link></archive></bank>"

    for path, config in ((f"C:\\More\\{other}", linked(f"C:\\Archive\\{archive}\\").format("<max_minutes>1e+06</max_minutes>")),
                         (f"C:\\Archive\\{archive}", linked(f"C:\\More\\{other}").format("")),
                         ("C:\\More\\not a guid", "<bank version='1.2'/>"), (f"C:\\More\\{BANK.replace('0F', '3C')}", "<bank")):
        host.path(path).mkdir(parents=True)
        (host.path(path) / "config.xml").write_text(config)
    found = banks.find(host)
    assert [(bank.id, bank.windows_path, bank.version, bank.max_minutes) for bank in found] == [
        (archive, f"C:\\Archive\\{archive}", "1.2", None), (other, f"C:\\More\\{other}", "1.2", 1e6),
        (BANK, f"D:\\MediaDatabase\\{BANK}", "1.2", 10080)]


def test_two_banks_with_one_id_are_refused(pair):
    pair.a.host.registry[INSTALLATION, "MediaDBFolder"] = "D:\\MediaDatabase;C:\\Copy"
    shutil.copytree(pair.a.recorder.bank, pair.a.host.path("C:\\Copy") / BANK)
    with refused("bank_ambiguous", BANK):
        banks.by_id(pair.a.host)


def test_unreadable_recorder_configuration_is_an_error_not_an_empty_list(pair):
    pair.a.write_config(pair.a.config[:200])
    with refused("config_unreadable", "line"):
        coverage.read(pair.a.host)


def test_coverage_of_closed_and_open_tables(pair):
    recorder, base = pair.a.recorder, now_ms() - 10 * HOUR
    recorder.close_table(DOOR, [(base, base + HOUR)])
    recorder.close_table(DOOR, [(base + HOUR + 1400, base + 2 * HOUR)])
    recorder.close_table(GATE, [(base, base + 60_000), (base + 90_000, base + 120_000)])
    recorder.close_table(GATE, [])
    recorder.open_table(DOOR, [(base + 2 * HOUR + 200, base + 2 * HOUR + 9000)])
    available(pair.a, [(base, base + 5)])
    result = json.loads(json.dumps(media.VERBS["media.coverage"](pair.a.host, {}, quiet)))
    assert result["devices"] == {
        DOOR: {"name": "Door", "spans": [[base, base + 2 * HOUR]], "open_spans": [[base + 2 * HOUR + 200, base + 2 * HOUR + 9000]],
               "open_since": base + 2 * HOUR + 200},
        GATE: {"name": "Door", "spans": [[base, base + 60_000], [base + 90_000, base + 120_000]], "open_spans": [], "open_since": None}}
    assert (result["node"], result["tables"], result["availability"], result["restarts"]) == ("a", 4, [[base, base + 5]], [])
    assert result["bytes"] > 12_000


def test_only_listed_tables_count(pair):
    recorder, base = pair.a.recorder, now_ms() - HOUR
    listed = recorder.close_table(DOOR, [(base, base + 1000)])
    write_files(recorder.bank / f"{DOOR}_LOCAL_2020-01-01_00-00-00", table_files([(base + 5000, base + 9000)]))
    shutil.rmtree(recorder.bank / recorder.close_table(GATE, [(base, base + 1000)]))
    began = time.monotonic()
    assert coverage.as_dict(coverage.read(pair.a.host)) == {DOOR: {"name": "Door", "spans": [(base, base + 1000)], "open_spans": [],
                                                                   "open_since": None}}
    assert time.monotonic() - began > 1.5, "an unlisted table is waited for: it may have been closed just now"
    os.utime(recorder.bank / f"{DOOR}_LOCAL_2020-01-01_00-00-00" / MEDIA / "cindex.idx", (base / 1000, base / 1000))
    again = time.monotonic()
    coverage.read(pair.a.host)
    assert time.monotonic() - again < 1.0, "but not one that was finished long ago"
    assert listed in banks.read_content(banks.by_id(pair.a.host)[BANK]).closed


def test_a_table_that_is_being_closed_is_not_missed(pair):
    """The folder has its closed name, the cache lists it a little later."""
    recorder, base = pair.a.recorder, now_ms() - HOUR
    name = f"{DOOR}_LOCAL_2026-01-01_00-00-00"
    write_files(recorder.bank / name, table_files([(base, base + 9000)]))
    late = threading.Timer(0.3, lambda: (recorder._closed.update({name: recorder.entry(name)}), recorder.save()))
    late.start()
    assert coverage.read(pair.a.host).devices[DOOR].spans == [(base, base + 9000)]
    late.join()


def test_missing_closed_cache_means_rebuilding(pair, monkeypatch):
    monkeypatch.setattr(banks, "PATIENCE", 0.2)
    recorder, base = pair.a.recorder, now_ms() - HOUR
    recorder.close_table(DOOR, [(base, base + 1000)])
    (recorder.bank / "archives_cache.xml").unlink()
    assert coverage.read(pair.a.host).rebuilding == [BANK]
    with refused("media_not_ready", "The recorder of a has not listed"):
        media.media_plan(pair.b.host, {}, quiet)
    with refused("media_not_ready"):
        media.media_plan(pair.a.host, {}, quiet)


def test_empty_new_bank_is_ready(pair):
    (pair.a.recorder.bank / "archives_cache.xml").unlink()
    assert coverage.read(pair.a.host).rebuilding == []


@pytest.mark.parametrize("content", [b"", b"<bank><table><name>", b"<!DOCTYPE bank><bank></bank>",
                                     b"<bank><table><name>" + DOOR.encode() + b"</name><size>x</size></table></bank>"])
def test_unreadable_cache_is_an_error(pair, content):
    place = pair.a.recorder.bank / "archives_cache.xml"
    place.write_bytes(content)
    with refused("cache_unreadable", "archives_cache.xml"):
        banks.read_cache(place, patience=0.1)


def test_a_cache_that_is_being_written_is_read_again(pair):
    place = pair.a.recorder.bank / "archives_cache.xml"
    whole = cache_document([cache_table(f"{DOOR}_LOCAL_2026-01-01_00-00-00", {}, None)])
    place.write_bytes(whole[:100])
    late = threading.Timer(0.2, lambda: place.write_bytes(whole))
    late.start()
    assert list(banks.read_cache(place)) == [f"{DOOR}_LOCAL_2026-01-01_00-00-00"]
    late.join()


def test_writing_names_the_devices_that_grow(pair):
    recorder, now = pair.a.recorder, now_ms()
    recorder.open_table(DOOR, [(now - 60_000, now - 100)])
    recorder.open_table(GATE, [(now - 60_000, now - 30_000)], fresh=False)
    assert list(coverage.writing(pair.a.host, now)) == [DOOR]
    os.utime(recorder.bank / GATE / MEDIA / "block0.blk")
    assert sorted(coverage.writing(pair.a.host, now_ms())) == [DOOR, GATE]
    assert remote.OPS["writing"](pair.a.host, pair.a.settings, {})["running"] is True
    assert media.VERBS["media.writing"](pair.a.host, {}, quiet) == {
        "node": "a", "service": "running", "running": True, "writing": sorted([DOOR, GATE])}
    recorder.state = "stopped"
    assert remote.OPS["writing"](pair.a.host, pair.a.settings, {}) == {"node": "a", "service": "stopped", "running": False, "writing": []}


def test_a_table_that_is_there_and_not_listed_yet_counts_as_written(pair):
    recorder, now = pair.a.recorder, now_ms()
    recorder.open_table(DOOR, [(now - 2000, now - 100)])
    (recorder.bank / "cache.xml").write_bytes(cache_document([]))
    assert list(coverage.writing(pair.a.host, now_ms())) == [DOOR]
    (recorder.bank / "cache.xml").unlink()
    assert list(coverage.writing(pair.a.host, now_ms())) == [DOOR]


# -- the partner's view ------------------------------------------------------------------------------------------------

def ask(node, op, **message):
    return json.loads(json.dumps(remote.OPS[op](node.host, node.settings, message)))


def test_coverage_crosses_the_wire_in_pages(pair, monkeypatch):
    base = now_ms() - HOUR
    spans = [(base + 5000 * n, base + 5000 * n + 1000) for n in range(50)]
    pair.a.recorder.close_table(DOOR, spans)
    pair.a.recorder.close_table(GATE, spans[:3])
    pair.a.recorder.open_table(GATE, [(base + HOUR - 9000, base + HOUR - 8000)])
    monkeypatch.setattr(remote, "PAGE_BYTES", 200)
    monkeypatch.setattr(remote, "MAX_SPANS", 7)
    picture = partner.read_coverage(pair.client(pair.b.host, pair.b.settings))
    assert coverage.as_dict(picture.coverage) == coverage.as_dict(coverage.read(pair.a.host))
    assert len(pair.asked) > 5
    assert (picture.time_zone, picture.recorder_id) == ("Romance Standard Time", pair.a.settings.recorder_id)


def test_pages_of_a_dropped_picture_are_asked_for_anew(pair, monkeypatch):
    base = now_ms() - HOUR
    for number in range(4):
        pair.a.recorder.close_table(device(number), [(base, base + 1000)])
    monkeypatch.setattr(remote, "PAGE_BYTES", 1)
    client = pair.client(pair.b.host, pair.b.settings)
    call, dropped = client.call, []

    def forgetful(op, timeout=5.0, **fields):
        if fields.get("start") == 2 and not dropped:
            dropped.append(True)
            remote._pictures.clear()
        return call(op, timeout, **fields)

    client.call = forgetful
    assert len(partner.read_coverage(client).coverage.devices) == 4
    assert dropped


def test_since_leaves_old_tables_out(pair):
    base = now_ms() - 5 * HOUR
    pair.a.recorder.close_table(DOOR, [(base, base + 1000)])
    pair.a.recorder.close_table(DOOR, [(base + HOUR, base + HOUR + 1000)])
    assert coverage.read(pair.a.host, base + 2000).devices[DOOR].spans == [(base + HOUR, base + HOUR + 1000)]


def test_tables_tell_what_is_damaged_and_what_is_refused(pair):
    recorder, base = pair.a.recorder, now_ms() - 10 * HOUR
    good = recorder.close_table(DOOR, [(base, base + 1000), (base + 5000, base + 6000)])
    recorder.close_table(DOOR, [(base + HOUR, base + HOUR + 1000)])
    torn = recorder.close_table(GATE, [(base, base + 1000)])
    (recorder.bank / torn / MEDIA / "block0.blk").write_bytes(b"torn")
    edge = recorder.close_table(GATE, [(base, base + 1000)], tag="EDGE")
    secret = recorder.close_table(GATE, [(base, base + 2000)], extra="<encryption><algorithm>AES</algorithm></encryption>")
    lines = {line["name"]: line for line in ask(pair.a, "tables", devices={DOOR: [base, base + 10], GATE: [base, base + 10]})["lines"]}
    assert set(lines) == {good, torn, edge, secret}
    assert (lines[good]["damaged"], lines[good]["refused"], lines[good]["spans"]) == (None, None,
                                                                                      [[base, base + 1000], [base + 5000, base + 6000]])
    assert (lines[good]["bank"], lines[good]["bank_version"], lines[good]["begin"], lines[good]["end"]) == (BANK, "1.2", base, base + 6000)
    assert lines[good]["bytes"] == sum(file.stat().st_size for file in (recorder.bank / good).rglob("*") if file.is_file())
    assert "the cache says" in lines[torn]["damaged"]
    assert (lines[edge]["refused"], lines[secret]["refused"]) == ("origin EDGE is not transferred", "encrypted storage")
    with refused("damaged", torn):
        ask(pair.a, "manifest", bank=BANK, table=torn)
    for name in (edge, secret):
        with refused("refused"):
            ask(pair.a, "manifest", bank=BANK, table=name)


@pytest.mark.parametrize("message", [
    {}, {"bank": BANK}, {"bank": "..", "table": "x"}, {"bank": BANK, "table": "../x"}, {"bank": BANK, "table": DOOR},
    {"bank": 5, "table": 6},
    {"bank": BANK + "\\..", "table": f"{DOOR}_LOCAL_2026-01-01_00-00-00"},
    {"bank": BANK, "table": f"{DOOR}_LOCAL_2026-01-01_00-00-00\\.."}])
def test_names_in_messages_are_checked(pair, message):
    pair.a.recorder.open_table(DOOR, [(1, 2)])
    for question in (lambda: ask(pair.a, "manifest", **message), lambda: remote.read_stream(pair.a.host, pair.a.settings,
                                                                                            {"file": "config.xml", **message})):
        with refused("bad_request"):
            question()


@pytest.mark.parametrize("file", [None, 1, "", "..", "../config.xml", "cache.xml", f"{MEDIA}/../../config.xml", f"{MEDIA}\\block0.blk",
                                  "C:\\x", "config.xml\0"])
def test_only_files_of_a_table_are_handed_out(pair, file):
    name = pair.a.recorder.close_table(DOOR, [(now_ms() - 5000, now_ms())])
    with refused("bad_request"):
        remote.read_stream(pair.a.host, pair.a.settings, {"bank": BANK, "table": name, "file": file})


def test_what_is_not_there_is_missing(pair):
    name = pair.a.recorder.close_table(DOOR, [(now_ms() - 5000, now_ms())])
    for bank, table in ((BANK.replace("0F", "FF"), name), (BANK, f"{DOOR}_LOCAL_2026-01-01_00-00-00")):
        with refused("missing"):
            ask(pair.a, "manifest", bank=bank, table=table)
    shutil.rmtree(pair.a.recorder.bank / name)
    with refused("missing"):
        remote.read_stream(pair.a.host, pair.a.settings, {"bank": BANK, "table": name, "file": "config.xml"})


def test_streams_give_length_and_bytes(pair, monkeypatch):
    monkeypatch.setattr(remote, "CHUNK", 1000)
    name = pair.a.recorder.close_table(DOOR, [(now_ms() - 5000, now_ms())])
    path = pair.a.recorder.bank / name / MEDIA / "block0.blk"
    length, pieces = remote.read_stream(pair.a.host, pair.a.settings, {"bank": BANK.lower(), "table": name, "file": f"{MEDIA}/block0.blk"})
    assert (length, list(map(len, pieces))) == (4000, [1000] * 4)
    length, pieces = remote.read_stream(pair.a.host, pair.a.settings, {"bank": BANK, "table": name, "file": f"{MEDIA}/block0.blk"})
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(OSError, match="shorter"):
        b"".join(pieces)


def test_answers_of_a_partner_are_checked(pair):
    class Liar:
        def __init__(self, lines):
            self.lines = lines

        def call(self, op, timeout, **fields):
            return {"lines": self.lines, "next": None, "measured_ms": 1, "time_zone": "x", "recorder_id": "y", "token": "z"}

    for lines in ([{"device": "x"}], [{"device": DOOR, "spans": [[2, 1]]}], [{"device": DOOR, "open_spans": "x"}], [5], None):
        with refused("protocol"):
            partner.read_coverage(Liar(lines))
    good = {"bank": BANK, "bank_version": "1.2", "name": f"{DOOR}_LOCAL_2026-01-01_00-00-00", "device": DOOR, "begin": 1, "end": 2,
            "bytes": 3, "spans": [[1, 2]]}
    assert partner.read_tables(Liar([good]), {DOOR: (1, 2)})[0]["name"] == good["name"]
    for wrong in ({"name": DOOR}, {"name": "..\\x"}, {"bank": ".."}, {"device": GATE}, {"bytes": -1}, {"spans": [[5]]}, {"begin": None}):
        with refused("protocol"):
            partner.read_tables(Liar([{**good, **wrong}]), {DOOR: (1, 2)})
