# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run scenarios, one after the other, on one raised and provisioned site, and let the checker judge each of them.

Between two scenarios everything is healed and must become normal by itself: both nodes record, all voters vote, one node is attached,
every camera is on the wall. That it does is part of each scenario's result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import shutil
import time
import traceback
import typing as t

from .. import disks
from ..demo import playbook
from ..demo.screen import Screen
from ..integrations import psim
from ..site import Site
from . import conditions, evidence
from .checker import check
from .scenario import PAIR_DEFAULTS, Begin, End, Playbook, PowerOn, Scenario, Snapshot, Stays, Step, Wait
from .spans import Span
from .world import World, now_ms, wait_until, words

CAMERAS = 3
TABLE_SECONDS = 8
NORMAL_SECONDS = 120.0
STATUS_PAUSE = 1.0
LASTING_FRAMES = 15  # a scenario goes on for so many pictures of a camera after all is as normal
#: How the pair's settings of a scenario are told to provision.yml.
VARIABLES = {"promotion": "tandem_promotion", "registration": "tandem_registration"}
#: The guards hand over at most once in five minutes by themselves; here every scenario begins anew.
HEALTH = {"tandem_health": {"between": 5}}
#: The lab's name for what a recorder does when the Management Server can be reached again.
RECONNECTS = "reconnects_when_management_server_reachable_again"
NODES = ("holder", "other")


@dataclasses.dataclass
class Result:
    scenario: Scenario
    failures: list[str]
    figures: dict[str, t.Any]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.failures

    def document(self) -> dict[str, t.Any]:
        return {"name": self.scenario.name, "title": self.scenario.title, "covers": self.scenario.covers, "passed": self.passed,
                "failures": self.failures, "figures": self.figures, "seconds": round(self.seconds, 1)}


class StepFailed(Exception):
    pass


