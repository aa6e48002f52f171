# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.pair import report, status
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.pair import PairDefinition
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.roles import find_roles
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, RECORDER, THREE, WITNESS, a_pair, params, silent, views

ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}


def info(found, **changes):
    pair, roles = a_pair(), find_roles(a_pair(), found)
    result = {"pair": pair.name, "recorder_id": pair.recorder_id, "service_address": "10.0.0.10",
              "nodes": [status.node_summary(pair, found[name], roles) for name in pair.names],
              "voting": status.voting_summary(pair, found, roles), "problems": status.problems_of(pair, found, roles)}
    return {**result, **changes}


def test_a_healthy_pair_has_no_problem():
    found = info(views(ATTACHED, HEADLESS))
    assert found["problems"] == []
    a, b = found["nodes"]
    assert (a["state"], a["epoch"], a["permit_open"], a["service_address_held"]) == ("attached", 4, True, True)
    assert (b["state"], b["permit_open"], b["writing"], b["devices"], b["fence_installed"]) == ("headless", False, 7, 8, True)
    text = report.status_text(found)
    assert "No problem found." in text and RECORDER in text
    assert [line.split()[:6] for line in text.splitlines()[4:6]] == [
        ["north-a", "attached", "4", "connected", "7/8", "answers"], ["north-b", "headless", "4", "disconnected", "7/8", "answers"]]


@pytest.mark.parametrize(("a", "b", "told"), [
    (silent("north-a", "no route"), ATTACHED, ["node north-a is unreachable: no route"]),
    (HEADLESS, HEADLESS, ["no node is attached: clients are not served"]),
    (silent("north-a", "no route"), HEADLESS, ["no node that answers is attached", "node north-a is unreachable: no route"]),
    (ATTACHED, {**HEADLESS, "running": False}, ["node north-b: the recorder service is stopped"]),
    (ATTACHED, {**HEADLESS, "guard__status__recorder__writing": 0},
     ["node north-b: the recorder runs and writes media of none of its 8 devices"]),
    (ATTACHED, {"fenced": False}, ["node north-b: the guard does not answer (service missing)", "node north-b has no fence"]),
    (ATTACHED, {**HEADLESS, "recorder_id": OTHER}, [f"node north-b has recorder id {OTHER}, not the pair's"]),
    (ATTACHED, {**HEADLESS, "recorder__config_error": "cut off"}, ["node north-b: RecorderConfig.xml cannot be used: cut off"]),
    (ATTACHED, {**HEADLESS, "recorder__version": "26.1"}, ["the XProtect versions of the nodes differ: 25.1.0.2 and 26.1"]),
    ({**ATTACHED, "runtime__sha256": "s" * 64}, HEADLESS,
     ["node north-a: the guard still runs an older runtime (it is replaced while the node is headless)"]),
])
def test_problems(a, b, told):
    assert info(views(a, b))["problems"] == told


# -- votes and health --------------------------------------------------------------------------------------------------
def three(**status_parts):
    return {**THREE, **{f"guard__status__{name}": value for name, value in status_parts.items()}}


@pytest.mark.parametrize(("a", "b", "told"), [
    (three(), three(), []),
    (three(witness={"name": "w", "heard_ago": 60.0}), three(), ["the witness is not heard: a second failure would leave nobody attached"]),
    (three(witness={"name": "w", "heard_ago": None}), three(), ["the witness is not heard: a second failure would leave nobody attached"]),
    (three(membership={"number": 5, "voters": ["north-a", "witness"]}), three(),
     ["node north-b has no vote: it was removed by a forced failover (playbook rejoin takes it back)"]),
    (three(voting=False), three(),
     ["node north-a: its guard does not vote (its state was lost or turned back; the others have to readmit it)"]),
    (three(), three(fuse={"alive": False, "restarts": 3}), ["node north-b: the fuse does not run, so that the node cannot be attached"]),
    (three(), three(registration={"mode": "each_time", "error": "not authorised"}),
     ["node north-b: it could not be registered at the Management Server: not authorised"]),
    (three(), three(health={"score": 40, "causes": [{"code": "disk_full", "message": "drive D: is full", "devices": []}]}),
     ["node north-b: drive D: is full"]),
])
def test_what_is_wrong_with_votes_and_health(a, b, told):
    assert info(views({**ATTACHED, **a}, {**HEADLESS, **b}))["problems"] == told


