# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.pair import identity
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.identity import ClockSample
from ansible_collections.tandem.xprotect.tests.unit.builders import RECORDER, a_pair, view

SOURCE = view("north-a")


def codes(*arguments, **keywords):
    return [difference.code for difference in identity.differences(*arguments, **keywords)]


@pytest.mark.parametrize(("changes", "expected", "told"), [
    ({}, [], ""),
    ({"recorder__version": "25.2.0.1"}, ["version"], "the XProtect version is 25.2.0.1 on node north-b and 25.1.0.2 on node north-a"),
    ({"recorder__device_pack": None}, ["device_pack"], "the device pack is not readable on node north-b"),
    ({"machine__time_zone": "UTC"}, ["time_zone"], "the time zone is UTC on node north-b and Romance Standard Time"),
    ({"machine__drives": [{"letter": "C:"}]}, ["drive_missing"],
     "drive D: of the storages of node north-a missing on node north-b (it has C:)"),
    ({"recorder__service": {"state": "missing"}}, ["service_missing"], "the Recording Server service is missing on node north-b"),
    ({"recorder__installed": False, "recorder__version": None}, ["service_missing"], "service is missing"),
])
def test_one_difference(changes, expected, told):
    found = identity.differences(SOURCE, view("north-b", **changes))
    assert [difference.code for difference in found] == expected
    assert told in " ".join(difference.text for difference in found)


def test_all_differences_in_one_refusal():
    twin = view("north-b", recorder__version="25.2.0.1", recorder__device_pack="13.6", machine__time_zone="UTC", machine__drives=[])
    clocks = (ClockSample(1_700_000_000_000, 10.0, 10.2), ClockSample(1_700_000_007_000, 10.0, 10.2))
    with pytest.raises(TandemError) as caught:
        identity.refuse(a_pair(), "north-b", identity.differences(SOURCE, twin, clocks, ["E:\\Archive"]))
    error = caught.value
    assert [entry["code"] for entry in error.details["differences"]] == ["version", "device_pack", "time_zone", "drive_missing", "clock"]
    text = str(error)
    assert text.startswith("pair north, node north-b: it cannot be the twin of its partner for 5 reasons: (1) ")
    assert "D:, E:" in text and "7.0 s ahead of that of node north-a" in text and "Next: make the machine of node north-b equal" in text


def test_no_difference_is_no_refusal():
    identity.refuse(a_pair(), "north-b", [])


@pytest.mark.parametrize(("ahead_ms", "seconds", "refused"), [(1900, 0.1, False), (2300, 0.1, True), (-2300, 0.1, True), (2300, 1.0, False),
                                                              (9000, 3.0, True)])
def test_a_clock_counts_beyond_the_error_of_its_measurement(ahead_ms, seconds, refused):
    source, twin = ClockSample(5_000_000, 100.0, 100.0 + seconds), ClockSample(5_000_000 + ahead_ms, 100.0, 100.0 + seconds)
    assert identity.clock_offset(source, twin) == pytest.approx((ahead_ms / 1000, seconds))
    assert (codes(SOURCE, view("north-b"), clocks=(source, twin)) == ["clock"]) is refused


def test_clocks_that_were_read_one_after_the_other():
    offset, uncertainty = identity.clock_offset(ClockSample(1_000_000, 10.0, 11.0), ClockSample(1_004_000, 14.0, 15.0))
    assert (offset, uncertainty) == pytest.approx((0.0, 1.0))


@pytest.mark.parametrize(("paths", "letters"), [
    (["D:\\MediaDatabase", "d:\\Archive", "E:\\", None, ""], ["D:", "E:"]), (["\\\\nas\\media"], []), ([], [])])
def test_drive_letters(paths, letters):
    assert identity.drive_letters(paths) == letters


def test_the_fields_that_a_twin_takes():
    fields = {"recorder/id": RECORDER, "webserver/host": "10.0.0.10", "recorder/ClientRegistrationId": "mine",
              "webserver/encryption/@certificateHash": "AB", "pipeline/maxframesinqueue": "50", "webapi/publicUri": None}
    assert identity.wanted_fields(fields) == {"recorder/id": RECORDER, "webserver/host": "10.0.0.10"}
    assert identity.wanted_fields({"/recorderconfig/recorder/id": RECORDER}) == {"/recorderconfig/recorder/id": RECORDER}


def test_registry_values_are_never_created():
    assert identity.wanted_registry({"RecorderIDOnMachine": RECORDER, "Other": "x", "Empty": None},
                                    {"RecorderIDOnMachine": "y", "Empty": "z"}) == {"RecorderIDOnMachine": RECORDER}
