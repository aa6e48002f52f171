# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a simulated site consists of: addresses, names, ids and passwords, all fixed when it is created."""

from __future__ import annotations

import dataclasses
import secrets
import typing as t
import uuid

VERSION = "25.1.1804.0"
TIME_ZONE = "Romance Standard Time"
CAMERA_PORT = 8080
HTTP_PORT = 8080
WINRM_PORT = 5985
IMAGE_PORT = 7563
WITNESS_PORT = 11444
MAX_CAMERAS = 150
MAX_PAIRS = 9
PLACES = (
    "Entrance", "Loading dock", "Car park", "Reception", "Corridor", "Server room", "Stairwell", "Warehouse",
    "Back door", "Lift lobby", "Canteen", "Workshop", "Archive", "Roof", "Gate", "Platform",
)


def new_id() -> str:
    return str(uuid.uuid4())


def password() -> str:
    return secrets.token_urlsafe(18)


@dataclasses.dataclass(frozen=True)
class CameraPlan:
    number: int
    name: str
    address: str
    recording_mode: str
    camera_id: str = dataclasses.field(default_factory=new_id)
    hardware_id: str = dataclasses.field(default_factory=new_id)
    stream_id: str = dataclasses.field(default_factory=new_id)
    track_id: str = dataclasses.field(default_factory=new_id)

    @property
    def url(self) -> str:
        return f"http://{self.address}:{CAMERA_PORT}/video.mjpg"


@dataclasses.dataclass(frozen=True)
class NodePlan:
    """One machine. `recorder_id` is the one its own installation made: on node a it is the pair's."""

    name: str
    address: str
    recorder_id: str
    recorder_name: str
    username: str = "administrator"
    password: str = dataclasses.field(default_factory=password)
    client_registration_id: str = dataclasses.field(default_factory=new_id)

    @property
    def winrm_url(self) -> str:
        return f"http://{self.address}:{WINRM_PORT}/wsman"


@dataclasses.dataclass(frozen=True)
class WitnessPlan:
    """The machine of the third voter: a plain Windows without a recorder."""

    name: str
    address: str
    username: str = "administrator"
    password: str = dataclasses.field(default_factory=password)

    @property
    def winrm_url(self) -> str:
        return f"http://{self.address}:{WINRM_PORT}/wsman"


@dataclasses.dataclass(frozen=True)
class PairPlan:
    name: str
    recorder_id: str
    recorder_name: str
    service_address: str
    storage_id: str
    nodes: tuple[NodePlan, NodePlan]
    cameras: tuple[CameraPlan, ...]

    @property
    def service_url(self) -> str:
        return f"http://{self.service_address}:{IMAGE_PORT}/"


@dataclasses.dataclass(frozen=True)
class Layout:
    subnet: str  # "127.16.3"
    pairs: tuple[PairPlan, ...]
    witness: WitnessPlan
    server_name: str = "lab-ms"
    site_id: str = dataclasses.field(default_factory=new_id)
    camera_group_id: str = dataclasses.field(default_factory=new_id)
    basic_user: str = "operator"
    basic_password: str = dataclasses.field(default_factory=password)
    windows_user: str = "LAB-MS\\vmsadmin"
    windows_password: str = dataclasses.field(default_factory=password)

    @property
    def server_address(self) -> str:
        return f"{self.subnet}.2"

    @property
    def http_url(self) -> str:
        return f"http://{self.server_address}:{HTTP_PORT}"


def recording_mode(position: int, count: int) -> str:
    """Of a pair with at least four cameras the last records by hand, the one before it on motion, the others always."""
    if count >= 4 and position == count:
        return "manual"
    if count >= 4 and position == count - 1:
        return "motion"
    return "always"


def _place(position: int) -> str:
    name = PLACES[(position - 1) % len(PLACES)]
    lap = (position - 1) // len(PLACES)
    return f"{name} {lap + 1}" if lap else name


def _pair(subnet: str, index: int, cameras: int) -> PairPlan:
    name, recorder_name, recorder_id = f"pair{index + 1}", f"Recorder {index + 1}", new_id()
    first = index * cameras
    plans = tuple(
        CameraPlan(
            number=first + position,
            name=_place(position) if index == 0 else f"{_place(position)}, building {index + 1}",
            address=f"{subnet}.{100 + first + position}",
            recording_mode=recording_mode(position, cameras),
        )
        for position in range(1, cameras + 1)
    )
    nodes = (
        NodePlan(f"{name}-a", f"{subnet}.{11 + 10 * index}", recorder_id, recorder_name),
        NodePlan(f"{name}-b", f"{subnet}.{12 + 10 * index}", new_id(), f"{name}-b"),
    )
    return PairPlan(name, recorder_id, recorder_name, f"{subnet}.{10 + 10 * index}", new_id(), nodes, plans)


def plan(subnet: str, *, cameras: int, pairs: int) -> Layout:
    """A new site with `cameras` cameras on each of `pairs` recorders."""
    if not 1 <= pairs <= MAX_PAIRS or cameras < 1 or cameras * pairs > MAX_CAMERAS:
        raise ValueError(f"a lab site has 1 to {MAX_PAIRS} pairs and 1 to {MAX_CAMERAS} cameras in all, not {pairs} with {cameras} each")
    witness = WitnessPlan("witness-1", f"{subnet}.3")
    return Layout(subnet, tuple(_pair(subnet, index, cameras) for index in range(pairs)), witness)


def describe(layout: Layout, *, python_archive: str, log_directory: str) -> dict[str, t.Any]:
    """The content of site.json: all that integrations, inventories and tests need to know."""
    return {
        "subnet": layout.subnet,
        "management_server": {
            "http_url": layout.http_url,
            "basic_user": {"username": layout.basic_user, "password": layout.basic_password},
            "windows_user": {"username": layout.windows_user, "password": layout.windows_password},
        },
        "pairs": [
            {
                "name": pair.name,
                "recorder_id": pair.recorder_id,
                "service_url": pair.service_url,
                "service_address": pair.service_address,
                "nodes": [_machine(node) for node in pair.nodes],
            }
            for pair in layout.pairs
        ],
        "witness": {**_machine(layout.witness), "port": WITNESS_PORT},
        "cameras": [
            {"id": camera.camera_id, "name": camera.name, "url": camera.url, "pair": pair.name, "recording_mode": camera.recording_mode}
            for pair in layout.pairs for camera in pair.cameras
        ],
        "python_archive": python_archive,
        "log_directory": log_directory,
    }


def _machine(plan: NodePlan | WitnessPlan) -> dict[str, t.Any]:
    return {"name": plan.name, "address": plan.address, "winrm_url": plan.winrm_url, "username": plan.username, "password": plan.password}
