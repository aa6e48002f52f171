# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be broken in a site.

    faults = Faults(site)                                     # or site.faults
    with faults.partition("pair1-a", "witness-1"): ...        # mended at the end
    fault = faults.freeze("pair1-a"); ...; fault.end()

A fault lasts until it is ended, by this or another process, or until the site goes down; what has no duration (a kill, a revert) is over
when the call returns. Everything is in force, or undone, when a call returns.
"""

from __future__ import annotations

import contextlib
import shutil
import time
import typing as t
from pathlib import Path

from ..machine import image, storage
from ..machine.clock import MachineClock
from ..recorder import faults as recorder_faults
from . import network, standstill
from .journal import Entry, FaultError, Journal
from .publisher import Publisher

if t.TYPE_CHECKING:
    from ..site import Site

SERVICES = {"guard": "Tandem Guard", "recorder": image.RECORDER_SERVICE, "witness": "Tandem Witness"}
ROLES = (*SERVICES, "fuse")
STATE_FOLDERS = ("guard", "witness")  # of C:\ProgramData\Tandem: what a snapshot holds
_STANDS = ("freeze", "pause")
_SERVICE_SECONDS = 30.0


class Fault:
    """One fault. `end` may be called more than once."""

    def __init__(self, faults: Faults, entry: Entry):
        self._faults = faults
        self.id, self.kind = entry.id, entry.kind

    def end(self) -> None:
        with contextlib.suppress(KeyError):
            self._faults.end(self.id)

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.end()


class Faults:
    def __init__(self, site: Site):
        self._site = site
        self._journal = Journal(site.directory)
        self._publisher = Publisher(site, self._journal.folder)

    # -- network -------------------------------------------------------------------------------------------------
    def partition(self, one: str, two: str, direction: str = "both") -> Fault:
        """Nothing gets through between two parties; with "to" nothing from the first to the second, with "from" the other way round."""
        rules = self._parties().partition(one, two, direction)
        return self._begin("partition", [one, two], {"direction": direction}, {"rules": _documents(rules)})

    def loss(self, one: str, two: str, share: float, direction: str = "both") -> Fault:
        """This share of what they send each other is lost; directions as of a partition."""
        if not 0 < share <= 1:
            raise FaultError(f"the share that is lost is more than 0 and at most 1, not {share}")
        rules = self._parties().partition(one, two, direction, share)
        return self._begin("loss", [one, two], {"share": share, "direction": direction}, {"rules": _documents(rules)})

    def cameras_unreachable(self, machine: str) -> Fault:
        self._check(machine)
        rules = self._parties().partition(machine, network.CAMERAS)
        return self._begin("cameras_unreachable", [machine, network.CAMERAS], {}, {"rules": _documents(rules)})

    def _parties(self) -> network.Parties:
        return network.Parties.of(self._site.describe())

    # -- whole machines ------------------------------------------------------------------------------------------
    def freeze(self, machine: str) -> Fault:
        """The machine stands still and is silent, so that others may take its further addresses; its clocks go on, so it will be late."""
        return self._stand("freeze", machine)

    def pause(self, machine: str) -> Fault:
        """The same, and its clocks stand as well: afterwards it does not know that time has passed, as a paused virtual machine."""
        return self._stand("pause", machine)

    def _stand(self, kind: str, machine: str) -> Fault:
        self._check(machine)
        if not self._site.processes.running(machine):
            raise FaultError(f"{machine} is off")
        data = {"silent": True, "rules": _documents(self._parties().silence(machine))}
        return self._begin(kind, [machine], {}, data, self._stop_machine)

    def _stop_machine(self, entry: Entry) -> None:
        machine = entry.parties[0]
        if any(other.id != entry.id for other in self._standing(machine)):
            raise FaultError(f"{machine} stands still already")
        entry.data["stopped"] = standstill.stop_machine(self._kernel(machine), self._folder(machine))
        entry.data["since"] = time.monotonic()
        if entry.kind == "pause":
            entry.data["rate"] = self._clock(machine).rate()
            self._clock(machine).set_rate(0.0)
        self._note(machine, "stands", clocks_stand=entry.kind == "pause")

    def _standing(self, machine: str) -> list[Entry]:
        return [entry for entry in self._journal.active().values() if entry.kind in _STANDS and entry.parties == [machine]]

    def _kernel(self, machine: str) -> int:
        record = self._site.processes.records().get(machine)
        if record is None or not record.alive:
            raise FaultError(f"{machine} is off")
        return record.pid

    def power_off(self, machine: str) -> Fault:
        """A silent death: all is gone at once, and nobody is told, not even by a connection that ends. The end is a boot."""
        self._check(machine)
        if not self._site.processes.running(machine):
            raise FaultError(f"{machine} is off already")
        fault = self._begin("power_off", [machine], {}, {"rules": _documents(self._parties().silence(machine))})
        try:
            self._site.power_off(machine)
        except BaseException:
            fault.end()
            raise
        return fault

    def snapshot(self, machine: str) -> str:
        """What Tandem has on the machine's disk at one moment. The answer is for `revert`."""
        self._check(machine)
        with self._journal.changing(), self._still(machine):
            number = sum(1 for _ in self._snapshots().glob(f"{machine}-*")) + 1
            name = f"{machine}-{number}"
            (self._snapshots() / name).mkdir(parents=True)
            for folder in STATE_FOLDERS:
                if (self._tandem(machine) / folder).is_dir():
                    shutil.copytree(self._tandem(machine) / folder, self._snapshots() / name / folder)
        return name

    def revert(self, machine: str, snapshot: str) -> Fault:
        """As a hypervisor does it: everything that ran is gone, Tandem's state is that of the snapshot, and the generation is new."""
        kept = self._snapshots() / snapshot
        if Path(snapshot).name != snapshot or not snapshot.startswith(f"{machine}-") or not kept.is_dir():
            raise FaultError(f"{machine} has no snapshot {snapshot!r}")
        return self._at_once("revert", machine, {"snapshot": snapshot}, lambda: self._turn_back(machine, kept))

    def _turn_back(self, machine: str, kept: Path) -> None:
        ran = {service["name"]: service["pid"] for service in self._services(machine) if service["state"] == "running"}
        with self._still(machine):
            for pid in standstill.processes(self._folder(machine)):
                standstill.kill(pid)
            for folder in STATE_FOLDERS:
                shutil.rmtree(self._tandem(machine) / folder, ignore_errors=True)
                if (kept / folder).is_dir():
                    shutil.copytree(kept / folder, self._tandem(machine) / folder)
            self._clock(machine).new_generation()
            self._note(machine, "reverted")
        for name, pid in ran.items():
            self._site.wait_for(f"{name} of {machine} to be gone", lambda name=name, pid=pid: self._service(machine, name)["pid"] != pid,
                                _SERVICE_SECONDS)
            self._site.control(machine).call("service.start", name=name, timeout=_SERVICE_SECONDS)

    @contextlib.contextmanager
    def _still(self, machine: str) -> t.Iterator[None]:
        """The machine stands for a moment (when it is on), so that its disk is that of one moment."""
        stopped: standstill.Stopped = []
        if self._site.processes.running(machine) and not self._standing(machine):
            stopped = standstill.stop_machine(self._kernel(machine), self._folder(machine))
        try:
            yield
        finally:
            standstill.go_on(stopped)

    # -- clocks --------------------------------------------------------------------------------------------------
    def clock_step(self, machine: str, seconds: float) -> Fault:
        """The wall clock is set forth or back at once; the end sets it right again."""
        self._check(machine)
        return self._begin("clock_step", [machine], {"seconds": seconds}, {}, lambda _entry: self._clock(machine).step(seconds))

    def clock_drift(self, machine: str, rate: float) -> Fault:
        """Both clocks go too fast (1.01) or too slow (0.99). The end makes them go right from then on."""
        self._check(machine)
        if not 0 < rate < 100:
            raise FaultError(f"a clock's rate is more than 0 and less than 100, not {rate}; for one that stands there is pause")
        return self._begin("clock_drift", [machine], {"rate": rate}, {}, lambda _entry: self._set_rate(machine, rate))

    def _set_rate(self, machine: str, rate: float) -> None:
        paused = [entry for entry in self._standing(machine) if entry.kind == "pause"]
        for entry in paused:  # it counts when the machine goes on
            entry.data["rate"] = rate
            self._journal.keep(entry)
        if not paused:
            self._clock(machine).set_rate(rate)

    # -- processes -----------------------------------------------------------------------------------------------
    def kill_process(self, machine: str, process: str) -> Fault:
        """Kill one process of a machine: guard, fuse, recorder or witness."""
        return self._at_once("kill_process", machine, {"process": process}, lambda: standstill.kill(self._process(machine, process)))

    def freeze_process(self, machine: str, process: str) -> Fault:
        self._check(machine)

        def stop(entry: Entry) -> None:
            entry.data["stopped"] = standstill.stop([self._process(machine, process)])
            entry.data["since"] = time.monotonic()

        return self._begin("freeze_process", [machine], {"process": process}, {}, stop)

    def _process(self, machine: str, role: str) -> int:
        if role not in ROLES:
            raise FaultError(f"{role!r} is no process of a machine; there are {', '.join(ROLES)}")
        pid = self._fuse(machine) if role == "fuse" else self._service(machine, SERVICES[role])["pid"]
        if pid is None:
            raise FaultError(f"{machine} has no running {role}")
        return int(pid)

    def _fuse(self, machine: str) -> int | None:
        guard = self._service(machine, SERVICES["guard"])["pid"]
        found = [pid for pid in standstill.processes(self._folder(machine)) if "fuse" in standstill.arguments(pid)[1:]]
        return next((pid for pid in found if standstill.parent(pid) == guard), None)

    def _services(self, machine: str) -> list[dict[str, t.Any]]:
        return self._site.control(machine).call("service.list", timeout=_SERVICE_SECONDS)["services"]

    def _service(self, machine: str, name: str) -> dict[str, t.Any]:
        return self._site.control(machine).call("service.status", name=name, timeout=_SERVICE_SECONDS)["service"]

    def management_server_down(self) -> Fault:
        """The Management Server is killed; its machine is there, so that connections are refused. The end starts it again."""
        return self._begin("management_server_down", [network.SERVER], {}, {}, lambda _entry: self._site.management_server_off())

    # -- disks and recorder --------------------------------------------------------------------------------------
    def disk(self, machine: str, drive: str, state: str) -> Fault:
        """A drive is full, read-only or gone: for the recorder, for Tandem's own files, and in what Windows reports."""
        drives = storage.read_json(self._folder(machine) / "machine.json")["drives"]
        if drive.upper() not in drives or state not in recorder_faults.DISK_STATES:
            raise FaultError(f"{machine} has the drives {', '.join(drives)}, and a drive can be {', '.join(recorder_faults.DISK_STATES)}")
        return self._begin("disk", [machine], {"drive": drive.upper(), "state": state}, {"disk": {drive.upper(): state}})

    def recorder(self, machine: str, mode: str) -> Fault:
        """`hung`: it runs and does nothing; `silent`: it answers and writes nothing; `silent:1,3`: nothing of these cameras."""
        self._check(machine)
        numbers = mode.removeprefix("silent:").split(",")
        if mode not in ("hung", "silent") and not (mode.startswith("silent:") and all(number.isdigit() for number in numbers)):
            raise FaultError(f"{mode!r} is no trouble of a recorder; there are hung, silent and silent:1,2")
        return self._begin("recorder", [machine], {"mode": mode}, {"recorder": mode})

    # -- beginning and ending ------------------------------------------------------------------------------------
    def _begin(self, kind: str, parties: t.Sequence[str], values: dict[str, t.Any], data: dict[str, t.Any],
               act: t.Callable[[Entry], None] | None = None) -> Fault:
        """A fault that lasts: `data` is published, then `act` does what else is to be done."""
        with self._journal.changing():
            entry = self._journal.begin(kind, parties, values)
            entry.data.update(data)
            self._journal.keep(entry)
            try:
                self._publish()
                if act is not None:
                    act(entry)
                    self._journal.keep(entry)
            except BaseException:
                self._journal.forget(entry)
                self._publish()
                self._journal.end(entry, failed=True)
                raise
        return Fault(self, entry)

    def _at_once(self, kind: str, machine: str, values: dict[str, t.Any], act: t.Callable[[], None]) -> Fault:
        self._check(machine)
        with self._journal.changing():
            entry = self._journal.begin(kind, [machine], values)
            try:
                act()
            finally:
                self._journal.end(entry)
        return Fault(self, entry)

    def end(self, fault_id: str) -> None:
        """End a fault that lasts. KeyError when there is none with this id."""
        with self._journal.changing():
            entry = self._journal.active().get(fault_id)
            if entry is None:
                raise KeyError(f"there is no fault {fault_id} that lasts")
            self._end(entry, mend=True)

    def _end(self, entry: Entry, *, mend: bool) -> None:
        self._journal.forget(entry)
        details: dict[str, t.Any] = {}
        if "stopped" in entry.data:
            details["seconds"] = self._go_on(entry)
        self._publish()
        if entry.kind == "clock_step":
            self._clock(entry.parties[0]).step(-entry.values["seconds"])
        elif entry.kind == "clock_drift":
            self._set_rate(entry.parties[0], 1.0)
        elif entry.kind == "power_off" and mend and not self._site.processes.running(entry.parties[0]):
            self._site.power_on(entry.parties[0])
        elif entry.kind == "management_server_down" and mend:
            self._site.management_server_on()
        self._journal.end(entry, **details)

    def _go_on(self, entry: Entry) -> float:
        """How long it stood, in real time."""
        machine = entry.parties[0]
        if entry.kind == "pause":
            self._clock(machine).set_rate(entry.data["rate"])
        standstill.go_on(entry.data["stopped"])
        seconds = round(time.monotonic() - entry.data["since"], 3)
        if entry.kind in _STANDS:
            self._note(machine, "goes_on", seconds=seconds)
        return seconds

    def active(self) -> list[dict[str, t.Any]]:
        """The faults that last, the oldest first."""
        return [entry.describe() for entry in self._journal.active().values()]

    def clear(self) -> None:
        """End everything, the newest first."""
        with self._journal.changing():
            for entry in reversed(self._journal.active().values()):
                self._end(entry, mend=True)

    def forget(self) -> None:
        """The site goes down or comes up: nothing is broken any more, and nothing is started for it."""
        if self._journal.folder.exists():
            with self._journal.changing():
                for entry in reversed(self._journal.active().values()):
                    self._end(entry, mend=False)

    def lost_power(self, machine: str) -> None:
        """A machine that is off does not stand still: it will boot."""
        if self._journal.folder.exists():
            with self._journal.changing():
                for entry in self._journal.active().values():
                    if entry.kind in (*_STANDS, "freeze_process") and entry.parties == [machine]:
                        self._end(entry, mend=False)

    # -- the site's processes --------------------------------------------------------------------------------------
    def rules_file(self, party: str) -> Path:
        """Which file the Management Server, or the cameras, follow."""
        self._journal.folder.mkdir(exist_ok=True)
        return self._publisher.rules_file(party)

    def stands(self, machine: str) -> bool:
        record = self._site.processes.records().get(machine)
        return record is not None and record.alive and standstill.stands(record.pid)

    def _publish(self) -> None:
        self._publisher.publish(self._journal.active().values())

    def _check(self, machine: str) -> None:
        if machine not in self._site.machine_names():
            raise FaultError(f"the site has no machine {machine}; it has {', '.join(self._site.machine_names())}")

    def _folder(self, machine: str) -> Path:
        self._check(machine)
        return self._site.machine_directory(machine)

    def _tandem(self, machine: str) -> Path:
        return self._folder(machine) / "C/ProgramData/Tandem"

    def _snapshots(self) -> Path:
        return self._journal.folder / "snapshots"

    def _clock(self, machine: str) -> MachineClock:
        return MachineClock(self._folder(machine))

    def _note(self, machine: str, event: str, **details: t.Any) -> None:
        """In the log of a machine that cannot write it itself."""
        storage.EventLog(self._folder(machine) / "events.jsonl").add(event, **details)


def _documents(rules: network.Rules) -> dict[str, list[dict[str, t.Any]]]:
    return {party: [rule.to_document() for rule in found] for party, found in rules.items()}
