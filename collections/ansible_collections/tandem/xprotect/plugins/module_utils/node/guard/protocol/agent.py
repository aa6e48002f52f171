# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's part in the protocol: voter, candidate and holder in one. Pure but for the effects that it is given.

It is driven from outside: `tick` several times a second, `next_request` whenever a peer may be asked something, `answered`
or `failed` with what came of it, `asked` when a peer asks. It never waits and never reads a clock. The resident guard drives it
with threads and sockets; the executable model of the protocol drives the same code with a simulated network.

Attached means that the fence's permit is open. It stays open until *send time of the last majority acknowledgement + ttl -
margin*; the effects' `open` and `extend` carry that deadline to where it is enforced without this code.
"""

from __future__ import annotations

import contextlib
import math
import random
import typing as t

from .terms import ATTACHED, ECHO_LIMIT, NONE, RELEASE_LAPSE, RELEASED, WITNESS, Answer, Epoch, Header, Membership, Record, Timing
from .views import AUTOMATIC, BACK, INVITED, Order, Peer
from .voter import GRANT, RELEASE, RENEW, STATUS, Voter

#: A wall clock that gains or loses more than this over the monotonic one between two looks: the machine stood still, or was set.
CLOCK_JUMP = 1.0
#: How long an attempt may take from its first request.
ORDER_LIMIT = 3.0
#: Unattended candidates wait so long after the lease came free, and a random part of `AUTOMATIC_SPREAD` more.
AUTOMATIC_PAUSE, AUTOMATIC_SPREAD = 0.2, 0.5
#: A machine whose permit could not be opened seeks no votes by itself for so long: others are to have a chance.
UNABLE_PAUSE = 10.0
MAX_TRIES = 3
#: A refusal that ends within so many seconds is waited for within the attempt.
SHORT_WAIT = 1.0


class Effects(t.Protocol):
    """What the agent does to its machine. Every call is quick; `store` and `open` raise when they fail."""

    def store(self, record: Record) -> None: ...

    def open(self, deadline: float) -> None: ...

    def extend(self, deadline: float) -> bool:
        """False when the permit was closed already."""

    def close(self) -> None: ...

    def wake(self) -> None:
        """There is something to say to the peers now."""

    def ready(self) -> bool:
        """Can this machine open its fence now? While it cannot, this node seeks no votes, which would only bind the voters."""

    def fit(self, invited: bool, fetches: bool) -> Answer:
        """May this node serve? `granted`, or the reason why not."""

    def fenced(self) -> bool:
        """Asked again and again before an unattended take-over, with the votes in hand: may it go on now? A fence agent runs meanwhile."""

    def log(self, text: str) -> None: ...


class Agent:
    def __init__(self, name: str, partner: str, voter: Voter, effects: Effects, now: float, wall: float, *, automatic: bool = False,
                 rng: random.Random | None = None):
        self.name = name
        self.partner = partner
        self.voter = voter
        self.automatic = automatic
        self.suppressed = False  # planned maintenance: nothing unattended but resuming
        self.attached = False
        self.deadline = -math.inf
        self.order: Order | None = None
        self.peers = {peer: Peer(peer) for peer in (partner, WITNESS)}
        self._effects = effects
        self._rng = rng or random.Random()
        self._clock_offset = wall - now
        self._now = now  # of the last call from outside
        self._votes_from = now  # what was asked before this node last detached does not count any more
        self.declined: Answer | None = None  # the partner's reason for not taking a hand-over
        self._back_at = now + RELEASE_LAPSE
        self._automatic_at: float | None = None
        self._automatic_from = now
        self._unable_until = now
        self._unsettled = 0  # number of a membership that lets this node hold with fewer votes, until another voter follows it

    # -- what it is ----------------------------------------------------------------------------------------------------
    @property
    def record(self) -> Record:
        return self.voter.record

    @property
    def timing(self) -> Timing:
        return self.voter.timing

    @property
    def seen(self) -> Epoch:
        """The highest epoch that any message told of."""
        told = [peer.header.epoch for peer in self.peers.values() if peer.header is not None]
        return max([self.record.epoch, *told], key=lambda epoch: epoch.number)

    def members(self) -> list[Peer]:
        """The other voters of the membership that is in force, or that the present attempt proposes."""
        membership = self.order.membership if self.order and self.order.membership else self.record.membership
        return [peer for name, peer in self.peers.items() if name in membership.voters]

    @property
    def unattended(self) -> bool:
        """Is the attempt under way one that nobody ordered, here or at the partner?"""
        return self.order is not None and (self.order.kind == AUTOMATIC or (self.order.kind == INVITED and self.order.unattended))

    def unable(self, now: float) -> bool:
        """Could the permit not be opened just now?"""
        return now < self._unable_until

    def lost_to_partner(self, epoch: int) -> bool:
        """Is the partner known to be attached, or to have been, with a later epoch than `epoch`?"""
        own, told = self.record.epoch, self.peers[self.partner].header
        if own.number > epoch and own.holder == self.partner and self.voter.held:
            return True
        return told is not None and told.epoch.number > epoch and told.epoch.holder == self.partner and told.held

    def lease_deadline(self) -> float:
        """Until when this node may be attached, by what the voters have acknowledged."""
        membership = self.record.membership
        if self.name not in membership.voters:
            return -math.inf
        quorum = 2 if self._unsettled == membership.number else membership.hold_quorum
        needed = quorum - (1 if self.record.voting and not self.record.released else 0)
        if needed <= 0:
            return math.inf
        times = sorted((peer.renewed_at for peer in self.members() if peer.voted == self.record.epoch), reverse=True)
        return times[needed - 1] + self.timing.hold if len(times) >= needed else -math.inf

    # -- time passes ---------------------------------------------------------------------------------------------------
    def tick(self, now: float, wall: float) -> None:
        self._now = now
        jump, self._clock_offset = (wall - now) - self._clock_offset, wall - now
        self.voter.check_generation(now)
        self._check_standing()
        if self.attached:
            self._tick_attached(now, jump)
        elif self.order is not None:
            self._tick_order(now)
        elif not self._effects.ready():
            pass
        elif self.wants_back():
            self._resume(now)
        elif self.record.claim == RELEASED:
            self._tick_released(now)
        elif self.record.claim == NONE:
            self._tick_automatic(now)

    def _tick_attached(self, now: float, jump: float) -> None:
        if abs(jump) > CLOCK_JUMP:
            self.detach(f"the clock jumped by {jump:+.1f} s: this machine may have stood still", ATTACHED)
        elif now >= self.lease_deadline():
            missing = ", ".join(peer.name for peer in self.members() if peer.renewed_at + self.timing.hold <= now)
            self.detach(f"the lease ran out: not renewed by {missing or 'a majority'}", ATTACHED)
        else:
            self._extend(now)

    def _extend(self, now: float) -> None:
        """The own vote goes on with the lease, and the permit with both."""
        self.voter.renew(self.record.epoch, now)
        self.deadline = min(self.lease_deadline(), now + self.timing.hold)
        if not self._effects.extend(self.deadline):
            self.detach("the permit was closed before it was renewed", ATTACHED)

    def _tick_order(self, now: float) -> None:
        order = t.cast(Order, self.order)
        if order.fencing and len(self._votes(order.epoch, now)) + 1 >= self.record.membership.take_quorum:
            if self._effects.fenced():
                self._attach_new(order, now)
        elif now - order.started > ORDER_LIMIT or now > order.deadline:
            self._give_up(self._no_majority("no majority answered in time"))
            return
        else:
            self._decide(now)
        if self.order is not None and any(0 <= now - peer.ask_again_at for peer in self.members() if math.isfinite(peer.ask_again_at)):
            self._effects.wake()

    def _tick_released(self, now: float) -> None:
        """A hand-over that nobody took goes back to the node that gave it."""
        if now >= max(self._back_at, self._unable_until) and self.voter.free_in(now) <= 0 and self.record.voting:
            self._back_at = now + RELEASE_LAPSE * (1 + self._rng.random() / 4)
            self.start(BACK, now, f"{self.partner} did not take over")

    def _tick_automatic(self, now: float) -> None:
        """Without anybody's order, when nobody holds the lease for a while."""
        waiting = (self.automatic and not self.suppressed and self.record.voting and self.voter.free_in(now) <= 0
                   and now >= max(self._automatic_from, self._unable_until) and self._effects.fit(False, False).granted)
        if not waiting:
            self._automatic_at = None
        elif self._automatic_at is None:
            self._automatic_at = now + AUTOMATIC_PAUSE + self._rng.random() * AUTOMATIC_SPREAD
        elif now >= self._automatic_at:
            self._automatic_at = None
            self.start(AUTOMATIC, now, "nobody held the lease")

    # -- attempts ------------------------------------------------------------------------------------------------------
    def start(self, kind: str, now: float, reason: str, *, membership: Membership | None = None, deadline: float = math.inf,
              unattended: bool = False) -> Order:
        """Seek a new epoch. The order tells what came of it, perhaps at once."""
        order = Order(kind, reason, self._next_epoch(), now, membership, deadline, unattended=unattended)
        refusal = self._may_start(kind, membership, now)
        if refusal is not None:
            order.end(refusal)
            return order
        for peer in self.peers.values():
            peer.tell_release = None
            peer.start_over()
        self.order = order
        self.voter.candidate = True
        self.voter.excluded = self.partner if membership is not None else ""
        self._decide(now)
        if not order.done:
            self._effects.wake()
        return order

    def _may_start(self, kind: str, membership: Membership | None, now: float) -> Answer | None:
        record = self.record
        if self.attached or self.order is not None:
            return Answer(False, "busy", "this node is attached" if self.attached else "this node seeks the votes already", 0.3)
        if self.name not in record.membership.voters:
            return Answer(False, "removed", f"this node was removed from the voters (membership {record.membership.number})")
        if membership is not None:
            return None
        if not record.voting:
            return Answer(False, "not_voting", "this node's state is new or was lost, and the other voters have not readmitted it yet")
        free = 0.0 if kind == INVITED else self.voter.free_in(now)
        if free > 0 and record.epoch.holder != self.name:
            text = f"{record.epoch.holder or 'the other node'} may still be attached with epoch {record.epoch.number}"
            return Answer(False, "lease_not_free", text if math.isinf(free) else f"{text} for {free:.1f} s", free)
        return None

    def _next_epoch(self) -> Epoch:
        return Epoch(self.seen.number + 1, self.name, self.record.incarnation)

    def _decide(self, now: float) -> None:
        """Attach with the votes that are there, go on waiting, or give up."""
        order = t.cast(Order, self.order)
        members = self.members()
        membership = order.membership or self.record.membership
        if len(self._votes(order.epoch, now)) + 1 >= membership.take_quorum:
            if order.kind != AUTOMATIC or self._fenced(order, now):
                self._attach_new(order, now)
            return
        higher = max((peer.header.epoch.number for peer in members if peer.header is not None), default=0)
        if any(peer.refusal is not None and peer.refusal.code == "higher_epoch" for peer in members) and higher >= order.epoch.number:
            self._try_higher(order, now)
        elif all(peer.answered_order for peer in members):
            self._give_up(self._no_majority("the voters refused"))

    def _fenced(self, order: Order, now: float) -> bool:
        """Let a fence agent switch the old holder off, if there is one. Only with a majority, this node's own vote included: nobody else
        can be attached then, nor come back."""
        own = self._vote_for_itself(order.epoch, now)
        if not own.granted:
            self._give_up(own)
            return False
        order.fencing = not self._effects.fenced()
        return not order.fencing

    def _vote_for_itself(self, epoch: Epoch, now: float, **also: t.Any) -> Answer:
        try:
            return self.voter.grant(epoch, now, **also)
        except Exception as error:  # noqa: BLE001 - whatever the disk says, the others' votes must be given back
            return Answer(False, "disk", f"this node's own vote could not be written down: {error}")

    def _votes(self, epoch: Epoch, now: float) -> list[Peer]:
        """The others whose vote for `epoch` counts now."""
        return [peer for peer in self.members() if peer.voted == epoch and now - peer.renewed_at < self.timing.hold]

    def _try_higher(self, order: Order, now: float) -> None:
        order.tries += 1
        if order.tries >= MAX_TRIES:
            self._give_up(self._no_majority("the voters know a higher epoch"))
            return
        self._abandon(order.epoch)
        order.epoch = self._next_epoch()
        for peer in self.peers.values():
            peer.start_over()
        self._effects.wake()

    def _attach_new(self, order: Order, now: float) -> None:
        also: dict[str, t.Any] = {"claim": ATTACHED, "reason": order.reason}
        if order.membership is not None and order.membership.number > self.record.membership.number:
            self.voter.change_membership(order.membership, now)  # the others of the new membership have agreed, or there are none
        if order.membership is not None or order.kind == INVITED:
            self.voter.abstains_until = now
        own = self._vote_for_itself(order.epoch, now, forced=order.membership is not None, **also)
        if not own.granted:
            self._give_up(own)
            return
        refusal = self._open(now)
        if refusal is None:
            self._finish(None)
        else:
            self.voter.held = False  # it voted for itself, and was not attached with it
            # Whoever was attached last tries again by itself; the votes are free for others in between.
            self.voter.release("", now, claim=RELEASED if order.kind == BACK else NONE, reason=refusal.message)
            self._give_up(refusal)

    def _open(self, now: float) -> Answer | None:
        deadline = min(self.lease_deadline(), now + self.timing.hold)
        if deadline <= now:
            return Answer(False, "no_majority", "the votes came too late")
        try:
            self._effects.open(deadline)
        except Exception as error:  # noqa: BLE001 - whatever the machine says, the votes must be given back
            self._unable_until = now + UNABLE_PAUSE
            return Answer(False, getattr(error, "code", "") or "permit_failed", str(error))
        self.attached = self.voter.attached = True
        self.deadline = deadline
        self._effects.log(f"attached with epoch {self.record.epoch.number}: {self.record.reason}")
        self._effects.wake()
        return None

    def _give_up(self, refusal: Answer) -> None:
        self._abandon(t.cast(Order, self.order).epoch)
        self._finish(refusal)

    def _abandon(self, epoch: Epoch) -> None:
        for peer in self.members():
            if peer.voted == epoch:
                peer.tell_release = (epoch, "")
                peer.forget_votes()
        self._effects.wake()

    def _finish(self, refusal: Answer | None) -> None:
        order, self.order = t.cast(Order, self.order), None
        self.voter.candidate, self.voter.excluded = False, ""
        if refusal is not None and order.kind == AUTOMATIC:
            self._automatic_from = order.started + min(1.0, refusal.wait)
        order.end(refusal)

    def _no_majority(self, text: str) -> Answer:
        """The refusal that tells most: the one that time will change, else the first."""
        refusals = [(peer.name, peer.refusal) for peer in self.members() if peer.refusal is not None]
        waits = [item for item in refusals if item[1].wait]
        for name, refusal in sorted(waits, key=lambda item: item[1].wait):
            return Answer(False, refusal.code, f"{name}: {refusal.message}", refusal.wait)
        silent = [peer.name for peer in self.members() if peer.refusal is None and peer.voted is None]
        parts = [f"{name}: {refusal.message}" for name, refusal in refusals] + [f"{name} does not answer" for name in silent]
        return Answer(False, "no_majority", f"{text}: {'; '.join(parts)}" if parts else text, 0.0)

    # -- being attached ------------------------------------------------------------------------------------------------
    def detach(self, reason: str, claim: str, successor: str = "", now: float | None = None) -> None:
        """Close the fence first, then write it down: the fence closes even when the disk is not there any more."""
        if self.attached:
            self.attached = False
            self._effects.close()
            self.voter.attached = False
            self._votes_from = self._now
            for peer in self.peers.values():
                peer.forget_votes()
            self._effects.log(f"detached: {reason}")
        self.deadline = -math.inf
        try:
            if claim == RELEASED and now is not None:
                self.voter.release(successor, now, claim=RELEASED, reason=reason)
            else:
                self.voter.keep(claim=claim, reason=reason)
        finally:
            self._effects.wake()

    def release(self, successor: str, now: float, reason: str, fetches: bool = False, unattended: bool = False) -> None:
        """Detach, give the epoch back durably, and name who may take it first. Without a successor this node does not want it back;
        with itself as the successor it does, and anybody may have it meanwhile."""
        epoch, self._now = self.record.epoch, now
        self.detach(reason, RELEASED if successor else NONE, successor if successor != self.name else "", now)
        if not successor:
            self.voter.release("", now)
        successor = successor if successor != self.name else ""
        self._back_at = now + RELEASE_LAPSE
        self.declined = None
        for peer in self.members():
            peer.tell_release, peer.fetches, peer.unattended = (epoch, successor), fetches, unattended
            peer.forget_votes()
        self._effects.wake()

    def change_membership(self, voters: t.Iterable[str], now: float) -> Answer:
        """Asked of the attached node by a person: who votes from now on. One voter comes or goes at a time."""
        own = self.record.membership
        new = Membership(own.number + 1, tuple(sorted(voters)))
        if not self.attached:
            return Answer(False, "not_attached", "only the attached node changes the membership")
        if self.name not in new.voters or len(set(own.voters) ^ set(new.voters)) != 1:
            return Answer(False, "membership", "one voter comes or goes at a time")
        if new.hold_quorum > own.hold_quorum and not self._acknowledged(set(own.voters) & set(new.voters), now):
            # Else this node would lose its lease by it: the new voter needs a moment to be admitted.
            return Answer(False, "no_majority", "no other voter that stays has renewed this node's lease just now")
        if new.hold_quorum < own.hold_quorum:
            # With fewer votes only when another voter follows: then the old majority cannot come together without this node.
            self._unsettled = new.number
        self.voter.change_membership(new, now)
        self._effects.wake()
        return Answer(True)

    def _acknowledged(self, voters: set[str], now: float) -> bool:
        return any(peer.voted == self.record.epoch and now - peer.renewed_at < 2 * self.timing.interval + ECHO_LIMIT / 2
                   for name, peer in self.peers.items() if name in voters)

    def wants_back(self) -> bool:
        """Was this node attached with an epoch that may still be in force?"""
        record = self.record
        return (not self.attached and self.order is None and record.claim == ATTACHED and record.voting and not record.released
                and record.epoch.holder == self.name and record.epoch.incarnation == record.incarnation)

    def _resume(self, now: float) -> None:
        votes = self._votes(self.record.epoch, now)
        if self.wants_back() and self._effects.ready() and len(votes) + 1 >= self.record.membership.take_quorum:
            self.voter.renew(self.record.epoch, now)
            self.voter.abstains_until = now  # a majority has told that nothing later was promised
            with contextlib.suppress(Exception):  # only the text: nothing rests on it, and a full disk must not keep this node from serving
                self.voter.keep(reason="resumed: a majority knows no higher epoch")
            refusal = self._open(now)
            if refusal is not None:
                # Going on to renew would bind the voters to a node that cannot serve.
                self._effects.log(f"not attached again: {refusal.message}")
                self.release(self.name, now, f"not attached again: {refusal.message}")

    # -- talking to the peers ------------------------------------------------------------------------------------------
    def next_request(self, name: str, now: float) -> dict:
        """What is to be said to this peer now."""
        peer, record = self.peers[name], self.record
        proposed = self.order.membership if self.order is not None else None
        request: dict[str, t.Any] = {"op": STATUS, "header": self.voter.header(name, now, proposed)}
        if peer.tell_release is not None:
            epoch, successor = peer.tell_release
            request.update(op=RELEASE, epoch=epoch.to_document(), successor=successor, fetches=peer.fetches,
                           unattended=peer.unattended)
        elif self.order is not None and peer in self.members():
            unasked = not peer.answered_order and peer.voted != self.order.epoch and now >= peer.ask_again_at
            if unasked or (self.order.fencing and peer.voted == self.order.epoch):
                request.update(op=GRANT, epoch=self.order.epoch.to_document(), forced=self.order.membership is not None)
        elif (self.attached or (self.wants_back() and self._effects.ready())) and name in record.membership.voters:
            request.update(op=RENEW, epoch=record.epoch.to_document(), granted=peer.voted == record.epoch, holding=self.attached)
        return request

    def answered(self, name: str, request: dict, answer: dict, sent_at: float, now: float) -> None:
        """The peer's answer. Raises `BadMessage` when it is malformed."""
        peer, self._now = self.peers[name], now
        header, vote = Header.parse(answer.get("header")), Answer.parse(answer.get("vote"))
        self._hear(peer, header, now)
        op = request.get("op")
        if op == RELEASE:
            self._release_answered(peer, request, answer)
        elif op == GRANT:
            self._grant_answered(peer, request, vote, sent_at, now)
        elif op == RENEW:
            self._renew_answered(peer, request, vote, header, sent_at, now)

    def failed(self, name: str, request: dict, now: float) -> None:
        """The peer did not answer."""
        peer = self.peers[name]
        if self.order is not None and request.get("op") == GRANT and request.get("epoch") == self.order.epoch.to_document():
            peer.answered_order = True
            self._decide(now)

    def _grant_answered(self, peer: Peer, request: dict, vote: Answer, sent_at: float, now: float) -> None:
        epoch = Epoch.parse(request["epoch"])
        if self.order is None or self.order.epoch != epoch:
            if vote.granted and epoch != self.record.epoch:
                peer.tell_release = (epoch, "")  # it came after the attempt was given up
                self._effects.wake()
            elif vote.granted and self.attached:
                peer.voted, peer.renewed_at = epoch, max(peer.renewed_at, sent_at)
            return
        if vote.granted:
            peer.voted, peer.renewed_at, peer.answered_order = epoch, max(peer.renewed_at, sent_at), True
        elif vote.code == "echo":
            self._effects.wake()  # the answer brought a fresh stamp: ask again at once
            return
        else:
            peer.refusal, peer.answered_order = vote, not 0 < vote.wait <= SHORT_WAIT
            peer.ask_again_at = -math.inf if peer.answered_order else now + vote.wait
        self._decide(now)

    def _renew_answered(self, peer: Peer, request: dict, vote: Answer, header: Header, sent_at: float, now: float) -> None:
        epoch = Epoch.parse(request["epoch"])
        if epoch != self.record.epoch or sent_at < self._votes_from:
            return
        if vote.granted and self.record.known.get(peer.name) == header.incarnation:
            peer.voted, peer.renewed_at, peer.refusal = epoch, max(peer.renewed_at, sent_at), None
            if not self.attached:
                self._resume(now)
        elif vote.code == "echo":
            self._effects.wake()
        else:
            peer.refusal = vote
            if vote.code == "released":
                self._given_back(peer.name)
            if vote.code in ("not_voting", "incarnation"):
                peer.voted = None

    def _given_back(self, by: str) -> None:
        """A voter remembers that this node gave its epoch back, and this node does not: its state was turned back."""
        reason = f"{by} says that epoch {self.record.epoch.number} was given back"
        if self.attached:
            self.detach(reason, RELEASED)
        elif self.record.claim == ATTACHED:
            self.voter.keep(claim=RELEASED, reason=reason)

    def _release_answered(self, peer: Peer, request: dict, answer: dict) -> None:
        if peer.tell_release is not None and peer.tell_release[0].to_document() == request["epoch"]:
            peer.tell_release = None
        if peer.name == self.partner and request.get("successor") == self.partner and answer.get("invited") is False:
            self._back_at = -math.inf  # it said no: back at once
            self.declined = Answer.parse(answer)

    # -- being asked ---------------------------------------------------------------------------------------------------
    def asked(self, name: str, message: dict, now: float) -> dict:
        """A peer's request and this node's answer. Raises `BadMessage`, and what storing raises."""
        self._now = now
        self._hear(self.peers[name], Header.parse(message.get("header")), now)
        answer = self.voter.asked(name, message, now)
        self._check_standing()
        if message.get("op") == RELEASE and message.get("successor") == self.name and name == self.partner:
            answer.update(self._invited(message, now))
        answer["header"] = self.voter.header(name, now)
        return answer

    def _invited(self, message: dict, now: float) -> dict:
        """The holder hands over to this node."""
        epoch = Epoch.parse(message.get("epoch"))
        if self.attached or self.seen.number > epoch.number or (self.order is not None and self.order.kind == INVITED):
            return {"invited": True}  # said before
        fit = self._effects.fit(True, message.get("fetches") is True)
        if self.unable(now):
            fit = Answer(False, "permit_failed", "its permit could not be opened just now")
        if not fit.granted:
            return {"invited": False, "code": fit.code, "message": fit.message}
        if self.order is not None:
            self._give_up(Answer(False, "busy", "the partner hands over"))
        order = self.start(INVITED, now, f"switchover from {self.partner}", unattended=message.get("unattended") is True)
        if order.done and not order.ok:
            refusal = t.cast(Answer, order.refusal)
            return {"invited": False, "code": refusal.code, "message": refusal.message}
        return {"invited": True}

    def _hear(self, peer: Peer, header: Header, now: float) -> None:
        """What every message tells. A higher epoch ends this node's attachment before anything else is done."""
        peer.heard_at, peer.header = now, header
        higher = header.epoch.number > self.record.epoch.number
        claim = NONE if header.held else RELEASED
        if higher and self.attached:
            self.detach(f"{peer.name} knows epoch {header.epoch.number} of {header.epoch.holder}, higher than "
                        f"{self.record.epoch.number}", claim)
        elif self.order is None and self.record.claim != NONE and self._gone_to_another(header, higher, claim):
            self.voter.keep(claim=claim, reason=f"{header.epoch.holder} was given epoch {header.epoch.number}")
        self.voter.heard(peer.name, header, now)
        if self._unsettled and header.membership.number >= self._unsettled:
            self._unsettled = 0
        self._check_standing()

    def _check_standing(self) -> None:
        """An attachment that this node's own state does not bear any more ends at once."""
        record = self.record
        stands = (record.voting and self.name in record.membership.voters and record.epoch.holder == self.name
                  and record.epoch.incarnation == record.incarnation)
        if self.attached and not stands:
            self.detach(record.reason, NONE)

    def _gone_to_another(self, header: Header, higher: bool, claim: str) -> bool:
        same = header.epoch == self.record.epoch and header.epoch.holder != self.name
        return (higher and self.record.claim != claim) or (same and header.held)
