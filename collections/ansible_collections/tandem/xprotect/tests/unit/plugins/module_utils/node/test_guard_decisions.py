# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's decisions besides the votes, as tables."""
from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import decisions as d

GOOD = d.Recorder("running", 8, 8, 0.5, None, "25.1.0.2")


@pytest.mark.parametrize(("fields", "expected", "code"), [
    ({}, None, ""),
    ({}, "25.1.0.2", ""),
    ({}, "24.2.0.1", "wrong_version"),
    ({"version": None}, "24.2.0.1", ""),
    ({"service_state": "stopped"}, None, "not_recording"),
    ({"service_state": "start_pending"}, None, "not_recording"),
    ({"storage_error": "no drive D:"}, None, "not_recording"),
    ({"writing": 0, "quiet_for": 599.0}, None, ""),  # motion only, night
    ({"writing": 0, "quiet_for": 601.0}, None, "not_recording"),
    ({"writing": 0, "quiet_for": None}, None, "not_recording"),
    ({"writing": 0, "quiet_for": None, "known_devices": 0}, None, ""),  # a new recorder without devices
    ({"writing": 0, "quiet_for": None, "fetches": True}, None, ""),  # no configuration yet, and media from before
    ({"service_state": "stopped", "fetches": True}, None, "not_recording"),
    ({"storage_error": "no drive D:", "fetches": True}, None, "not_recording"),
    ({"fetches": True}, "24.2.0.1", "wrong_version"),
])
def test_fit(fields, expected, code):
    fields = dict(fields)
    fetches = fields.pop("fetches", False)
    verdict = d.fit(dataclasses.replace(GOOD, **fields), expected, fetches)
    assert (verdict.ok, verdict.code) == (not code, code)


@pytest.mark.parametrize(("epoch", "serving", "partner", "force", "code"), [
    (0, True, d.HEADLESS, None, ""),
    (0, None, d.HEADLESS, None, ""),
    (0, False, d.HEADLESS, None, "not_serving"),
    (0, False, d.HEADLESS, "the Management Server is down", ""),
    (1, True, d.HEADLESS, None, "already_adopted"),
    (1, True, d.HEADLESS, "force does not help", "already_adopted"),
    (0, True, None, None, "partner_silent"),
    (0, True, None, "not built yet", ""),
    (0, True, d.ATTACHED, None, "partner_attached"),
    (0, True, d.ATTACHED, "force does not help", "partner_attached"),
    (0, True, "wrong_pair: this is pair 2", "force does not help", "partner_attached"),
])
def test_may_adopt(epoch, serving, partner, force, code):
    for fence in (False, True):
        assert d.may_adopt(epoch, fence, serving, partner, force).code == code


@pytest.mark.parametrize(("state", "successor", "partner", "fit", "code"), [
    (d.ATTACHED, "n2", d.HEADLESS, d.YES, ""),
    (d.HEADLESS, "n2", d.HEADLESS, d.YES, "not_attached"),
    (d.ATTACHED, "n3", d.HEADLESS, d.YES, "not_partner"),
    (d.ATTACHED, "n2", None, d.YES, "partner_unreachable"),
    (d.ATTACHED, "n2", d.ATTACHED, d.YES, "partner_attached"),
    (d.ATTACHED, "n2", d.HEADLESS, d.Verdict(False, "not_recording", "dead"), "not_recording"),
])
def test_may_release(state, successor, partner, fit, code):
    assert d.may_release(state, successor, "n2", partner, fit).code == code


@pytest.mark.parametrize(("fields", "code"), [
    ({}, ""), ({"writing": 0, "quiet_for": 601.0}, "not_recording"), ({"service_state": "stopped"}, "not_recording"),
    ({"writing": 0, "quiet_for": 599.0}, ""),
])
def test_a_partner_may_fetch_its_first_configuration_while_this_node_records(fields, code):
    assert d.may_let_fetch(dataclasses.replace(GOOD, **fields)).code == code


@pytest.mark.parametrize(("fields", "expected"), [
    ({}, True), ({"writing": 0}, False), ({"writing": 0, "known_devices": 0}, False), ({"service_state": "stopped"}, False),
    ({"storage_error": "gone"}, False),
])
def test_recording(fields, expected):
    assert d.recording(dataclasses.replace(GOOD, **fields)) is expected


@pytest.mark.parametrize(("waited", "reached", "writing", "done", "expected"), [
    (10.0, True, 8, False, True), (9.9, True, 8, False, False), (10.0, False, 8, False, False), (10.0, True, 0, False, False),
    (10.0, True, 8, True, False),
])
def test_may_restart_recorder(waited, reached, writing, done, expected):
    assert d.may_restart_recorder(waited, 10.0, reached, writing, done) is expected
