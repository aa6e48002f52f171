# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Management Server's first configuration of a site: REST objects with all documented fields."""

from __future__ import annotations

import typing as t

from ..management_server.model import timestamp
from .layout import IMAGE_PORT, TIME_ZONE, VERSION, CameraPlan, Layout, PairPlan

Item = dict[str, t.Any]
DRIVER_ID = "8ad5d2f5-4f1c-4d0a-9d6b-0c1f0a6b7e01"
CAMERA_MODEL = "Tandem Lab Camera"


def _relations(kind: str, item_id: str, above: tuple[str, str] | None = None) -> Item:
    relations: Item = {"parent": {"type": above[0], "id": above[1]}} if above else {}
    return relations | {"self": {"type": kind, "id": item_id}}


def build(layout: Layout) -> dict[str, t.Any]:
    now = timestamp()
    return {
        "configurations": {pair.recorder_id: 1 for pair in layout.pairs},
        "sites": [_site(layout, now)],
        "recordingServers": [_recorder(pair, now) for pair in layout.pairs],
        "hardware": [_hardware(camera, pair, now) for pair in layout.pairs for camera in pair.cameras],
        "cameras": [_camera(camera, pair, now) for pair in layout.pairs for camera in pair.cameras],
        "storages": [_storage(pair, now) for pair in layout.pairs],
    }


def _site(layout: Layout, now: str) -> Item:
    name = layout.server_name.upper()
    return {
        "displayName": name,
        "id": layout.site_id,
        "name": name,
        "description": "",
        "lastModified": now,
        "timeZone": TIME_ZONE,
        "computerName": name,
        "domainName": "LAB",
        "lastStatusHandshake": now,
        "physicalMemory": 17_179_869_184,
        "platform": "[Not Available]",
        "processors": 4,
        "serviceAccount": "S-1-5-20",
        "synchronizationStatus": 196_608,
        "masterSiteAddress": "",
        "version": VERSION,
        "relations": _relations("sites", layout.site_id),
        "lab": {"camera_group_id": layout.camera_group_id},
    }


def _recorder(pair: PairPlan, now: str) -> Item:
    """Node a was installed and registered under the service address before the story begins."""
    return {
        "displayName": pair.recorder_name,
        "enabled": True,
        "id": pair.recorder_id,
        "name": pair.recorder_name,
        "description": "",
        "lastModified": now,
        "synchronizationTime": -1,
        "timeZoneName": TIME_ZONE,
        "hostName": pair.service_address,
        "portNumber": IMAGE_PORT,
        "webServerUri": pair.service_url,
        "activeWebServerUri": "",
        "publicAccessEnabled": False,
        "publicWebserverHostName": "",
        "publicWebserverPort": 0,
        "multicastServerAddress": "0.0.0.0",
        "shutdownOnStorageFailure": False,
        "version": VERSION,
        "relations": _relations("recordingServers", pair.recorder_id),
    }


def _hardware(camera: CameraPlan, pair: PairPlan, now: str) -> Item:
    name = f"{CAMERA_MODEL} ({camera.address})"
    return {
        "displayName": name,
        "enabled": True,
        "id": camera.hardware_id,
        "name": name,
        "description": "",
        "address": f"http://{camera.address}:8080/",
        "userName": "root",
        "model": CAMERA_MODEL,
        "lastModified": now,
        "passwordLastModified": now,
        "hardwareDriverPath": {"type": "hardwareDrivers", "id": DRIVER_ID},
        "relations": _relations("hardware", camera.hardware_id, ("recordingServers", pair.recorder_id)),
    }


def _camera(camera: CameraPlan, pair: PairPlan, now: str) -> Item:
    return {
        "displayName": camera.name,
        "enabled": True,
        "id": camera.camera_id,
        "name": camera.name,
        "channel": 0,
        "description": "",
        "createdDate": "0001-01-01T00:00:00.0000000",
        "lastModified": now,
        "gisPoint": "POINT EMPTY",
        "shortName": "",
        "icon": 0,
        "coverageDirection": 0,
        "coverageDepth": 0,
        "coverageFieldOfView": 0,
        "recordingFramerate": 5,
        "recordKeyframesOnly": False,
        "recordOnRelatedDevices": True,
        "ptzEnabled": False,
        "recordingEnabled": True,
        "prebufferEnabled": True,
        "prebufferInMemory": True,
        "prebufferSeconds": 3,
        "edgeStorageEnabled": False,
        "edgeStoragePlaybackEnabled": False,
        "manualRecordingTimeoutEnabled": True,
        "manualRecordingTimeoutMinutes": 15,
        "recordingStorage": {"type": "storages", "id": pair.storage_id},
        "failoverSetting": "FullSupport",
        "relations": _relations("cameras", camera.camera_id, ("hardware", camera.hardware_id)),
        "lab": {
            "url": camera.url,
            "recording_mode": camera.recording_mode,
            "stream_id": camera.stream_id,
            "track_id": camera.track_id,
        },
    }


def _storage(pair: PairPlan, now: str) -> Item:
    return {
        "displayName": "Local default",
        "id": pair.storage_id,
        "name": "Local default",
        "description": "",
        "createdDate": now,
        "lastModified": now,
        "diskPath": "D:\\MediaDatabase",
        "encryptionMethod": "None",
        "isDefault": True,
        "maxSize": 1024,
        "retainMinutes": 10_080,
        "signing": False,
        "relations": _relations("storages", pair.storage_id, ("recordingServers", pair.recorder_id)),
    }
