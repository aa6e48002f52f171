# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pair that is about to import, and what must hold after it: shared by the tests of import and of its interruption."""
from __future__ import annotations

import json
import os
import shutil

from ansible_collections.tandem.xprotect.plugins.module_utils.node import ledger
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import banks, coverage, import_journal, tables
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import importer as importer_module
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media.importer import Importer
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    BANK, available, device, make_pair, now_ms, quiet, tree,
)

S = 1000
DOOR, GATE, YARD, HALL = (device(number) for number in range(1, 5))


class Killed(BaseException):
    """The end of the program: nothing of it runs any more, not even `except Exception`."""


def make(tmp_path, monkeypatch):
    """b holds three tables that a lacks. For one of them a has other media under the same name, another it has already
    without listing it; two devices are recorded by both."""
    pair = make_pair(tmp_path, monkeypatch)
    monkeypatch.setattr(banks, "PATIENCE", 0.0)  # one table of a is unlisted for the whole test
    monkeypatch.setattr(importer_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(coverage, "FRESH_MS", 600_000)
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # programs end here, not the machine's power: the disk need not be waited for
    base = pair.base = now_ms() // S * S - 3600 * S
    for node in (pair.a, pair.b):
        node.recorder.recording = [DOOR, HALL]
        for guid in node.recorder.recording:
            node.recorder.open_table(guid, [(base + 3000 * S, now_ms())])
    pair.names = [pair.b.recorder.close_table(guid, [(base, base + 60 * S)]) for guid in (DOOR, GATE, YARD)]
    pair.own = pair.a.recorder.close_table(GATE, [(base + 10 * S, base + 20 * S)], name=pair.names[1], seed="other media")
    shutil.copytree(pair.b.recorder.bank / pair.names[2], pair.a.recorder.bank / pair.names[2])
    available(pair.a, [(base + 3000 * S, now_ms())])
    pair.sent = {name: tree(pair.b.recorder.bank / name) for name in pair.names}
    pair.before = {name: tree(pair.a.recorder.bank / name) for name in (pair.own, pair.names[2])}
    return pair


def plan(pair, **request):
    return json.loads(json.dumps(media.media_plan(pair.a.host, request, quiet)))


def stage(pair):
    pair.plan = plan(pair)
    assert sorted(table["name"] for table in pair.plan["tables"]) == sorted(pair.names)
    assert media.media_stage(pair.a.host, {"plan": pair.plan}, quiet)["failed"] == []


def importer(pair, **options):
    return Importer(pair.a.host, pair.a.settings, quiet, **{"partner_timeout": 0.1, "rebuild_timeout": 0.5, "writing_timeout": 0.3,
                                                            **options})


def staged(pair):
    folder = pair.a.host.path(f"D:\\TandemStaging\\{BANK}")
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) if folder.exists() else []


def restarts(pair):
    return [line for line in ledger.restarts(pair.a.host) if line[2] == "import"]


def check_new_state(pair):
    """Everything is in the bank and listed, nothing is left in staging, the recorder runs."""
    recorder = pair.a.recorder
    second = tables.next_name(pair.names[1])
    places = {pair.names[0]: pair.names[0], pair.names[1]: second, pair.names[2]: pair.names[2]}
    for name, place in places.items():
        assert tree(recorder.bank / place) == pair.sent[name]
        assert place in recorder.listed()
    assert tree(recorder.bank / pair.own) == pair.before[pair.own] and pair.own in recorder.listed()
    assert recorder.state == "running"
    assert staged(pair) == []
    assert import_journal.unfinished(pair.a.host) is None
    found = plan(pair, variance="none")
    assert found["tables"] == [] and found["unfinished_import"] is None
    checked = media.media_verify(pair.a.host, {"plan": pair.plan}, quiet)
    assert checked == {"ok": True, "missing": [], "checked": 3}


def check_nothing_lost(pair):
    """Whatever has happened: each table that was sent is somewhere, whole, and what the bank had it still has."""
    recorder, waiting = pair.a.recorder, pair.a.host.path(f"D:\\TandemStaging\\{BANK}")
    everywhere = [tree(folder) for place in (recorder.bank, waiting) if place.exists() for folder in place.iterdir() if folder.is_dir()]
    for files in [*pair.sent.values(), *pair.before.values()]:
        assert files in everywhere
