# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Import, with an end of the program at every durable step: the old state or the new one, and the next run completes."""
from __future__ import annotations

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_import import (
    Killed, check_new_state, check_nothing_lost, importer, make, plan, restarts, stage,
)
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import quiet, refused


@pytest.fixture
def pair(tmp_path, monkeypatch):
    return make(tmp_path, monkeypatch)


def steps(tmp_path, monkeypatch) -> list[str]:
    pair, seen = make(tmp_path / "count", monkeypatch), []
    stage(pair)
    importer(pair, hook=seen.append).run()
    check_new_state(pair)
    return seen


def kill_at(number):
    count = iter(range(1000))

    def hook(name):
        if next(count) == number:
            raise Killed(name)

    return hook


@pytest.mark.parametrize("reboot", [False, True], ids=["program ended", "machine rebooted"])
def test_killed_at_every_step(tmp_path, monkeypatch, reboot):
    names = steps(tmp_path, monkeypatch)
    assert len(names) >= 30 and len([name for name in names if "move" in name]) == 6
    for number, name in enumerate(names):
        pair = make(tmp_path / str(number), monkeypatch)
        stage(pair)
        with pytest.raises(Killed, match=" ".join(name.split()[:2])):
            importer(pair, hook=kill_at(number)).run()
        check_nothing_lost(pair)
        if reboot:
            pair.a.recorder.start()
            check_nothing_lost(pair)
        result = importer(pair).run()
        check_new_state(pair)
        assert len({span[:2] for span in restarts(pair)}) == len(restarts(pair)) <= 2
        assert importer(pair).run()["changed"] is False, result


def test_killed_between_a_rename_and_its_rights(pair):
    """The next run sees the table in the bank, and gives it the bank's rights all the same."""
    stage(pair)

    def hook(name):
        if name == f"before rights of {pair.names[0]}":
            raise Killed(name)

    with pytest.raises(Killed):
        importer(pair, hook=hook).run()
    assert (pair.a.recorder.bank / pair.names[0]).exists() and pair.a.host.inherited == []
    importer(pair).run()
    assert pair.a.recorder.bank / pair.names[0] in pair.a.host.inherited
    check_new_state(pair)


def test_killed_twice(tmp_path, monkeypatch):
    """A second end while the first is being completed."""
    names = steps(tmp_path, monkeypatch)
    for first in range(0, len(names), 7):
        for second in range(1, 30, 9):
            pair = make(tmp_path / f"{first}-{second}", monkeypatch)
            stage(pair)
            with pytest.raises(Killed):
                importer(pair, hook=kill_at(first)).run()
            try:
                importer(pair, hook=kill_at(second)).run()
            except Killed:
                check_nothing_lost(pair)
            importer(pair).run()
            check_new_state(pair)


def test_killed_at_every_step_of_the_way_back(tmp_path, monkeypatch):
    def failing(number):
        pair = make(tmp_path / str(number), monkeypatch)
        stage(pair)
        pair.a.recorder.accepts = lambda name: name != pair.names[0]
        return pair

    seen: list[str] = []
    with refused("import_failed"):
        importer(failing("count"), rebuild_timeout=0.05, writing_timeout=0.0, hook=seen.append).run()
    begin = seen.index("before journal undoing")
    assert len(seen) - begin >= 12
    for number in range(begin, len(seen)):
        pair = failing(number)
        with pytest.raises(Killed, match=" ".join(seen[number].split()[:2])):
            importer(pair, rebuild_timeout=0.05, writing_timeout=0.0, hook=kill_at(number)).run()
        check_nothing_lost(pair)
        pair.a.recorder.accepts = lambda name: True
        for attempt in range(2):  # the first run may end the way back, which is an error that says so
            try:
                importer(pair).run()
                break
            except NodeError as error:
                assert (error.code, attempt) == ("import_failed", 0)
                check_nothing_lost(pair)
        check_new_state(pair)


def test_promoted_after_a_crash_with_the_recorder_stopped(pair):
    """Nobody else would start the recorder of the node that serves now; the import itself waits until it is headless again."""
    stage(pair)
    seen: list[str] = []

    def hook(name):
        seen.append(name)
        if name == "after stop":
            raise Killed(name)

    with pytest.raises(Killed):
        importer(pair, hook=hook).run()
    assert pair.a.recorder.state == "stopped"
    pair.a.state = "attached"
    with refused("attached"):
        importer(pair).run()
    assert pair.a.recorder.state == "running"
    pair.a.state = "headless"
    importer(pair).run()
    check_new_state(pair)


def test_plan_and_staging_see_an_unfinished_import(pair):
    stage(pair)

    def hook(name):
        if name.startswith("after move") and pair.names[0] in name:
            raise Killed(name)

    with pytest.raises(Killed):
        importer(pair, hook=hook).run()
    pair.a.recorder.start()
    assert plan(pair)["unfinished_import"]["state"] == "placing"
    pair.asked.clear()
    media.media_stage(pair.a.host, {"plan": pair.plan}, quiet)
    assert not [message for message in pair.asked if message["op"] == "media.read"]
