# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario files are read strictly, the shipped ones all, and what the issue lists is covered."""

from __future__ import annotations

import copy
import pathlib

import pytest

from tandem_lab.chaos.scenario import FAULTS, Begin, End, Playbook, ScenarioError, Stays, Wait, load, parse

SCENARIOS = sorted((pathlib.Path(__file__).resolve().parents[2] / "chaos").glob("*.yml"))
GOOD = {
    "title": "A guard dies", "covers": "guard alone killed", "important": True, "pair": {"promotion": "automatic"},
    "steps": [
        {"begin": "kill_process", "of": ["holder"], "with": {"process": "guard"}},
        {"begin": "partition", "of": ["holder", "witness"], "with": {"direction": "to"}, "as": "one way"},
        {"wait": {"attached": "other", "served": True}, "within": 30},
        {"end": "one way"},
        {"stays": {"headless": "holder"}, "ttls": 1.5},
        {"playbook": "failover", "refused": True, "says": ["lease"]},
    ],
    "expect": {"attached": "other", "epoch": "grows"},
}


def test_a_scenario():
    scenario = parse(GOOD, "guard")
    assert (scenario.name, scenario.important, scenario.attached, scenario.epoch) == ("guard", True, "other", "grows")
    assert scenario.pair == {"promotion": "automatic", "registration": "once", "reconnects": "unaided"}
    assert scenario.steps == (
        Begin("kill_process", "kill_process", ("holder",), ("guard",)), Begin("partition", "one way", ("holder", "witness"), ("to",)),
        Wait((("attached", "other"), ("served", True)), 30.0), End("one way"), Stays((("headless", "holder"),), 1.5),
        Playbook("failover", (), True, ("lease",)))


@pytest.mark.parametrize(("step", "text"), [
    ({"begin": "partition", "of": ["holder"]}, "concerns 2 parties"),
    ({"begin": "partition", "of": ["holder", "moon"]}, "moon"),
    ({"begin": "partition", "of": ["holder", "other"], "with": {"direction": "up"}}, "direction"),
    ({"begin": "disk", "of": ["witness"], "with": {"drive": "D:", "state": "full"}}, "witness"),
    ({"begin": "disk", "of": ["holder"], "with": {"drive": "D:"}}, "lacks state"),
    ({"begin": "loss", "of": ["holder", "other"], "with": {"share": "much"}}, "number"),
    ({"begin": "revert", "of": ["holder"], "with": {"snapshot": "yesterday"}}, "no snapshot yesterday"),
    ({"begin": "kill_process", "of": ["holder"], "with": {"process": "guard"}}, "goes on already"),
    ({"begin": "earthquake"}, "earthquake"),
    ({"end": "nothing"}, "no fault named nothing"),
    ({"wait": {"atached": "other"}}, "atached"),
    ({"wait": {"attached": "witness"}}, "witness"),
    ({"wait": {}}, "at least one condition"),
    ({"wait": {"served": False}}, "only ever"),
    ({"wait": {"frames": 0}}, "above 0"),
    ({"wait": {"guard_logs": "text"}}, "a node and a text"),
    ({"stays": {"attached": "holder"}, "within": 3}, "within"),
    ({"playbook": "failover", "refused": True}, "says"),
    ({"playbook": "failover", "arguments": "-e x"}, "list"),
    ({"begin": "freeze", "end": "freeze", "of": ["holder"]}, "exactly one"),
    ({"sleep": 3}, "exactly one"),
])
def test_a_step_that_cannot_be_meant(step, text):
    document = copy.deepcopy(GOOD)
    document["steps"].insert(1, step)
    with pytest.raises(ScenarioError, match=f"step 2.*{text}"):
        parse(document, "bad")


@pytest.mark.parametrize(("key", "value"), [
    ("important", "yes"), ("steps", []), ("expect", {"attached": "holder"}), ("expect", {"attached": "a", "epoch": "same"}),
    ("pair", {"promotion": "magic"}), ("pair", {"colour": "red"}), ("title", ""), ("more", 1),
])
def test_a_scenario_that_cannot_be_meant(key, value):
    with pytest.raises(ScenarioError):
        parse(dict(GOOD, **{key: value}), "bad")


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_shipped_scenarios(path):
    load(path)


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    path = tmp_path / "torn.yml"
    path.write_text("title: [", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"torn\.yml"):
        load(path)


def test_every_fault_of_the_lab_and_everything_that_the_issue_names_is_covered():
    scenarios = [load(path) for path in SCENARIOS]
    used = {step.kind for scenario in scenarios for step in scenario.steps if isinstance(step, Begin)}
    assert used == set(FAULTS)
    covers = {scenario.covers for scenario in scenarios}
    assert {"guard alone killed", "guard alone frozen with the recorder running", "fuse killed", "machine kill", "freeze 60 s and thaw",
            "partitions of every kind", "witness down", "power cycle of both", "Management Server down", "asymmetric loss", "disk full",
            "clock step"} <= covers
    assert sum(scenario.important for scenario in scenarios) >= 6


def test_the_documentation_tells_of_every_scenario():
    text = (pathlib.Path(__file__).resolve().parents[3] / "docs" / "chaos.md").read_text(encoding="utf-8")
    assert [path.stem for path in SCENARIOS if f"**{path.stem}** (" not in text] == []
