# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One voter as tables: whom it votes for, every reason why not, and what it does when it lost or doubts its state."""
from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol import terms
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import (
    ATTACHED, ECHO_LIMIT, NOBODY, NONE, RELEASE_LAPSE, RELEASED, WITNESS, Answer, BadMessage, Epoch, Header, Membership, Record, Timing)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import (
    GRANT, RELEASE, RENEW, STATUS, Voter, new_record)

TTL = 8.0
ALL = Membership(1, ("a", "b", WITNESS))
PAIR = Membership(1, ("a", "b"))
KNOWN = {"a": "a1", "b": "b1", WITNESS: "w1"}
A1, A2, A3, B2, B3 = Epoch(1, "a", "a1"), Epoch(2, "a", "a1"), Epoch(3, "a", "a1"), Epoch(2, "b", "b1"), Epoch(3, "b", "b1")


def record_of(name: str, **fields) -> Record:
    known = {voter: incarnation for voter, incarnation in KNOWN.items() if voter != name}
    return Record(**{"incarnation": KNOWN[name], "generation": "", "membership": ALL, "known": known, "voting": True, **fields})


class Scene:
    """A voter, a clock of the test's own, and the headers of the two others."""

    def __init__(self, name: str = WITNESS, now: float = 1000.0, generation: str = "", **fields):
        self.name, self.now, self.generation = name, now, generation
        self.stored: list[Record] = []
        self.disk_fails = False
        self.log: list[str] = []
        self._fresh = (f"{name[0]}{number}" for number in itertools.count(2))
        record = fields.pop("record", None) or record_of(name, generation=generation)
        self.voter = self.start(dataclasses.replace(record, **fields))

    def start(self, record: Record, nonce: str = "n") -> Voter:
        self.voter = Voter(self.name, record, Timing(TTL), self.store, self.now, nonce, generation=lambda: self.generation,
                           fresh=lambda: next(self._fresh), log=self.log.append)
        return self.voter

    def restart(self) -> None:
        self.start(self.voter.record, "another")

    def quiet(self) -> Scene:
        """Long after the start: nothing is abstained from or promised."""
        self.now += 100.0
        return self

    def store(self, record: Record) -> None:
        if self.disk_fails:
            raise OSError(28, "No space left on device")
        self.stored.append(record)

    def header(self, sender: str, **fields) -> dict:
        """What `sender` says, with a fresh echo of this voter's stamp unless told otherwise."""
        stamp = Header.parse(self.voter.header(sender, self.now)).stamp
        values = {"incarnation": KNOWN[sender], "voting": True, "epoch": self.voter.record.epoch, "released": False, "held": False,
                  "membership": self.voter.record.membership, "knows": self.voter.record.incarnation, "stamp": "s", "echo": stamp}
        return Header(**{**values, **fields}).to_document()

    def ask(self, op: str, epoch: Epoch | None = None, sender: str | None = None, header: dict | None = None, **fields) -> Answer:
        sender = sender or (epoch.holder if epoch else "a")
        message = {"op": op, "header": self.header(sender, **(header or {})), **fields}
        if epoch is not None:
            message["epoch"] = epoch.to_document()
        return Answer.parse(self.voter.asked(sender, message, self.now)["vote"])

    def code(self, *arguments, **fields) -> str:
        answer = self.ask(*arguments, **fields)
        return "granted" if answer.granted else answer.code

    def hear(self, sender: str, **fields) -> None:
        self.ask(STATUS, sender=sender, header=fields)


@pytest.fixture
def scene():
    return Scene().quiet()


# -- votes -------------------------------------------------------------------------------------------------------------

def test_a_vote_is_on_the_disk_before_it_is_told(scene):
    assert scene.code(GRANT, A1) == "granted"
    assert scene.stored[-1].epoch == A1 == scene.voter.record.epoch
    scene.quiet().disk_fails = True
    with pytest.raises(OSError, match="No space"):
        scene.ask(GRANT, B2)
    assert scene.voter.record.epoch == A1, "what could not be stored was not voted"
    assert scene.code(RENEW, A1) == "granted", "a renewal needs no disk"


def test_a_vote_is_bound_for_a_ttl_and_each_renewal_begins_it_anew(scene):
    assert scene.code(GRANT, A1) == "granted"
    scene.now += TTL - 0.1
    answer = scene.ask(GRANT, B2)
    assert (answer.code, answer.wait) == ("lease_not_free", pytest.approx(0.1))
    assert scene.code(RENEW, A1) == "granted"
    scene.now += TTL - 0.1
    assert scene.code(GRANT, B2) == "lease_not_free"
    scene.now += 0.1
    assert scene.code(GRANT, B2) == "granted"
    assert scene.code(RENEW, A1) == "higher_epoch"


