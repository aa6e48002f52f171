# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration REST API: fields, relations, filters, changes, errors."""

from __future__ import annotations

import dataclasses
import random
import uuid

import pytest

# Field sets as documented and captured from real servers.
FIELDS = {
    "recordingServers": {
        "displayName", "enabled", "id", "name", "description", "lastModified", "synchronizationTime", "timeZoneName", "hostName",
        "portNumber",
        "webServerUri", "activeWebServerUri", "publicAccessEnabled", "publicWebserverHostName", "publicWebserverPort",
        "multicastServerAddress", "shutdownOnStorageFailure", "version", "relations",
    },
    "hardware": {
        "displayName", "enabled", "id", "name", "description", "address", "userName", "model", "lastModified", "passwordLastModified",
        "hardwareDriverPath", "relations",
    },
    "cameras": {
        "displayName", "enabled", "id", "name", "channel", "description", "createdDate", "lastModified", "gisPoint", "shortName", "icon",
        "coverageDirection", "coverageDepth", "coverageFieldOfView", "recordingFramerate", "recordKeyframesOnly", "recordOnRelatedDevices",
        "ptzEnabled", "recordingEnabled", "prebufferEnabled", "prebufferInMemory", "prebufferSeconds", "edgeStorageEnabled",
        "edgeStoragePlaybackEnabled", "manualRecordingTimeoutEnabled", "manualRecordingTimeoutMinutes", "recordingStorage",
        "failoverSetting", "relations",
    },
    "storages": {
        "displayName", "id", "name", "description", "createdDate", "lastModified", "diskPath", "encryptionMethod", "isDefault", "maxSize",
        "retainMinutes", "signing", "relations",
    },
    "sites": {
        "displayName", "id", "name", "description", "lastModified", "timeZone", "computerName", "domainName", "lastStatusHandshake",
        "physicalMemory", "platform", "processors", "serviceAccount", "synchronizationStatus", "masterSiteAddress", "version", "relations",
    },
}

UNKNOWN_ID = "7f9c2ba4-e88f-427d-b8a1-1f2c9d5e6a70"


@pytest.mark.parametrize("kind", FIELDS)
def test_items_have_exactly_the_documented_fields(server, kind):
    items = server.get(kind)["array"]
    assert items
    for item in items:
        assert set(item) == FIELDS[kind]
        assert server.get(f"{kind.upper()}/{item['id'].upper()}")["data"] == item


def test_relations_lead_from_camera_to_recorder(server):
    camera = server.get("cameras")["array"][0]
    hardware = server.get(f"hardware/{camera['relations']['parent']['id']}")["data"]
    assert hardware["relations"]["parent"] == {"type": "recordingServers", "id": server.pair.recorder_id}
    assert camera in server.get(f"hardware/{hardware['id']}/cameras")["array"]
    assert server.get(f"hardware/{hardware['id']}/cameras/{camera['id']}")["data"] == camera
    recorder = f"recordingServers/{server.pair.recorder_id}"
    assert hardware in server.get(f"{recorder}/hardware")["array"]
    storage = server.get(f"{recorder}/storages")["array"][0]
    assert camera["recordingStorage"] == {"type": "storages", "id": storage["id"]}
    assert server.get(f"storages/{storage['id']}/archiveStorages") == {"array": []}


def test_streams_of_a_camera(server):
    camera = server.plan.pairs[0].cameras[0]
    listed = server.get(f"cameras/{camera.camera_id}/streams")["array"]
    assert listed == [server.get(f"streams/{camera.camera_id}")["data"]]
    assert listed[0]["relations"]["self"]["id"] == camera.camera_id
    assert listed[0]["stream"][0]["streamReferenceId"] == camera.stream_id


def test_a_recorder_that_never_connected_has_its_known_address(server):
    recorder = server.get(f"recordingServers/{server.pair.recorder_id}")["data"]
    assert recorder["webServerUri"] == f"http://{server.pair.service_address}:7563/"


def test_lists_hold_enabled_items_unless_asked(server):
    camera = server.pair.cameras[1].camera_id
    assert server.rest("PATCH", f"cameras/{camera}", json={"enabled": False}).status_code == 200
    try:
        assert camera not in {item["id"] for item in server.get("cameras")["array"]}
        assert camera in {item["id"] for item in server.get("cameras?disabled")["array"]}
        assert server.get(f"cameras/{camera}")["data"]["enabled"] is False
    finally:
        server.rest("PATCH", f"cameras/{camera}", json={"enabled": True})


def test_children_can_be_embedded(server):
    hardware = server.get("hardware?includeChildren=cameras")["array"]
    assert [len(entry["cameras"]) for entry in hardware] == [1] * 4


