# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Telling a site's processes what is broken now: worked out anew from all faults that last, and in force when this returns."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

from ..machine import peer, storage
from ..machine.channel import MachineError
from ..machine.ctl import MachineControl
from ..machine.kernel_files import NETWORK_FAULTS
from ..recorder import faults as recorder_faults
from . import standstill
from .journal import Entry, FaultError
from .network import CAMERAS, SERVER

if t.TYPE_CHECKING:
    from ..site import Site

_IN_FORCE_SECONDS = 10.0


class Publisher:
    def __init__(self, site: Site, folder: Path):
        self._site = site
        self._folder = folder

    def rules_file(self, party: str) -> Path:
        """What the Management Server or the cameras follow."""
        return self._folder / f"{party}.json"

    def publish(self, active: t.Iterable[Entry]) -> None:
        entries = list(active)
        machines = self._site.machine_names()
        for machine in machines:
            folder = self._site.machine_directory(machine)
            changed = self._network(folder / NETWORK_FAULTS, _rules(entries, machine), machine in _silent(entries))
            changed |= self._recorder(folder, entries, machine)
            if changed:
                self._reload(machine, folder)
        for party in (CAMERAS, SERVER):
            if self._network(self.rules_file(party), _rules(entries, party), False) and self._listens(party):
                self._wait(party)

    def _network(self, path: Path, rules: list[dict], silent: bool) -> bool:
        document = storage.read_json(path, {"version": 0, "rules": [], "silent": False})
        if (document["rules"], document["silent"]) == (rules, silent):
            return False
        storage.write_json(path, {"version": document["version"] + 1, "rules": rules, "silent": silent})
        return True

    def _recorder(self, folder: Path, entries: list[Entry], machine: str) -> bool:
        before = recorder_faults.read(folder)
        disks: dict[str, str] = {}
        for _entry, data in _data(entries, machine, "disk"):
            disks |= data
        modes = [mode for _entry, mode in _data(entries, machine, "recorder")]
        wanted = {"hung": "hung" in modes, "silent": _silences(modes)}
        drives: dict[str, str | None] = {**dict.fromkeys(before.disk), **disks}
        if recorder_faults.parse({**before.to_document(), **wanted, "disk": disks}) == before:
            return False
        recorder_faults.change(folder, disk=drives, **wanted)
        return True

    def _listens(self, name: str) -> bool:
        """Whether there is somebody to be told. One that stands or is off reads the files when it goes on or boots."""
        record = self._site.processes.records().get(name)
        return record is not None and record.alive and not standstill.stands(record.pid)

    def _reload(self, machine: str, folder: Path) -> None:
        deadline = time.monotonic() + _IN_FORCE_SECONDS
        while self._listens(machine):
            try:
                MachineControl(folder).call("faults.reload", timeout=_IN_FORCE_SECONDS)
                return
            except MachineError as error:  # it boots just now, and may have read the files before they changed
                if time.monotonic() > deadline:
                    raise FaultError(f"{machine} did not put its faults into force: {error}") from error
                time.sleep(0.02)

    def _wait(self, party: str) -> None:
        version = storage.read_json(self.rules_file(party))["version"]
        deadline = time.monotonic() + _IN_FORCE_SECONDS
        while self._listens(party) and peer.applied(self.rules_file(party)) != version:
            if time.monotonic() > deadline:
                raise FaultError(f"{party} did not put the network's faults into force within {_IN_FORCE_SECONDS:g} s")
            time.sleep(0.01)


def _rules(entries: list[Entry], party: str) -> list[dict]:
    return [rule for entry in entries for rule in entry.data.get("rules", {}).get(party, [])]


def _silent(entries: list[Entry]) -> set[str]:
    return {entry.parties[0] for entry in entries if entry.data.get("silent")}


def _data(entries: list[Entry], machine: str, key: str) -> t.Iterator[tuple[Entry, t.Any]]:
    return ((entry, entry.data[key]) for entry in entries if key in entry.data and entry.parties[0] == machine)


def _silences(modes: list[str]) -> bool | list[int]:
    if "silent" in modes:
        return True
    return sorted({int(number) for mode in modes if mode.startswith("silent:") for number in mode.partition(":")[2].split(",")}) or False
