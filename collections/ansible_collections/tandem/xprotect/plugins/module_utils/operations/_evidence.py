# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence against a failover: a recorder answers, at the service address or at the old node's own, and says that it is attached.

A node that cannot be reached over WinRM may still serve. The lease alone decides who may be attached, so only proof that was gathered
after the lease ran out counts, and only a positive answer is one: silence, a refusal, an error or an older answer stop nothing.
"Attached" is the recorder's own word for being connected to the Management Server; no documented interface of the Management
Server tells from which machine a recorder is connected.
"""

from __future__ import annotations

import threading
import time
import typing as t

from ..errors import TandemError
from ..pair.pair import NodeDefinition
from ..xprotect.recorder_status import get_recorder_status
from .context import Context

PORT = 7563
FIRST_TIMEOUT = 2.0  # in the background, while the nodes are asked for their facts
TIMEOUT = 0.5  # while clients wait: a recorder that serves them answers within that


class _Look:
    """One question at all the places, asked at the same time."""

    def __init__(self, context: Context, places: t.Mapping[str, str], timeout: float):
        self.served: list[str] = []
        self._threads = [threading.Thread(target=self._ask, args=(context, words, address, timeout), name="tandem evidence", daemon=True)
                         for address, words in places.items()]
        for thread in self._threads:
            thread.start()

    def _ask(self, context: Context, words: str, address: str, timeout: float) -> None:
        try:
            if get_recorder_status(f"http://{address}:{PORT}", pair=context.pair.name, timeout=timeout).attached:
                self.served.append(f"{words} {address}")
        except TandemError:
            pass  # no proof

    def wait(self, timeout: float) -> str | None:
        """Where a recorder says that it is attached, None when nobody said so in time."""
        deadline = time.monotonic() + timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return self.served[0] if self.served else None


class Evidence:
    """``start`` while the nodes are asked; ``first`` is what came of it; ``refuse_if_served`` asks anew."""

    def __init__(self, context: Context):
        self._context = context
        self._look: _Look | None = None

    def start(self) -> None:
        self._look = _Look(self._context, {self._context.pair.service_address.address: "the service address"}, FIRST_TIMEOUT)

    def first(self) -> str | None:
        """The answer of before: a hint, and no proof of what is now."""
        return self._look.wait(TIMEOUT) if self._look is not None else None

    def refuse_if_served(self, silent: NodeDefinition, reason: str | None) -> None:
        """Raise when a recorder says now that it is attached. To be called after the lease ran out."""
        pair = self._context.pair
        places = {pair.service_address.address: "the service address", silent.address: "its own address"}
        served = _Look(self._context, places, TIMEOUT).wait(4 * TIMEOUT)  # each has several timeouts of its own: connecting, reading
        if served is None:
            return
        raise TandemError(f"it does not answer ({reason or 'no reason known'}), and yet a recorder answers at {served} and says that it is"
                          " attached, now that the other node's promise to it has run out", pair=pair.name, node=silent.name,
                          code="partner_serves",
                          next_step=f"mend the way to node {silent.name} and use a switchover; or, with proof that it is off, say so in"
                                    " force. Nothing was changed.")