class Runner:
    """`directory` gets the site, and results.json. A site that is up and provisioned already can be given by `use`."""

    def __init__(self, directory: pathlib.Path, screen: Screen):
        self.directory, self.screen = directory, screen
        self._pair: dict[str, str] = {}
        self._up = False
        self._borrowed = False
        self._stack = contextlib.ExitStack()

    # -- the site ----------------------------------------------------------------------------------------------------
    def use(self, site_directory: pathlib.Path) -> None:
        """Go on with a site that somebody else raised, provisioned with the default settings, and will take down."""
        self._pair, self._up, self._borrowed = dict(PAIR_DEFAULTS), True, True
        self._enter(Site(site_directory))

    def close(self) -> None:
        self._stack.close()
        self._stack, self._up = contextlib.ExitStack(), False

    def _raise(self) -> None:
        folder = self.directory / "site"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        site = Site(folder)
        site.create(cameras=CAMERAS, pairs=1, settings={"table_seconds": TABLE_SECONDS})
        self._stack.callback(site.down)
        site.up(die_with_parent=True)
        self._up, self._pair = True, {}
        self._enter(site)

    def _enter(self, site: Site) -> None:
        from ..faults import Faults

        self.faults = Faults(site)
        self.world = World(site, self.screen)
        self._stack.callback(self.world.stop)
        self.world.start()

    def _provision(self, wanted: dict[str, str]) -> None:
        if wanted != self._pair:
            self._switch_product(wanted)
            told = {key: wanted[key] for key in VARIABLES}
            if not self._pair or told != {key: self._pair[key] for key in VARIABLES}:
                self._tell_pair(told)
            self._pair = dict(wanted)

    def _tell_pair(self, told: dict[str, str]) -> None:
        arguments = [word for key, value in sorted(told.items()) for word in ("-e", f"{VARIABLES[key]}={value}")]
        self.world.play("provision", *arguments, "-e", json.dumps(HEALTH))
        if self._pair:  # the attached node's guard is left alone: it gets its settings when it is headless
            self._normal()
            self.world.play("switchover")
            self.world.play("provision", *arguments, "-e", json.dumps(HEALTH))

    def _switch_product(self, wanted: dict[str, str]) -> None:
        """The simulated product behaves as the scenario says; its programs read it when they start."""
        path = self.world.site.directory / "settings.json"
        before = json.loads(path.read_text(encoding="utf-8"))
        after = {**before, "registration": wanted["registration"],
                 "assumptions": {**before.get("assumptions", {}), RECONNECTS: wanted["reconnects"] == "unaided"}}
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
        os.replace(beside, path)
        if before.get("registration", "once") != after["registration"]:
            with self.faults.management_server_down():
                pass
        if before.get("assumptions", {}).get(RECONNECTS, True) != after["assumptions"][RECONNECTS]:
            for role in NODES:
                self.world.restart_recorder(role)

    # -- scenarios ---------------------------------------------------------------------------------------------------
    def run(self, scenarios: t.Iterable[Scenario]) -> list[Result]:
        """In an order that provisions anew as seldom as possible. A site that does not become normal again is raised anew."""
        results = []
        for scenario in sorted(scenarios, key=lambda scenario: [scenario.pair[name] for name in PAIR_DEFAULTS], reverse=True):
            self.screen.chapter(len(results) + 1, f"{scenario.name}: {scenario.title}")
            result = self._one(scenario)
            results.append(result)
            for failure in result.failures:
                self.screen.bad(failure)
            if result.passed:
                self.screen.good(f"{result.seconds:.0f} s, " + ", ".join(f"{name} {value}" for name, value in result.figures.items()))
            self._write(results)
        return results

    def _one(self, scenario: Scenario) -> Result:
        began = time.monotonic()
        try:
            if not self._up:
                self._raise()
            self._provision(scenario.pair)
            self._normal()
        except Exception as error:  # noqa: BLE001 - told as this scenario's failure, with its kind
            self._give_up_site()
            return Result(scenario, [f"before the scenario: {_told(error)}"], {}, time.monotonic() - began)
        failures, figures = self._play(scenario)
        return Result(scenario, failures, figures, time.monotonic() - began)

    def _play(self, scenario: Scenario) -> tuple[list[str], dict[str, t.Any]]:
        world, failures = self.world, list[str]()
        world.begin_scenario()
        before = Before(world)
        open_faults = OpenFaults(self.faults, world)
        try:
            Steps(world, open_faults, self.screen).run(scenario.steps)
            failures += self._unexpected(scenario, before)
        except Exception as error:  # noqa: BLE001 - whatever a step raises, everything is healed and judged
            failures.append(_told(error))
        try:
            open_faults.end_all()
            world.power_on_all()
            world.set_clocks()
            self._normal()
            world.begin_step()
            wait_until("it to last", lambda: conditions.missing(world, [("frames", LASTING_FRAMES)]), NORMAL_SECONDS)
            verdict = check(before.evidence())
            failures += [f"{finding.invariant}: {finding.text}" for finding in verdict.findings]
            return failures, {"interruption_seconds": world.interruption(before.begin_ms), **verdict.figures}
        except Exception as error:  # noqa: BLE001 - a site that nobody can heal is this scenario's failure as well
            self._give_up_site()
            return [*failures, f"after the scenario: {_told(error)}"], {}

    def _give_up_site(self) -> None:
        if not self._borrowed:
            self._keep_logs()
            self.close()

    def _keep_logs(self) -> None:
        """The site's folder is emptied for the next one: what explains a failure is moved aside, media excepted."""
        source, target = self.directory / "site", self.directory / f"failed-{now_ms()}"
        if source.exists():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("MediaDatabase", "python-embed*", "Program Files"), symlinks=True,
                            ignore_dangling_symlinks=True)
            self.screen.say(f"what is left of that site: {target}")

    def _normal(self) -> None:
        names = ["somebody_attached", "served"]
        wanted: list[tuple[str, t.Any]] = [(name, True) for name in names]
        wanted += [(name, role) for name in ("recording", "guard_runs", "voting") for role in NODES]
        if self.world.witness:
            wanted += [("guard_runs", "witness"), ("voting", "witness")]
        self.world.begin_step()
        wait_until("the site to be as normal", lambda: conditions.missing(self.world, wanted), NORMAL_SECONDS, 0.3)

    def _unexpected(self, scenario: Scenario, before: Before) -> list[str]:
        world, found = self.world, []
        now = [role for role in NODES if world.permits(role)]
        wanted = {"nobody": [[]], "either": [["holder"], ["other"]]}.get(scenario.attached, [[scenario.attached]])
        if now not in wanted:
            found.append(f"in the end {scenario.attached} should be attached, but it is {' and '.join(now) or 'nobody'}")
        epoch = world.epoch()
        if (scenario.epoch == "same" and epoch != before.epoch) or (scenario.epoch == "grows" and epoch <= before.epoch):
            wish = "the same" if scenario.epoch == "same" else "higher"
            found.append(f"the epoch was {before.epoch} and is {epoch}; it should be {wish}")
        return found

    def _write(self, results: list[Result]) -> None:
        path = self.directory / "results.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps([result.document() for result in results], indent=2) + "\n", encoding="utf-8")
        os.replace(beside, path)


