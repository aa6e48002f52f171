# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between two scenarios the pair gets its settings, both guards do, and the simulated product behaves as the next one says."""

from __future__ import annotations

import contextlib
import json
import pathlib

import pytest

from tandem_lab.chaos import conditions
from tandem_lab.chaos.runner import RECONNECTS, Runner
from tandem_lab.chaos.scenario import PAIR_DEFAULTS
from tandem_lab.chaos.world import World


class FakeSite:
    def __init__(self, directory: pathlib.Path):
        self.directory = directory

    def machine_directory(self, name):
        return self.directory / name


class FakeWorld:
    def __init__(self, site):
        self.site = site
        self.done: list[str] = []

    def play(self, name, *arguments):
        told = [argument for argument in arguments if argument.startswith("tandem_")]
        self.done.append(" ".join([name, *told]))

    def restart_recorder(self, role):
        self.done.append(f"restart {role}")


class FakeFaults:
    def __init__(self, world):
        self._world = world

    def management_server_down(self):
        self._world.done.append("management server")
        return contextlib.nullcontext()


@pytest.fixture
def runner(tmp_path, monkeypatch):
    (tmp_path / "settings.json").write_text('{"table_seconds": 8}', encoding="utf-8")
    made = Runner(tmp_path, None)
    made.world = FakeWorld(FakeSite(tmp_path))
    made.faults = FakeFaults(made.world)
    monkeypatch.setattr(made, "_normal", lambda: None)
    return made


def provision(runner, **settings):
    runner.world.done.clear()
    runner._provision(PAIR_DEFAULTS | settings)
    return runner.world.done


def test_a_new_site_is_provisioned_once(runner):
    assert provision(runner) == ["provision tandem_promotion=playbook tandem_registration=once"]
    assert provision(runner) == []


def test_both_guards_get_new_settings_though_the_attached_one_is_left_alone(runner):
    provision(runner)
    told = "provision tandem_promotion=automatic tandem_registration=once"
    assert provision(runner, promotion="automatic") == [told, "switchover", told]


def test_the_product_behaves_as_told(runner):
    provision(runner)
    assert provision(runner, reconnects="restarted") == ["restart holder", "restart other"]
    settings = json.loads((runner.directory / "settings.json").read_text(encoding="utf-8"))
    assert settings == {"table_seconds": 8, "registration": "once", "assumptions": {RECONNECTS: False}}
    assert provision(runner) == ["restart holder", "restart other"]
    assert provision(runner, registration="each_time")[0] == "management server"


def test_only_what_a_guard_logged_since_the_step_began_counts(tmp_path):
    world = object.__new__(World)
    world.names, world.site, world.step_ms = {"holder": "pair1-a"}, FakeSite(tmp_path), 1_700_000_000_500
    log = tmp_path / "pair1-a" / "C/ProgramData/Tandem/guard/guard.log"
    log.parent.mkdir(parents=True)
    log.write_text("2023-11-14 22:13:20.499Z the disk is full\n2023-11-14 22:13:20.500Z the disk is gone\n", encoding="utf-8")
    assert conditions.missing(world, [("guard_logs", ["holder", "is gone"])]) == []
    assert conditions.missing(world, [("guard_logs", ["holder", "is full"])]) != []
