# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's decisions as tables."""
from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import decisions as d

GOOD = d.Recorder("running", 8, 8, 0.5, None, "25.1.0.2")
HEARD = d.PartnerView(heard_at=100.0, epoch=5, state=d.HEADLESS, incarnation="b", ttl=8.0, version="25.1.0.2")
HOLDER = d.HolderView(now=101.0, ttl=8.0, permit_deadline=108.0, epoch=5, incarnation="a", partner=HEARD,
                      partner_acknowledged_at=100.0, management_reached_at=50.0)
TAKE = d.TakeView(now=120.0, started_at=10.0, ttl=8.0, busy=None, recorder=GOOD, partner=HEARD, answer=None, force=None)


def change(view, **fields):
    partner = {name[8:]: fields.pop(name) for name in list(fields) if name.startswith("partner_") and name[8:] in HEARD.__dict__}
    return dataclasses.replace(view, partner=dataclasses.replace(view.partner, **partner), **fields)


@pytest.mark.parametrize(("fields", "kind", "keep_claim"), [
    ({}, "renew", None),
    ({"now": 104.0}, "renew", None),
    ({"now": 104.01, "permit_deadline": 110.0}, "detach", True),  # alone for more than half a ttl
    ({"now": 104.01, "permit_deadline": 110.0, "management_reached_at": 103.0}, "renew", None),
    ({"now": 104.01, "permit_deadline": 110.0, "partner_heard_at": 103.0}, "renew", None),
    ({"now": 108.0, "management_reached_at": 107.9}, "detach", True),  # the permit has run out
    ({"partner_epoch": 6}, "detach", False),
    ({"partner_epoch": 4}, "renew", None),
    ({"partner_state": d.ATTACHED}, "detach", False),  # same number, higher incarnation
    ({"partner_state": d.ATTACHED, "incarnation": "c"}, "renew", None),  # same number, lower incarnation
    ({"clock_jump": 4.1}, "detach", True),
    ({"clock_jump": 3.9}, "renew", None),
    ({"clock_jump": -3600.0}, "renew", None),  # a clock set back is no pause
])
def test_holder(fields, kind, keep_claim):
    view = change(HOLDER, **fields)
    action = d.holder(view)
    assert action.kind == kind
    assert (action.keep_claim if kind == "detach" else None) == keep_claim
    assert action.epoch_seen == (view.partner.epoch if keep_claim is False else 0)


def test_equal_epochs_leave_exactly_one():
    a = d.outranked(5, "a", dataclasses.replace(HEARD, state=d.ATTACHED, incarnation="b"))
    b = d.outranked(5, "b", dataclasses.replace(HEARD, state=d.ATTACHED, incarnation="a"))
    assert [a, b] == [True, False]


@pytest.mark.parametrize(("now", "heard_at", "ttl", "ended", "seconds"), [
    (100.0, 100.0, 8.0, False, 9.0),
    (104.0, 100.0, 8.0, False, 5.0),
    (109.0, 100.0, 8.0, False, 0.0),
    (104.0, 100.0, 20.0, False, 17.0),  # the partner announced a longer permit than ours
    (104.0, 100.0, 2.0, False, 5.0),  # the longer one counts
    (104.0, None, 0.0, False, 0.0),  # never heard: since the own start at 90
    (95.0, None, 0.0, False, 4.0),
    (100.5, 100.0, 8.0, True, 0.0),
])
def test_permit_may_be_open_for(now, heard_at, ttl, ended, seconds):
    view = dataclasses.replace(HEARD, heard_at=heard_at, ttl=ttl, ended=ended)
    assert d.permit_may_be_open_for(now, 90.0, 8.0, view) == pytest.approx(seconds)


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


@pytest.mark.parametrize(("fields", "code"), [
    ({}, ""),
    ({"now": 105.0}, "permit_may_be_open"),
    ({"now": 105.0, "force": "plug pulled"}, ""),
    ({"now": 105.0, "answer": d.HEADLESS}, ""),
    ({"now": 105.0, "partner_ended": True}, ""),
    ({"answer": d.ATTACHED}, "partner_answers"),
    ({"answer": d.ATTACHED, "force": "I insist"}, "partner_answers"),
    ({"answer": "internal: broken"}, "partner_answers"),
    ({"busy": "release"}, "busy"),
    ({"recorder": dataclasses.replace(GOOD, service_state="stopped")}, "not_recording"),
    ({"recorder": dataclasses.replace(GOOD, service_state="stopped"), "force": "x"}, "not_recording"),
    ({"recorder": dataclasses.replace(GOOD, version="1")}, "wrong_version"),
    ({"partner_heard_at": None, "now": 18.9}, "permit_may_be_open"),
    ({"partner_heard_at": None, "now": 19.0}, ""),
])
def test_may_take(fields, code):
    verdict = d.may_take(change(TAKE, **fields))
    assert (verdict.ok, verdict.code) == (not code, code)
    assert (verdict.wait > 0) == (code == "permit_may_be_open")


