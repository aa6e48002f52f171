# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One voter's decisions for one pair: to whom it gives its vote, and when it must not vote at all.

Pure but for one effect: `store` brings a record to the disk and raises when it cannot. Nothing is answered that is not stored.
A vote is bound to its epoch until the holder gives it back or `ttl` seconds have passed since the holder last renewed it.

Why a voter that lost or forgot its state stops voting: it may have promised its vote to somebody whom it does not remember.
It gets a new incarnation, which the others do not count, until each of them has told it the highest epoch that it knows.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t
import uuid

from .terms import (ECHO_LIMIT, NONE, RELEASE_LAPSE, RELEASED, WITNESS, Answer, BadMessage, Epoch, Header, Membership, Record,
                    Timing)

RENEW, GRANT, RELEASE, STATUS = "vote.renew", "vote.grant", "vote.release", "status"
OPS = (RENEW, GRANT, RELEASE, STATUS)

Store = t.Callable[[Record], None]
GRANTED = Answer(True)


def fresh_incarnation() -> str:
    return str(uuid.uuid4())


def new_record(voters: t.Iterable[str], generation: str = "", incarnation: str | None = None, reason: str = "new") -> Record:
    """The record of a voter that knows nothing: it has to be admitted by the others."""
    return Record(incarnation or fresh_incarnation(), generation, Membership(1, tuple(sorted(voters))), reason=reason)


