# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to record: the configuration that the Management Server sends, and its copy on this machine.

The copy is a file of the lab's own, ``ConfigurationCache.json`` (assumption `local_config_cache_copyable`): the real place and
format are not publicly known.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
import urllib.parse
import uuid
from pathlib import Path

from .machine import read_json

FILE_NAME = "ConfigurationCache.json"
MODES = ("always", "motion", "manual")


class ConfigurationError(Exception):
    """A configuration lacks something or contradicts itself."""


@dataclasses.dataclass(frozen=True)
class StorageConfig:
    id: str
    name: str
    disk_path: str
    retain_minutes: float
    max_size_mb: int


@dataclasses.dataclass(frozen=True)
class CameraSettings:
    id: str
    name: str
    enabled: bool
    host: str
    port: int
    path: str
    recording_enabled: bool
    recording_mode: str
    storage_id: str
    manual_timeout_ms: int | None

    @property
    def source(self) -> tuple[str, int, str]:
        return self.host, self.port, self.path


@dataclasses.dataclass(frozen=True)
class Configuration:
    version: int
    recorder_id: str
    recorder_name: str
    storages: tuple[StorageConfig, ...]
    cameras: tuple[CameraSettings, ...]


def _guid(value: t.Any) -> str:
    return str(uuid.UUID(str(value)))


def _storage(raw: dict[str, t.Any]) -> StorageConfig:
    return StorageConfig(
        _guid(raw["id"]), str(raw["name"]), str(raw["disk_path"]), float(raw["retain_minutes"]), int(raw["max_size_mb"])
    )


def _camera(raw: dict[str, t.Any]) -> CameraSettings:
    url = urllib.parse.urlsplit(str(raw["url"]))
    if url.scheme != "http" or not url.hostname:
        raise ConfigurationError(f"camera {raw['id']}: {raw['url']!r} is not an http address")
    mode = str(raw["recording_mode"])
    if mode not in MODES:
        raise ConfigurationError(f"camera {raw['id']}: unknown recording mode {mode!r}")
    timeout = None
    if raw.get("manualRecordingTimeoutEnabled", True):
        timeout = int(float(raw.get("manualRecordingTimeoutMinutes", 15)) * 60_000)
    return CameraSettings(
        id=_guid(raw["id"]),
        name=str(raw["name"]),
        enabled=bool(raw["enabled"]),
        host=url.hostname,
        port=url.port or 80,
        path=url.path or "/",
        recording_enabled=bool(raw["recording_enabled"]),
        recording_mode=mode,
        storage_id=_guid(raw["recording_storage_id"]),
        manual_timeout_ms=timeout,
    )


def parse(document: t.Any) -> Configuration:
    try:
        configuration = Configuration(
            version=int(document["version"]),
            recorder_id=_guid(document["recorder"]["id"]),
            recorder_name=str(document["recorder"]["name"]),
            storages=tuple(_storage(raw) for raw in document["storages"]),
            cameras=tuple(_camera(raw) for raw in document["cameras"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(f"the configuration is not complete: {error!r}") from error
    known = {storage.id for storage in configuration.storages}
    for camera in configuration.cameras:
        if camera.storage_id not in known:
            raise ConfigurationError(f"camera {camera.id} records to storage {camera.storage_id}, which is not in the configuration")
    return configuration


def read_cache(path: Path) -> t.Any | None:
    """The document of the copy, None when there is none. A damaged one raises ConfigurationError."""
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error}") from error


def write_cache(path: Path, document: t.Any) -> bool:
    """Write the copy durably; False when it was already the same."""
    data = (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    if path.exists() and path.read_bytes() == data:
        return False
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    return True
