# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel of a lab machine: boots it, holds its parts together, and is its power switch.

Boot order: fence, addresses, control socket, WinRM, automatic services. `run.json` appears when all but the services are up.
SIGTERM shuts the machine down in good order; SIGKILL is a power cut, and takes every process of the machine along.

Time is the machine's own (`clock`): lifetimes of addresses and all other timers stand while its clocks stand. What the site breaks is told
by two files (`kernel_files`), read at boot and when the site says so.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import pathlib
import secrets
import signal
import time
import typing as t

from . import settings, storage
from .addresses import Addresses
from .channel import MachineError
from .clock import MachineClock
from .control import Control
from .firewall import Fence, Firewall
from .kernel_files import NETWORK_FAULTS, RECORDER_FAULTS
from .network import Network
from .packets import PacketFilter, Rule
from .processes import Processes
from .registry import Registry
from .services import Services
from .winrm.server import WinRMServer

_log = logging.getLogger(__name__)
_SECOND_LOOK_SECONDS = 0.1


class MachineLoop(asyncio.SelectorEventLoop):
    """An event loop that lives by the machine's clock."""

    def __init__(self, clock: MachineClock):
        self._clock = clock
        super().__init__()

    def time(self) -> float:
        return self._clock.monotonic()


class Kernel:
    def __init__(self, root: pathlib.Path):
        self.root = root
        self.settings = settings.load(root)
        self.socket_name = f"tandem-lab-{self.settings.name}-{secrets.token_hex(8)}"
        self.booted_ms = 0
        self.free_bytes: dict[str, int] = {}  # overrides since boot, by drive letter
        self.disk_faults: dict[str, str] = {}  # "full", "read-only" or "gone", by drive letter
        self.packets = PacketFilter()

    async def run(self, clock: MachineClock) -> None:
        """Boot, run until SIGTERM, shut down."""
        lock = self._lock()
        clock.boot()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        (self.root / "run.json").unlink(missing_ok=True)  # of before a power cut
        try:
            await self._boot()
            await stop.wait()
            await self._shut_down()
        finally:
            (self.root / "run.json").unlink(missing_ok=True)
            os.close(lock)

    def _lock(self) -> int:
        fd = os.open(self.root / "kernel.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise MachineError(f"the machine {self.settings.name} in {self.root} runs already") from error
        return fd

    async def _boot(self) -> None:
        started = time.monotonic()
        logs = self.root / "logs"
        logs.mkdir(exist_ok=True)
        self.events = storage.EventLog(self.root / "events.jsonl")
        self.events.add("boot", pid=os.getpid())
        self.fence_file = storage.Document(self.root / "fence.json", None)
        self.firewall = Firewall(Fence.from_document(self.fence_file.value) if self.fence_file.value else None)
        self.addresses = Addresses(self.settings, storage.Document(self.root / "addresses.json", {"static": []}), self.events)
        self.network = Network(self.settings, self.addresses, self.firewall, self.packets, self.events)
        self.reload_faults()  # a reboot mends neither the network nor a disk
        self.addresses.boot()
        self.registry = Registry(storage.Document(self.root / "registry.json", {}))
        self.processes = Processes(self.root, self.settings, self.socket_name, self.events)
        self.services = Services(storage.Document(self.root / "services.json", {}), self.processes, self.settings.service, logs,
                                 self.events)
        self.control = Control(self)
        self.control.start()
        self.winrm = WinRMServer(self.settings, self.root, self.processes)
        await self.winrm.start()
        self.packets.attach_all()  # WinRM made its sockets itself
        self.booted_ms = time.time_ns() // 1_000_000
        self.events.add("booted", seconds=round(time.monotonic() - started, 3))
        await asyncio.to_thread(storage.write_json, self.root / "run.json", {
            "pid": os.getpid(), "socket": self.socket_name, "booted_ms": self.booted_ms, "winrm_url": self.winrm.url})
        self.services.boot()

    async def _shut_down(self) -> None:
        self.events.add("shutdown")
        await self.services.close()
        await self.winrm.stop()
        self.control.stop()
        for process in list(self.processes.running.values()):
            process.kill_tree()

    def reload_faults(self) -> None:
        """What the site breaks at this machine now; in force when this returns."""
        network = storage.read_json(self.root / NETWORK_FAULTS, {})
        rules, silent = [Rule.parse(rule) for rule in network.get("rules", ())], bool(network.get("silent"))
        self.packets.load(rules, silent=silent)
        if silent:  # the machine will stand still, or did until now
            self.addresses.silence()
        else:
            self.addresses.speak()
        # Connections that waited to be accepted have the filter of before.
        asyncio.get_running_loop().call_later(_SECOND_LOOK_SECONDS, self.packets.attach_all)
        self.disk_faults = storage.read_json(self.root / RECORDER_FAULTS, {}).get("disk", {})

    def drives(self) -> list[dict[str, t.Any]]:
        return [self._drive(letter, values) for letter, values in sorted(self.settings.drives.items())]

    def _drive(self, letter: str, values: dict[str, int]) -> dict[str, t.Any]:
        fault = self.disk_faults.get(letter)
        free = 0 if fault == "full" else self.free_bytes.get(letter, values["free_bytes"])
        return {"letter": letter, "total_bytes": values["total_bytes"], "free_bytes": free, "fault": fault}

    def status(self) -> dict[str, t.Any]:
        return {
            "machine": self.settings.public(), "pid": os.getpid(), "booted_ms": self.booted_ms, "fence": self.firewall.status(),
            "addresses": self.addresses.lifetimes(), "duplicate_addresses": sorted(self.addresses.duplicates),
            "services": self.services.list(), "drives": self.drives(), "processes": sorted(self.processes.running),
            "listening": [{"port": item.port, "addresses": sorted(item.sockets), "pid": item.pid} for item in self.network.listening],
            "connections": self.network.connections.status(), "winrm_shells": self.winrm.shells.count()}


def main(root: pathlib.Path) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    try:
        kernel = Kernel(root.absolute())
        clock = MachineClock(kernel.root)
        with asyncio.Runner(loop_factory=lambda: MachineLoop(clock)) as runner:
            runner.run(kernel.run(clock))
    except (MachineError, ValueError, OSError) as error:
        _log.error("%s", error)
        return 1
    return 0