def test_the_same_vote_is_given_again(scene):
    assert scene.code(GRANT, A1) == scene.code(GRANT, A1) == "granted"
    assert len([record for record in scene.stored if record.epoch == A1]) == 1


def test_the_holder_itself_may_have_a_higher_epoch_at_once(scene):
    assert scene.code(GRANT, A1) == scene.code(GRANT, A3) == "granted"


@pytest.mark.parametrize(("op", "epoch", "fields", "code"), [
    (GRANT, B2, {}, "granted"),
    (GRANT, B2, {"sender": "a"}, "not_yours"),
    (GRANT, Epoch(2, WITNESS, "w1"), {"sender": "a"}, "not_yours"),
    (GRANT, Epoch(0, "b", "b1"), {}, "not_yours"),
    (GRANT, Epoch(1, "b", "b1"), {}, "higher_epoch"),  # the same number as a's
    (RENEW, Epoch(1, "b", "b1"), {}, "granted"),  # a majority voted for b's one, this voter for one that found none
    (RENEW, B2, {}, "granted"),  # it missed the vote
    (RENEW, B2, {"granted": True}, "not_voting"),  # it gave the vote and does not remember
    (GRANT, Epoch(2, "b", "b2"), {}, "incarnation"),
    (GRANT, B2, {"header": {"incarnation": "b2", "voting": False}}, "incarnation"),
    (GRANT, B2, {"header": {"membership": Membership(1, ("a", "b"))}}, "membership"),
    (GRANT, B2, {"header": {"membership": Membership(0, ("a", "b", WITNESS))}}, "membership"),
    (GRANT, B2, {"header": {"echo": ""}}, "echo"),
    (GRANT, B2, {"header": {"echo": "another:1099.000"}}, "echo"),
    (GRANT, B2, {"header": {"echo": "n:x"}}, "echo"),
    (GRANT, B2, {"header": {"echo": "n:nan"}}, "echo"),
    (GRANT, B2, {"header": {"echo": "n:inf"}}, "echo"),
    (GRANT, B2, {"header": {"echo": "n:99999.000"}}, "echo"),
    (STATUS, None, {}, "status"),
])
def test_whom_it_votes_for_when_a_lease_of_a_is_over(op, epoch, fields, code):
    scene = Scene(epoch=A1).quiet()
    assert scene.code(op, epoch, **fields) == code


@pytest.mark.parametrize("op", [GRANT, RENEW])
def test_an_echo_counts_for_a_short_time_only(scene, op):
    stamp = Header.parse(scene.voter.header("a", scene.now)).stamp
    scene.now += ECHO_LIMIT
    assert scene.code(op, A1, header={"echo": stamp}) == "granted"
    scene.now += 0.1
    assert scene.code(op, A1, header={"echo": stamp}) == "echo"


@pytest.mark.parametrize("fields", [
    {"op": "vote.steal", "epoch": A1.to_document()}, {"op": None}, {"op": GRANT}, {"op": GRANT, "epoch": [1, "a"]},
    {"op": GRANT, "epoch": [True, "a", "a1"]}, {"op": GRANT, "epoch": [-1, "a", "a1"]}, {"op": GRANT, "epoch": [1 << 60, "a", "a1"]},
    {"op": GRANT, "epoch": [1, "a" * 201, "a1"]}, {"op": STATUS, "header": None}, {"op": STATUS, "header": {}},
    {"op": STATUS, "header": {"incarnation": 1}},
])
def test_what_is_malformed_is_refused_and_changes_nothing(scene, fields):
    before = scene.voter.record
    with pytest.raises(BadMessage):
        scene.voter.asked("a", {"header": scene.header("a"), **fields}, scene.now)
    assert scene.voter.record == before


def test_a_node_that_is_about_to_be_attached_itself_votes_for_nobody_else(scene):
    node = Scene("a").quiet()
    node.voter.candidate = True
    answer = node.ask(GRANT, Epoch(1, "b", "b1"))
    assert answer.code == "candidate" and 0 < answer.wait <= 1
    assert node.voter.grant(A1, node.now).granted


# -- release -----------------------------------------------------------------------------------------------------------

