# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The terms of the protocol: epoch, membership, timing, and what a voter must not forget. Values only.

Times are seconds of one machine's own monotonic clock; no time is ever compared with another machine's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing as t

#: The voter id of the witness. Node names are the other two ids.
WITNESS = "witness"
#: Meanings of a node's `claim`. ATTACHED: it is, or was until its guard ended, attached with the record's epoch. RELEASED: it was
#: the last one attached, has lost that epoch, and does not know of anybody who holds a later one. NONE: nothing.
NONE, ATTACHED, RELEASED = "none", "attached", "released"

#: A release that its successor does not take up lapses after so many seconds.
RELEASE_LAPSE = 2.0
#: A vote is given only to a requester that proves, with an answer not older than this, that answers reach it.
ECHO_LIMIT = 2.0
#: Of every margin: for scheduling, and whatever else is not measured.
RESERVE = 1.0
_MAX_NUMBER = 1 << 53
_MAX_TEXT = 200


class BadMessage(ValueError):
    """What came from outside does not have the form that it must have."""


@dataclasses.dataclass(frozen=True)
class Epoch:
    """One attachment: its number, its holder, and the incarnation of the holder's state. Numbers grow and are never used twice
    by a majority; without the incarnation, a holder whose machine was turned back would take its old epoch for its own."""

    number: int
    holder: str
    incarnation: str

    def to_document(self) -> list:
        return [self.number, self.holder, self.incarnation]

    @classmethod
    def parse(cls, document: t.Any) -> Epoch:
        if (not isinstance(document, (list, tuple)) or len(document) != 3 or not _is_number(document[0])
                or not _is_text(document[1]) or not _is_text(document[2])):
            raise BadMessage("an epoch is [number, holder, incarnation]")
        return cls(*document)


NOBODY = Epoch(0, "", "")


@dataclasses.dataclass(frozen=True)
class Membership:
    """Who votes. Changed by people only (force, rejoin, a new witness), numbered; the highest number counts."""

    number: int
    voters: tuple[str, ...]

    @functools.cached_property
    def nodes(self) -> tuple[str, ...]:
        return tuple(voter for voter in self.voters if voter != WITNESS)

    @functools.cached_property
    def take_quorum(self) -> int:
        """Votes that a new epoch needs, the candidate's own included."""
        return len(self.voters) // 2 + 1

    @functools.cached_property
    def hold_quorum(self) -> int:
        """Votes that the holder needs to stay attached, its own included.

        Two nodes without a witness: the holder needs nobody, and so nobody may ever take over from a silent one. One node:
        nobody else can be attached.
        """
        return self.take_quorum if len(self.nodes) == 2 and WITNESS in self.voters else 1

    @property
    def expires(self) -> bool:
        """Does a promise end by time alone?"""
        return self.hold_quorum > 1

    def to_document(self) -> dict:
        return {"number": self.number, "voters": list(self.voters)}

    @classmethod
    def parse(cls, document: t.Any) -> Membership:
        fields = document if isinstance(document, dict) else {}
        number, voters = fields.get("number"), fields.get("voters")
        if (not _is_number(number) or not isinstance(voters, (list, tuple)) or not 1 <= len(voters) <= 3
                or not all(map(_is_text, voters)) or len(set(voters)) != len(voters)):
            raise BadMessage("a membership is {number, voters: one to three ids}")
        return cls(number, tuple(sorted(voters)))


@dataclasses.dataclass(frozen=True)
class Timing:
    """`ttl`: seconds for which a vote counts. `drift`: largest relative error of a clock's rate. `detach`: seconds that closing
    the fence may take."""

    ttl: float = 8.0
    drift: float = 0.01
    detach: float = 0.5

    @functools.cached_property
    def margin(self) -> float:
        return 2 * self.drift * self.ttl + self.detach + RESERVE

    @functools.cached_property
    def hold(self) -> float:
        """Seconds after the sending of an acknowledged renewal for which the holder may stay attached."""
        return self.ttl - self.margin

    @functools.cached_property
    def interval(self) -> float:
        """Seconds between two renewals."""
        return min(1.0, self.ttl / 8)

    def slower(self, detach: float) -> Timing:
        """The same timing for a machine that was once seen to take `detach` seconds to close its fence.

        Never so long that no time to renew is left: what takes longer than that is ended by the fuse.
        """
        longest = self.ttl - 2 * self.drift * self.ttl - RESERVE - 2 * self.interval
        return dataclasses.replace(self, detach=min(detach, longest)) if detach > self.detach else self

    def problem(self) -> str | None:
        """What makes these figures unusable, None when they are fine."""
        if not 4 <= self.ttl <= 60:
            return f"the lease's ttl must be from 4 to 60 seconds, not {self.ttl:g}"
        if not 0 <= self.drift <= 0.05:
            return f"the clocks' drift must be from 0 to 0.05, not {self.drift:g}"
        if self.hold < 2 * self.interval:
            return f"a ttl of {self.ttl:g} s leaves {self.hold:.1f} s to renew after the margin of {self.margin:.1f} s: raise the ttl"
        return None


