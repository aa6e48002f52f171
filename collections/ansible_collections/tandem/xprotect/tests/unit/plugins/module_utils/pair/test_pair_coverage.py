# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.pair import coverage

CAMERA, OTHER = "c1", "c2"


def report(**devices):
    return {"devices": {guid: {"name": name, "spans": spans, "open_since": opened} for guid, (name, spans, opened) in devices.items()}}


def one(a, b, now=100_000, tolerance=1000):
    return coverage.pair_coverage({"a": a, "b": b}, now, tolerance)


def test_union_and_what_each_lacks():
    device, = one(report(c1=("Dock", [[0, 20_000], [40_000, 60_000]], None)),
                  report(c1=("Dock", [[10_000, 30_000], [70_000, 90_000]], None)))
    assert (device["id"], device["name"], device["union"]) == (CAMERA, "Dock", [[0, 30_000], [40_000, 60_000], [70_000, 90_000]])
    assert device["nodes"]["a"]["lacks"] == [[20_000, 30_000], [70_000, 90_000]]
    assert device["nodes"]["b"]["lacks"] == [[0, 10_000], [40_000, 60_000]]
    assert device["neither"] == [[30_000, 40_000], [60_000, 70_000]]
    assert (device["nodes"]["a"]["seconds"], device["nodes"]["a"]["lacks_seconds"], device["union_seconds"]) == (40.0, 30.0, 70.0)


@pytest.mark.parametrize(("tolerance", "lacks"), [(999, [[10_000, 11_000]]), (1000, [])])
def test_the_tolerance(tolerance, lacks):
    device, = one(report(c1=("Dock", [[0, 10_000]], None)), report(c1=("Dock", [[0, 11_000]], None)), tolerance=tolerance)
    assert device["nodes"]["a"]["lacks"] == lacks


def test_an_open_table_reaches_to_now():
    device, = one(report(c1=("Dock", [[0, 50_000]], 50_000)), report(c1=("Dock", [[0, 60_000]], 60_000)))
    assert device["union"] == [[0, 100_000]] and not device["nodes"]["a"]["lacks"] and not device["nodes"]["b"]["lacks"]


def test_a_motion_camera_has_spans_in_its_open_table():
    found = report(c1=("Dock", [], 10_000))
    found["devices"]["c1"]["open_spans"] = [[10_000, 20_000], [40_000, 50_000]]
    assert one(found, report())[0]["union"] == [[10_000, 20_000], [40_000, 50_000]]
    found["devices"]["c1"]["open_spans"] = [[10_000, 20_000], [40_000, 95_000]]
    assert one(found, report())[0]["union"] == [[10_000, 20_000], [40_000, 100_000]]


def test_what_was_recorded_between_two_answers_is_nobodys_lack():
    early, late = report(c1=("Dock", [[0, 50_000]], None)), report(c1=("Dock", [[0, 58_000]], None))
    early["measured_ms"], late["measured_ms"] = 50_000, 58_000
    device, = one(early, late)
    assert device["union"] == [[0, 50_000]] and device["nodes"]["a"]["lacks"] == []


def test_a_device_that_one_node_does_not_know():
    devices = one(report(c1=("Dock", [[0, 10_000]], None)), report(c2=("", [[0, 5_000]], None)))
    assert [device["name"] for device in devices] == ["Dock", "c2"]
    assert devices[0]["nodes"]["b"] == {"spans": [], "seconds": 0.0, "lacks": [[0, 10_000]], "lacks_seconds": 10.0}


def test_a_node_that_did_not_answer_lacks_nothing_and_is_left_out():
    device, = one(report(c1=("Dock", [[0, 10_000]], None)), None)
    assert list(device["nodes"]) == ["a"] and device["nodes"]["a"]["lacks"] == []


def test_summary():
    devices = one(report(c1=("Dock", [[0, 10_000]], None)), report(c1=("Dock", [[0, 20_000]], None), c2=("Gate", [[0, 5_000]], None)))
    assert coverage.summary(devices, ["a", "b"]) == {
        "devices": 2, "union_seconds": 25.0,
        "nodes": {"a": {"seconds": 10.0, "lacks_seconds": 15.0, "lacks_devices": 2},
                  "b": {"seconds": 25.0, "lacks_seconds": 0, "lacks_devices": 0}}}


def test_nothing_recorded():
    assert one(report(), report()) == []
    device, = one(report(c1=("Dock", [], None)), report())
    assert device["union"] == [] and device["neither"] == []
