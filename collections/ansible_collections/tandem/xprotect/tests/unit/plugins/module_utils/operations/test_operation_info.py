# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, SeveralErrors, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import media_coverage_info, pair_info
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, Site

A, B = "north-a", "north-b"
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
DOWN = NodeUnreachable("no route", "north", A, code="unreachable")
DEVICE = "0a0b0c0d-0000-4000-8000-000000000003"


def held(*spans):
    return {"node": "x", "devices": {DEVICE: {"name": "Loading dock", "spans": [list(span) for span in spans], "open_since": None}},
            "tables": 2, "bytes": 7, "restarts": [[1, 2, "sync"]]}


def files(**contents):
    def read(request):
        found = {}
        for item in request["items"]:
            data = contents.get(item["id"])
            found[item["id"]] = {"exists": False} if data is None else {
                "exists": True, "sha256": hashlib.sha256(data).hexdigest(), "content_b64": base64.b64encode(data).decode()}
        return {"items": found}
    return read


SAME = {"recorder_config": b"<recorderconfig/>", "local_configuration_cache": b"{}"}
COVERAGE = {A: held((0, 20_000)), B: held((0, 5_000))}


CACHE_PATH = {"local_configuration_cache": "C:\\Cache.json"}


def info(a=None, b=None, check_mode=False, verbs=None, **options):
    site = Site(a or ATTACHED, b or HEADLESS, **{"media__coverage": COVERAGE, "config__read": files(**SAME), **(verbs or {})})
    options = {"item_paths": CACHE_PATH, **options}
    context = site.context(pair_info, check_mode, **options)
    return pair_info.run(context), context, site


def test_a_healthy_pair():
    result, context, site = info()
    assert not result["changed"] and (result["attached"], result["headless"], result["epoch"], result["guarded"]) == (A, B, 4, True)
    assert [node["state"] for node in result["nodes"]] == ["attached", "headless"] and result["problems"] == []
    assert result["coverage"]["nodes"][B] == {"seconds": 5.0, "lacks_seconds": 15.0, "lacks_devices": 1}
    assert [item["equal"] for item in result["configuration"]["items"]] == [True, True] and result["fingerprint"] is None
    assert "  node north-b lacks 15.0 s on 1 devices" in result["report"] and "Configuration: 2 items equal" in result["report"]
    assert max(map(len, result["report"])) <= 80 and not site.requests("lock.acquire")


def test_one_node_down():
    result, unused, unused2 = info(a=DOWN, b={"state": "attached", "epoch": 5})
    assert (result["attached"], result["headless"]) == (B, None)
    assert result["nodes"][0] == {"name": A, "address": "10.0.0.11", "reachable": False, "state": "unreachable", "error": "no route"}
    assert result["problems"] == ["node north-a is unreachable: no route"]
    assert result["configuration"] == {"compared": False, "reason": "node north-a is unreachable", "items": []}
    assert list(result["coverage"]["nodes"]) == [B]


def test_a_refused_login_is_told_and_no_failure():
    result, unused, unused2 = info(a=TandemError("login refused", "north", A, code="wrong_password"))
    assert result["problems"][1] == "node north-a is unreachable: login refused"


def test_both_nodes_down():
    with pytest.raises(SeveralErrors):
        info(a=DOWN, b=NodeUnreachable("no route", "north", B, code="unreachable"))


def test_configuration_that_differs():
    result, unused, unused2 = info(verbs={"config__read": {A: files(**SAME), B: files(**{**SAME, "local_configuration_cache": b"old"})}})
    assert result["problems"] == ["the configuration of the nodes differs: local_configuration_cache"]
    item = result["configuration"]["items"][1]
    assert item["equal"] is False and item["sha256"][A] != item["sha256"][B]


def test_an_item_whose_place_nobody_gave_is_listed_as_not_compared():
    result, unused, site = info(item_paths={})
    first, second = result["configuration"]["items"]
    assert first["equal"] is True and first["note"] is None
    assert second == {"id": "local_configuration_cache", "path": None, "equal": None, "sha256": {}, "error": None,
                      "note": "not compared: no path given"}
    assert "  local_configuration_cache not compared: no path given" in result["report"] and result["problems"] == []
    assert "Configuration: 1 item equal" in result["report"]
    assert [item["id"] for item in site.requests("config.read")[0]["items"]] == ["recorder_config", "turn"]


def test_what_is_missing_on_both_nodes_is_not_equal():
    nothing = files(**{**SAME, "local_configuration_cache": None})
    result, unused, unused2 = info(verbs={"config__read": nothing})
    item = result["configuration"]["items"][1]
    assert item["equal"] is None and "does not exist" in item["error"] and item["error"] in result["problems"]


