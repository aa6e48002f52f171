# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a guard must not forget: the epoch, and whether this node means to be attached. Durable before it is acted upon."""

from __future__ import annotations

import dataclasses
import time
import typing as t
import uuid

from ..errors import NodeError
from ..host.base import Host
from ..store import GUARD_FOLDER, make_folder, read_json, write_json

STATE_FILE = GUARD_FOLDER + "\\state.json"

#: Meanings of `claim`. NONE: nothing. ATTACHED: this node is, or was until its guard ended, attached with `epoch`.
#: RELEASED: it detached in favour of its partner, who was offered `epoch` + 1, and does not know yet what came of it.
NONE, ATTACHED, RELEASED = "none", "attached", "released"


@dataclasses.dataclass(frozen=True)
class State:
    epoch: int
    claim: str
    incarnation: str  # new whenever the state was lost
    since_ms: int
    reason: str


class StateFile:
    """The state in memory is always the one on the disk: `change` returns after the disk has it."""

    def __init__(self, host: Host):
        self._host = host
        make_folder(host, GUARD_FOLDER)
        self.lost: str | None = None
        self.now = self._load()

    def change(self, **fields: t.Any) -> State:
        """Write the changed state. The epoch never falls; a state that cannot be written is not taken over."""
        new = dataclasses.replace(self.now, since_ms=time.time_ns() // 1_000_000, **fields)
        if new.epoch < self.now.epoch:
            raise ValueError(f"the epoch must not fall from {self.now.epoch} to {new.epoch}")
        if new.claim not in (NONE, ATTACHED, RELEASED):
            raise ValueError(f"unknown claim {new.claim!r}")
        self._write(new)
        self.now = new
        return new

    def _load(self) -> State:
        try:
            document = read_json(self._host, STATE_FILE)
            if document is not None:
                return _parse(document)
        except NodeError as error:
            self.lost = self._set_aside(error.message)
        state = State(epoch=0, claim=NONE, incarnation=str(uuid.uuid4()), since_ms=time.time_ns() // 1_000_000,
                      reason=self.lost or "new node")
        self._write(state)
        return state

    def _write(self, state: State) -> None:
        write_json(self._host, STATE_FILE, dataclasses.asdict(state))

    def _set_aside(self, message: str) -> str:
        path = self._host.path(STATE_FILE)
        aside = path.with_name(f"{path.name}.broken-{time.time_ns() // 1_000_000}")
        path.replace(aside)
        return f"the guard's state was lost ({message}); the damaged file is kept as {aside.name}"


def _parse(document: t.Any) -> State:
    fields = document if isinstance(document, dict) else {}
    epoch, claim, incarnation = fields.get("epoch"), fields.get("claim"), fields.get("incarnation")
    if (not isinstance(epoch, int) or isinstance(epoch, bool) or epoch < 0 or claim not in (NONE, ATTACHED, RELEASED)
            or not isinstance(incarnation, str) or not incarnation):
        raise NodeError("file_damaged", f"{STATE_FILE} does not hold a guard's state.")
    return State(epoch, claim, incarnation, int(fields.get("since_ms") or 0), str(fields.get("reason") or ""))
