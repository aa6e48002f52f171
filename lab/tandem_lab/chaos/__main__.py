# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tandem_lab.chaos --directory DIR [scenario.yml ...]``: break a site on purpose; non-zero when a promise broke."""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

from ..demo.screen import Screen
from .runner import Runner
from .scenario import ScenarioError, load

SCENARIOS = pathlib.Path(__file__).resolve().parents[3] / "tests" / "chaos"


def main() -> int:
    parser = argparse.ArgumentParser(prog="tandem_lab.chaos", description=__doc__)
    parser.add_argument("--directory", type=pathlib.Path, required=True,
                        help="where the site, what is left of failed ones, and results.json go")
    parser.add_argument("--site", type=pathlib.Path, help="use this raised and provisioned site instead of an own one")
    parser.add_argument("--important", action="store_true", help="only the scenarios that are marked so")
    parser.add_argument("--list", action="store_true", help="show the scenarios and run nothing")
    parser.add_argument("scenarios", nargs="*", type=pathlib.Path, help="scenario files (default: all of tests/chaos)")
    options = parser.parse_args()
    screen = Screen()
    try:
        scenarios = [load(path) for path in options.scenarios or sorted(SCENARIOS.glob("*.yml"))]
    except (ScenarioError, OSError) as error:
        screen.bad(str(error))
        return 2
    if options.important:
        scenarios = [scenario for scenario in scenarios if scenario.important]
    if options.list:
        screen.table("Scenarios", ["name", "what fails", "pair"], [
            [scenario.name, scenario.title, " ".join(sorted(scenario.pair.values()))] for scenario in scenarios])
        return 0
    os.environ["TANDEM_LAB_WITNESS"] = "on"  # for the inventory of the playbooks
    runner = Runner(options.directory.resolve(), screen)
    try:
        if options.site:
            runner.use(options.site)
        results = runner.run(scenarios)
    finally:
        runner.close()
    failed = [result.scenario.name for result in results if not result.passed]
    if failed:
        screen.bad(f"{len(failed)} of {len(results)} scenarios failed: {', '.join(failed)}")
        return 1
    screen.good(f"all {len(results)} scenarios passed; {options.directory / 'results.json'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