def test_a_defined_witness_without_a_vote_is_a_problem():
    pair, found = PairDefinition.from_params(params(witness=WITNESS)), views(ATTACHED, HEADLESS)
    assert status.problems_of(pair, found, find_roles(pair, found)) == ["the witness has no vote yet (module pair_membership)"]


def test_who_votes_is_told_by_the_attached_node_else_by_the_newest_membership():
    old, new = three(membership={"number": 2, "voters": ["north-a", "north-b", "witness"]}), three(
        membership={"number": 3, "voters": ["north-b", "witness"]})
    assert info(views({**HEADLESS, **old}, {**ATTACHED, **new}))["voting"]["removed"] == ["north-a"]
    assert info(views({**HEADLESS, **old}, {**HEADLESS, **new}))["voting"]["membership"] == 3
    assert info(views(silent("north-a"), {}))["voting"]["voters"] == []


def test_votes_health_and_maintenance_as_text():
    found = info(views({**ATTACHED, **three(maintenance={"until_ms": 1_700_000_000_000, "reason": "Windows updates, J. Doe " * 4})},
                       {**HEADLESS, **three(lease={"free_in": 6.0})}))
    text = report.status_text(found)
    assert "Votes: north-a, north-b, witness   witness heard 0.4 s ago" in text
    assert "  node north-a: health 100, lease for 5.0 s more" in text
    assert "  node north-b: health 100, its vote is promised for 6.0 s more" in text
    assert "Maintenance on node north-a until 2023-11-14 22:13:20 UTC: Windows" in text and max(map(len, text.splitlines())) <= 80


def test_what_the_pair_as_a_whole_has():
    found = views(ATTACHED, HEADLESS)
    assert status.problems_of(a_pair(), found, find_roles(a_pair(), found), -7.25, ["recorder_config"]) == [
        "the configuration of the nodes differs: recorder_config", "the clocks of the nodes differ by 7.2 s"]


def test_a_node_before_provisioning():
    found = info(views({"attach_state": "Attached", "fenced": False}, {"recorder_id": OTHER, "running": False, "fenced": False}))
    assert [node["state"] for node in found["nodes"]] == ["serving", "unguarded"]


def test_the_text_keeps_to_80_columns():
    long = "x" * 60
    found = info(views(silent("north-a", "WinRM at http://10.0.0.11:5985/wsman cannot be reached: " + "timed out " * 12),
                       {**HEADLESS, "lock": {"owner": "someone@" + long, "purpose": "backfill " + long}}),
                 coverage={"devices": 8, "union_seconds": 3_600_000.0, "nodes": {"north-b": {"lacks_seconds": 75.0, "lacks_devices": 2}}},
                 configuration={"compared": False, "reason": "node north-a is unreachable " * 4, "items": []},
                 fingerprint={"sha256": None, "error": "the Management Server cannot be reached " * 4})
    text = report.status_text(found)
    assert max(map(len, text.splitlines())) <= 80 and text.endswith("\n")
    assert "unreachable" in text and "node north-b lacks 1 min 15 s on 2 devices" in text and "Work on node north-b: backfill" in text


@pytest.mark.parametrize(("items", "line"), [
    ([{"id": "one", "equal": True}, {"id": "two", "equal": True}], "Configuration: 2 items equal"),
    ([{"id": "one", "equal": False}, {"id": "two", "equal": True}], "Configuration: differs in one"),
    ([{"id": "one", "equal": None}, {"id": "two", "equal": False}], "Configuration: cannot be compared in one, differs in two"),
    ([{"id": "one", "equal": True, "note": None}, {"id": "two", "equal": None, "note": "not compared: no path given"}],
     "Configuration: 1 item equal"),
    ([{"id": "one", "equal": True}, {"id": "two", "equal": None, "note": "not compared: no path given"}],
     "  two not compared: no path given")])
def test_the_configuration_line(items, line):
    assert line in report.status_text(info(views(ATTACHED, HEADLESS), configuration={"compared": True, "items": items})).splitlines()


@pytest.mark.parametrize(("seconds", "text"), [(0, "0.0 s"), (4.24, "4.2 s"), (75, "1 min 15 s"), (3600, "1 h 0 min"),
                                               (47.9 * 3600, "47 h 54 min"), (300_000, "3 d 11 h")])
def test_durations(seconds, text):
    assert report.duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 KB"), (123_456_789, "123 MB"), (5e12, "5.0 TB")])
def test_sizes(count, text):
    assert report.size(count) == text


def test_a_clock():
    assert report.clock(1_700_000_000_000) == "2023-11-14 22:13:20 UTC"
