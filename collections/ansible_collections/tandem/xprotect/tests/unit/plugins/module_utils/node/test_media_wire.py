# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole backfill between two real guards: TLS, frames, pages and streams as between two machines."""
from __future__ import annotations

import json

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import remote
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import BANK, RECORDER, FakePair, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    cache_document, device, now_ms, quiet, refused, stamp, table_files, tree, write_files,
)

from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import Recorder as Tables

S = 1000


@pytest.fixture
def pair(tmp_path):
    pair = FakePair(tmp_path)
    for node in pair.nodes:
        node.tables = Tables(node.host, BANK)
        (node.tables.bank / "cache.xml").unlink()  # open tables are found by their folders
    yield pair
    pair.close()


def rebuild(tables: Tables):
    """What the recorder does at a start without its cache of closed tables."""
    def on_service(name, state):
        cache = tables.bank / "archives_cache.xml"
        if (name, state) == (RECORDER, "running") and not cache.exists():
            names = [folder.name for folder in tables.bank.iterdir() if folder.is_dir() and len(folder.name) > 36]
            cache.write_bytes(cache_document([tables.entry(name) for name in names]))

    return on_service


def test_backfill_over_the_tandem_port(pair, monkeypatch):
    monkeypatch.setattr(remote, "PAGE_BYTES", 500)
    base = now_ms() - 3600 * S
    names = []
    for number in range(12):
        guid, spans = device(number % 3), [(base + number * 60 * S, base + number * 60 * S + 50 * S)]
        name = f"{guid}_LOCAL_{stamp(spans[0][1])}"
        write_files(pair.b.tables.bank / name, table_files(spans, blocks=2, block_bytes=700_000 if number == 5 else 3000))
        names.append(name)
    (pair.b.tables.bank / "archives_cache.xml").write_bytes(cache_document([pair.b.tables.entry(name) for name in names]))
    pair.a.host.on_service = rebuild(pair.a.tables)
    for node in pair.nodes:
        node.start_guard()
    verbs = {name: lambda name=name, **request: json.loads(json.dumps(media.VERBS[f"media.{name}"](pair.a.host, request, quiet)))
             for name in ("plan", "stage", "import", "verify", "coverage")}
    plan = verbs["plan"]()
    assert {table["name"] for table in plan["tables"]} == set(names)
    assert (plan["held"], plan["direction"]) == (False, "pair1-b->pair1-a")
    staged = verbs["stage"](plan=plan)
    assert (staged["tables"], staged["bytes"], staged["failed"]) == (12, plan["bytes"], [])
    wait_until(lambda: media.gates.attachment_state(pair.a.host, pair.a.settings) == "headless", "a's guard answers")
    result = verbs["import"](writing_timeout=5)
    assert len(result["imported"]) == 12
    for name in names:
        assert tree(pair.a.tables.bank / name) == tree(pair.b.tables.bank / name)
    assert verbs["verify"](plan=plan) == {"ok": True, "missing": [], "checked": 12}
    assert verbs["plan"]()["tables"] == []
    assert [span[2] for span in verbs["coverage"]()["restarts"]] == ["import"]


def test_a_silent_partner_is_named(pair):
    pair.a.start_guard()
    with refused("partner_unreachable", "pair1-b"):
        media.media_plan(pair.a.host, {}, quiet)
