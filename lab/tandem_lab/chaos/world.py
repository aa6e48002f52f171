# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The raised site as a scenario sees it: roles instead of names, and what can be observed of machines, disks and clients.

Nothing here asks a guard: permits and services are the machine kernels' own account, service is what a client gets to see.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import re
import time
import typing as t

import requests

from .. import disks
from ..demo import accounting, playbook
from ..demo.screen import Screen
from ..demo.wall import Wall
from ..integrations.vms_client import lab_recorders
from ..machine.channel import MachineError
from ..machine.clock import MachineClock
from ..site import Site
from .evidence import lines, read_attachments
from .watcher import Watcher

TANDEM_SERVICE = "Tandem Guard"
WITNESS_SERVICE = "Tandem Witness"
DARK_MS = 1500
LATELY_MS = 3000
KERNEL_SECONDS = 2.0
SERVICE_SECONDS = 30.0
CLOCK_TOLERANCE = 0.1


class World:
    """`nodes` are the roles; `begin_scenario` deals them out anew: the holder is who is attached then."""

    nodes = ("holder", "other")

    def __init__(self, site: Site, screen: Screen):
        self.site, self.screen = site, screen
        self.description = site.describe()
        self.pair = self.description["pairs"][0]
        self.names = {role: node["name"] for role, node in zip(self.nodes, self.pair["nodes"])}
        self.witness = (self.description.get("witness") or {}).get("name")
        if self.witness:
            self.names["witness"] = self.witness
        self.step_ms = 0
        self._step_counter = 0
        machines = [name for name in (*[node["name"] for node in self.pair["nodes"]], self.witness) if name]
        folders = {name: site.machine_directory(name) for name in machines}
        self.watcher = Watcher(folders, self.pair["name"], site.directory / "records.jsonl")
        self.wall: Wall | None = None

    # -- life --------------------------------------------------------------------------------------------------------
    def start(self) -> None:
        self.wall = Wall(self.site)
        self.watcher.start()

    def stop(self) -> None:
        if self.wall is not None:
            self.wall.stop()
            self.watcher.stop()

    def begin_scenario(self) -> None:
        holder = next(node["name"] for node in self.pair["nodes"] if self._permits(node["name"]))
        other = next(node["name"] for node in self.pair["nodes"] if node["name"] != holder)
        self.names.update(holder=holder, other=other)

    def begin_step(self, acts: bool = True) -> None:
        """Events count since the last step that did something; frames since this one began."""
        if acts:
            self.step_ms = now_ms()
        self._step_counter = self._last_counter()

    def machine(self, party: str) -> str:
        """The machine that plays a role; other parties have their own names."""
        return self.names.get(party, party)

    def power_on(self, role: str) -> None:
        self.site.power_on(self.machine(role))

    def power_on_all(self) -> None:
        for machine in set(self.names.values()):
            if not self.site.processes.running(machine):
                self.site.power_on(machine)

    def set_clocks(self) -> None:
        """As time synchronisation does it: a machine that was paused, or whose clock went wrong, gets the right time again."""
        for machine in set(self.names.values()):
            clock = MachineClock(self.site.machine_directory(machine))
            ahead = clock.wall() - time.time()
            if abs(ahead) > CLOCK_TOLERANCE:
                clock.step(-ahead)

    def restart_recorder(self, role: str) -> None:
        """One that runs."""
        control = self.site.control(self.machine(role))
        service = control.call("service.status", name=disks.RECORDER_SERVICE, timeout=SERVICE_SECONDS)["service"]
        if service["state"] != "running":
            return
        for command in ("service.stop", "service.start"):
            control.call(command, name=disks.RECORDER_SERVICE, timeout=SERVICE_SECONDS)

    def named(self, text: str) -> str:
        """`{holder}`, `{other}`, `{witness}` and `{site}` in a text stand for names; all other braces are its own."""
        for role, name in (*self.names.items(), ("site", str(self.site.directory))):
            text = text.replace(f"{{{role}}}", name)
        return text

    @property
    def ttl(self) -> float:
        settings = self.site.machine_directory(self.names["holder"]) / "C/ProgramData/Tandem/node.json"
        return float(json.loads(settings.read_text(encoding="utf-8"))["lease_ttl"])

    # -- attachment --------------------------------------------------------------------------------------------------
    def status(self, role: str) -> dict | None:
        """All that the machine's kernel knows; None when it does not answer."""
        return self._status(self.machine(role))

    def _status(self, machine: str) -> dict | None:
        try:
            return self.site.control(machine).call("status", timeout=KERNEL_SECONDS)["status"]
        except (MachineError, OSError):
            return None

    def permits(self, role: str) -> list | None:
        return self._permits(self.machine(role))

    def _permits(self, machine: str) -> list | None:
        status = self._status(machine)
        return None if status is None else status["fence"]["permits"]

    def permit_closed_lately(self, role: str) -> bool:
        return any(event["event"] == "permit_closed" for event in self._events_lately(role))

    def service_ended_lately(self, role: str, service: str) -> bool:
        return any(event.get("service") == service and event.get("state") == "stopped" for event in self._events_lately(role))

    def _events_lately(self, role: str) -> list[dict]:
        events = lines(self.site.machine_directory(self.machine(role)) / "events.jsonl")
        return [event for event in events if event.get("t_ms", event.get("time_ms", 0)) >= self.step_ms]

    def tandem_service(self, role: str) -> str:
        status = self.status(role)
        if status is None:
            return "the machine does not answer"
        name = self.tandem_service_name(role)
        return next((service["state"] for service in status["services"] if service["name"] == name), f"there is no service {name}")

    @staticmethod
    def tandem_service_name(role: str) -> str:
        return WITNESS_SERVICE if role == "witness" else TANDEM_SERVICE

    def voting(self, role: str) -> bool:
        return self.watcher.latest(self.machine(role)).get("voting") is True

    def epoch(self) -> int:
        """The highest epoch on any voter's disk."""
        return max((record["epoch"][0] for name in set(self.names.values()) if (record := self.watcher.latest(name))), default=0)

    def attachments(self, role: str) -> list[int]:
        return read_attachments(self._guard_folder(role))

    def guard_log_lately(self, role: str) -> list[str]:
        """The lines since the last step that did something."""
        path = self._guard_folder(role) / "guard.log"
        since = f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(self.step_ms / 1000))}.{self.step_ms % 1000:03d}Z"
        written = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        return [line for line in written if line >= since]

    def _guard_folder(self, role: str) -> pathlib.Path:
        return self.site.machine_directory(self.machine(role)) / "C/ProgramData/Tandem/guard"

    # -- service -----------------------------------------------------------------------------------------------------
    def dark_cameras(self) -> int:
        assert self.wall is not None
        return self.wall.cameras - len(self.wall.seen_since(now_ms() - DARK_MS))

    def interruption(self, since_ms: float) -> float:
        assert self.wall is not None
        return self.wall.interruption(int(since_ms))

    def connected_from(self) -> list[str]:
        """The roles whose machines the Management Server has the recorder connected from."""
        by_address = {node["address"]: node["name"] for node in self.pair["nodes"]}
        roles = {name: role for role, name in self.names.items()}
        try:
            connected = lab_recorders(self.description)["connected"]
        except (OSError, ValueError, requests.RequestException):
            return []
        sources = [entry["source"] for entry in connected if entry["recorder_id"] == self.pair["recorder_id"]]
        machines = [by_address.get(source, source) for source in sources]
        return [roles.get(machine, machine) for machine in machines]

    # -- recording ---------------------------------------------------------------------------------------------------
    def recording(self, role: str) -> bool:
        return disks.recording(self.site, self.machine(role), now_ms() - LATELY_MS)

    def frames_since_step(self) -> int:
        return self._last_counter() - self._step_counter

    def _last_counter(self) -> int:
        return int(accounting.camera_status(self.description["cameras"][0])["last_counter"])

    def closed_tables(self) -> dict[str, dict[str, int]]:
        return {node["name"]: disks.closed_tables(self.site, node["name"]) for node in self.pair["nodes"]}

    # -- playbooks ---------------------------------------------------------------------------------------------------
    def play(self, name: str, *arguments: str) -> str:
        """The whole output, on one line's worth of blanks; raises PlaybookFailed."""
        run = playbook.run(self.screen, self.site.directory / "site.json", name, *map(self.named, arguments))
        return words("\n".join(run.lines))

    def status_playbook(self) -> str:
        with contextlib.suppress(playbook.PlaybookFailed):
            return self.play("status")
        return ""


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def now_ms() -> int:
    return int(time.time() * 1000)


def wait_until(what: str, condition: t.Callable[[], list[str]], within: float, every: float = 0.1) -> None:
    """Until nothing is missing any more; an error that says what was missing last."""
    deadline = time.monotonic() + within
    while left := condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {within:g} s for {what}; still: {'; '.join(left)}")
        time.sleep(every)