class Voter:
    def __init__(self, name: str, record: Record, timing: Timing, store: Store, now: float, nonce: str, *,
                 generation: t.Callable[[], str] = lambda: "", fresh: t.Callable[[], str] = fresh_incarnation,
                 log: t.Callable[[str], None] = lambda text: None):
        self.name = name
        self.timing = timing
        self.log = log
        self.candidate = False  # this voter is a node that seeks the votes itself
        self.attached = False  # this voter is a node whose permit is open
        self.excluded = ""  # whom this node is about to remove by force: it gets no vote meanwhile
        self.held = record.epoch.holder == name and record.epoch.number > 0  # a node votes for itself only when it attaches
        self.record = record
        self._store = store
        self._nonce = nonce
        self._generation = generation
        self._fresh = fresh
        self._offers: dict[str, tuple[Epoch, bool]] = {}
        self._stamps: dict[str, str] = {}  # the last one from each of the others
        # A restarted voter does not know when its promise was last renewed.
        self.abstains_until = now + timing.ttl if record.epoch.number else now
        self.promised_until = self._end_of_promise(now) if record.epoch.number else now
        self.successor_until = now + RELEASE_LAPSE if record.successor else now
        self._admit_alone(now)

    # -- what it says about itself -------------------------------------------------------------------------------------
    def header(self, to: str, now: float, proposed: Membership | None = None) -> dict:
        """What every message says about its sender. `proposed`: the membership of an attempt by force, instead of the own one."""
        record = self.record
        return Header(record.incarnation, record.voting, record.epoch, record.released, self.held, proposed or record.membership,
                      record.known.get(to, ""), f"{self._nonce}:{now:.3f}", self._stamps.get(to, "")).to_document()

    def free_in(self, now: float) -> float:
        """Seconds until this voter may vote for somebody new; infinite when only a release frees it."""
        bound = self.promised_until - now if self._is_bound() else 0.0
        return max(0.0, bound, self.abstains_until - now)

    def describe(self, now: float) -> dict:
        record, free = self.record, self.free_in(now)
        return {"epoch": record.epoch.number, "holder": record.epoch.holder or None, "released": record.released,
                "incarnation": record.incarnation, "voting": record.voting, "membership": record.membership.to_document(),
                "free_in": None if math.isinf(free) else round(free, 2)}

    # -- what others ask -----------------------------------------------------------------------------------------------
    def asked(self, sender: str, message: dict, now: float) -> dict:
        """The answer's fields. Raises `BadMessage` for what is malformed, and what `store` raises."""
        header = Header.parse(message.get("header"))
        self.check_generation(now)
        self.heard(sender, header, now)
        answer = self._answer(sender, header, message, now)
        return {"vote": answer.to_document(), "header": self.header(sender, now)}

    def _answer(self, sender: str, header: Header, message: dict, now: float) -> Answer:
        op = message.get("op")
        if op == STATUS:
            return Answer(False, "status")
        if op not in OPS:
            raise BadMessage(f"{str(op)[:64]!r} is not asked of a voter")
        epoch = Epoch.parse(message.get("epoch"))
        if epoch.holder != sender or sender == WITNESS or epoch.number < 1:
            return Answer(False, "not_yours", "nobody votes for another one's epoch")
        if op == RELEASE:
            return self._release(epoch, message, now)
        refusal = self._not_now(sender, header, epoch, now)
        if refusal is not None:
            return refusal
        if op == RENEW:
            return self.renew(epoch, now, message.get("granted") is True, message.get("holding") is True)
        return self.grant(epoch, now, forced=message.get("forced") is True)

    def _not_now(self, sender: str, header: Header, epoch: Epoch, now: float) -> Answer | None:
        record = self.record
        if header.membership != record.membership or sender not in record.membership.voters:
            gone = sender not in record.membership.voters and record.membership.number >= header.membership.number
            return Answer(False, "removed" if gone else "membership",
                          f"the voters are {', '.join(record.membership.voters)} (membership {record.membership.number})")
        if sender == self.excluded:
            return Answer(False, "removed", f"{sender} is being removed by force")
        if not record.voting:
            return Answer(False, "not_voting", "this voter has lost its state and waits for the others to readmit it")
        if record.known.get(sender) != epoch.incarnation or header.incarnation != epoch.incarnation:
            return Answer(False, "incarnation", f"{sender} has to be readmitted first")
        if not self._is_fresh(header.echo, now):
            return Answer(False, "echo", "the last answer did not arrive in time")
        return None

    def renew(self, epoch: Epoch, now: float, granted: bool = False, holding: bool = True) -> Answer:
        """The holder asks that its epoch goes on. `granted`: it says that this voter has voted for it before. `holding`: it is attached
        now, and does not want to be attached again."""
        record = self.record
        if epoch == record.epoch:
            if record.released:
                return Answer(False, "released", f"epoch {epoch.number} was given back")
            if not holding and now < self.abstains_until and epoch.holder != self.name:
                # Its record may be an old one that was put back: a later holder would show itself in this time.
                return self._abstaining(now)
            self.promised_until = self._end_of_promise(now)
            self.held = True
            return GRANTED
        if epoch.number > record.epoch.number and granted:
            self.forget(now, f"{epoch.holder} shows a vote for epoch {epoch.number} that this voter does not remember")
            return Answer(False, "not_voting", "this voter does not remember its vote and waits for the others to readmit it")
        # A holder with a majority, whose epoch this voter has missed, or has given to somebody who got no majority.
        return self.grant(epoch, now, held=True)

    def grant(self, epoch: Epoch, now: float, held: bool = False, forced: bool = False, **also: t.Any) -> Answer:
        """A candidate asks for a new epoch. `forced`: by a membership without the last holder, which is proved to be off. `also`: fields
        that are to be stored in the same step."""
        record = self.record
        if epoch == record.epoch and not record.released and not also:
            self.promised_until = self._end_of_promise(now)
            return GRANTED
        if epoch.number < record.epoch.number or (epoch.number == record.epoch.number and not held and epoch != record.epoch):
            return Answer(False, "higher_epoch", f"{record.epoch.holder} was given epoch {record.epoch.number}")
        refusal = self._bound(epoch, now, forced)
        if refusal is not None:
            return refusal
        claim = NONE if held or record.claim == NONE else RELEASED
        self._keep(**{"epoch": epoch, "released": False, "successor": "", "claim": claim, **also})
        self.promised_until = self._end_of_promise(now)
        self.held = held or epoch.holder == self.name
        return GRANTED

    def _abstaining(self, now: float) -> Answer:
        return Answer(False, "lease_not_free", f"this voter was restarted or admitted just now and abstains for {self.abstains_until - now:.1f} s",
                      self.abstains_until - now)

    def _bound(self, epoch: Epoch, now: float, forced: bool) -> Answer | None:
        record, promised = self.record, self.record.epoch
        if now < self.abstains_until and epoch != promised:
            return self._abstaining(now)
        own = (promised.holder, promised.incarnation) == (epoch.holder, epoch.incarnation)
        if record.released:
            if not own and record.successor not in ("", epoch.holder) and now < self.successor_until:
                return Answer(False, "lease_not_free", f"it was released to {record.successor}", self.successor_until - now)
        elif not own and now < self.promised_until and self._is_bound() and not (
                forced and promised.holder not in record.membership.voters):
            return Answer(False, "lease_not_free", f"{promised.holder} may still be attached with epoch {promised.number}",
                          self.promised_until - now)
        if self.candidate and self.name < epoch.holder:  # of two candidates one gives way, or neither would ever get the other's vote
            return Answer(False, "candidate", "this node is about to be attached itself", 0.3)
        return None

    def _is_bound(self) -> bool:
        """Is there a promise that time has to end? A node knows of itself whether it is attached."""
        record, holder = self.record, self.record.epoch.holder
        return not record.released and holder != "" and (holder != self.name or self.attached)

    def _release(self, epoch: Epoch, message: dict, now: float) -> Answer:
        if epoch != self.record.epoch:
            return Answer(False, "higher_epoch", f"this voter has voted for epoch {self.record.epoch.number}")
        successor = message.get("successor")
        self.release(successor if isinstance(successor, str) and successor in self.record.membership.voters else "", now)
        return GRANTED

    def release(self, successor: str, now: float, **also: t.Any) -> None:
        """The holder gives its epoch back, for `successor` at first if there is one."""
        if not self.record.released or also:
            self._keep(**{"released": True, "successor": successor, **also})
            self.successor_until = now + RELEASE_LAPSE if successor else now

    # -- who counts ----------------------------------------------------------------------------------------------------
    def heard(self, sender: str, header: Header, now: float) -> None:
        """Take in what another voter says about itself: stamps, membership, incarnations, readmission."""
        if sender == self.name:
            return
        self._stamps[sender] = header.stamp
        if not self._is_fresh(header.echo, now):
            return  # it may be about a time that is over: an old message that lay in a buffer
        self._follow(sender, header.membership, now)
        record = self.record
        if sender not in record.membership.voters or self.name not in record.membership.voters or header.membership != record.membership:
            return
        if record.known.get(sender) != header.incarnation:
            if header.voting and record.voting and sender not in record.known:
                return  # it was removed, has not heard of it, and comes back as a new one
            if header.voting and record.voting:
                # It was readmitted, which needs the consent of every other voter: this one has given it and forgotten.
                self.forget(now, f"{sender} was readmitted without this voter knowing it")
            self._know(sender, header.incarnation, now)
        if not self.record.voting and header.knows == self.record.incarnation:
            self._offered(sender, header, now)

    def _know(self, sender: str, incarnation: str, now: float) -> None:
        self._keep(known={**self.record.known, sender: incarnation})
        if sender == self.record.epoch.holder and incarnation != self.record.epoch.incarnation and math.isinf(self.promised_until):
            # Without a witness: the holder's state is gone, so it will never give back what this voter has promised it.
            self.promised_until = now + self.timing.ttl

    def _offered(self, sender: str, header: Header, now: float) -> None:
        self._offers[sender] = header.epoch, header.held
        others = [voter for voter in self.record.membership.voters if voter != self.name]
        if any(voter not in self._offers for voter in others):
            return
        known = [*self._offers.values(), (self.record.epoch, self.held)]
        epoch, held = max(known, key=lambda item: (item[0].number, item[1], item[0].holder != self.name))
        self._admit(epoch, held, now)

    def _admit(self, epoch: Epoch, held: bool, now: float) -> None:
        released = self.record.released and epoch == self.record.epoch
        self._keep(voting=True, epoch=epoch, released=released)
        self.held = held
        self._offers.clear()
        if epoch.number:  # this voter may have promised something that nobody could tell it
            self.abstains_until = now + self.timing.ttl
            self.promised_until = self._end_of_promise(now)
        self.log(f"admitted as a voter with epoch {epoch.number}")

    def _admit_alone(self, now: float) -> None:
        if not self.record.voting and self.record.membership.voters == (self.name,):
            self._admit(self.record.epoch, self.held, now)

    def _follow(self, sender: str, membership: Membership, now: float) -> None:
        """The highest membership counts, when it comes from one who belongs to it."""
        own = self.record.membership
        if membership.number > own.number and (sender in membership.voters or sender in own.voters):
            self.change_membership(membership, now)

    def change_membership(self, membership: Membership, now: float, **also: t.Any) -> None:
        own = self.record.membership
        known = {voter: self.record.known[voter] for voter in membership.voters if voter in own.voters and voter in self.record.known}
        fields: dict[str, t.Any] = {"membership": membership, "known": known}
        if self.name not in membership.voters:
            fields.update(voting=False, claim=NONE, known={})
        elif self.name not in own.voters or membership.number > own.number + 1:
            # It was away, or may have been without hearing of it.
            fields.update(voting=False, claim=NONE, known={}, incarnation=self._fresh())
        self._keep(**{**fields, "reason": f"membership {membership.number}: {', '.join(membership.voters)}", **also})
        self._offers.clear()
        if math.isinf(self.promised_until) and (membership.expires or self.record.epoch.holder not in membership.voters):
            self.promised_until = now + self.timing.ttl
        self.log(f"membership {membership.number}: {', '.join(membership.voters)}")
        self._admit_alone(now)

    def check_generation(self, now: float) -> bool:
        """Notice that the virtual machine was turned back or copied. True when it was."""
        generation = self._generation()
        if generation == self.record.generation:
            return False
        if not generation or not self.record.generation:  # it became known, or cannot be read just now
            if generation:
                self._keep(generation=generation)
            return False
        self.forget(now, "this virtual machine was turned back or copied", generation=generation)
        return True

    def forget(self, now: float, reason: str, **also: t.Any) -> None:
        """This state cannot be trusted: a new incarnation, which does not vote until the others have readmitted it."""
        self._keep(**{"incarnation": self._fresh(), "voting": False, "claim": NONE, "reason": reason, **also})
        self._offers.clear()
        self.abstains_until = max(self.abstains_until, now + self.timing.ttl)
        self.log(f"this voter stops voting: {reason}")
        self._admit_alone(now)

    # -- inside --------------------------------------------------------------------------------------------------------
    def keep(self, **fields: t.Any) -> None:
        """Store changed fields (claim, reason) that do not touch votes."""
        self._keep(**fields)

    def _keep(self, **fields: t.Any) -> None:
        record = dataclasses.replace(self.record, **fields)
        if record == self.record:
            return
        if record.epoch.number < self.record.epoch.number:
            raise ValueError(f"the epoch must not fall from {self.record.epoch.number} to {record.epoch.number}")
        self._store(record)
        self.record = record

    def _end_of_promise(self, now: float) -> float:
        membership = self.record.membership
        return now + self.timing.ttl if membership.expires or self.record.epoch.holder not in membership.voters else math.inf

    def _is_fresh(self, echo: str, now: float) -> bool:
        nonce, _colon, sent = echo.rpartition(":")
        if nonce != self._nonce:
            return False
        try:
            age = now - float(sent)
        except ValueError:
            return False
        return -0.01 <= age <= ECHO_LIMIT
