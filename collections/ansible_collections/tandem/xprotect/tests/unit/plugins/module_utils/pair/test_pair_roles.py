# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.roles import NodeView, find_roles, source_and_twin, views_of
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, RECORDER, a_pair, facts, silent, view, views

A, B = "north-a", "north-b"
GUARDED_A = views({"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4})
UNPROVISIONED = views({"attach_state": "Attached", "fenced": False}, {"recorder_id": OTHER, "running": False, "fenced": False})


@pytest.mark.parametrize(("found", "attached", "headless", "epoch", "guarded", "complete"), [
    (GUARDED_A, A, B, 4, True, True),
    (views({"state": "headless", "epoch": 4}, {"state": "attached", "epoch": 5}), B, A, 5, True, True),
    (views({"state": "headless", "epoch": 4}, {"state": "headless", "epoch": 4}), None, None, 4, False, True),
    (views(silent(A), {"state": "attached", "epoch": 7}), B, None, 7, True, False),
    (views(silent(A), {"state": "headless", "epoch": 7}), None, None, 7, False, False),
    (UNPROVISIONED, A, B, None, False, True),
    # A fenced recorder cannot serve, whatever it says of itself: its guard is down.
    (views({"attach_state": "Attached", "fenced": True}, {"fenced": True}), None, None, None, False, True),
    # "Detached" contains "attached".
    (views({"attach_state": "Detached", "fenced": False}, {"recorder_id": OTHER}), None, None, None, False, True),
    # Another recorder that serves as itself is not this pair's attached node.
    (views({"attach_state": "Attached", "fenced": False}, {"recorder_id": OTHER, "attach_state": "Attached", "fenced": False}), A, B, None,
     False, True),
])
def test_who_is_attached(found, attached, headless, epoch, guarded, complete):
    roles = find_roles(a_pair(), found)
    assert (roles.attached, roles.headless, roles.epoch, roles.guarded, roles.complete) == (attached, headless, epoch, guarded, complete)


@pytest.mark.parametrize(("found", "step"), [
    (views({"state": "attached", "epoch": 4}, {"state": "attached", "epoch": 5}), "stop the recorder service of node north-a at once"),
    (views({"state": "attached", "epoch": 6}, {"state": "attached", "epoch": 5}), "stop the recorder service of node north-b at once"),
    (views({"attach_state": "Attached", "fenced": False}, {"attach_state": "Attached", "fenced": False}),
     "find out at the Management Server"),
    (views({"attach_state": "Attached", "fenced": False}, {"state": "attached", "epoch": 5}), "stop the recorder service of node north-a"),
])
def test_both_attached_is_an_error_with_the_node_to_stop(found, step):
    with pytest.raises(TandemError) as caught:
        find_roles(a_pair(), found)
    assert caught.value.code == "both_attached"
    assert str(caught.value).startswith("pair north: both nodes are attached") and step in str(caught.value)
    assert A in caught.value.message and B in caught.value.message


@pytest.mark.parametrize(("found", "source"), [
    (UNPROVISIONED, A),
    (views({"recorder_id": OTHER}, {"recorder_id": RECORDER.upper()}), B),
    (GUARDED_A, A),
    (views({"state": "headless"}, {"state": "attached"}), B),
    # Nobody is attached: the one that has the service address is the one that served.
    (views({"fenced": False}, {"fenced": False, "machine__addresses": {"10.0.0.10": None}}), B),
])
def test_source_and_twin(found, source):
    assert source_and_twin(a_pair(), found) == (source, B if source == A else A)


@pytest.mark.parametrize(("found", "code", "told"), [
    (views({"recorder_id": OTHER}, {"recorder_id": None}), "unknown_recorder_id",
     f"recorder id {RECORDER} is unknown on both nodes: node north-a has {OTHER}, node north-b has none"),
    (views({"state": "headless"}, {"state": "headless"}), "nobody_attached", "neither is attached"),
    (views({}, silent(B, "no route")), "node_unreachable", "node north-b did not answer: no route"),
    (views({"recorder_id": OTHER, "state": "attached"}, {}), "wrong_identity", "it is attached, and its recorder id is"),
    (views({}, {"recorder__config_error": "not well-formed XML: no element found (line 40, column 7)"}), "config_unreadable",
     "RecorderConfig.xml cannot be used: not well-formed XML: no element found (line 40, column 7)"),
])
def test_why_there_is_no_source(found, code, told):
    with pytest.raises(TandemError) as caught:
        source_and_twin(a_pair(), found)
    assert caught.value.code == code
    assert told in str(caught.value) and caught.value.pair == "north" and caught.value.next_step


def test_a_truncated_configuration_names_the_node():
    with pytest.raises(TandemError) as caught:
        source_and_twin(a_pair(), views({}, {"recorder__config_error": "truncated"}))
    assert str(caught.value).startswith("pair north, node north-b: RecorderConfig.xml")


def test_views_tell_a_silent_machine_from_one_that_refuses():
    found = views_of({A: NodeUnreachable("no route", code="unreachable"), B: TandemError("login refused", code="wrong_password")})
    assert not found[A].reachable and not found[A].alive and found[A].error == "no route"
    assert not found[B].reachable and found[B].alive
    assert views_of({A: facts(), B: facts()})[A].alive


def test_missing_facts_are_no_error():
    empty = NodeView("x", facts={}, alive=True)
    assert (empty.recorder_id, empty.epoch, empty.writing, empty.fenced, empty.guard_installed) == (None, None, 0, False, False)
    assert view("x", state="attached").writing == 7