def test_a_released_lease_is_the_successors_for_a_moment_and_anybodys_then():
    scene = Scene(epoch=A1).quiet()
    assert scene.code(RENEW, A1) == "granted"
    assert scene.code(RELEASE, A1, successor="b") == "granted"
    assert (scene.voter.record.released, scene.voter.record.successor) == (True, "b")
    assert scene.code(RELEASE, A1, successor="b") == "granted", "said twice"
    assert scene.code(RENEW, A1) == "released"
    assert scene.code(GRANT, B2) == "granted"
    assert not scene.voter.record.released and scene.voter.record.successor == ""


@pytest.mark.parametrize(("successor", "later", "epoch", "code"), [
    ("b", 0.0, A2, "granted"),  # its own holder, which takes it back
    ("a", 0.0, B2, "lease_not_free"), ("a", RELEASE_LAPSE, B2, "granted"), ("", 0.0, B2, "granted"),
    ("nobody", 0.0, B2, "granted"), (5, 0.0, B2, "granted"),
])
def test_who_may_take_a_released_lease(successor, later, epoch, code):
    scene = Scene(epoch=A1).quiet()
    scene.ask(RELEASE, A1, successor=successor)
    scene.now += later
    assert scene.code(GRANT, epoch) == code


def test_another_ones_or_an_old_epoch_is_not_released():
    scene = Scene(epoch=A2).quiet()
    assert scene.code(RELEASE, A2, sender="b") == "not_yours"
    assert scene.code(RELEASE, A1) == "higher_epoch" and not scene.voter.record.released


# -- restart -----------------------------------------------------------------------------------------------------------

def test_a_restarted_voter_abstains_for_a_ttl_but_goes_on_with_its_vote():
    scene = Scene(epoch=A1).quiet()
    assert scene.code(RENEW, A1) == "granted"
    scene.restart()
    assert scene.voter.free_in(scene.now) == TTL
    answer = scene.ask(GRANT, B2)
    assert (answer.code, answer.wait) == ("lease_not_free", TTL)
    assert scene.code(RENEW, A1, holding=True) == "granted"
    assert scene.code(RENEW, A1, holding=False) == "lease_not_free", "its record may be an old one: a later holder would show itself"
    scene.now += TTL
    assert scene.code(GRANT, B2) == "granted"


def test_a_restarted_voter_that_never_voted_need_not_abstain():
    scene = Scene().quiet()
    scene.restart()
    assert scene.voter.free_in(scene.now) == 0 and scene.code(GRANT, A1) == "granted"


def test_a_restarted_voter_does_not_count_stamps_from_before():
    scene = Scene().quiet()
    stamp = Header.parse(scene.voter.header("a", scene.now)).stamp
    scene.restart()
    assert scene.code(GRANT, A1, header={"echo": stamp}) == "echo"


# -- two voters --------------------------------------------------------------------------------------------------------

def test_without_a_witness_only_a_release_frees_the_vote():
    scene = Scene("b", record=dataclasses.replace(record_of("b"), membership=PAIR, known={"a": "a1"}, epoch=A1)).quiet()
    assert math.isinf(scene.voter.free_in(scene.now)) and scene.voter.describe(scene.now)["free_in"] is None
    answer = scene.voter.grant(B2, scene.now)
    assert answer.code == "lease_not_free" and math.isinf(answer.wait) and answer.to_document()["wait"] is None
    assert scene.code(RELEASE, A1, successor="b") == "granted"
    assert scene.voter.grant(B2, scene.now).granted


def test_a_witness_that_joins_makes_the_endless_promise_end():
    scene = Scene("b", record=dataclasses.replace(record_of("b"), membership=PAIR, known={"a": "a1"}, epoch=A1)).quiet()
    scene.hear("a", membership=Membership(2, ALL.voters))
    assert scene.voter.record.membership == Membership(2, ALL.voters)
    assert 0 < scene.voter.free_in(scene.now) <= TTL


# -- membership --------------------------------------------------------------------------------------------------------

def test_a_higher_membership_of_a_member_is_followed_and_the_lost_voters_are_forgotten(scene):
    scene.hear("b", membership=Membership(2, ("b", WITNESS)))
    record = scene.voter.record
    assert record.membership == Membership(2, ("b", WITNESS)) and record.known == {"b": "b1"} and record.voting
    assert scene.code(GRANT, B2) == "granted", "the one that was removed binds nobody"
    assert scene.code(GRANT, A3, header={"membership": Membership(1, ALL.voters)}) == "removed"