@pytest.mark.parametrize(("query", "expected"), [
    ("name='Entrance'", ["Entrance"]),
    ("name=startsWith:'Load'", ["Loading dock"]),
    ("name=contains:'OCK'", ["Loading dock"]),
    ("name=notEquals:'Entrance'", ["Loading dock", "Car park", "Reception"]),
    ("prebufferSeconds=gt:'2'", ["Entrance", "Loading dock", "Car park", "Reception"]),
    ("prebufferSeconds=lt:'2'", []),
    ("lastModified=gt:'2021-11-25'", ["Entrance", "Loading dock", "Car park", "Reception"]),
    ("ptzEnabled='true'", []),
    ("page=1&size=3", ["Reception"]),
    ("page=0&size=2", ["Entrance", "Loading dock"]),
    ("page=7&size=100", []),
])
def test_filters_and_paging(server, query, expected):
    assert [item["name"] for item in server.get(f"cameras?{query}")["array"]] == expected


@pytest.mark.parametrize("query", ["colour='red'", "name=Entrance", "lab='x'", "page=-1", "size=0", "size=99999999999"])
def test_bad_queries(server, query):
    answer = server.rest("GET", f"cameras?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["property"] == query.split("=")[0]


def test_a_change_is_answered_durable_and_stamped(server, start_server, tmp_path):
    camera = server.pair.cameras[0].camera_id
    before = server.get(f"cameras/{camera}")["data"]
    answer = server.rest("PATCH", f"cameras/{camera}", json={"name": "Main door", "prebufferSeconds": 7})
    changed = answer.json()["data"]
    try:
        assert answer.status_code == 200
        assert (changed["name"], changed["displayName"], changed["prebufferSeconds"]) == ("Main door", "Main door", 7)
        assert changed["lastModified"] > before["lastModified"]
        assert {name for name in changed if changed[name] != before[name]} == {"name", "displayName", "prebufferSeconds", "lastModified"}
        (tmp_path / "model.json").write_bytes(server.config.model.read_bytes())
        other = start_server(tmp_path, plan=dataclasses.replace(server.plan, subnet=f"127.251.{random.randrange(1, 255)}"))
        assert other.get(f"cameras/{camera}")["data"] == changed
    finally:
        server.rest("PATCH", f"cameras/{camera}", json={"name": before["name"], "prebufferSeconds": 3})


def test_an_equal_value_changes_nothing(server):
    camera = server.get("cameras")["array"][0]
    answer = server.rest("PATCH", f"cameras/{camera['id']}", json={"name": camera["name"]})
    assert answer.json()["data"] == camera


@pytest.mark.parametrize(("kind", "change", "name"), [
    ("cameras", {"prebufferSeconds": "7"}, "prebufferSeconds"),
    ("cameras", {"prebufferSeconds": -1}, "prebufferSeconds"),
    ("cameras", {"enabled": 1}, "enabled"),
    ("cameras", {"failoverSetting": "Sometimes"}, "failoverSetting"),
    ("cameras", {"name": " "}, "name"),
    ("cameras", {"recordingStorage": {"type": "storages", "id": str(UNKNOWN_ID)}}, "recordingStorage"),
    ("cameras", {"lab": {}}, "lab"),
    ("cameras", {"colour": "red"}, "colour"),
    ("recordingServers", {"webServerUri": "http://elsewhere:7563/"}, "webServerUri"),
    ("recordingServers", {"multicastServerAddress": ""}, "multicastServerAddress"),
    ("hardware", {"model": "other"}, "model"),
    ("storages", {"diskPath": "E:\\Media"}, "diskPath"),
])
def test_refused_changes_name_the_property(server, kind, change, name):
    before = server.get(f"{kind}?disabled")["array"]
    answer = server.rest("PATCH", f"{kind}/{before[0]['id']}", json=change)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["property"] == name
    assert server.get(f"{kind}?disabled")["array"] == before


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "recordings", 404),
    ("GET", f"cameras/{UNKNOWN_ID}", 404),
    ("GET", f"recordingServers/{UNKNOWN_ID}/hardware", 404),
    ("POST", "recordingServers", 405),
    ("DELETE", "cameras", 405),
])
def test_errors(server, method, path, status):
    answer = server.rest(method, path)
    assert (answer.status_code, answer.json()["error"]["httpCode"]) == (status, status)
    assert answer.json()["error"]["details"][0]["errorText"]


def test_unknown_resource_text(server):
    details = server.rest("GET", "recordings").json()["error"]["details"]
    assert details == [{"errorText": "Unknown resource: recordings"}]


def test_broken_body(server):
    camera = server.pair.cameras[0].camera_id
    assert server.rest("PATCH", f"cameras/{camera}", data=b"{").status_code == 400
    assert server.rest("PATCH", f"cameras/{camera}", data=b"[]").status_code == 400


def test_too_large_a_body_is_refused(server):
    assert server.rest("PATCH", f"cameras/{server.pair.cameras[0].camera_id}", data=b" " * (2 << 20)).status_code == 413
