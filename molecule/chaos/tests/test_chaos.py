# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdicts of the important scenarios, one test each, and what is left of the site afterwards."""

from __future__ import annotations

import json
import os
import pathlib

import pytest

SITE = pathlib.Path(os.environ["TANDEM_LAB_SITE"])
SCENARIOS = pathlib.Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "tests" / "chaos"
IMPORTANT = sorted(path.stem for path in SCENARIOS.glob("*.yml") if "\nimportant: true\n" in path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def results():
    path = SITE.parent.parent / "chaos" / "results.json"
    return {result["name"]: result for result in json.loads(path.read_text(encoding="utf-8"))}


@pytest.mark.parametrize("name", IMPORTANT)
def test_a_scenario_passed(results, name):
    assert results[name]["failures"] == []
    assert results[name]["figures"]["frames_missing"] == 0


def test_nothing_is_left_broken(host):
    faults = json.loads(host.file(str(SITE.parent / "faults" / "active.json")).content_string)
    assert faults["active"] == []
