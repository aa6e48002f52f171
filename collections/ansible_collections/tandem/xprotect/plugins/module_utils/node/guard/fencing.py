# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's own fence agent: a program that switches the partner's machine off before this node takes over by itself.

The lease makes a take-over safe; the agent covers what no lease can, a machine that stood still as a whole. So its failure is
noted and stops nothing. It runs in a thread of its own, once for each silence of the partner,
and only with the votes in hand: they prove that the old lease has run out, so a holder that the witness still hears is never switched
off. This node keeps renewing its votes meanwhile.
"""

from __future__ import annotations

import threading

from ..host.base import Host, HostError
from ..settings import NodeSettings
from .log import GuardLog

#: What an agent did counts for so long.
COUNTS_FOR = 60.0


class Fencing:
    def __init__(self, host: Host, settings: NodeSettings, log: GuardLog):
        self._host = host
        self._agent = settings.fence_agent
        self._partner = settings.partner.name
        self._log = log
        self._thread: threading.Thread | None = None
        self._done_at: float | None = None
        self.outcome: str | None = None

    def done(self, now: float) -> bool:
        """True when there is no agent, or it has run just now; else it is started, to be asked for again."""
        if self._agent is None or (self._done_at is not None and 0 <= now - self._done_at < COUNTS_FOR):
            return True
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="fence-agent", daemon=True)
            self._thread.start()
        return False

    def _run(self) -> None:
        agent = self._agent
        if agent is None:
            return
        self._log(f"the fence agent is run against {self._partner}")
        try:
            code, output = self._host.run_program(list(agent.command), agent.timeout)
            told = f": {output.strip()[-200:]}" if output.strip() else ""
            self.outcome = f"{self._partner} is off{told}" if code == 0 else f"the fence agent failed with {code}{told}"
        except (HostError, OSError) as error:
            self.outcome = f"the fence agent failed: {error}"
        self._log(f"{self.outcome}. The lease decides")
        self._done_at = self._host.monotonic()
