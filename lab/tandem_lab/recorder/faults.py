# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab does to a recorder while it runs: the file ``recorder-faults.json`` in the folder of its machine.

``{"hung": false, "silent": false | true | [camera numbers], "disk": {"D:": "full" | "read-only" | "gone"}, "cameras_unreachable": false}``

Whoever breaks things calls `change` and `clear`; the recorder looks at the file several times a second. A fault lasts until it is
taken back, also over a restart of the service. It is not part of the simulated machine: nothing that runs there may read it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import typing as t
from pathlib import Path

FILE_NAME = "recorder-faults.json"
DISK_STATES = ("full", "read-only", "gone")
FIRST_CAMERA = 100  # the lab's camera n has the address .(100 + n)
MAX_BYTES = 64 * 1024


class FaultsError(ValueError):
    """The document is no description of faults."""


@dataclasses.dataclass(frozen=True)
class Faults:
    """`silent` is true for all cameras or names some by their number; `disk` says how a drive ("D:") is broken."""

    hung: bool = False
    silent: bool | frozenset[int] = False
    disk: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    cameras_unreachable: bool = False

    def silences(self, camera_host: str) -> bool:
        if isinstance(self.silent, bool):
            return self.silent
        return camera_number(camera_host) in self.silent

    def to_document(self) -> dict[str, t.Any]:
        silent = self.silent if isinstance(self.silent, bool) else sorted(self.silent)
        return {"hung": self.hung, "silent": silent, "disk": dict(self.disk), "cameras_unreachable": self.cameras_unreachable}


def camera_number(host: str) -> int | None:
    """The number of the camera with this address; None when it is none of the lab's."""
    last = host.rpartition(".")[2]
    return int(last) - FIRST_CAMERA if last.isdigit() and int(last) > FIRST_CAMERA else None


def parse(document: t.Any) -> Faults:
    if not isinstance(document, dict) or not set(document) <= {field.name for field in dataclasses.fields(Faults)}:
        raise FaultsError(f"faults are an object with hung, silent, disk, cameras_unreachable, not {document!r}"[:300])
    hung, unreachable = document.get("hung", False), document.get("cameras_unreachable", False)
    if not isinstance(hung, bool) or not isinstance(unreachable, bool):
        raise FaultsError("hung and cameras_unreachable are true or false")
    return Faults(hung, _silent(document.get("silent", False)), _disk(document.get("disk", {})), unreachable)


def _silent(value: t.Any) -> bool | frozenset[int]:
    if isinstance(value, bool):
        return value
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(n, int) and n > 0 for n in value):
        raise FaultsError(f"silent is true, false or a list of camera numbers, not {value!r}"[:300])
    return frozenset(value) or False


def _disk(value: t.Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise FaultsError("disk names drives and how they are broken")
    for drive, state in value.items():
        if not isinstance(drive, str) or len(drive) != 2 or not drive[0].isalpha() or drive[1] != ":" or state not in DISK_STATES:
            raise FaultsError(f"disk: {drive!r}: {state!r} is not a drive (such as D:) and one of {', '.join(DISK_STATES)}")
    return {drive.upper(): state for drive, state in value.items()}


# ---- for whoever breaks things


def read(machine: Path) -> Faults:
    """The faults of the machine in this folder."""
    try:
        with (machine / FILE_NAME).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return Faults()
    if len(data) > MAX_BYTES:
        raise FaultsError(f"{FILE_NAME} is larger than {MAX_BYTES} bytes")
    try:
        return parse(json.loads(data))
    except ValueError as error:
        raise FaultsError(f"{machine / FILE_NAME}: {error}") from error


def change(machine: Path, *, disk: t.Mapping[str, str | None] | None = None, **changes: t.Any) -> Faults:
    """Begin or end faults of a machine; what is not named stays. ``disk={"D:": None}`` mends a drive."""
    with _locked(machine):
        document = read(machine).to_document() | changes
        drives = document["disk"] | {drive.upper(): state for drive, state in (disk or {}).items()}
        document["disk"] = {drive: state for drive, state in drives.items() if state is not None}
        faults = parse(document)
        _write(machine, faults)
    return faults


def clear(machine: Path) -> None:
    """The end of all faults of a machine."""
    with _locked(machine):
        _write(machine, Faults())


@contextlib.contextmanager
def _locked(machine: Path) -> t.Iterator[None]:
    """One change at a time: several faults of one machine may begin and end at once."""
    with (machine / f"{FILE_NAME}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(machine: Path, faults: Faults) -> None:
    beside = machine / f"{FILE_NAME}.{os.getpid()}.new"
    beside.write_text(json.dumps(faults.to_document()) + "\n", encoding="utf-8")
    os.replace(beside, machine / FILE_NAME)


# ---- for the recorder


class Watch:
    """Tells changes of the file. One that cannot be understood changes nothing."""

    def __init__(self, machine: Path) -> None:
        self._machine = machine
        self._seen: tuple[int, ...] = ()
        self.faults = Faults()

    def changed(self) -> bool:
        """Whether `faults` are others than before."""
        try:
            found = os.stat(self._machine / FILE_NAME)
            seen: tuple[int, ...] = (found.st_mtime_ns, found.st_ino, found.st_size)
        except FileNotFoundError:
            seen = ()
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            faults = read(self._machine)
        except (FaultsError, OSError):
            return False
        before, self.faults = self.faults, faults
        return faults != before