class Before:
    """What is looked at before a scenario, to be compared with what is there afterwards."""

    def __init__(self, world: World):
        self._world = world
        self._fingerprint = psim.fingerprint(psim.snapshot(world.description))
        self._tables = world.closed_tables()
        self.epoch = world.epoch()
        self.begin_ms = now_ms()

    def evidence(self) -> evidence.Evidence:
        world, end = self._world, now_ms()
        world.begin_step()
        # The last frames of the span are on their way to the disks.
        wanted = [("frames", 10), ("recording", "holder"), ("recording", "other")]
        wait_until("the last frames", lambda: conditions.missing(world, wanted), 30.0)
        span = Span(self.begin_ms, end)
        found = evidence.collect(world.site, span, world.ttl, world.watcher.rows(self.begin_ms))
        found.fingerprint_before = self._fingerprint
        found.fingerprint_after = psim.fingerprint(psim.snapshot(world.description))
        found.vanished = disks.vanished(self._tables, world.closed_tables())
        return found


class OpenFaults:
    """The faults that a scenario has begun, by its own names for them."""

    def __init__(self, faults: t.Any, world: World):
        self._faults, self._world = faults, world
        self._open: dict[str, t.Any] = {}
        self._snapshots: dict[str, t.Any] = {}

    def begin(self, step: Begin) -> None:
        parties = [self._world.machine(party) for party in step.parties]
        values = [self._snapshots.get(value, value) if step.kind == "revert" else value for value in step.values]
        self._open[step.name] = getattr(self._faults, step.kind)(*parties, *values)

    def end(self, name: str) -> None:
        self._open.pop(name).end()

    def snapshot(self, step: Snapshot) -> None:
        self._snapshots[step.name] = self._faults.snapshot(self._world.machine(step.machine))

    def end_all(self) -> None:
        """Also when one of them cannot be ended: the others must be, and the first trouble is told."""
        with contextlib.ExitStack() as stack:
            for fault in self._open.values():
                stack.callback(fault.end)
            self._open = {}


class Steps:
    def __init__(self, world: World, faults: OpenFaults, screen: Screen):
        self._world, self._faults, self._screen = world, faults, screen

    def run(self, steps: t.Sequence[Step]) -> None:
        for number, step in enumerate(steps, 1):
            self._world.begin_step(acts=not isinstance(step, (Wait, Stays)))
            try:
                self._run(step)
            except (StepFailed, TimeoutError, playbook.PlaybookFailed, OSError, ValueError) as error:
                raise StepFailed(f"step {number}: {error}") from error

    def _run(self, step: Step) -> None:
        self._screen.say(_describe(step))
        if isinstance(step, Begin):
            self._faults.begin(step)
        elif isinstance(step, End):
            self._faults.end(step.name)
        elif isinstance(step, Snapshot):
            self._faults.snapshot(step)
        elif isinstance(step, PowerOn):
            self._world.power_on(step.machine)
        elif isinstance(step, Wait):
            slow = any(name == "status_shows" for name, _value in step.conditions)
            pause = STATUS_PAUSE if slow else 0.1
            wait_until(_describe(step), lambda: conditions.missing(self._world, step.conditions), step.within, pause)
        elif isinstance(step, Stays):
            self._stays(step)
        else:
            self._play(step)

    def _stays(self, step: Stays) -> None:
        end = time.monotonic() + step.ttls * self._world.ttl
        while time.monotonic() < end:
            left = conditions.missing(self._world, step.conditions)
            if left:
                raise StepFailed(f"it did not stay so: {'; '.join(left)}")
            time.sleep(0.2)

    def _play(self, step: Playbook) -> None:
        try:
            output = self._world.play(step.name, *step.arguments)
        except playbook.PlaybookFailed as error:
            if not step.refused:
                raise
            output = words(str(error))
        else:
            if step.refused:
                raise StepFailed(f"{step.name}.yml was not refused")
        lacking = [text for text in step.says if self._world.named(text).lower() not in output.lower()]
        if lacking:
            raise StepFailed(f"{step.name}.yml does not say {lacking}: {output[-1500:]}")


def _describe(step: Step) -> str:
    if isinstance(step, Begin):
        return " ".join(["begin", step.name, *step.parties, *map(str, step.values)])
    if isinstance(step, End):
        return f"end {step.name}"
    if isinstance(step, Snapshot):
        return f"snapshot of {step.machine}"
    if isinstance(step, PowerOn):
        return f"power on {step.machine}"
    if isinstance(step, Playbook):
        return f"{step.name}.yml" + (" must be refused" if step.refused else "")
    text = ", ".join(name if value is True else f"{name} {value}" for name, value in step.conditions)
    return f"stays for {step.ttls:g} lease lifetimes: {text}" if isinstance(step, Stays) else f"until {text}"


def _told(error: Exception) -> str:
    if isinstance(error, (StepFailed, TimeoutError, playbook.PlaybookFailed)):
        return str(error)
    return "".join(traceback.format_exception(error)).strip()
