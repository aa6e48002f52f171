# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two agents and a witness's voter, driven by hand: every message is carried by the test, and time is a number of the test's."""
from __future__ import annotations

import dataclasses
import itertools
import math
import random
import typing as t

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.agent import (
    AUTOMATIC_PAUSE, AUTOMATIC_SPREAD, ORDER_LIMIT, Agent)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import (
    ATTACHED, NONE, RELEASE_LAPSE, RELEASED, WITNESS, Answer, BadMessage, Membership, Record, Timing)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.views import ADOPT, TAKE, Order
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import (
    GRANT, RELEASE, RENEW, STATUS, Voter, new_record)

TTL = 8.0
HOLD = Timing(TTL).hold


class Machine:
    """A node's agent and its `Effects`: permit, disk, fitness."""

    def __init__(self, world: World, name: str):
        self.world, self.name = world, name
        self.generation = ""
        self.disk = new_record(world.voters, incarnation=f"{name}1")
        self.disk_fails = False
        self.permit: float | None = None  # its deadline, None: closed
        self.opens: t.Callable[[], None] = lambda: None  # may raise
        self.fitness = Answer(True)
        self.asked_fit: list[tuple[bool, bool]] = []
        self.fuse = self.agent_is_done = True
        self.asked_fence = self.woken = 0
        self.wall_skew = 0.0
        self.said: list[str] = []
        self.start()

    def start(self) -> None:
        world = self.world
        self.permit = None
        self.voter = Voter(self.name, self.disk, Timing(TTL), self.store, world.now, world.nonce(), generation=lambda: self.generation,
                           fresh=lambda: world.fresh(self.name), log=self.said.append)
        self.agent = Agent(self.name, world.partner(self.name), self.voter, self, world.now, self.wall(), automatic=world.automatic,
                           rng=random.Random(1))

    def wall(self) -> float:
        return self.world.now + 1e6 + self.wall_skew

    # -- Effects
    def store(self, record: Record) -> None:
        if self.disk_fails:
            raise OSError(28, "No space left on device")
        self.disk = record

    def open(self, deadline: float) -> None:
        self.opens()
        assert not self.world.attached(), "nobody else is attached"
        self.permit = deadline

    def extend(self, deadline: float) -> bool:
        if self.permit is None or self.world.now >= self.permit:
            self.permit = None
            return False
        self.permit = deadline
        return True

    def close(self) -> None:
        self.permit = None

    def wake(self) -> None:
        self.woken += 1

    def fit(self, invited: bool, fetches: bool) -> Answer:
        self.asked_fit.append((invited, fetches))
        return self.fitness

    def ready(self) -> bool:
        return self.fuse

    def fenced(self) -> bool:
        self.asked_fence += 1
        return self.agent_is_done

    def log(self, text: str) -> None:
        self.said.append(text)