def test_what_a_turn_left_counts_as_equal():
    ours, theirs = b"mine", b"yours"
    record = {"local_configuration_cache": {A: hashlib.sha256(ours).hexdigest(), B: hashlib.sha256(theirs).hexdigest()}}
    result, unused, unused2 = info(verbs={"config__read": {
        A: files(**{**SAME, "local_configuration_cache": ours}),
        B: files(**{**SAME, "local_configuration_cache": theirs, "turn": json.dumps(record).encode()})}})
    assert result["configuration"]["items"][1]["equal"] is True and result["problems"] == []


def test_a_truncated_file_of_the_attached_node():
    result, unused, unused2 = info(verbs={"config__read": {A: files(**{**SAME, "recorder_config": b"<recorderconfig><rec"}),
                                                           B: files(**SAME)}})
    assert result["configuration"]["items"][0]["equal"] is None
    assert result["problems"][0].startswith("node north-a: C:\\ProgramData") and "truncated" in result["problems"][0]
    assert any("cannot be compared in recorder_config" in line for line in result["report"])


def test_what_cannot_be_read_does_not_fail_the_rest():
    refused = TandemError("no coverage", code="not_configured")
    result, context, unused = info(verbs={"media__coverage": refused, "config__read": TandemError("no files", code="x")})
    assert result["coverage"] is None and result["configuration"]["reason"].startswith("node north-a: no files")
    assert "the coverage could not be read" in context.warnings[0]


def test_before_provisioning():
    result, unused, unused2 = info(a={"attach_state": "Attached", "fenced": False},
                                   b={"recorder_id": OTHER, "running": False, "fenced": False})
    assert (result["attached"], result["guarded"], result["epoch"]) == (A, False, None)
    assert [node["state"] for node in result["nodes"]] == ["serving", "unguarded"]


def test_only_what_is_asked_for():
    result, unused, site = info(coverage=False, configuration=False)
    assert result["coverage"] is None and result["configuration"] is None and site.verbs() == []


def test_clocks():
    result, unused, unused2 = info(b={**HEADLESS, "machine__clock_ms": 1_700_000_009_000})
    assert result["clock_offset_seconds"] == pytest.approx(9.0,
                                                           abs=0.5) and result["problems"] == ["the clocks of the nodes differ by 9.0 s"]


class Broken:
    def recorder(self, recorder_id):
        raise TandemError("it cannot be reached", code="unreachable")

    rest = None


def test_a_management_server_that_does_not_answer():
    result, unused, unused2 = info(management_server=Broken())
    assert result["fingerprint"] == {"sha256": None, "error": "it cannot be reached"}
    assert "Fingerprint: it cannot be reached" in result["report"]


# -- media_coverage_info -----------------------------------------------------------------------------------------------
def coverage(verbs=None, **options):
    site = Site(**{"media__coverage": COVERAGE, **(verbs or {})})
    return media_coverage_info.run(site.context(media_coverage_info, **options))


def test_coverage_of_both():
    result = coverage()
    device, = result["devices"]
    assert device["union"] == [[0, 20_000]] and device["nodes"][B]["lacks"] == [[5_000, 20_000]] and not result["changed"]
    assert result["nodes"][A] == {"reachable": True, "error": None, "tables": 2, "bytes": 7, "restarts": [[1, 2, "sync"]]}
    assert result["summary"]["nodes"][B]["lacks_seconds"] == 15.0


def test_coverage_without_the_spans():
    device, = coverage(spans=False)["devices"]
    assert "union" not in device and "spans" not in device["nodes"][A] and device["nodes"][B]["lacks"]


@pytest.mark.parametrize(("wanted", "count"), [(["loading DOCK"], 1), ([DEVICE.upper()], 1)])
def test_coverage_of_some_devices(wanted, count):
    assert len(coverage(devices=wanted)["devices"]) == count


def test_coverage_of_an_unknown_device():
    with pytest.raises(TandemError) as caught:
        coverage(devices=["Loading dock", "Moon"])
    assert caught.value.code == "unknown_device" and "media of moon" in str(caught.value)


def test_coverage_with_one_node_down():
    result = coverage({"media__coverage": {A: DOWN, B: held((0, 5_000))}})
    assert result["nodes"][A]["error"] == "no route" and not result["nodes"][A]["reachable"] and list(result["devices"][0]["nodes"]) == [B]


def test_coverage_with_both_down():
    with pytest.raises(SeveralErrors):
        coverage({"media__coverage": {A: DOWN, B: NodeUnreachable("no route", "north", B, code="unreachable")}})