def test_a_removed_holder_binds_nobody():
    scene = Scene(epoch=A1).quiet()
    assert scene.code(RENEW, A1) == "granted"
    assert scene.code(GRANT, B2) == "lease_not_free"
    away = {"membership": Membership(2, ("b", WITNESS))}
    assert scene.code(GRANT, B2, header=away) == "lease_not_free", "only the attempt by force has the proof"
    assert scene.code(GRANT, B2, header=away, forced=True) == "granted"


@pytest.mark.parametrize(("sender", "membership"), [
    ("b", Membership(1, ("b", WITNESS))), ("b", Membership(0, ("b",)))])
def test_an_old_membership_is_not_followed(scene, sender, membership):
    scene.hear(sender, membership=membership)
    assert scene.voter.record.membership == ALL


def test_a_stranger_changes_nothing():
    scene = Scene(record=dataclasses.replace(record_of(WITNESS), membership=Membership(2, ("b", WITNESS)), known={"b": "b1"})).quiet()
    scene.hear("a", membership=Membership(9, ("b", WITNESS, "c")), epoch=Epoch(9, "a", "a1"))
    assert scene.voter.record.membership.number == 2 and scene.voter.record.known == {"b": "b1"}


def test_a_voter_that_is_removed_stops_voting_and_comes_back_as_a_new_one():
    scene = Scene("a", claim=ATTACHED, epoch=A1).quiet()
    scene.hear("b", membership=Membership(2, ("b", WITNESS)))
    record = scene.voter.record
    assert (record.voting, record.claim, record.known) == (False, NONE, {})
    scene.hear("b", membership=Membership(3, ALL.voters), epoch=B2, held=True, knows="a1")
    assert scene.voter.record.incarnation != "a1" and not scene.voter.record.voting, "what it knew before does not count"


def test_the_only_voter_needs_nobody():
    scene = Scene("b", epoch=A1).quiet()
    scene.voter.change_membership(Membership(2, ("b",)), scene.now)
    assert scene.voter.record.voting and scene.voter.grant(B2, scene.now).granted
    lost = Scene("b", record=dataclasses.replace(new_record(["b"]), epoch=B2))
    assert lost.voter.record.voting, "also when it lost its state"


# -- lost states and readmission ---------------------------------------------------------------------------------------

def lost(name: str = WITNESS, **fields) -> Scene:
    """A voter without a record."""
    return Scene(name, record=new_record(ALL.voters, incarnation=KNOWN[name], **fields))


def test_a_new_voter_votes_only_when_each_of_the_others_knows_it_and_has_told_its_epoch():
    scene = lost()
    assert scene.code(GRANT, A1) == "not_voting"
    scene.hear("a", knows="", epoch=A1)
    scene.hear("a", knows="w1", epoch=A1)
    assert not scene.voter.record.voting, "b has not said anything yet"
    scene.hear("b", knows="w1", epoch=B2, held=True)
    assert scene.voter.record.voting and scene.voter.record.epoch == B2 and scene.voter.held
    answer = scene.ask(GRANT, A3)
    assert (answer.code, answer.wait) == ("lease_not_free", TTL), "it may have promised what nobody could tell it"
    assert scene.code(RENEW, B2, holding=True) == "granted"


def test_in_a_new_pair_nobody_has_to_wait():
    scene = lost()
    scene.hear("a", knows="w1", epoch=NOBODY)
    scene.hear("b", knows="w1", epoch=NOBODY)
    assert scene.code(GRANT, A1) == "granted"


@pytest.mark.parametrize("echo", ["", "another:1000.000", "n:1000.000"])
def test_an_old_message_neither_admits_nor_makes_a_voter_forget(scene, echo):
    """It lay in a buffer: what it says may be about a time that is over."""
    scene.hear("b", incarnation="b0", voting=True, echo=echo)
    assert scene.voter.record.known["b"] == "b1" and scene.voter.record.voting
    new = lost().quiet()
    for sender in ("a", "b"):
        new.hear(sender, knows="w1", epoch=A1, echo=echo)
    assert not new.voter.record.voting and new.voter.record.known == {}


def test_what_is_told_of_another_membership_admits_nobody():
    scene = lost()
    scene.hear("a", knows="w1", membership=Membership(0, ALL.voters))
    scene.hear("b", knows="w1")
    assert not scene.voter.record.voting and "a" not in scene.voter.record.known


