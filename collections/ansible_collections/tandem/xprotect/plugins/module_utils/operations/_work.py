# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work lock: one run at a time changes a pair. Held on every node that answers, renewed while work goes on.

It orders work and protects nothing else: attachment never waits for it. A run that dies leaves its lock to expire.
"""

from __future__ import annotations

import getpass
import os
import platform
import secrets
import time
import typing as t

from ..errors import TandemError
from .context import Context

TTL = 600.0  # longer than any verb is silent
RENEW_AFTER = 60.0
_WAIT = "wait until it has ended, then run again; the lock of a run that died expires by itself."


class WorkLock:
    """``with WorkLock(context, nodes, "backfill") as work:`` ... ``work.call(node, verb, request)``."""

    def __init__(self, context: Context, nodes: t.Iterable[str], purpose: str):
        self._context = context
        self._nodes = sorted(nodes)  # always in the same order, so that two runs cannot hold one node each
        self._purpose = purpose
        self._held: list[str] = []
        self._renewed = 0.0
        self.owner = owner_name()

    def __enter__(self) -> "WorkLock":
        if self._context.check_mode:
            return self  # nothing will be changed, and a lock would be a change
        try:
            for node in self._nodes:
                self._acquire(node)
        except BaseException:
            self._release()
            raise
        self._renewed = time.monotonic()
        return self

    def __exit__(self, *unused: object) -> None:
        self._release()

    def call(self, node: str, verb: str, request: dict[str, t.Any] | None = None, timeout: float = 120.0) -> dict[str, t.Any]:
        """Run a verb under the lock; the lock is renewed before it and with its progress."""
        self.renew()
        return self._context.call(node, verb, request or {}, timeout=timeout, on_progress=lambda event: self.renew())

    def renew(self) -> None:
        """Renew on all nodes when the last time is a while ago. A lock that somebody else took meanwhile ends the work."""
        if not self._held or time.monotonic() - self._renewed < RENEW_AFTER:
            return
        self._renewed = time.monotonic()
        for node in self._held:
            try:
                self._context.call(node, "lock.renew", {"owner": self.owner, "ttl": TTL})
            except TandemError as error:
                if error.code in ("busy", "lock_lost"):
                    raise TandemError(f"the work lock was lost while {self._purpose} went on: {error.message}",
                                      pair=self._context.pair.name,
                                      node=node, code="lock_lost", next_step="wait for the other run to end, then run again.") from error
                self._context.warn(f"the work lock of node {node} could not be renewed: {error.message}")

    def _acquire(self, node: str) -> None:
        request = {"owner": self.owner, "purpose": self._purpose, "ttl": TTL}
        try:
            self._context.call(node, "lock.acquire", request)
        except TandemError as error:
            if error.code != "busy":
                raise
            raise TandemError(f"another run is in progress on this pair: {error.message}", pair=self._context.pair.name, node=node,
                              code="busy", details=error.details, next_step=error.next_step or _WAIT) from error
        self._held.append(node)

    def _release(self) -> None:
        held, self._held = self._held, []
        for node in held:
            try:
                self._context.call(node, "lock.release", {"owner": self.owner}, timeout=30.0)
            except TandemError as error:
                self._context.warn(f"the work lock of node {node} could not be released and expires within {TTL:.0f} s: {error.message}")


def owner_name() -> str:
    """Who runs this, for the people who find the lock: user, controller, process; unique for each run."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    return f"{user}@{platform.node() or 'controller'} process {os.getpid()} ({secrets.token_hex(3)})"