NEW = d.PartnerView(heard_at=1.0, epoch=0, state=d.HEADLESS)


@pytest.mark.parametrize(("epoch", "serving", "answer", "force", "code"), [
    (0, True, NEW, None, ""),
    (0, None, NEW, None, ""),
    (0, False, NEW, None, "not_serving"),
    (0, False, NEW, "the Management Server is down", ""),
    (1, True, NEW, None, "already_adopted"),
    (1, True, NEW, "force does not help", "already_adopted"),
    (0, True, None, None, "partner_silent"),
    (0, True, None, "not built yet", ""),
    (0, True, HEARD, None, "partner_attached"),
    (0, True, dataclasses.replace(NEW, state=d.ATTACHED), "force does not help", "partner_attached"),
])
def test_may_adopt(epoch, serving, answer, force, code):
    assert d.may_adopt(epoch, False, serving, answer, force).code == code


@pytest.mark.parametrize(("state", "busy", "successor", "answer", "answer_fit", "code"), [
    (d.ATTACHED, None, "n2", HEARD, d.YES, ""),
    (d.HEADLESS, None, "n2", HEARD, d.YES, "not_attached"),
    (d.ATTACHED, "take", "n2", HEARD, d.YES, "busy"),
    (d.ATTACHED, None, "n3", HEARD, d.YES, "not_partner"),
    (d.ATTACHED, None, "n2", None, d.YES, "partner_unreachable"),
    (d.ATTACHED, None, "n2", dataclasses.replace(HEARD, state=d.ATTACHED), d.YES, "partner_attached"),
    (d.ATTACHED, None, "n2", HEARD, d.Verdict(False, "not_recording", "dead"), "not_recording"),
])
def test_may_release(state, busy, successor, answer, answer_fit, code):
    assert d.may_release(state, busy, successor, "n2", answer, answer_fit).code == code


@pytest.mark.parametrize(("state", "epoch", "claim", "busy", "asked", "resume", "given"), [
    (d.HEADLESS, 5, "none", None, 5, "", "higher_epoch"),
    (d.HEADLESS, 5, "none", None, 6, "", ""),
    (d.HEADLESS, 5, "none", None, 4, "higher_epoch", "higher_epoch"),
    (d.HEADLESS, 5, "attached", None, 5, "same_epoch", "higher_epoch"),
    (d.HEADLESS, 5, "attached", None, 6, "", ""),
    (d.HEADLESS, 5, "none", "take", 6, "promoting", "busy"),
    (d.HEADLESS, 5, "released", "release", 6, "", "busy"),
    (d.ATTACHED, 5, "attached", None, 6, "attached", "attached"),
])
def test_asked_by_the_partner(state, epoch, claim, busy, asked, resume, given):
    view = d.AskedView(state, epoch, claim, busy, asked)
    assert (d.may_resume(view).code, d.may_be_given(view, GOOD).code) == (resume, given)


@pytest.mark.parametrize(("fields", "code"), [
    ({}, ""), ({"writing": 0, "quiet_for": 601.0}, "not_recording"), ({"service_state": "stopped"}, "not_recording"),
    ({"writing": 0, "quiet_for": 599.0}, ""),
])
def test_a_partner_may_fetch_its_first_configuration_while_this_node_records(fields, code):
    assert d.may_let_fetch(dataclasses.replace(GOOD, **fields)).code == code


def test_dead_recorder_is_not_given_the_attachment():
    view = d.AskedView(d.HEADLESS, 5, "none", None, 6)
    silent = dataclasses.replace(GOOD, writing=0, quiet_for=None)
    assert (d.may_be_given(view, silent).code, d.may_be_given(view, silent, fetches=True).code) == ("not_recording", "")
    assert d.may_be_given(view, dataclasses.replace(GOOD, service_state="stopped")).code == "not_recording"


@pytest.mark.parametrize(("attached", "released", "epoch"), [(True, False, 5), (False, True, 7), (False, False, None)])
def test_resume_epoch(attached, released, epoch):
    assert d.resume_epoch(attached, released, 5) == epoch


@pytest.mark.parametrize(("released", "releasing", "epoch", "state", "expected"), [
    (True, True, 6, d.ATTACHED, True), (True, False, 6, d.ATTACHED, False), (True, False, 6, d.HEADLESS, False),
    (True, False, 7, d.HEADLESS, True), (True, True, 7, d.HEADLESS, True), (True, False, 7, d.ATTACHED, False),
    (True, False, 8, d.HEADLESS, False), (False, False, 7, d.HEADLESS, False), (False, True, 6, d.ATTACHED, False),
])
def test_own_offer(released, releasing, epoch, state, expected):
    assert d.own_offer(released, releasing, 5, dataclasses.replace(HEARD, epoch=epoch, state=state)) is expected


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
