# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node knows of one of the other two voters, and of its own latest attempt to be attached. Values only."""

from __future__ import annotations

import dataclasses
import math

from .terms import Answer, Epoch, Header, Membership


@dataclasses.dataclass
class Peer:
    """The partner or the witness, as seen by this node."""

    name: str
    heard_at: float | None = None
    header: Header | None = None
    renewed_at: float = -math.inf  # send time of the last request that it granted for the epoch in question
    voted: Epoch | None = None  # the epoch that it has granted to this node
    answered_order: bool = False  # it has answered, or failed to, in the attempt that is under way
    refusal: Answer | None = None
    ask_again_at: float = -math.inf  # it refused for a moment only
    tell_release: tuple[Epoch, str] | None = None  # an epoch that this node gave back and that this voter must hear of
    fetches: bool = False  # with it: the successor is attached to fetch its first configuration
    unattended: bool = False  # with it: nobody ordered this hand-over

    def start_over(self) -> None:
        """A new attempt: nothing that this voter said in an earlier one counts."""
        self.answered_order, self.refusal, self.ask_again_at = False, None, -math.inf
        self.forget_votes()

    def forget_votes(self) -> None:
        self.renewed_at, self.voted = -math.inf, None


#: Kinds of an attempt. INVITED: the holder hands over. BACK: a hand-over that nobody took goes back.
TAKE, ADOPT, INVITED, BACK, AUTOMATIC = "take", "adopt", "invited", "back", "automatic"


@dataclasses.dataclass
class Order:
    """One attempt to be attached with a new epoch. `done` with `ok`, or with the reason why not."""

    kind: str
    reason: str
    epoch: Epoch
    started: float
    membership: Membership | None = None  # by force: without the other node
    deadline: float = math.inf
    fencing: bool = False  # the votes are there, and the old holder is being switched off
    tries: int = 0
    done: bool = False
    ok: bool = False
    refusal: Answer | None = None
    unattended: bool = False  # an invitation of a partner that gives way by itself

    def end(self, refusal: Answer | None = None) -> None:
        self.done, self.ok, self.refusal = True, refusal is None, refusal
