# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shorter story: the recorder's local configuration copy is useless on another machine, so nodes take turns to fetch it."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import time

from .. import disks
from ..integrations import psim, vms_client
from ..site import Site
from . import accounting, playbook
from .screen import Screen
from .summary import Summary

A, B = "pair1-a", "pair1-b"
TURN = ("-e", "tandem_replication_strategy=turn")
REQUIRED = ("provision_changed_second_run", "sync_changed_after_change", "sync_changed_second_run",
            "fingerprint_equal", "frames_expected", "frames_missing_on_both")


def tell(directory: pathlib.Path, screen: Screen) -> int:
    shutil.rmtree(directory / "site", ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)
    screen.title("Tandem for XProtect: strategy turn", [
        "4 cameras, one pair. In this site a recorder refuses a configuration copy that another machine wrote",
        "(assumption local_config_cache_copyable false), so the headless node fetches its own by a short planned turn.",
    ])
    site, summary = Site(directory / "site"), Summary(REQUIRED)
    with contextlib.ExitStack() as stack:
        stack.callback(site.down)
        try:
            _tell(site, screen, summary)
        except (playbook.PlaybookFailed, TimeoutError, AssertionError) as error:
            screen.bad(str(error))
            screen.say(f"logs: {directory / 'site' / 'logs'}")
            return 1
        summary.write(directory / "summary.json")
    summary.show(screen, [("changed by the second provisioning", str(summary.figures["provision_changed_second_run"])),
                          ("changed by the sync after a change", str(summary.figures["sync_changed_after_change"])),
                          ("changed by the one after it", str(summary.figures["sync_changed_second_run"])),
                          ("camera frames expected / on neither disk", f"{summary.figures['frames_expected']} / "
                                                                       f"{summary.figures['frames_missing_on_both']}")])
    return 1 if summary.broken else 0


def _tell(site: Site, screen: Screen, summary: Summary) -> None:
    screen.chapter(0, "A site with one recorder, and a second machine beside it")
    site.create(cameras=4, pairs=1, settings={"table_seconds": 8, "assumptions": {"local_config_cache_copyable": False}})
    site.up(die_with_parent=True)
    description, file = site.describe(), site.directory / "site.json"
    story = accounting.Story(description)
    story.begin()
    before = psim.snapshot(description)

    screen.chapter(1, "Two machines become a pair; the twin fetches its first configuration by a turn")
    playbook.run(screen, file, "provision", *TURN)
    accounting.wait_for(f"{B} to record", lambda: disks.recording(site, B, since_ms=int(time.time() * 1000) - 3000))
    screen.good(f"{B} records every camera")
    again = playbook.run(screen, file, "provision", *TURN)
    summary.measured("provision_changed_second_run", again.changed)

    screen.chapter(2, "A change at the Management Server")
    camera = description["cameras"][1]
    vms_client.VmsClient(description).patch(f"cameras/{camera['id']}", {"prebufferSeconds": 7})
    changed = playbook.run(screen, file, "sync", *TURN, "--diff")
    summary.measured("sync_changed_after_change", changed.changed)
    again = playbook.run(screen, file, "sync", *TURN)
    summary.measured("sync_changed_second_run", again.changed)
    cached = disks.cached_camera(site, B, camera["id"])
    playbook.run(screen, file, "status", *TURN)

    still = int(time.time() * 1000)
    for machine in (A, B):
        accounting.wait_for(f"{machine} to record", lambda machine=machine: disks.recording(site, machine, since_ms=still))
    story.end()
    expected, missing = _frames(site, story)
    summary.measured("frames_expected", expected)
    summary.measured("frames_missing_on_both", missing)
    after = psim.snapshot(description)
    summary.measured("fingerprint_equal", not psim.compare(before, after))
    prebuffer = cached.get("prebufferSeconds", cached.get("prebuffer_seconds"))
    summary.promise("The changed setting is on the headless node", prebuffer == 7, f"prebuffer {prebuffer} s")
    summary.promise("A second provisioning changes nothing", summary.figures["provision_changed_second_run"] == 0,
                    f"changed={summary.figures['provision_changed_second_run']}")
    summary.promise("A sync after a change says so, the next finds nothing", changed.changed > 0 and again.changed == 0,
                    f"changed={changed.changed}, then changed={again.changed}")
    summary.promise("No frame is missing from the pair", missing == 0, f"{missing} of {expected} on neither disk")
    summary.promise("The references of integrations are as before", summary.figures["fingerprint_equal"], "PSIM compared all of them")
    starts = {machine: disks.recorder_starts(site, machine) for machine in (A, B)}
    summary.promise("No recorder is restarted for a turn", starts == {A: 1, B: 1}, f"recorder starts {starts}")
    duplicates = vms_client.lab_recorders(description)["duplicates"]
    summary.promise("Never two attached", duplicates == 0, f"{duplicates} double registrations at the Management Server")


def _frames(site: Site, story: accounting.Story) -> tuple[int, int]:
    """(expected, on neither disk), once the last frames of the story have reached a disk."""
    expectations = story.expectations()

    def missing() -> int:
        held = [disks.counters(site, machine) for machine in (A, B)]
        return sum(len(e.counters - held[0].get(e.camera["id"], set()) - held[1].get(e.camera["id"], set())) for e in expectations)

    with contextlib.suppress(TimeoutError):
        accounting.wait_for("the last frames on disk", lambda: missing() == 0, timeout=5)
    return sum(len(e.counters) for e in expectations), missing()
