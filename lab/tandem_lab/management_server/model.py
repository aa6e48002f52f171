# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site's configuration as the Management Server keeps it: one JSON file, changed only in whole durable steps.

Items are the REST objects themselves. What only the lab needs of an item (a camera's URL) stands under its key ``lab``
and never leaves through REST. `configurations` holds the version of each recorder's configuration.
"""

from __future__ import annotations

import copy
import datetime
import json
import typing as t
from pathlib import Path

from . import files

Item = dict[str, t.Any]
KINDS = ("sites", "recordingServers", "hardware", "cameras", "storages")
MAX_MODEL_BYTES = 64 << 20


def timestamp(now: datetime.datetime | None = None) -> str:
    """A time as list replies print it: seven decimals, UTC."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    return now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond:06d}0Z"


def parent_id(item: Item) -> str | None:
    parent = item["relations"].get("parent")
    return parent["id"] if parent else None


class Model:
    def __init__(self, path: Path):
        self._path = path
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ValueError(f"{path} is larger than {MAX_MODEL_BYTES} bytes")
        self._document: dict[str, t.Any] = json.loads(path.read_bytes())
        self._check()

    def _check(self) -> None:
        for kind in KINDS:
            if not isinstance(self._document.get(kind), list):
                raise ValueError(f"{self._path}: the list {kind} is missing")
        for kind, above in (("hardware", "recordingServers"), ("cameras", "hardware"), ("storages", "recordingServers")):
            known = {item["id"] for item in self._document[above]}
            for item in self._document[kind]:
                if parent_id(item) not in known:
                    raise ValueError(f"{self._path}: {kind} {item['id']} has no parent in {above}")

    def items(self, kind: str) -> list[Item]:
        return self._document[kind]

    def find(self, kind: str, item_id: str) -> Item | None:
        wanted = item_id.lower()
        return next((item for item in self._document[kind] if item["id"] == wanted), None)

    def children(self, kind: str, above_id: str) -> list[Item]:
        return [item for item in self._document[kind] if parent_id(item) == above_id]

    def recorder_of(self, kind: str, item: Item) -> str | None:
        """The id of the recorder whose configuration holds this item."""
        if kind == "recordingServers":
            return item["id"]
        if kind == "cameras":
            hardware = self.find("hardware", parent_id(item) or "")
            return parent_id(hardware) if hardware else None
        return parent_id(item) if kind in ("hardware", "storages") else None

    # -- changes -------------------------------------------------------------------------------------------------
    def change(self, kind: str, item_id: str, values: Item, *, configuration: bool = True) -> bool:
        """Set properties of one item. True when something changed; then it is on disk before this returns."""
        item = self.find(kind, item_id)
        if item is None:
            raise KeyError(f"{kind}/{item_id}")
        if all(name in item and item[name] == value for name, value in values.items()):
            return False
        document = copy.deepcopy(self._document)
        target = next(entry for entry in document[kind] if entry["id"] == item["id"])
        target.update(values)
        if "name" in values:
            target["displayName"] = values["name"]
        target["lastModified"] = timestamp()
        recorder = self.recorder_of(kind, item)
        if configuration and recorder:
            document["configurations"][recorder] = document["configurations"].get(recorder, 1) + 1
        files.write_durable(self._path, (json.dumps(document, indent=1) + "\n").encode())
        self._document = document
        return True

    # -- what a recorder is sent ---------------------------------------------------------------------------------
    def configuration(self, recorder_id: str) -> Item:
        recorder = self.find("recordingServers", recorder_id)
        if recorder is None:
            raise KeyError(recorder_id)
        hardware = self.children("hardware", recorder["id"])
        cameras = [self._camera(camera, entry) for entry in hardware for camera in self.children("cameras", entry["id"])]
        return {
            "version": self._document["configurations"].get(recorder["id"], 1),
            "recorder": {"id": recorder["id"], "name": recorder["name"]},
            "storages": [self._storage(storage) for storage in self.children("storages", recorder["id"])],
            "hardware": [{"id": entry["id"], "name": entry["name"], "address": entry["address"]} for entry in hardware],
            "cameras": cameras,
        }

    @staticmethod
    def _storage(storage: Item) -> Item:
        return {
            "id": storage["id"],
            "name": storage["name"],
            "disk_path": storage["diskPath"],
            "retain_minutes": storage["retainMinutes"],
            "max_size_mb": storage["maxSize"],
            "is_default": storage["isDefault"],
        }

    @staticmethod
    def _camera(camera: Item, hardware: Item) -> Item:
        """The fields that the lab recorder works with, then all REST settings by their own names."""
        settings = {name: value for name, value in camera.items() if name not in ("lab", "relations", "lastModified")}
        return settings | {
            "hardware_id": hardware["id"],
            "enabled": camera["enabled"] and hardware["enabled"],
            "url": camera["lab"]["url"],
            "recording_enabled": camera["recordingEnabled"],
            "recording_mode": camera["lab"]["recording_mode"],
            "prebuffer_seconds": camera["prebufferSeconds"] if camera["prebufferEnabled"] else 0,
            "recording_storage_id": camera["recordingStorage"]["id"],
        }