def test_a_voter_with_a_new_incarnation_is_taken_note_of_while_it_does_not_vote(scene):
    scene.hear("b", incarnation="b2", voting=False)
    assert scene.voter.record.known["b"] == "b2" and scene.voter.record.voting
    assert scene.code(GRANT, Epoch(1, "b", "b2"), header={"incarnation": "b2"}) == "granted", "readmitted, by its own word"


def test_a_voter_that_did_not_notice_a_readmission_has_lost_its_state(scene):
    """Readmission needs everybody's consent. One that was given and is not remembered was forgotten."""
    scene.hear("b", incarnation="b2", voting=True)
    assert not scene.voter.record.voting and scene.voter.record.incarnation == "w2"
    assert "readmitted without this voter knowing it" in scene.log[-1]


def test_an_epoch_that_a_readmitted_voter_is_told_never_lowers_its_own():
    scene = Scene(epoch=A3).quiet()
    scene.voter.forget(scene.now, "test")
    for sender in ("a", "b"):
        scene.hear(sender, epoch=A1, knows=scene.voter.record.incarnation)
    assert scene.voter.record.voting and scene.voter.record.epoch == A3
    with pytest.raises(ValueError, match="must not fall"):
        scene.voter.keep(epoch=A1)


def test_of_two_epochs_with_one_number_the_held_one_counts():
    scene = lost()
    scene.hear("a", knows="w1", epoch=A2, held=False)
    scene.hear("b", knows="w1", epoch=B2, held=True)
    assert scene.voter.record.epoch == B2


# -- the virtual machine -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("before", "after", "forgets"), [
    ("g1", "g2", True), ("g1", "g1", False), ("", "g1", False), ("g1", "", False), ("", "", False)])
def test_a_machine_that_was_turned_back_stops_voting(before, after, forgets):
    scene = Scene(generation=before, epoch=A1, claim=NONE).quiet()
    scene.generation = after
    assert scene.code(RENEW, A1) == ("not_voting" if forgets else "granted")
    record = scene.voter.record
    assert record.voting is not forgets and (record.incarnation == "w1") is not forgets
    assert record.generation == (after or before)
    assert record.epoch == A1, "it still knows what it had voted for"


# -- documents ---------------------------------------------------------------------------------------------------------

def test_a_record_survives_the_disk():
    record = record_of("a", epoch=A2, released=True, successor="b", claim=RELEASED, reason="why")
    assert Record.parse(record.to_document()) == record


@pytest.mark.parametrize("fields", [
    {"incarnation": ""}, {"incarnation": 5}, {"claim": "king"}, {"known": []},
    {"known": {"a": 1}}, {"known": {str(n): "" for n in range(9)}},
    {"membership": None}, {"membership": {"number": 1, "voters": []}}, {"membership": {"number": 1, "voters": ["a", "a"]}},
    {"membership": {"number": 1, "voters": ["a", "b", "c", "d"]}}, {"epoch": [1, "a"]}, {"epoch": [1.5, "a", "a1"]}, {"successor": 1},
])
def test_a_damaged_record_is_refused(fields):
    with pytest.raises(BadMessage):
        Record.parse({**record_of("a").to_document(), **fields})


@pytest.mark.parametrize(("ttl", "drift", "good"), [
    (8.0, 0.01, True), (4.0, 0.01, True), (60.0, 0.05, True), (3.9, 0.01, False), (61.0, 0.01, False), (8.0, 0.06, False),
    (8.0, -0.01, False)])
def test_timing(ttl, drift, good):
    timing = Timing(ttl, drift)
    assert (timing.problem() is None) is good
    assert timing.hold == pytest.approx(ttl - 2 * drift * ttl - timing.detach - terms.RESERVE)


def test_a_machine_that_closes_its_fence_slowly_has_a_longer_margin():
    assert Timing().slower(3.0).margin == pytest.approx(Timing().margin + 2.5)
    assert Timing().slower(0.1) == Timing()
    assert Timing(4.0).slower(30.0).problem() is None, "but never so long that there is no time to renew"


@pytest.mark.parametrize(("voters", "take", "hold", "expires"), [
    (("a", "b", WITNESS), 2, 2, True), (("a", "b"), 2, 1, False), (("a", WITNESS), 2, 1, False), (("a",), 1, 1, False)])
def test_quorums(voters, take, hold, expires):
    membership = Membership(1, voters)
    assert (membership.take_quorum, membership.hold_quorum, membership.expires) == (take, hold, expires)