@dataclasses.dataclass(frozen=True)
class Record:
    """What one voter of one pair must not forget. On the disk before anything is said or done that rests on it."""

    incarnation: str  # of this state: new whenever the state was lost or turned back
    generation: str  # of the virtual machine when this was written, "" where machines have none
    membership: Membership
    epoch: Epoch = NOBODY  # the highest one that this voter has voted for
    released: bool = False  # its holder has given it back
    successor: str = ""  # for whom, if for somebody
    known: t.Mapping[str, str] = dataclasses.field(default_factory=dict)  # the other voters' incarnations that count
    voting: bool = False  # False: not readmitted yet, or not a member
    claim: str = NONE
    reason: str = "new"

    def to_document(self) -> dict:
        return {"incarnation": self.incarnation, "generation": self.generation, "membership": self.membership.to_document(),
                "epoch": self.epoch.to_document(), "released": self.released, "successor": self.successor,
                "known": dict(self.known), "voting": self.voting, "claim": self.claim, "reason": self.reason}

    @classmethod
    def parse(cls, document: t.Any) -> Record:
        fields = document if isinstance(document, dict) else {}
        known, claim = fields.get("known"), fields.get("claim", NONE)
        texts = [fields.get("incarnation"), fields.get("generation", ""), fields.get("successor", "")]
        if not all(map(_is_text, texts)) or not texts[0] or claim not in (NONE, ATTACHED, RELEASED):
            raise BadMessage("a voter's record lacks a proper incarnation, generation, successor or claim")
        if not isinstance(known, dict) or len(known) > 8 or not all(map(_is_text, [*known, *known.values()])):
            raise BadMessage("a voter's record lacks the incarnations of the others")
        return cls(incarnation=texts[0], generation=texts[1], membership=Membership.parse(fields.get("membership")),
                   epoch=Epoch.parse(fields.get("epoch")), released=fields.get("released") is True, successor=texts[2],
                   known=dict(known), voting=fields.get("voting") is True, claim=claim, reason=str(fields.get("reason") or "")[:500])


@dataclasses.dataclass(slots=True)
class Header:
    """What every message between voters says about its sender."""

    incarnation: str
    voting: bool
    epoch: Epoch
    released: bool
    held: bool  # the sender knows that somebody is or was attached with this epoch, and has not only sought it
    membership: Membership
    knows: str  # the incarnation that the sender knows of the receiver
    stamp: str  # to be sent back: proves to the sender that its messages arrive
    echo: str  # the receiver's last stamp

    def to_document(self) -> dict:
        return {"incarnation": self.incarnation, "voting": self.voting, "epoch": self.epoch.to_document(), "released": self.released,
                "held": self.held, "membership": self.membership.to_document(), "knows": self.knows, "stamp": self.stamp, "echo": self.echo}

    @classmethod
    def parse(cls, document: t.Any) -> Header:
        fields = document if isinstance(document, dict) else {}
        texts = [fields.get(name) for name in ("incarnation", "knows", "stamp", "echo")]
        if not all(map(_is_text, texts)) or not texts[0]:
            raise BadMessage("a header lacks incarnation, knows, stamp or echo")
        return cls(incarnation=texts[0], voting=fields.get("voting") is True, epoch=Epoch.parse(fields.get("epoch")),
                   released=fields.get("released") is True, held=fields.get("held") is True,
                   membership=Membership.parse(fields.get("membership")), knows=texts[1], stamp=texts[2], echo=texts[3])


@dataclasses.dataclass(slots=True)
class Answer:
    """A voter's answer to a request for its vote. `wait`: seconds after which the same request may succeed."""

    granted: bool
    code: str = ""
    message: str = ""
    wait: float = 0.0

    def to_document(self) -> dict:
        wait = None if math.isinf(self.wait) else round(self.wait, 3)
        return {"granted": self.granted, "code": self.code, "message": self.message, "wait": wait}

    @classmethod
    def parse(cls, document: t.Any) -> Answer:
        fields = document if isinstance(document, dict) else {}
        wait = fields.get("wait", 0.0)
        wait = math.inf if wait is None else float(wait) if isinstance(wait, (int, float)) and not isinstance(wait, bool) else 0.0
        return cls(fields.get("granted") is True, str(fields.get("code") or "")[:64], str(fields.get("message") or "")[:500], wait)


def _is_number(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER


def _is_text(value: t.Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_TEXT
