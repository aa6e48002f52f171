# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import random

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect import fingerprint
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.fingerprint import Fingerprint, canonical, differences

IDENTITY = {
    "rest": {
        "recorder": {"id": "R", "name": "North", "lastModified": "2025-10-27", "webServerUri": "http://10.0.0.10:7563/",
                     "portNumber": 7563},
        "cameras": [{"id": f"c{number}", "name": f"Cam {number}", "lastModified": str(number), "channel": 0} for number in range(4)],
    },
    "soap": {"RecorderId": "R", "LastModified": "x",
             "Cameras": {"CameraInfo": [{"DeviceId": "c1", "Name": "Cam 1"}, {"DeviceId": "c0", "Name": "Cam 0"}]},
             "tags": ["b", "a"]},
}


def test_order_and_volatile_fields_do_not_count():
    other = copy.deepcopy(IDENTITY)
    random.Random(3).shuffle(other["rest"]["cameras"])
    other["soap"]["Cameras"]["CameraInfo"].reverse()
    other["soap"]["tags"].reverse()
    other["rest"]["recorder"] = dict(reversed(other["rest"]["recorder"].items()))
    other["rest"]["recorder"]["lastModified"] = "later"
    other["rest"]["cameras"][0]["lastModified"] = "later"
    assert Fingerprint.of(other).sha256 == Fingerprint.of(IDENTITY).sha256
    assert differences(Fingerprint.of(IDENTITY), Fingerprint.of(other)) == []


@pytest.mark.parametrize("change, expected", [
    (lambda it: it["rest"]["recorder"].update(webServerUri="http://10.0.0.12:7563/"),
     [("rest.recorder.webServerUri", "http://10.0.0.10:7563/", "http://10.0.0.12:7563/")]),
    (lambda it: it["rest"]["cameras"][2].update(name="Other"), [("rest.cameras.c2.name", "Cam 2", "Other")]),
    (lambda it: it["rest"]["cameras"].pop(3), [("rest.cameras.c3", {"channel": 0, "id": "c3", "name": "Cam 3"}, None)]),
    (lambda it: it["soap"]["Cameras"]["CameraInfo"][0].update(DeviceId="c9"),
     [("soap.Cameras.CameraInfo.c1", {"DeviceId": "c1", "Name": "Cam 1"}, None),
      ("soap.Cameras.CameraInfo.c9", None, {"DeviceId": "c9", "Name": "Cam 1"})]),
    (lambda it: it["rest"]["recorder"].update(portNumber="7563"), [("rest.recorder.portNumber", 7563, "7563")]),
])
def test_everything_else_counts_and_is_named(change, expected):
    other = copy.deepcopy(IDENTITY)
    change(other)
    assert Fingerprint.of(other).sha256 != Fingerprint.of(IDENTITY).sha256
    found = differences(Fingerprint.of(IDENTITY), Fingerprint.of(other))
    assert [(item["field"], item["before"], item["after"]) for item in found] == expected


def test_two_items_with_one_id_are_not_merged():
    twice = canonical([{"id": "x", "name": "1"}, {"id": "x", "name": "2"}])
    assert isinstance(twice, list) and len(twice) == 2


class Rest:
    missing = ("speakers", "outputs")

    def list(self, path, **unused):
        if path in self.missing:
            raise TandemError("Unknown resource", code="not_found")
        parent = {"hardware": ("h1", "R"), "cameras": ("c1", "H1"), "storages": ("s", "R")}.get(path.rpartition("/")[2])
        others = [{"id": "foreign", "relations": {"parent": {"id": "other"}}}, {"id": "no parent"}] if "/" not in path else []
        own = [{"id": parent[0], "relations": {"parent": {"id": parent[1]}}}] if parent else []
        return own + others


class Server:
    rest = Rest()

    class soap:  # noqa: N801
        @staticmethod
        def recorder_info(recorder_id):
            return {"RecorderId": recorder_id, "WebServerUri": "http://10.0.0.10:7563/"}

    @staticmethod
    def recorder(recorder_id):
        return {"id": recorder_id, "webServerUri": "http://10.0.0.10:7563/", "activeWebServerUri": ""}


def test_only_what_belongs_to_the_recorder_is_read():
    found = fingerprint.read(Server(), "r")
    assert list(found.identity["rest"]["hardware"]) == ["h1"] and list(found.identity["rest"]["cameras"]) == ["c1"]
    assert list(found.identity["rest"]["storages"]) == ["s"] and found.identity["rest"]["microphones"] == []
    assert found.identity["client"] == {"recorder_uri": "http://10.0.0.10:7563/", "soap_uri": "http://10.0.0.10:7563/"}
    assert found.summary() == {"sha256": found.sha256, "hardware": 1, "cameras": 1}


def test_a_server_without_cameras_is_an_error(monkeypatch):
    monkeypatch.setattr(Rest, "missing", ("cameras",))
    with pytest.raises(TandemError):
        fingerprint.read(Server(), "r")
