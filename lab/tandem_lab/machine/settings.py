# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`machine.json`: what a lab machine is. Written by `image.create`, read by the kernel at every boot."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import typing as t

from . import storage

# Time zones by their Windows name, as POSIX rules: the programs of a machine see local time even without a zone database.
TIME_ZONES = {
    "UTC": "UTC0",
    "GMT Standard Time": "GMT0BST,M3.5.0/1,M10.5.0",
    "Romance Standard Time": "CET-1CEST,M3.5.0,M10.5.0/3",
    "W. Europe Standard Time": "CET-1CEST,M3.5.0,M10.5.0/3",
    "FLE Standard Time": "EET-2EEST,M3.5.0/3,M10.5.0/4",
    "Eastern Standard Time": "EST5EDT,M3.2.0,M11.1.0",
    "Pacific Standard Time": "PST8PDT,M3.2.0,M11.1.0",
    "Tokyo Standard Time": "JST-9",
}


@dataclasses.dataclass(frozen=True)
class WinRMSettings:
    """Quotas as documented (Windows Remote Management, vendor defaults); times in seconds."""

    port: int = 5985
    max_shells_per_user: int = 30
    max_processes_per_shell: int = 25
    max_request_bytes: int = 512_000
    max_operation_seconds: float = 60.0
    idle_seconds: float = 7200.0
    basic: bool = True
    ntlm: bool = True
    allow_unencrypted: bool = True


@dataclasses.dataclass(frozen=True)
class ServiceSettings:
    start_seconds: float = 30.0  # as Windows' ServicesPipeTimeout
    stop_seconds: float = 20.0  # then the process is killed
    delayed_start_seconds: float = 2.0  # about two minutes on Windows
    output_bytes: int = 4 * 1024 * 1024  # what is kept of a service's standard output


@dataclasses.dataclass(frozen=True)
class MachineSettings:
    name: str
    address: str
    subnet: str
    users: dict[str, str]
    drives: dict[str, dict[str, int]]
    time_zone: str = "UTC"
    os: str = "Windows Server 2022 Standard (simulated)"
    settings: str | None = None  # path of the lab settings that all programs of the site share
    lab: dict[str, t.Any] = dataclasses.field(default_factory=dict)  # free values for programs, for example motion_threshold
    blocked_connect_seconds: float = 1.0
    winrm: WinRMSettings = WinRMSettings()
    service: ServiceSettings = ServiceSettings()

    def check(self) -> None:
        network = ipaddress.ip_network(self.subnet)
        if not network.is_loopback or ipaddress.ip_address(self.address) not in network:
            raise ValueError(f"machine {self.name}: {self.address} is not in its subnet {self.subnet} of 127.0.0.0/8")
        if self.time_zone not in TIME_ZONES:
            raise ValueError(f"machine {self.name}: unknown time zone {self.time_zone!r}, known are: {', '.join(TIME_ZONES)}")
        for letter in self.drives:
            if len(letter) != 2 or not letter[0].isalpha() or letter[1] != ":":
                raise ValueError(f"machine {self.name}: {letter!r} is no drive letter, expected for example 'C:'")

    def public(self) -> dict[str, t.Any]:
        """What programs on the machine may know."""
        return {"name": self.name, "address": self.address, "subnet": self.subnet, "time_zone": self.time_zone, "os": self.os,
                "settings": self.settings, "lab": self.lab}


def load(root: pathlib.Path) -> MachineSettings:
    """The settings of the machine in folder `root`."""
    document = storage.read_json(root / "machine.json")
    if not isinstance(document, dict):
        raise ValueError(f"{root} holds no lab machine: machine.json is missing. Make one with tandem_lab.machine.image.create().")
    try:
        settings = from_document(document)
    except TypeError as error:
        raise ValueError(f"{root / 'machine.json'}: {error}") from error
    settings.check()
    return settings


def from_document(document: dict[str, t.Any]) -> MachineSettings:
    values = dict(document)
    values["winrm"] = WinRMSettings(**values.get("winrm", {}))
    values["service"] = ServiceSettings(**values.get("service", {}))
    return MachineSettings(**values)


def to_document(settings: MachineSettings) -> dict[str, t.Any]:
    return dataclasses.asdict(settings)
