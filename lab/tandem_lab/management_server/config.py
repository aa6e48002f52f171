# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Management Server process is told at its start."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

MAX_CONFIG_BYTES = 1 << 20


@dataclasses.dataclass(frozen=True)
class Account:
    username: str
    password: str

    @property
    def domain(self) -> str:
        return self.username.partition("\\")[0] if "\\" in self.username else ""

    @property
    def plain_name(self) -> str:
        return self.username.rpartition("\\")[2]


@dataclasses.dataclass(frozen=True)
class ServerConfig:
    """Addresses, accounts and places of files. `settings` are the lab settings that all parts of a site share."""

    address: str
    name: str
    version: str
    model: Path
    state: Path
    basic_user: Account
    windows_user: Account
    http_port: int = 8080
    uplink_port: int = 9000
    token_seconds: float = 14_400.0
    settings: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def assumption(self, key: str, default: bool) -> bool:
        return bool(self.settings.get("assumptions", {}).get(key, default))

    @property
    def http_url(self) -> str:
        return f"http://{self.address}:{self.http_port}"


def read_json(path: Path) -> dict[str, t.Any]:
    with path.open("rb") as file:
        raw = file.read(MAX_CONFIG_BYTES + 1)
    if len(raw) > MAX_CONFIG_BYTES:
        raise ValueError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes")
    value = json.loads(raw)
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return value


def load(path: Path) -> ServerConfig:
    raw = read_json(path)
    settings_path = raw.get("settings")
    settings = read_json(Path(settings_path)) if settings_path else {}
    return ServerConfig(
        address=raw["address"],
        name=raw["name"],
        version=raw["version"],
        model=Path(raw["model"]),
        state=Path(raw["state"]),
        basic_user=Account(**raw["basic_user"]),
        windows_user=Account(**raw["windows_user"]),
        http_port=int(raw.get("http_port", 8080)),
        uplink_port=int(raw.get("uplink_port", 9000)),
        token_seconds=float(raw.get("token_seconds", 14_400.0)),
        settings=settings,
    )
