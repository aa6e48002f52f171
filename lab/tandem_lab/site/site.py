# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One simulated site in one folder."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t
from pathlib import Path

from .. import subnet
from ..faults import Faults, standstill
from ..integrations.vms_client import lab_recorders
from ..machine import image
from ..machine.ctl import MachineControl
from ..machine.storage import EventLog
from ..management_server import files
from . import layout, machines, model_builder, readiness
from .processes import Processes

NETWORK, CAMERAS, SERVER = "network", "cameras", "management-server"
DEFAULT_SETTINGS: dict[str, t.Any] = {"table_seconds": 10, "uplink_retry_seconds": 0.25, "assumptions": {}}
STOP_SECONDS = 10.0


class SiteError(Exception):
    pass


def _json(value: t.Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


class Site:
    """Create once, then `up` and `down` as often as wanted: ids, addresses, passwords and media stay.

    The folder holds site.json (for integrations and inventories), machines/, management-server/, logs/, processes.json, and
    faults/ with faults.jsonl: what `faults` breaks.
    """

    def __init__(self, directory: Path | str):
        self.directory = Path(directory).absolute()
        self.processes = Processes(self.directory)
        self.faults = Faults(self)
        self._die_with_parent = False

    # -- creation ------------------------------------------------------------------------------------------------
    @property
    def exists(self) -> bool:
        return (self.directory / "site.json").exists()

    def create(self, cameras: int = 8, pairs: int = 1, settings: dict[str, t.Any] | None = None) -> None:
        """A site with `cameras` cameras on each of `pairs` pairs, nothing running. `settings` go over the lab's defaults."""
        if self.exists:
            raise SiteError(f"{self.directory} holds a site already; take it down and remove the folder for a new one")
        with subnet.claim() as claimed:
            plan = layout.plan(claimed.network.rpartition(".")[0], cameras=cameras, pairs=pairs)
        logs, server = self.directory / "logs", self.directory / "management-server"
        for folder in (logs, server, self.directory / "machines"):
            folder.mkdir(parents=True, exist_ok=True)
        shared = self.directory / "settings.json"
        files.write_durable(shared, _json(DEFAULT_SETTINGS | (settings or {})), 0o644)
        files.write_durable(server / "model.json", _json(model_builder.build(plan)))
        files.write_durable(server / "config.json", _json(self._server_config(plan, server, shared)))
        files.write_durable(self.directory / "cameras.json", _json(_camera_config(plan)), 0o644)
        for pair in plan.pairs:
            machines.create_pair(plan, pair, self.directory / "machines", shared)
        machines.create_witness(plan, self.directory / "machines")
        archive = self.directory / "python-embed.zip"
        image.python_archive(archive)
        description = layout.describe(plan, python_archive=str(archive), log_directory=str(logs))
        files.write_durable(self.directory / "site.json", _json(description))  # last: a site is there when this is

    @staticmethod
    def _server_config(plan: layout.Layout, folder: Path, settings: Path) -> dict[str, t.Any]:
        return {
            "address": plan.server_address,
            "name": plan.server_name,
            "version": layout.VERSION,
            "model": str(folder / "model.json"),
            "state": str(folder / "state"),
            "basic_user": {"username": plan.basic_user, "password": plan.basic_password},
            "windows_user": {"username": plan.windows_user, "password": plan.windows_password},
            "settings": str(settings),
        }

    def describe(self) -> dict[str, t.Any]:
        """The content of site.json."""
        if not self.exists:
            raise SiteError(f"there is no site in {self.directory}")
        return json.loads((self.directory / "site.json").read_bytes())

    # -- machines ------------------------------------------------------------------------------------------------
    def machines(self) -> dict[str, dict[str, t.Any]]:
        """The nodes and the witness, as site.json describes them, by name."""
        description = self.describe()
        nodes = [node for pair in description["pairs"] for node in pair["nodes"]]
        return {machine["name"]: machine for machine in (*nodes, *filter(None, [description.get("witness")]))}

    def machine_names(self) -> list[str]:
        return list(self.machines())

    def machine_directory(self, machine: str) -> Path:
        if machine not in self.machine_names():
            raise SiteError(f"the site has no machine {machine}; it has {', '.join(self.machine_names())}")
        return self.directory / "machines" / machine

    def control(self, machine: str) -> MachineControl:
        """The machine's own switches: disk space, status, services."""
        return MachineControl(self.machine_directory(machine))

    @contextlib.contextmanager
    def free_bytes(self, machine: str, drive: str, count: int) -> t.Iterator[None]:
        """Let a drive have only so many bytes free for a while."""
        control = self.control(machine)
        control.set_free_bytes(drive, count)
        try:
            yield
        finally:
            control.set_free_bytes(drive, None)

    # -- power ---------------------------------------------------------------------------------------------------
    def up(self, *, die_with_parent: bool = False, timeout: float = 30.0) -> None:
        """Start everything that does not run, and wait until the recorder of each pair serves and records.

        A pair whose machines are fenced boots headless: who serves then is not the site's decision, so it is not waited for.
        With `die_with_parent` the site ends with the thread that called this (a test's main thread, for example).
        """
        description = self.describe()
        self._die_with_parent = die_with_parent
        fresh = not self.processes.running(NETWORK)
        if fresh:
            self.faults.forget()
            subnet.claim(f"{description['subnet']}.0/24").close()  # says at once, and clearly, when somebody else has it
        names = [NETWORK, CAMERAS, SERVER, *self.machine_names()]
        try:
            for name in names:
                if not self.processes.running(name):
                    self._start(name)
            readiness.wait(self.processes, names, self._checks(description), timeout)
        except BaseException:
            if fresh:
                self.down()
            raise

    def _start(self, name: str) -> None:
        server = self.directory / "management-server"
        module, arguments = {
            NETWORK: ("tandem_lab.subnet", ["--network", f"{self.describe()['subnet']}.0/24"]),
            CAMERAS: self._peer(CAMERAS, "tandem_lab.cameras", self.directory / "cameras.json"),
            SERVER: self._peer(SERVER, "tandem_lab.management_server", server / "config.json"),
        }.get(name) or ("tandem_lab.machine", ["--dir", str(self.machine_directory(name))])
        self.processes.start(name, module, arguments, die_with_parent=self._die_with_parent)

    def _peer(self, name: str, module: str, config: Path) -> tuple[str, list[str]]:
        rules = self.faults.rules_file(name)
        return "tandem_lab.machine.peer", ["--rules", str(rules), "--module", module, "--", "--config", str(config)]

    def _checks(self, description: dict[str, t.Any]) -> t.Iterator[t.Callable[[], None]]:
        yield lambda: readiness.cameras_answer(description)
        yield lambda: readiness.management_server_answers(description)
        for machine in self.machines().values():
            yield lambda machine=machine: readiness.winrm_answers(machine)
        for pair in description["pairs"]:
            if not any(self.control(node["name"]).status()["fence"]["installed"] for node in pair["nodes"]):
                yield lambda pair=pair: readiness.recorder_connected(description, pair)
                yield readiness.Recording(description, pair)

    def down(self) -> None:
        """Stop what this site has started, and nothing else. What was broken is whole at the next `up`."""
        self.faults.forget()
        names = [name for name in self.processes.records() if name != NETWORK]
        self.processes.stop(names, STOP_SECONDS)
        self.processes.stop([NETWORK])

    def power_off(self, machine: str) -> None:
        """Pull the plug: the kernel is killed, and with it at once every process of the machine."""
        events = EventLog(self.machine_directory(machine) / "events.jsonl")
        if not self.processes.kill(machine):
            raise SiteError(f"{machine} is off already")
        events.add("power_cut")
        standstill.kill_all(self.machine_directory(machine))
        self.faults.lost_power(machine)

    def power_on(self, machine: str, timeout: float = 15.0) -> None:
        """Boot a machine and wait until WinRM answers; its services are on their way then."""
        self.machine_directory(machine)
        if self.processes.running(machine):
            raise SiteError(f"{machine} is on already")
        self._start(machine)
        readiness.wait(self.processes, [machine], [lambda: readiness.winrm_answers(self.machines()[machine])], timeout)

    def powered(self, machine: str) -> bool:
        """What the power button's lamp shows."""
        self.machine_directory(machine)
        return self.processes.running(machine)

    def management_server_off(self) -> None:
        """Kill the Management Server; its state stays on disk."""
        if not self.processes.kill(SERVER):
            raise SiteError("the Management Server is down already")

    def management_server_on(self, timeout: float = 15.0) -> None:
        if not self.processes.running(SERVER):
            self._start(SERVER)
        readiness.wait(self.processes, [SERVER], [lambda: readiness.management_server_answers(self.describe())], timeout)

    def restart_recorder(self, machine: str, timeout: float = 60.0) -> None:
        """Restart the recorder service as an administrator of that machine would; serving and recording are on their way then."""
        control = self.control(machine)
        control.call("service.stop", name=image.RECORDER_SERVICE, timeout=timeout)
        control.call("service.start", name=image.RECORDER_SERVICE, timeout=timeout)

    # -- state ---------------------------------------------------------------------------------------------------
    def status(self) -> dict[str, t.Any]:
        """What runs, who is connected to the Management Server, and each machine's services."""
        description = self.describe()
        running = {name: self.processes.running(name) for name in (NETWORK, CAMERAS, SERVER, *self.machine_names())}
        state: dict[str, t.Any] = {"processes": running, "machines": {}, "recorders": None}
        if running[SERVER]:
            with contextlib.suppress(OSError):  # also what requests raises
                state["recorders"] = lab_recorders(description)
        for name in self.machine_names():
            if running[name] and not self.faults.stands(name):
                with contextlib.suppress(OSError):
                    state["machines"][name] = self.control(name).status()
        return state

    def wait_for(self, what: str, condition: t.Callable[[], t.Any], timeout: float = 60.0) -> t.Any:
        """The first true answer of `condition`."""
        deadline = time.monotonic() + timeout
        while not (answer := condition()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout:g} s for {what}. See the logs in {self.directory / 'logs'}")
            time.sleep(0.1)
        return answer


def _camera_config(plan: layout.Layout) -> dict[str, t.Any]:
    return {
        "cameras": [
            {"number": camera.number, "address": camera.address, "name": camera.name, "motion": camera.recording_mode == "motion"}
            for pair in plan.pairs for camera in pair.cameras
        ]
    }