class World:
    def __init__(self, voters: tuple[str, ...] = ("a", "b", WITNESS), automatic: bool = False):
        self.voters, self.automatic, self.now = voters, automatic, 1000.0
        self._nonces, self._fresh = itertools.count(1), itertools.count(2)
        self.cut: set[frozenset[str]] = set()  # pairs of parties that do not hear each other
        self.a, self.b = Machine(self, "a"), Machine(self, "b")
        self.witness_disk = new_record(voters, incarnation="w1")
        self.start_witness()

    def start_witness(self) -> None:
        self.witness = Voter(WITNESS, self.witness_disk, Timing(TTL), self.store, self.now, self.nonce(),
                             fresh=lambda: self.fresh(WITNESS))

    def store(self, record: Record) -> None:
        self.witness_disk = record

    def nonce(self) -> str:
        return f"n{next(self._nonces)}"

    def fresh(self, name: str) -> str:
        return f"{name[0]}{next(self._fresh)}"

    def partner(self, name: str) -> str:
        return "b" if name == "a" else "a"

    @property
    def machines(self) -> tuple[Machine, Machine]:
        return self.a, self.b

    def attached(self) -> list[str]:
        return [machine.name for machine in self.machines if machine.permit is not None and machine.permit > self.now]

    def request(self, machine: Machine, peer: str) -> dict:
        return machine.agent.next_request(peer, self.now)

    def carry(self, machine: Machine, peer: str, request: dict | None = None) -> dict | None:
        """One request and its answer, or the failure."""
        request = request or self.request(machine, peer)
        if frozenset((machine.name, peer)) in self.cut:
            machine.agent.failed(peer, request, self.now)
            return None
        if peer == WITNESS:
            answer = self.witness.asked(machine.name, request, self.now)
        else:
            answer = (self.b if peer == "b" else self.a).agent.asked(machine.name, request, self.now)
        machine.agent.answered(peer, request, answer, self.now, self.now)
        return answer

    def talk(self, rounds: int = 1) -> None:
        for _round in range(rounds):
            for machine in self.machines:
                for peer in self.voters:
                    if peer != machine.name:
                        self.carry(machine, peer)

    def run(self, seconds: float, *only: Machine) -> None:
        """Let time pass in small steps, with all that happens then."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + 0.25)
            for machine in only or self.machines:
                machine.agent.tick(self.now, machine.wall())
                for peer in self.voters:
                    if peer != machine.name:
                        self.carry(machine, peer)

    def isolate(self, name: str) -> None:
        self.cut |= {frozenset((name, other)) for other in self.voters if other != name}

    def off(self, machine: Machine) -> None:
        """The machine is gone: it says nothing and does nothing."""
        self.isolate(machine.name)
        machine.permit = None

    def take(self, machine: Machine, kind: str = TAKE, membership: Membership | None = None) -> Order:
        order = machine.agent.start(kind, self.now, "test", membership=membership)
        for _round in range(6):
            if order.done:
                break
            for peer in self.voters:
                if peer != machine.name:
                    self.carry(machine, peer)
        return order

    def adopted(self) -> World:
        """a is attached with epoch 1, everybody knows it, and nobody is in a hurry any more."""
        self.talk(3)
        assert self.take(self.a, ADOPT).ok
        self.run(TTL + 1)
        assert self.attached() == ["a"] and self.b.agent.record.epoch.number == 1
        return self


@pytest.fixture
def world():
    return World().adopted()


def pair() -> World:
    return World(("a", "b")).adopted()


# -- attaching ---------------------------------------------------------------------------------------------------------

def test_a_new_pair_is_admitted_and_adopted():
    world = World()
    assert world.a.agent.start(ADOPT, world.now, "too soon").refusal.code == "not_voting"
    world.talk(3)
    order = world.take(world.a, ADOPT)
    assert order.ok and world.attached() == ["a"]
    record = world.a.disk
    assert (record.epoch.number, record.epoch.holder, record.claim, record.reason) == (1, "a", ATTACHED, "test")
    assert world.a.permit == pytest.approx(world.now + HOLD)
    assert world.a.agent.start(TAKE, world.now, "again").refusal.code == "busy"


def test_the_record_is_on_the_disk_before_the_permit_opens():
    world = World()
    world.talk(3)
    world.a.opens = lambda: seen.append(world.a.disk.epoch.number)
    seen: list[int] = []
    assert world.take(world.a, ADOPT).ok
    assert seen == [1]


def test_a_holder_stays_attached_as_long_as_a_majority_renews(world):
    world.cut.add(frozenset(("a", "b")))
    world.run(20)
    assert world.attached() == ["a"]
    world.cut = {frozenset(("a", WITNESS))}
    world.run(20)
    assert world.attached() == ["a"] and world.a.agent.record.epoch.number == 1


def test_the_permit_follows_the_sending_of_the_last_acknowledged_renewal(world):
    world.isolate("a")
    last = world.now
    world.a.agent.tick(world.now, world.a.wall())
    assert world.a.permit <= last + HOLD
    world.run(HOLD - 0.5)
    assert world.attached() == ["a"]
    world.run(1.0)
    assert world.attached() == [] and not world.a.agent.attached
    assert "the lease ran out" in world.a.disk.reason and world.a.disk.claim == ATTACHED


def test_an_answer_that_took_long_renews_from_its_sending_only(world):
    request = world.request(world.a, WITNESS)
    sent_at, answer = world.now, world.witness.asked("a", request, world.now)
    peer = world.a.agent.peers[WITNESS]
    world.now += 2.0
    world.a.agent.answered(WITNESS, request, answer, sent_at, world.now)
    assert peer.renewed_at == sent_at


def test_a_lease_that_ran_out_while_nobody_looked_is_not_gone_on_with(world):
    request = world.request(world.a, WITNESS)
    answer = world.witness.asked("a", request, world.now)
    sent_at, world.now = world.now, world.now + HOLD + 1.0
    world.a.permit = None  # the fuse or the permit's own watch have closed it
    world.a.agent.answered(WITNESS, request, answer, sent_at, world.now)
    world.a.agent.tick(world.now, world.a.wall())
    assert not world.a.agent.attached and world.attached() == []


def test_after_a_partition_the_holder_resumes_with_its_epoch_when_nobody_took_over(world):
    world.isolate("a")
    world.run(HOLD + 1)
    assert world.attached() == []
    world.cut.clear()
    world.run(3)
    assert world.attached() == ["a"] and world.a.agent.record.epoch.number == 1


@pytest.mark.parametrize("peer", ["b", WITNESS])
def test_a_restarted_holder_resumes_with_one_of_the_others(world, peer):
    world.cut = {frozenset(("a", other)) for other in ("b", WITNESS) if other != peer}
    world.a.start()
    assert world.attached() == []
    world.run(2)
    assert world.attached() == ["a"] and world.a.agent.record.epoch.number == 1


def test_a_restarted_holder_alone_stays_headless(world):
    world.isolate("a")
    world.a.start()
    world.run(20, world.a)
    assert world.attached() == [] and world.a.disk.claim == ATTACHED


# -- taking over -------------------------------------------------------------------------------------------------------

def test_failover_waits_for_the_lease_and_tells_how_long(world):
    world.off(world.a)
    world.run(2, world.b)
    order = world.b.agent.start(TAKE, world.now, "test")
    assert order.refusal.code == "lease_not_free" and TTL - 3 < order.refusal.wait <= TTL - 1
    world.run(order.refusal.wait + 0.3, world.b)
    assert world.take(world.b).ok and world.attached() == ["b"]
    assert world.b.agent.record.epoch.number == 2


def test_nobody_takes_over_while_the_witness_renews_the_holder(world):
    world.cut.add(frozenset(("a", "b")))
    world.run(TTL + 5)
    order = world.take(world.b)
    assert not order.ok and order.refusal.code == "lease_not_free" and order.refusal.message.startswith("witness: ")
    assert world.attached() == ["a"]


def test_a_node_alone_finds_no_majority(world):
    world.isolate("b")
    world.run(TTL + 5)
    order = world.take(world.b)
    assert order.refusal.code == "no_majority" and "witness does not answer" in order.refusal.message
    assert world.attached() == ["a"]


def test_peers_that_never_answer_end_an_attempt_in_time(world):
    world.off(world.a)
    world.run(TTL + 2, world.b)
    order = world.b.agent.start(TAKE, world.now, "test")
    world.now += ORDER_LIMIT + 0.1
    world.b.agent.tick(world.now, world.b.wall())
    assert order.done and order.refusal.code == "no_majority" and world.b.agent.order is None and not world.b.voter.candidate


def test_a_vote_that_comes_after_the_attempt_was_given_up_is_given_back(world):
    world.off(world.a)
    world.run(TTL + 2, world.b)
    order = world.b.agent.start(TAKE, world.now, "test")
    request = world.request(world.b, WITNESS)
    assert request["op"] == GRANT
    answer = world.witness.asked("b", request, world.now)
    world.now += ORDER_LIMIT + 0.1
    world.b.agent.tick(world.now, world.b.wall())
    world.b.agent.answered(WITNESS, request, answer, world.now, world.now)
    assert order.done and world.request(world.b, WITNESS)["op"] == RELEASE
    world.carry(world.b, WITNESS)
    assert world.witness.record.released and world.attached() == []


def test_a_higher_epoch_of_a_voter_is_gone_beyond(world):
    world.off(world.a)
    world.run(TTL + 2, world.b)
    world.witness_disk = dataclasses.replace(world.witness_disk, epoch=dataclasses.replace(world.witness_disk.epoch, number=7))
    world.start_witness()
    world.now += TTL + 1
    order = world.take(world.b)
    assert order.ok and world.b.agent.record.epoch.number == 8


def test_a_permit_that_does_not_open_gives_the_votes_back(world):
    def refuse() -> None:
        raise OSError("the filter engine does not run")

    world.off(world.a)
    world.run(TTL + 2, world.b)
    world.b.opens = refuse
    order = world.take(world.b)
    assert order.refusal.code == "permit_failed" and "filter engine" in order.refusal.message
    assert (world.b.disk.claim, world.b.disk.released) == (NONE, True) and not world.b.agent.attached
    world.talk(2)
    assert world.witness.record.released
    world.b.opens = lambda: None
    assert world.take(world.b).ok


def test_a_disk_that_refuses_prevents_the_attachment(world):
    world.off(world.a)
    world.run(TTL + 2, world.b)
    world.b.disk_fails = True
    order = world.take(world.b)
    assert order.refusal.code == "disk" and "No space" in order.refusal.message
    assert world.attached() == [] and not world.b.agent.attached
    world.carry(world.b, WITNESS)
    assert world.witness.record.released, "the vote that was got is given back"


# -- giving back -------------------------------------------------------------------------------------------------------

def test_a_hand_over_is_taken_at_once(world):
    world.a.agent.release("b", world.now, "test")
    assert world.attached() == [] and world.a.disk.released and world.a.disk.claim == RELEASED
    assert world.request(world.a, "b")["op"] == RELEASE
    assert world.carry(world.a, "b")["invited"] is True
    world.carry(world.b, "a")
    assert world.attached() == ["b"] and world.b.agent.record.epoch.number == 2
    world.carry(world.b, "a")
    assert world.a.agent.lost_to_partner(1) and world.a.disk.claim == NONE
    world.run(5)
    assert world.attached() == ["b"]


def test_a_hand_over_works_without_the_witness(world):
    world.cut = {frozenset((name, WITNESS)) for name in "ab"}
    world.a.agent.release("b", world.now, "test")
    world.run(1)
    assert world.attached() == ["b"]


@pytest.mark.parametrize("fetches", [False, True])
def test_a_successor_that_is_not_fit_declines_and_the_holder_comes_back_at_once(world, fetches):
    world.b.fitness = Answer(False, "not_recording", "its recorder is stopped")
    world.a.agent.release("b", world.now, "test", fetches)
    answer = world.carry(world.a, "b")
    assert answer["invited"] is False and world.b.asked_fit[-1] == (True, fetches)
    assert world.a.agent.declined.code == "not_recording"
    world.run(1.0)
    assert world.attached() == ["a"] and world.a.agent.record.epoch.number == 2
    assert world.a.disk.reason == "b did not take over"


def test_a_hand_over_that_nobody_takes_lapses(world):
    world.isolate("b")
    world.a.agent.release("b", world.now, "test")
    world.run(RELEASE_LAPSE - 0.5)
    assert world.attached() == []
    world.run(2.0)
    assert world.attached() == ["a"] and world.a.agent.record.epoch.number >= 2


def test_a_successor_whose_permit_does_not_open_gives_the_attachment_back(world):
    def refuse() -> None:
        raise OSError("the filter engine does not run")

    world.b.opens = refuse
    world.a.agent.release("b", world.now, "test")
    world.run(6)
    assert world.attached() == ["a"]


def test_a_holder_that_was_just_restarted_can_hand_over():
    world = pair()
    world.a.start()
    world.run(1)
    assert world.attached() == ["a"]
    world.a.agent.release("b", world.now, "test")
    world.run(1.5)
    assert world.attached() == ["b"]


def test_detached_by_an_operator_nobody_is_attached_until_somebody_is_told_to(world):
    world.a.agent.release("", world.now, "test")
    world.run(20)
    assert world.attached() == [] and world.a.disk.claim == NONE
    assert world.take(world.b).ok


def test_an_invitation_that_is_said_again_is_no_second_one(world):
    world.a.agent.release("b", world.now, "test")
    request = world.request(world.a, "b")
    world.b.agent.asked("a", request, world.now)
    world.run(1)
    assert world.attached() == ["b"]
    request["header"] = world.a.voter.header("b", world.now)
    assert world.b.agent.asked("a", request, world.now)["invited"] is True
    world.run(2)
    assert world.attached() == ["b"] and world.b.agent.record.epoch.number == 2


# -- a higher epoch, clocks, states -------------------------------------------------------------------------------------

def test_a_higher_epoch_detaches_before_anything_else(world):
    header = world.b.voter.header("a", world.now)
    header["epoch"], header["held"] = [5, "b", "b1"], True
    world.a.agent.asked("b", {"op": STATUS, "header": header}, world.now)
    assert not world.a.agent.attached and world.attached() == [] and world.a.disk.claim == NONE
    assert "higher than 1" in world.a.disk.reason


def test_an_epoch_that_was_only_sought_is_waited_out(world):
    header = world.b.voter.header("a", world.now)
    header["epoch"], header["held"] = [5, "b", "b1"], False
    world.a.agent.asked("b", {"op": STATUS, "header": header}, world.now)
    assert not world.a.agent.attached and world.a.disk.claim == RELEASED
    world.run(TTL + 3)
    assert world.attached() == ["a"], "nobody is attached with it, and the node that was comes back"


@pytest.mark.parametrize(("skew", "detached"), [(0.9, False), (1.1, True), (-1.1, True), (3600.0, True)])
def test_a_clock_that_jumps_detaches(world, skew, detached):
    world.a.wall_skew = skew
    world.a.agent.tick(world.now + 0.2, world.a.wall() + 0.2)
    assert world.a.agent.attached is not detached
    world.run(2)
    assert world.attached() == ["a"], "it resumes: nobody was given a higher epoch"


def test_a_machine_that_was_turned_back_is_detached_and_readmitted_later(world):
    world.a.generation = "g1"
    world.talk()
    world.a.generation = "g2"
    world.a.agent.tick(world.now, world.a.wall())
    assert not world.a.agent.attached and world.a.disk.claim == NONE and not world.a.disk.voting
    assert world.a.agent.start(TAKE, world.now, "test").refusal.code == "not_voting"
    world.run(TTL + 2)
    assert world.a.disk.voting and world.attached() == []
    assert world.take(world.a).ok and world.a.agent.record.epoch.number > 1


@pytest.mark.parametrize("voters", [("a", "b"), ("a", "b", WITNESS)])
def test_a_machine_that_was_turned_back_detaches_also_when_a_request_is_what_shows_it(voters):
    world = World(voters).adopted()
    world.a.generation = "g1"
    world.talk()
    world.a.generation = "g2"
    world.carry(world.b, "a")
    world.carry(world.b, "a")
    world.a.agent.tick(world.now, world.a.wall())
    assert not world.a.agent.attached and world.attached() == []


def test_a_state_from_before_a_release_does_not_resume(world):
    old = world.a.disk
    world.a.agent.release("", world.now, "test")
    world.talk()
    world.a.disk = old
    world.a.start()
    world.run(5)
    assert world.a.disk.epoch.number > 1 or world.attached() == [], "never with the epoch that was given back"


def test_a_permit_that_closed_by_itself_ends_the_attachment(world):
    world.a.permit = None
    world.run(0.25, world.a)
    assert "the permit was closed" in " ".join(world.a.said)


def test_a_disk_that_refuses_does_not_keep_the_fence_open(world):
    world.a.disk_fails = True
    with pytest.raises(OSError, match="No space"):
        world.a.agent.release("b", world.now, "test")
    assert world.attached() == [] and not world.a.agent.attached


def test_a_malformed_answer_changes_nothing(world):
    before = world.a.agent.record
    for answer in ({}, {"header": {}}, {"header": None, "vote": None}):
        with pytest.raises(BadMessage):
            world.a.agent.answered("b", world.request(world.a, "b"), answer, world.now, world.now)
    assert world.a.agent.record == before and world.attached() == ["a"]


def test_replayed_votes_of_an_old_epoch_change_nothing(world):
    messages = [{**world.request(world.a, "b"), "op": op, "epoch": [1, "a", "a1"], "successor": "b"} for op in (GRANT, RENEW, RELEASE)]
    world.a.agent.release("b", world.now, "test")
    world.run(2)
    assert world.attached() == ["b"]
    record = world.b.disk
    for message in messages:
        answer = world.b.agent.asked("a", message, world.now)
        assert answer["vote"]["granted"] is False
    assert (world.b.disk, world.attached()) == (record, ["b"])


# -- force, membership -------------------------------------------------------------------------------------------------

def test_force_with_the_witness_need_not_wait(world):
    world.off(world.a)
    order = world.take(world.b, membership=Membership(2, ("b", WITNESS)))
    assert order.ok and world.attached() == ["b"]
    assert world.witness.record.membership == world.b.disk.membership == Membership(2, ("b", WITNESS))
    assert math.isinf(world.b.agent.lease_deadline()), "one node and a witness: nobody else can be attached"


def test_force_with_a_silent_witness_finds_no_majority(world):
    world.off(world.a)
    world.cut.add(frozenset(("b", WITNESS)))
    order = world.take(world.b, membership=Membership(2, ("b", WITNESS)))
    assert order.refusal.code == "no_majority" and world.b.disk.membership.number == 1, "nothing was changed by the attempt"


def test_force_without_the_witness_needs_nobody(world):
    world.off(world.a)
    world.cut.add(frozenset(("b", WITNESS)))
    assert world.take(world.b, membership=Membership(2, ("b",))).ok
    world.run(30, world.b)
    assert world.attached() == ["b"]


def test_a_node_that_was_left_out_detaches_and_rejoins(world):
    world.isolate("a")
    world.run(HOLD + 1)
    assert world.take(world.b, membership=Membership(2, ("b", WITNESS))).ok
    world.cut.clear()
    world.run(2)
    assert world.attached() == ["b"] and world.a.disk.membership.number == 2 and not world.a.disk.voting
    assert world.a.agent.start(TAKE, world.now, "test").refusal.code == "removed"
    world.b.voter.change_membership(Membership(3, ("a", "b", WITNESS)), world.now)
    world.run(3)
    assert world.a.disk.voting and world.a.disk.incarnation != "a1"
    assert world.attached() == ["b"]
    world.run(TTL + 1)
    world.b.agent.release("a", world.now, "test")
    world.run(2)
    assert world.attached() == ["a"]


def test_a_node_that_never_heard_of_its_removal_rejoins_without_cutting_the_holder(world):
    world.off(world.a)
    assert world.take(world.b, membership=Membership(2, ("b", WITNESS))).ok
    world.run(1, world.b)
    world.b.voter.change_membership(Membership(3, ("a", "b", WITNESS)), world.now)
    world.run(1, world.b)
    world.cut.clear()
    world.a.start()
    world.b.said.clear()
    world.run(5)
    assert world.attached() == ["b"] and world.a.disk.voting and world.a.disk.membership.number == 3
    assert not [text for text in world.b.said if "detached" in text]


def test_without_a_witness_the_holder_needs_nobody_and_nobody_may_take_over():
    world = pair()
    world.isolate("b")
    world.run(100)
    assert world.attached() == ["a"]
    order = world.take(world.b)
    assert order.refusal.code == "lease_not_free" and math.isinf(order.refusal.wait)
    world.off(world.a)
    assert world.take(world.b, membership=Membership(2, ("b",))).ok


@pytest.mark.parametrize("turned_back", [False, True])
def test_without_a_witness_a_holder_that_lost_its_state_can_be_attached_again(turned_back):
    """Its partner answers and is headless, so that force (which is about a silent partner) is no way out either."""
    world = pair()
    world.a.generation = "g1"
    world.talk()
    if turned_back:
        world.a.generation = "g2"
    else:
        world.a.disk = new_record(world.voters, incarnation="a2")
        world.a.start()
    world.run(3 * TTL)
    assert world.attached() == [] and world.a.disk.voting
    assert world.take(world.a).ok or world.take(world.b).ok


# -- unattended --------------------------------------------------------------------------------------------------------

def test_an_automatic_node_takes_over_when_the_lease_is_over():
    world = World(automatic=True).adopted()
    world.off(world.a)
    world.run(TTL - 1, world.b)
    assert world.attached() == []
    world.run(1 + AUTOMATIC_PAUSE + AUTOMATIC_SPREAD + 1, world.b)
    assert world.attached() == ["b"] and world.b.disk.reason == "nobody held the lease"
    assert world.b.asked_fit[-1] == (False, False)


def test_an_unattended_take_over_has_the_votes_before_the_fence_agent_runs_and_keeps_them_meanwhile():
    world = World(automatic=True).adopted()
    world.off(world.a)
    world.b.agent_is_done = False
    world.run(TTL - 1, world.b)
    assert world.b.asked_fence == 0, "the old holder may still be attached: it must not be switched off"
    world.run(TTL + 10, world.b)
    assert world.attached() == [] and world.b.asked_fence > 3 and world.witness.record.epoch.holder == "b"
    assert world.witness.free_in(world.now) > TTL - 2, "the votes are renewed while the agent runs"
    world.b.agent_is_done = True
    world.run(1, world.b)
    assert world.attached() == ["b"]


def test_no_fence_agent_runs_for_a_take_over_that_somebody_ordered(world):
    world.off(world.a)
    world.b.agent_is_done = False
    world.run(TTL + 2, world.b)
    assert world.take(world.b).ok and world.b.asked_fence == 0


def test_a_node_without_a_fuse_neither_resumes_nor_takes_over_by_itself():
    world = World(automatic=True).adopted()
    world.a.fuse = world.b.fuse = False
    world.a.start()
    world.run(3 * TTL)
    assert world.attached() == [] and world.a.disk.claim == ATTACHED
    world.a.fuse = True
    world.run(3)
    assert world.attached() == ["a"]


def test_a_holder_that_cannot_open_its_permit_again_frees_the_votes():
    def refuse() -> None:
        raise OSError("the filter engine does not run")

    world = World(automatic=True).adopted()
    world.a.opens = refuse
    world.a.start()
    world.run(TTL)
    assert world.attached() == ["b"]


@pytest.mark.parametrize("why", ["suppressed", "not fit", "alone", "playbook"])
def test_what_keeps_a_node_from_taking_over_by_itself(why):
    world = World(automatic=why != "playbook").adopted()
    world.off(world.a)
    world.b.agent.suppressed = why == "suppressed"
    world.b.fitness = Answer(why != "not fit", "not_recording", "dead")
    if why == "alone":
        world.isolate("b")
    world.run(3 * TTL, world.b)
    assert world.attached() == []


def test_two_automatic_nodes_do_not_stand_in_each_others_way():
    world = World(automatic=True).adopted()
    world.a.agent.release("", world.now, "test")
    world.b.agent.voter.release("", world.now)
    world.run(10)
    assert len(world.attached()) == 1
