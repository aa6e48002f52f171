# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, SeveralErrors, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import pair_membership, recorder_maintenance
from ansible_collections.tandem.xprotect.tests.unit.builders import WITNESS, Site

A, B = "north-a", "north-b"
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
DOWN = NodeUnreachable("no route", "north", A, code="unreachable")


def voters(*names):
    return {"guard__status__membership": {"number": 3, "voters": list(names)}}


# -- membership --------------------------------------------------------------------------------------------------------
def test_a_removed_node_is_taken_back_by_the_attached_one():
    site = Site({**HEADLESS, **voters(A, B, "witness")}, {**ATTACHED, **voters(B, "witness")}, attachment__rejoin={"changed": True},
                attachment__status={"membership": {"number": 4, "voters": [B, "witness", A]}})
    result = pair_membership.run(site.context(pair_membership, rejoin=A, witness=WITNESS))
    assert result["changed"] and result["attached"] == B and result["changes"] == {A: "joins"} and result["removed"] == []
    assert result["membership"]["number"] == 4 and result["voters"] == [B, "witness", A]
    assert site.verbs() == [f"{B} attachment.rejoin", f"{B} attachment.status"]
    assert site.requests("attachment.rejoin") == [{"node": A}]
    assert result["diff"] == {"before": f"voters: {B}, witness\n", "after": f"voters: {B}, witness, {A}\n"}


def test_who_votes_is_only_told_without_an_order():
    site = Site({**HEADLESS, **voters(A, B, "witness")}, {**ATTACHED, **voters(B, "witness")})
    result = pair_membership.run(site.context(pair_membership, witness=WITNESS))
    assert not result["changed"] and result["removed"] == [A] and site.verbs() == []


def test_a_node_that_votes_is_left_as_it_is():
    site = Site({**ATTACHED, **voters(A, B)}, {**HEADLESS, **voters(A, B)})
    assert not pair_membership.run(site.context(pair_membership, rejoin=B))["changed"] and site.verbs() == []


@pytest.mark.parametrize(("a", "told"), [
    (DOWN, "its guard does not answer (no route)"), ({}, "its service is missing"), ({**ATTACHED, "epoch": 3}, "both nodes are attached"),
    ({**HEADLESS, "fenced": False}, "it has no fence")])
def test_a_node_that_is_not_there_cannot_be_taken_back(a, told):
    site = Site(a, {**ATTACHED, **voters(B)})
    with pytest.raises(TandemError) as caught:
        pair_membership.run(site.context(pair_membership, rejoin=A))
    assert told in str(caught.value) and site.verbs() == []


@pytest.mark.parametrize(("found", "witness", "change", "after"), [
    ([A, B], WITNESS, "joins", [A, B, "witness"]), ([A, B, "witness"], None, "leaves", [A, B])])
def test_the_witness_votes_as_defined(found, witness, change, after):
    site = Site({**ATTACHED, **voters(*found)}, {**HEADLESS, **voters(*found)}, attachment__witness={"changed": True},
                attachment__status={"membership": {"number": 4, "voters": after}})
    looked = pair_membership.run(site.context(pair_membership, check_mode=True, witness=witness))
    assert looked["changed"] and looked["voters"] == after and site.verbs() == []
    result = pair_membership.run(site.context(pair_membership, witness=witness))
    assert result["changes"] == {"witness": change} and site.verbs()[0] == f"{A} attachment.witness"


def test_a_witness_that_refuses_fails_with_the_reason():
    site = Site({**ATTACHED, **voters(A, B)}, {**HEADLESS, **voters(A, B)},
                attachment__witness=VerbError("the witness does not know pair north", "north", A, code="unknown_pair"))
    with pytest.raises(TandemError) as caught:
        pair_membership.run(site.context(pair_membership, witness=WITNESS))
    assert caught.value.code == "witness_refused" and "does not know pair north" in str(caught.value)


def test_nobody_attached_cannot_change_who_votes():
    with pytest.raises(TandemError) as caught:
        pair_membership.run(Site(HEADLESS, HEADLESS).context(pair_membership, rejoin=A))
    assert caught.value.code == "nobody_attached"


# -- maintenance -------------------------------------------------------------------------------------------------------
REASON = "Windows updates, J. Doe"
NOW = 1_700_000_000_000


def kept(seconds, reason=REASON):
    return {"guard__status__maintenance": {"until_ms": NOW + seconds * 1000, "reason": reason}}


def maintain(a, b, check_mode=False, **options):
    site = Site(a, b, attachment__maintenance={"changed": True})
    context = site.context(recorder_maintenance, check_mode=check_mode, **{"reason": REASON, **options})
    return recorder_maintenance.run(context), site, context


def test_both_guards_are_told():
    result, site, unused = maintain(ATTACHED, HEADLESS, seconds=7200)
    assert result["changed"] and sorted(site.verbs()) == [f"{A} attachment.maintenance", f"{B} attachment.maintenance"]
    assert site.requests("attachment.maintenance") == [{"seconds": 7200, "reason": REASON}] * 2
    assert result["diff"]["after"] == f"node {A}: maintenance begun\nnode {B}: maintenance begun\n"


@pytest.mark.parametrize(("a", "b", "told"), [
    (kept(7190), kept(7199), []), (kept(7190), {}, [B]), (kept(7190), kept(600), [B]), (kept(7190, "other"), kept(7190), [A])])
def test_it_is_begun_where_it_is_not_in_force(a, b, told):
    result, site, unused = maintain({**ATTACHED, **a}, {**HEADLESS, **b}, seconds=7200)
    assert sorted(site.verbs()) == [f"{name} attachment.maintenance" for name in told] and result["changed"] is bool(told)


def test_check_mode_tells_nobody():
    result, site, unused = maintain(ATTACHED, HEADLESS, check_mode=True)
    assert result["changed"] and site.verbs() == []


def test_it_is_ended():
    result, site, unused = maintain({**ATTACHED, **kept(900)}, HEADLESS, state="ended", reason=None)
    assert site.verbs() == [f"{A} attachment.maintenance"] and site.requests("attachment.maintenance") == [{"seconds": 0}]
    assert result["nodes"][A]["until_ms"] == NOW + 900_000 and not result["nodes"][B]["changed"]


@pytest.mark.parametrize("down", [DOWN, {}])
def test_a_node_that_does_not_answer_is_a_warning(down):
    result, site, context = maintain(down, ATTACHED)
    assert result["changed"] and site.verbs() == [f"{B} attachment.maintenance"]
    assert context.warnings[0].startswith(f"node {A} was not told: ")


@pytest.mark.parametrize(("b", "error"), [(NodeUnreachable("no route", "north", B, code="unreachable"), SeveralErrors), ({}, TandemError)])
def test_no_guard_answers(b, error):
    with pytest.raises(error):
        maintain(DOWN, b)


def test_a_guard_that_refuses():
    site = Site(ATTACHED, HEADLESS, attachment__maintenance={A: {"changed": True}, B: VerbError("disk full", "north", B, code="machine")})
    with pytest.raises(TandemError, match="disk full"):
        recorder_maintenance.run(site.context(recorder_maintenance, reason=REASON))


@pytest.mark.parametrize("options", [{"seconds": 10}, {"seconds": 10**7}, {"reason": " "}])
def test_options_that_do_not_fit(options):
    with pytest.raises(TandemError) as caught:
        maintain(ATTACHED, HEADLESS, **options)
    assert caught.value.code == "configuration"
