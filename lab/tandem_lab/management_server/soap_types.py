# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What GetConfiguration and QueryRecorderInfo answer: the model as the data contracts of ServerCommandService.

Member names and declared order are documented (the vendor's WSDLs); values as captured from real servers.
"""

from __future__ import annotations

import typing as t

from .model import Item, Model, parent_id
from .xml_records import Guids, Many, Record

NO_ID = "00000000-0000-0000-0000-000000000000"
EMPTY_DEVICES = ("Inputs", "Outputs", "Microphones", "Speakers", "MetadataDevices")
SECURITY_BEFORE_PTZ = (
    "Live", "Browse", "ExportAvi", "ExportJpeg", "SmartSearch", "GetSequences", "ExportDatabase", "StartRecording", "StopRecording",
)
SECURITY_AFTER_PTZ = (
    "BookmarkView", "BookmarkAdd", "BookmarkEdit", "BookmarkDelete", "RetentionView", "RetentionCreate", "RetentionRemove",
    "ManagePresets", "ManagePatrollingProfiles", "ManagePresetLocks", "RetrieveEdgeRecordings",
)


def _camera_security() -> Record:
    members: dict[str, t.Any] = dict.fromkeys(SECURITY_BEFORE_PTZ, True)
    members["PtzSecurity"] = Record({"ManualControl": True, "PresetControl": True, "ReserveControl": True})
    members.update(dict.fromkeys(SECURITY_AFTER_PTZ, True))
    return Record(members)


def _ptz(camera: Item) -> Record:
    return Record(
        {
            "PtzEnabled": camera["ptzEnabled"],
            "Presets": Many("PresetInfo"),
            "Capabilities": Many("CapabilityInfo"),
            "IsCenterOnPositionInViewSupported": False,
            "IsPtzCenterAndZoomToRectangleSupported": False,
            "IsPtzHomeSupported": False,
            "IsPtzDiagonalSupported": False,
            "EditPreset": False,
        }
    )


def camera_info(camera: Item, recorder_id: str) -> Record:
    device = Record(
        {
            "RecorderId": recorder_id,
            "HardwareId": parent_id(camera),
            "DeviceId": camera["id"],
            "Name": camera["name"],
            "Description": camera["description"],
            "Shortcut": "",
            "DeviceIndex": camera["channel"],
            "GisPoint": camera["gisPoint"],
            "ShortName": camera["shortName"],
            "Icon": camera["icon"],
            "CoverageDirection": camera["coverageDirection"],
            "CoverageDepth": camera["coverageDepth"],
            "CoverageFieldOfView": camera["coverageFieldOfView"],
        }
    )
    lab = camera["lab"]
    return Record(
        {
            "MaxFPS": 30,
            "BrowsableStream": True,
            "Streams": Many("StreamInfo", (Record({"StreamId": lab["stream_id"], "Name": "Video stream 1", "Default": True}),)),
            "Tracks": Many("TrackInfo", (Record({"TrackId": lab["track_id"], "Edge": False}),)),
            "CameraSecurity": _camera_security(),
            "PtzSettings": _ptz(camera),
            "IpixSettings": None,
            "PanoramicLensSettings": None,
            "MulticastEnabled": False,
            "EdgeStorageSupported": False,
            "EdgeStoragePlayback": camera["edgeStoragePlaybackEnabled"],
            "StopManualRecordingSeconds": camera["manualRecordingTimeoutMinutes"] * 60,
        },
        base=device,
    )


def hardware_info(hardware: Item, cameras: list[Item], recorder_id: str) -> Record:
    return Record(
        {
            "HardwareId": hardware["id"],
            "DeviceIds": Guids(tuple(camera["id"] for camera in cameras)),
            "RecorderId": recorder_id,
            "Name": hardware["name"],
            "Description": hardware["description"],
            "Uri": hardware["address"],
            "Interconnected": False,
            "LastModified": hardware["lastModified"],
        }
    )


def recorder_info(model: Model, recorder: Item) -> Record:
    """Enabled devices only; the service id of a recorder is its recorder id (assumption `service_id_equals_recorder_id`)."""
    recorder_id = recorder["id"]
    hardware = [entry for entry in model.children("hardware", recorder_id) if entry["enabled"]]
    cameras = {entry["id"]: [camera for camera in model.children("cameras", entry["id"]) if camera["enabled"]] for entry in hardware}
    members: dict[str, t.Any] = {
        "RecorderId": recorder_id,
        "ServiceId": recorder_id,
        "Name": recorder["name"],
        "Description": recorder["description"],
        "HostName": recorder["hostName"],
        "WebServerUri": recorder["webServerUri"],
        "TimeZoneName": recorder["timeZoneName"],
        "DefaultRecordingTimeSeconds": 300,
        "XmlEncoding": "utf-8",
        "LastModified": recorder["lastModified"],
        "Cameras": Many("CameraInfo", tuple(camera_info(camera, recorder_id) for entry in hardware for camera in cameras[entry["id"]])),
    }
    members.update({name: Many(name[:-1] if name != "MetadataDevices" else "MetadataDevice") for name in EMPTY_DEVICES})
    members["Hardware"] = Many("HardwareInfo", tuple(hardware_info(entry, cameras[entry["id"]], recorder_id) for entry in hardware))
    return Record(members)


def configuration_info(model: Model) -> Record:
    site = model.items("sites")[0]
    recorders = [recorder for recorder in model.items("recordingServers") if recorder["enabled"]]
    all_cameras = tuple(camera["id"] for camera in model.items("cameras") if camera["enabled"])
    group = Record(
        {"CameraGroups": Many("CameraGroupInfo"), "Cameras": Guids(all_cameras)},
        base=Record({"GroupId": site["lab"]["camera_group_id"], "Name": "All cameras", "Description": ""}),
    )
    return Record(
        {
            "ServerId": site["id"],
            "ServerName": site["name"],
            "ServerDescription": site["description"],
            "ServerOptions": Many("ServerOption"),
            "Recorders": Many("RecorderInfo", tuple(recorder_info(model, recorder) for recorder in recorders)),
            "ApplicationAccess": Record({"SmartClientSecurity": None}),
            "FailoverCheckInterval": 0,
            "Licenses": Many("LicenseInfo"),
            "DeviceMappings": Many("DeviceMappingInfo"),
            "CameraGroups": Many("CameraGroupInfo", (group,)),
            **{name: Many(f"{name[:-1]}Info") for name in (
                "InputGroups", "OutputGroups", "MicrophoneGroups", "SpeakerGroups", "MetadataDeviceGroups", "EventTypeGroups",
                "EventTypes", "SystemEventTypes", "AlertTypeGroups", "AlertTypes", "MatrixMonitors",
            )},
            "BookmarkSettings": Record({"DefaultPreTimeSec": 3, "DefaultPostTimeSec": 30}),
            "RetentionSettings": Record({"RetentionOptions": Many("RetentionOption")}),
        }
    )
