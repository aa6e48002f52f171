# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that the recorder runs on: its folder (drives C and D), its name, its lab settings."""

from __future__ import annotations

import dataclasses
import json
import os
import time
import typing as t
from pathlib import Path

MAX_JSON_BYTES = 8 * 1024 * 1024
DATA_FOLDER = "C:\\ProgramData\\Milestone\\XProtect Recording Server"


class MachineError(Exception):
    """The machine folder or the lab settings cannot be used."""


def read_json(path: Path) -> t.Any:
    with path.open("rb") as file:
        data = file.read(MAX_JSON_BYTES + 1)
    if len(data) > MAX_JSON_BYTES:
        raise ValueError(f"{path} is larger than {MAX_JSON_BYTES} bytes")
    return json.loads(data)


@dataclasses.dataclass(frozen=True)
class Machine:
    root: Path
    name: str
    address: str
    time_zone: str
    motion_threshold: float
    table_seconds: float
    uplink_retry_seconds: float
    assumptions: dict[str, bool]

    def assumes(self, key: str, default: bool) -> bool:
        """Whether the lab plays an assumption as true."""
        return bool(self.assumptions.get(key, default))

    def path(self, windows_path: str) -> Path:
        """Where ``D:\\Folder`` lies in the machine folder; names are found whatever their case."""
        drive, _, rest = windows_path.replace("/", "\\").partition(":\\")
        parts = [part for part in rest.split("\\") if part]
        if len(drive) != 1 or not drive.isalpha() or ".." in parts:
            raise MachineError(f"{windows_path!r} is not a full Windows path")
        found = self.root / drive.upper()
        for part in parts:
            found = found / _spelling(found, part)
        return found

    def drive(self, windows_path: str) -> Path:
        return self.root / windows_path[:1].upper()

    def local_time(self, unix_ms: int) -> str:
        """The time of the machine's clock as names of closed tables carry it."""
        return time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(unix_ms / 1000))


def _spelling(folder: Path, name: str) -> str:
    if not (folder / name).exists() and folder.is_dir():
        for entry in os.listdir(folder):
            if entry.casefold() == name.casefold():
                return entry
    return name


def load(root: Path) -> Machine:
    """Read ``machine.json`` and the lab settings that it names; what is missing there has defaults."""
    try:
        raw = read_json(root / "machine.json")
        settings = read_json(Path(raw["settings"])) if raw.get("settings") and Path(raw["settings"]).exists() else {}
        own = {**raw.get("lab", {}), **raw.get("recorder", {})}
        machine = Machine(
            root=root,
            name=raw["name"],
            address=raw["address"],
            time_zone=raw.get("time_zone", "UTC"),
            motion_threshold=float(own.get("motion_threshold", 0.25)),
            table_seconds=float(settings.get("table_seconds", 60.0)),
            uplink_retry_seconds=float(settings.get("uplink_retry_seconds", 0.25)),
            assumptions=dict(settings.get("assumptions", {})),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MachineError(f"{root}: machine.json or the lab settings cannot be used: {error!r}") from error
    _set_clock_zone(machine.time_zone)
    return machine


def _set_clock_zone(zone: str) -> None:
    """The machine's kernel sets TZ for its programs; without one the zone of machine.json is set here."""
    if "TZ" in os.environ:
        return
    from ..machine.settings import TIME_ZONES  # only needed when the recorder runs without a kernel

    os.environ["TZ"] = TIME_ZONES.get(zone, zone)
    time.tzset()
