# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The protocol with one of its rules taken out. The checker must find what each rule is there for."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.agent import Agent
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import NOBODY, Timing
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import Voter


class NoEpochCheck(Voter):
    """Votes for any number, also a lower one than it voted for before."""

    def grant(self, epoch: t.Any, now: float, held: bool = False, forced: bool = False, **also: t.Any) -> t.Any:
        if epoch.number <= self.record.epoch.number and epoch != self.record.epoch and self._bound(epoch, now, forced) is None:
            self.record = dataclasses.replace(self.record, epoch=NOBODY)
        return super().grant(epoch, now, held, forced, **also)


class NoPromise(Voter):
    """Votes for the next one although the last one's time is not over."""

    def _bound(self, epoch: t.Any, now: float, forced: bool) -> t.Any:
        self.promised_until = min(self.promised_until, now)
        return super()._bound(epoch, now, forced)

    def free_in(self, now: float) -> float:
        return max(0.0, self.abstains_until - now)


class NoAbstention(Voter):
    """Votes for new epochs at once after a restart, when it cannot know how long it is bound."""

    def __init__(self, *arguments: t.Any, **options: t.Any):
        super().__init__(*arguments, **options)
        self.abstains_until = self.promised_until = -math.inf

    def _admit(self, epoch: t.Any, held: bool, now: float) -> None:
        super()._admit(epoch, held, now)
        self.abstains_until = self.promised_until = -math.inf


class NoIncarnations(Voter):
    """A voter that lost or forgot its state votes on as if nothing had happened."""

    def __init__(self, *arguments: t.Any, **options: t.Any):
        super().__init__(*arguments, **options)
        if not self.record.voting:
            self.record = dataclasses.replace(self.record, voting=True)

    def check_generation(self, now: float) -> bool:
        return False

    def forget(self, now: float, reason: str, **also: t.Any) -> None:
        pass

    def _not_now(self, sender: str, header: t.Any, epoch: t.Any, now: float) -> t.Any:
        refusal = super()._not_now(sender, header, epoch, now)
        return None if refusal is not None and refusal.code in ("incarnation", "not_voting") else refusal


class NoReadmission(Voter):
    """Counts as readmitted as soon as one other voter has told what it knows."""

    def _offered(self, sender: str, header: t.Any, now: float) -> None:
        self._admit(max(header.epoch, self.record.epoch, key=lambda epoch: epoch.number), header.held, now)
        self.abstains_until = self.promised_until = -math.inf


class NoMargin(Timing):
    """The holder uses its lease to the last moment of its own clock."""

    @functools.cached_property
    def margin(self) -> float:
        return 0.0


class NoEcho(Voter):
    """Votes for requesters that its answers do not reach."""

    def _is_fresh(self, echo: str, now: float) -> bool:
        return True


class IgnoresHigherEpochs(Agent):
    """A holder that goes on although somebody knows a higher epoch."""

    def _hear(self, peer: t.Any, header: t.Any, now: float) -> None:
        if header.epoch.number <= self.record.epoch.number:
            super()._hear(peer, header, now)


class NoWayBack(Agent):
    """A hand-over that nobody takes stays with nobody."""

    def _tick_released(self, now: float) -> None:
        pass


#: Name of the rule that is taken out -> what replaces it, and what the checker may find then.
MUTANTS: dict[str, dict[str, t.Any]] = {
    "the check of the epoch": {"voter_class": NoEpochCheck, "agent_class": IgnoresHigherEpochs},
    "the promise": {"voter_class": NoPromise},
    "the abstention from new epochs after a restart": {"voter_class": NoAbstention},
    "the incarnation": {"voter_class": NoIncarnations},
    "the readmission by both others": {"voter_class": NoReadmission},
    "the margin": {"timing_class": NoMargin},
    "the proof that answers arrive": {"voter_class": NoEcho},
    "the holder's respect for a higher epoch": {"agent_class": IgnoresHigherEpochs},
    "the way back of a hand-over": {"agent_class": NoWayBack},
}
