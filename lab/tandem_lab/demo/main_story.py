# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main story: two bare machines become a pair, one dies, nobody notices, and in the end both hold everything."""

from __future__ import annotations

import contextlib
import pathlib
import re
import shutil
import time

from .. import disks
from ..integrations import psim, vms_client
from ..site import Site
from . import accounting, playbook, voters
from .screen import Screen
from .summary import Summary
from .wall import Wall

A, B = "pair1-a", "pair1-b"
TABLE_SECONDS = 8
VOTERS = re.compile(r"Votes: (?P<voters>.+?) {2,}witness heard (?P<ago>[\d.]+) s ago")
LEASE_WAIT = re.compile(r"permit_wait, seconds (?P<seconds>[\d.]+)")
REQUIRED = ("frames_expected", "frames_missing", "live_interruption_seconds", "promotion_seconds", "fingerprint_before", "fingerprint_after",
            "fingerprint_equal", "coverage", "sync_changed_second_run", "lease_wait_seconds", "votes", "voters",
            "witness_heard_seconds_ago", "witness_noticed_death_seconds")


def tell(directory: pathlib.Path, screen: Screen) -> int:
    shutil.rmtree(directory / "site", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    screen.title("Tandem for XProtect, on a simulated site", [
        "8 cameras, one Management Server, two Windows machines, a witness, three integrations: a live wall,",
        "a PSIM that holds ids and names, an exporter that plays back. Everything below is a real playbook run.",
    ])
    site = Site(directory / "site")
    summary = Summary(REQUIRED)
    with contextlib.ExitStack() as stack:
        stack.callback(site.down)
        try:
            MainStory(site, screen, summary, stack).tell()
        except (playbook.PlaybookFailed, TimeoutError, AssertionError) as error:
            screen.bad(str(error))
            screen.say(f"logs: {directory / 'site' / 'logs'}")
            return 1
        summary.write(directory / "summary.json")
    screen.say(f"summary: {directory / 'summary.json'}")
    if summary.broken:
        screen.bad(f"{len(summary.broken)} of {len(summary.promises)} promises broken")
        return 1
    screen.good(f"all {len(summary.promises)} promises kept")
    return 0


class MainStory:
    def __init__(self, site: Site, screen: Screen, summary: Summary, stack: contextlib.ExitStack) -> None:
        self.site, self.screen, self.summary, self.stack = site, screen, summary, stack
        self.interruption: dict[str, float] = {}
        self.played: dict[str, dict[str, set[int]]] = {}
        self.runs: dict[str, playbook.Run] = {}
        self.last_backfill_ms: dict[str, int] = {}
        self.votes: dict[str, voters.Votes] = {}

    def tell(self) -> None:
        self.raise_the_site()
        self.provision()
        self.first_backfill()
        self.sync()
        self.lose_a_machine()
        self.look_at_the_integrations()
        self.bring_it_back()
        self.hand_over_and_back()
        self.account()

    # -- chapters ------------------------------------------------------------------------------------------------
    def raise_the_site(self) -> None:
        self.screen.chapter(0, "A site with one recorder, and a second machine beside it")
        self.site.create(cameras=8, pairs=1, settings={"table_seconds": TABLE_SECONDS})
        self.site.up(die_with_parent=True)
        self.description = self.site.describe()
        self.file = self.site.directory / "site.json"
        self.story = accounting.Story(self.description)
        self.story.begin()
        self.wall = Wall(self.site)
        self.stack.callback(self.wall.stop)
        self.identity_before = psim.snapshot(self.description)
        self.screen.good(f"{A} records 8 cameras and serves {self.description['pairs'][0]['service_url']}; {B} is bare")
        self.screen.good("live wall up, PSIM has learnt every id, name and address")

    def provision(self) -> None:
        self.screen.chapter(1, "Two machines become a pair")
        self._play("provision")
        first_of_pair_ms = _now()
        self._still("after provisioning")
        again = self._play("provision")
        self.summary.measured("provision_changed_second_run", again.changed)
        self.summary.measured("provision_seconds", round(self.runs["provision"].seconds, 2))
        self.pair_complete_ms = first_of_pair_ms

    def first_backfill(self) -> None:
        self.screen.say(f"The twin also gets what {A} recorded before it existed, once those tables are closed.")
        self._wait_closed(A, self.pair_complete_ms)
        self._backfill(B)

    def sync(self) -> None:
        self.screen.chapter(2, "Configuration cannot drift")
        run = self._play("sync")
        self.summary.measured("sync_changed_first_run", run.changed)
        camera = self.description["cameras"][1]
        client = vms_client.VmsClient(self.description)
        self.screen.say(f"An administrator changes a setting of \"{camera['name']}\" at the Management Server: prebuffer 3 s -> 7 s")
        client.patch(f"cameras/{camera['id']}", {"prebufferSeconds": 7})
        changed = self._play("sync", "--diff")
        assert changed.changed > 0, "the sync after a change at the Management Server found nothing"
        self.summary.measured("sync_changed_after_change", changed.changed)
        again = self._play("sync")
        self.summary.measured("sync_changed_second_run", again.changed)
        cached = disks.cached_camera(self.site, B, camera["id"])
        self.summary.measured("sync_setting_on_headless_node", cached.get("prebufferSeconds", cached.get("prebuffer_seconds")))

    def lose_a_machine(self) -> None:
        self.screen.chapter(3, f"{A} dies")
        manual = next(camera for camera in self.description["cameras"] if camera["recording_mode"] == "manual")
        self._record_by_hand(manual)
        self._before_death = self._closed_tables()
        self.death_ms = _now()
        self.site.power_off(A)
        self.screen.drama(f"power cut: every process of {A} is gone, nobody said goodbye")
        run = self._play("failover")
        self._look_at_votes("failover")
        self.summary.measured("lease_wait_seconds", _lease_wait(run))
        back_ms = self.wall.served_again(self.death_ms)
        self.summary.measured("promotion_seconds", round((back_ms - run.started_ms) / 1000, 2))
        self.summary.measured("silent_death_to_served_seconds", round((back_ms - self.death_ms) / 1000, 2))
        self.wall.wait_all_served(run.started_ms)
        self.interruption["failover"] = self.wall.interruption(self.death_ms - 500)
        told_ms = accounting.wait_for("the witness to tell of it", lambda: voters.noticed_silence(self.site, A, self.death_ms))
        noticed = round((told_ms - self.death_ms) / 1000, 2)
        self.summary.measured("witness_noticed_death_seconds", noticed)
        self.screen.good(f"witness: told of the silence of {A} {noticed:.2f} s after its death")

    def look_at_the_integrations(self) -> None:
        self.screen.chapter(4, "The integrations carry on")
        self.screen.good(f"live wall: every camera is back, worst interruption {self.interruption['failover']:.2f} s")
        self._still("after the failover")
        around = (self.death_ms - 3000, self.death_ms + 3000)
        got = accounting.play_everything(self.description, *around)
        steady = [camera for camera in self.description["cameras"] if camera["recording_mode"] == "always"]
        worst = min(len(got[camera["id"]]) for camera in steady)
        fps = accounting.camera_status(steady[0])["fps"]
        self.screen.good(f"exporter: 6 s around the moment of death play back, {worst} frames on the poorest camera at {fps:g} frames/s")
        self.summary.measured("frames_around_death_poorest_camera", worst)

    def bring_it_back(self) -> None:
        self.screen.chapter(5, f"{A} returns, stays headless, and gets what it missed")
        self.site.power_on(A)
        accounting.wait_for(f"{A} to record again", lambda: disks.recording(self.site, A, since_ms=_now() - 3000))
        returned_ms = _now()
        self._wait_closed(B, returned_ms)
        self._backfill(A)
        self.story.end(returned_ms)
        show_holdings(self.screen, f"What each machine holds of the time until {A} was back", self.story.expectations(),
                      {machine: disks.counters(self.site, machine) for machine in (A, B)})
        seen = VOTERS.search("\n".join(self._play("status").lines))
        assert seen, "the status does not tell who votes"
        self.summary.measured("voters", seen["voters"].split(", "))
        self.summary.measured("witness_heard_seconds_ago", float(seen["ago"]))

    def hand_over_and_back(self) -> None:
        self.screen.chapter(6, "A planned hand-over, and back")
        self._switchover("switchover", A)
        self.screen.say(f"Now {B} is headless and gets its own share: the restarts it made, and the manual recording that only {A} was told of.")
        self._wait_closed(A, _now())
        self._backfill(B)
        self.played[A] = accounting.play_everything(self.description, self.story.begin_ms, _now())
        self._switchover("switchover_back", B)
        self._play("status")

    def account(self) -> None:
        self.screen.chapter(7, "Every frame is accounted for")
        self.story.end()
        time.sleep(1.0)  # the last frames of the story reach the recorders' disks; nothing is decided by this wait
        self.played[B] = accounting.play_everything(self.description, self.story.begin_ms, _now())
        self._still("at the end")
        verdict = Verdict(self)
        verdict.frames()
        verdict.coverage()
        verdict.promises()
        verdict.show()

    # -- what the chapters do ------------------------------------------------------------------------------------
    def _play(self, name: str, *arguments: str) -> playbook.Run:
        run = playbook.run(self.screen, self.file, name, *arguments)
        self.runs.setdefault(name, run)
        return run

    def _backfill(self, target: str) -> None:
        """Fetch what `target`, being headless, lacks."""
        self.last_backfill_ms[target] = _now()
        self._play("backfill")

    def _still(self, when: str) -> None:
        differences = psim.compare(self.identity_before, psim.snapshot(self.description))
        if differences:
            raise AssertionError(f"the PSIM's references changed {when}: {differences[:5]}")
        self.screen.good(f"PSIM {when}: every id, name and address as before")

    def _record_by_hand(self, camera: dict) -> None:
        self.screen.say(f"A guard at the desk starts \"{camera['name']}\" by hand for 6 seconds; only {A}, being attached, is told.")
        client = vms_client.VmsClient(self.description)
        client.start_manual_recording(camera["id"])
        began = _now() + 400
        time.sleep(6.0)  # the length of the recording, as the guard at the desk wants it
        self.story.manual.setdefault(camera["id"], []).append((began, _now() - 400))
        client.stop_manual_recording(camera["id"])
        self._wait_closed(A, _now())

    def _wait_closed(self, machine: str, until_ms: int) -> None:
        """Until every table of `machine` that holds something before `until_ms` is closed: only those can be fetched."""
        accounting.wait_for(f"{machine} to close its tables", lambda: disks.closed_until(self.site, machine) >= until_ms, timeout=4 * TABLE_SECONDS + 20)

    def _closed_tables(self) -> dict[str, dict[str, int]]:
        return {machine: disks.closed_tables(self.site, machine) for machine in (A, B)}

    def _look_at_votes(self, name: str) -> None:
        self.votes[name] = voters.votes(self.site)
        self.screen.good(f"votes on the disks: {self.votes[name]}")

    def _switchover(self, name: str, to: str) -> None:
        began = _now()
        run = self._play("switchover", "-e", f"attach={to}")
        self.runs[name] = run
        self._look_at_votes(name)
        self.wall.wait_all_served(int(run.started_ms + run.seconds * 1000))
        self.interruption[name] = self.wall.interruption(began)
        self.screen.good(f"{to} is attached, worst interruption on the wall {self.interruption[name]:.2f} s")
        self._still(f"with {to} attached")


class Verdict:
    """Turn what was seen into figures and promises."""

    def __init__(self, story: MainStory) -> None:
        self.story, self.summary = story, story.summary
        self.expected = story.story.expectations()
        self.held = {machine: disks.counters(story.site, machine) for machine in (A, B)}

    def frames(self) -> None:
        total = missing = 0
        self.missing_by_attached = {A: 0, B: 0}
        for expectation in self.expected:
            camera_id = expectation.camera["id"]
            total += len(expectation.counters)
            got = {machine: self.story.played[machine].get(camera_id, set()) for machine in (A, B)}
            missing += len(expectation.counters - got[A] - got[B])
        self.summary.measured("frames_expected", total)
        self.summary.measured("frames_missing", missing)

    def coverage(self) -> None:
        coverage = {}
        for machine in (A, B):
            cameras = {}
            for expectation in self.expected:
                wanted = expectation.counters
                lacks = wanted - self.held[machine].get(expectation.camera["id"], set())
                cameras[expectation.camera["name"]] = {"frames_expected": len(wanted), "frames_held": len(wanted) - len(lacks)}
            expected = sum(row["frames_expected"] for row in cameras.values())
            held = sum(row["frames_held"] for row in cameras.values())
            coverage[machine] = {"frames_expected": expected, "frames_held": held, "share": round(held / expected, 4), "cameras": cameras}
        self.summary.measured("coverage", coverage)
        show_holdings(self.story.screen, "What each machine holds on its own disks at the end", self.expected, self.held)

    def promises(self) -> None:
        summary, story = self.summary, self.story
        before, after = psim.fingerprint(story.identity_before), psim.fingerprint(psim.snapshot(story.description))
        summary.measured("fingerprint_before", before)
        summary.measured("fingerprint_after", after)
        summary.measured("fingerprint_equal", before == after)
        summary.measured("live_interruption_seconds", dict(story.interruption))
        duplicates = vms_client.lab_recorders(story.description)["duplicates"]
        summary.measured("duplicate_recorders_seen_by_management_server", duplicates)
        restarts = {machine: disks.recorder_starts(story.site, machine) for machine in (A, B)}
        announced = {machine: disks.announced_restarts(story.site, machine) for machine in (A, B)}
        summary.measured("recorder_starts", restarts)
        summary.measured("recorder_restarts_announced", announced)
        figures = summary.figures
        # Node a was started twice by its machine (raised, and after the power cut), node b once, by provisioning.
        unannounced = {A: restarts[A] - 2 - announced[A], B: restarts[B] - 1 - announced[B]}
        summary.promise("A healthy recorder is never stopped by a decision about attachment", not any(unannounced.values()),
                        f"unannounced recorder starts {_per_machine(unannounced)}")
        summary.measured("votes", {name: votes._asdict() for name, votes in story.votes.items()})
        summary.promise("A majority of node, node and witness voted for every attachment",
                        all(len(votes.machines) >= 2 for votes in story.votes.values()), "; ".join(map(str, story.votes.values())))
        summary.promise("Never two attached", duplicates == 0, f"{duplicates} double registrations at the Management Server")
        lost = disks.vanished(story._before_death, story._closed_tables())
        summary.promise("Media is never deleted or overwritten", not lost, f"{len(lost)} closed tables vanished or changed size")
        summary.promise("The fingerprint is the same before and after", figures["fingerprint_equal"], f"{before[:16]} / {after[:16]}")
        summary.promise("No frame is missing from the pair", figures["frames_missing"] == 0,
                        f"{figures['frames_missing']} of {figures['frames_expected']} by playback through the service address")
        self._union_promise()
        summary.promise("A second sync finds nothing", figures["sync_changed_second_run"] == 0, f"changed={figures['sync_changed_second_run']}")
        summary.promise("The changed setting is on the headless node", figures["sync_setting_on_headless_node"] == 7,
                        f"prebuffer {figures['sync_setting_on_headless_node']} s")
        summary.promise("A second provisioning changes nothing", figures["provision_changed_second_run"] == 0,
                        f"changed={figures['provision_changed_second_run']}")
        summary.promise("Serving came back by itself for every client", all(value < 60 for value in story.interruption.values()),
                        ", ".join(f"{name} {value:.2f} s" for name, value in story.interruption.items()))

    def _union_promise(self) -> None:
        """Both hold everything, but for the restart that its own last import made: that waits for the next real import."""
        unexplained = {}
        for machine in (A, B):
            since = self.story.last_backfill_ms[machine]
            spans = [span for span in disks.restart_spans(self.story.site, machine) if span[0] >= since]
            lacking = 0
            for expectation in self.expected:
                lacks = expectation.counters - self.held[machine].get(expectation.camera["id"], set())
                lacking += len(lacks - disks.counters_in(accounting.camera_status(expectation.camera), spans, lacks))
            unexplained[machine] = lacking
        self.summary.measured("frames_lacking_outside_last_restart", unexplained)
        self.summary.promise("After backfill both hold the full record", not any(unexplained.values()),
                             f"frames lacking, own last import's restart aside: {_per_machine(unexplained)}")

    def show(self) -> None:
        figures = self.summary.figures
        cut = figures["live_interruption_seconds"]
        self.summary.show(self.story.screen, [
            ("camera frames expected / missing from the pair", f"{figures['frames_expected']} / {figures['frames_missing']}"),
            (f"held on {A} / {B}", " / ".join(f"{figures['coverage'][m]['share']:.2%}" for m in (A, B))),
            ("live interruption, failover", f"{cut['failover']:.2f} s"),
            ("live interruption, switchover / back", f"{cut['switchover']:.2f} s / {cut['switchover_back']:.2f} s"),
            ("promotion: playbook start to first client served", f"{figures['promotion_seconds']:.2f} s"),
            ("of it, wait until the dead node's lease had run out", f"{figures['lease_wait_seconds']:.2f} s"),
            ("death to first client served", f"{figures['silent_death_to_served_seconds']:.2f} s"),
            ("death to the witness's word of it", f"{figures['witness_noticed_death_seconds']:.2f} s"),
            ("voters", ", ".join(figures["voters"])),
            ("witness heard by the attached node", f"{figures['witness_heard_seconds_ago']:.1f} s ago"),
            ("provisioning", f"{figures['provision_seconds']:.1f} s"),
            ("fingerprint equal", "yes" if figures["fingerprint_equal"] else "NO"),
            ("changed by the second sync", str(figures["sync_changed_second_run"])),
        ])


def show_holdings(screen: Screen, title: str, expected: list[accounting.Expectation], held: dict[str, dict[str, set[int]]]) -> None:
    """Per camera: the frames that were due, how many each machine has on its disks, and how many neither has."""
    rows = []
    for expectation in expected:
        camera, wanted = expectation.camera, expectation.counters
        here, there = (wanted & held[machine].get(camera["id"], set()) for machine in (A, B))
        rows.append([camera["name"], camera["recording_mode"], str(len(wanted)), str(len(here)), str(len(there)), str(len(wanted - here - there))])
    screen.table(title, ["camera", "mode", "expected", A, B, "lost"], rows)


def _lease_wait(run: playbook.Run) -> float:
    """Nothing was waited for when the lease had run out before the playbook asked."""
    waits = [float(match["seconds"]) for line in run.lines if (match := LEASE_WAIT.search(line))]
    return max(waits, default=0.0)


def _per_machine(counts: dict[str, int]) -> str:
    return ", ".join(f"{machine} {count}" for machine, count in counts.items())


def _now() -> int:
    return int(time.time() * 1000)
