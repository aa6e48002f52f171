#!/usr/bin/env python3
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the pair on the simulated site: each figure beside a baseline taken in the same run.

``python bench/run.py --out build/bench/results.json [--samples 3]`` writes a list of {name, value, unit, samples, baseline,
baseline_value, ratio}: `value` is the median of `samples`, `baseline` says in words what stands beside it. Machines differ and are
noisy: compare ratios, not seconds. The wall shows 5 pictures a second, so its interruptions come in steps of 0.2 s. A simulated
recorder starts in well under a second; a real one takes far longer, so a real ratio to its restart would be lower.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

from tandem_lab import disks
from tandem_lab.demo import playbook
from tandem_lab.demo.accounting import wait_for
from tandem_lab.demo.screen import Screen
from tandem_lab.demo.wall import Wall
from tandem_lab.site import Site

sys.path.insert(0, str(playbook.PROJECT / "collections"))
from ansible_collections.tandem.xprotect.plugins.module_utils.winrm import NodeSession  # noqa: E402

NODES = ("pair1-a", "pair1-b")


def figure(name: str, samples: list[float], baseline: str, baseline_samples: list[float]) -> dict:
    value, beside = statistics.median(samples), statistics.median(baseline_samples)
    return {"name": name, "value": round(value, 3), "unit": "s", "samples": [round(sample, 3) for sample in samples], "baseline": baseline,
            "baseline_value": round(beside, 3), "ratio": round(value / beside, 3) if beside else None}


class Bench:
    def __init__(self, site: Site, screen: Screen, samples: int) -> None:
        self.site, self.screen, self.samples = site, screen, samples
        self.file = site.directory / "site.json"
        self.attached = "pair1-a"

    @property
    def other(self) -> str:
        return NODES[1] if self.attached == NODES[0] else NODES[0]

    def provision(self) -> dict:
        first = playbook.run(self.screen, self.file, "provision")
        again = [playbook.run(self.screen, self.file, "provision").seconds for _ in range(self.samples)]
        return figure("provision_pair_seconds", [first.seconds], "provision.yml on the finished pair (nothing to change)", again)

    def switchovers(self, wall: Wall) -> dict:
        cuts, restarts = [], []
        for _ in range(self.samples):
            self._wait_recording(self.other)
            began = _now()
            playbook.run(self.screen, self.file, "switchover", "-e", f"attach={self.other}")
            self.attached = self.other
            wall.wait_all_served(_now())
            cuts.append(wall.interruption(began))
        for _ in range(self.samples):
            restarts.append(self._plain_restart(wall))
        return figure("switchover_interruption_seconds", cuts,
                      "what the same wall sees when the recorder service of the attached node is restarted", restarts)

    def promotions(self, wall: Wall) -> dict:
        seconds, empty = [], []
        for _ in range(self.samples):
            self._wait_recording(self.other)
            dead = self.attached
            lost = _now()
            self.site.power_off(dead)
            self._wait_permit_closed(self.other)  # measured is the promotion, not the wait for the dead node's permit
            run = playbook.run(self.screen, self.file, "failover")
            seconds.append((wall.served_again(lost) - run.started_ms) / 1000)
            self.attached = self.other
            self.site.power_on(dead)
            empty.append(_empty_playbook(self.file))
            self._wait_recording(dead)
        return figure("promotion_seconds", seconds, "ansible-playbook with one task that does nothing, on the same inventory", empty)

    def _wait_recording(self, machine: str) -> None:
        wait_for(f"{machine} to record", lambda: disks.recording(self.site, machine, _now() - 2000))

    def _wait_permit_closed(self, survivor: str) -> None:
        pair = self.site.describe()["pairs"][0]
        session = NodeSession(next(node for node in pair["nodes"] if node["name"] == survivor), pair["name"])

        def closed() -> bool:
            return session.call("attachment.status")["partner"]["permit_may_be_open_for"] == 0

        try:
            wait_for(f"the end of a permit that {survivor} reckons with", closed)
        finally:
            session.close()

    def _plain_restart(self, wall: Wall) -> float:
        began = _now()
        self.site.restart_recorder(self.attached)
        wall.wait_all_served(_now())
        return wall.interruption(began)


def _empty_playbook(site_file: pathlib.Path) -> float:
    """How long Ansible itself takes: one debug task for the pair."""
    environment = dict(os.environ, TANDEM_LAB_SITE=str(site_file), ANSIBLE_CONFIG=str(playbook.PROJECT / "ansible.cfg"))
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "ansible.cli.playbook", "-i", "inventories/lab", "bench/empty.yml"],
                   cwd=playbook.PROJECT, check=True,
                   env=environment, stdout=subprocess.DEVNULL, timeout=60)
    return time.monotonic() - began


def _now() -> int:
    return int(time.time() * 1000)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--samples", type=int, default=3)
    arguments = parser.parse_args()
    screen = Screen()
    directory = arguments.out.parent.resolve() / "site"
    shutil.rmtree(directory, ignore_errors=True)
    site = Site(directory)
    with contextlib.ExitStack() as stack:
        site.create(cameras=8, pairs=1, settings={"table_seconds": 10})
        stack.callback(site.down)
        site.up(die_with_parent=True)
        bench = Bench(site, screen, arguments.samples)
        results = [bench.provision()]
        wall = Wall(site)
        stack.callback(wall.stop)
        results += [bench.switchovers(wall), bench.promotions(wall)]
    arguments.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    screen.table("Measured", ["figure", "median", "baseline", "ratio"],
                 [[row["name"], f"{row['value']:.2f} {row['unit']}", f"{row['baseline_value']:.2f} {row['unit']}", f"{row['ratio']:.2f}"]
                  for row in results])
    return 0


if __name__ == "__main__":
    sys.exit(main())
