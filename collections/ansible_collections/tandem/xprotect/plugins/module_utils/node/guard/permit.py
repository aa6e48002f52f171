# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The open fence with a deadline, given in `Host.monotonic`.

Three things close it, each when those before it cannot. A thread of its own closes it when nobody renews, and a renewal
that comes too late is refused, so that a process which stood still does not go on as if nothing had happened. The fuse ends
the process when that thread does not run either. The operating system closes the fence with the process.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
import typing as t

from ..errors import NodeError
from ..host.base import FenceRules, Host, HostError, Permit
from .fuse import Fuse

FUSE_WAIT = 2.0  # how long an opening waits for the fuse
FUSE_AWAY = 3.0  # how long an open permit goes on without one
_LOOK = 0.25  # no longer wait between two looks: the machine's clock need not go as fast as this process waits


class PermitKeeper:
    def __init__(self, host: Host, rules: FenceRules, fuse: Fuse, on_expired: t.Callable[[], None] = lambda: None):
        self._host = host
        self._rules = rules
        self._fuse = fuse
        self._on_expired = on_expired
        self._changed = threading.Condition()
        self._permit: Permit | None = None
        self._deadline = 0.0
        self._fuse_away = 0.0
        self._ended = False
        self.slowest_close = 0.0  # seconds, measured
        self._thread = threading.Thread(target=self._watch, name="permit", daemon=True)
        self._thread.start()

    @property
    def deadline(self) -> float:
        return self._deadline

    def is_open(self) -> bool:
        return self._permit is not None and self._host.monotonic() < self._deadline

    def expires_in(self) -> float:
        return max(0.0, self._deadline - self._host.monotonic()) if self._permit is not None else 0.0

    def fuse_lost(self) -> bool:
        """Whether the permit has been open without a fuse for so long that it has to be given up."""
        return self._permit is not None and self._fuse_away > FUSE_AWAY

    def open(self, deadline: float) -> None:
        """Open the fence until `deadline`, or move the deadline of the open one. The fuse knows it before the fence opens."""
        self._fuse.arm(deadline)
        try:
            told = self._fuse.wait_told(FUSE_WAIT)
            with self._changed:
                self._open(deadline, told)
        finally:
            with self._changed:
                if self._permit is None:
                    self._fuse.disarm()
                else:
                    self._fuse.arm(self._deadline)

    def _open(self, deadline: float, told: bool) -> None:
        if not told:
            raise NodeError("fuse_missing", "The fuse, the process that ends a hung guard, is not there: the permit stays closed.",
                            "Look into the guard's log for why it does not start; restart the service Tandem Guard.")
        if self._permit is None:
            if self._host.monotonic() >= deadline:
                raise NodeError("no_majority", "The votes for this attachment ran out before the permit was open.", "Try again.")
            self._fuse.arm(deadline)  # once more: an older permit may have been closed since
            self._permit = self._host.open_permit(self._rules)
        self._deadline, self._fuse_away = deadline, 0.0
        self._changed.notify_all()  # when opening took too long, the watch closes it at once

    def renew(self, deadline: float) -> bool:
        """Move the deadline. False when the one before or this one has passed, or nothing is open: then the permit is closed."""
        with self._changed:
            now = self._host.monotonic()
            if self._permit is None or now >= min(self._deadline, deadline):
                self._close_or_end()
                return False
            self._deadline = deadline
            self._fuse.arm(deadline)
            self._changed.notify_all()
            return True

    def close(self) -> None:
        with self._changed:
            self._close()

    def end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._close()
        self._thread.join(5.0)

    def _close_or_end(self) -> None:
        with contextlib.suppress(HostError, OSError):  # then the fuse ends this process
            self._close()

    def _close(self) -> None:
        permit, self._permit = self._permit, None
        if permit is None:
            return
        began = time.perf_counter()
        try:
            permit.close()
        except BaseException:
            # What does not let itself be closed ends with the process: have it ended now.
            self._fuse.arm(self._host.monotonic())
            raise
        self.slowest_close = max(self.slowest_close, time.perf_counter() - began)
        self._fuse.disarm()

    def _watch(self) -> None:
        looked = self._host.monotonic()
        while True:
            with self._changed:
                if self._ended:
                    return
                now, before = self._host.monotonic(), looked
                looked = now
                if self._permit is None:
                    self._changed.wait()
                    continue
                if now < self._deadline:
                    # Short steps only: a process that stood still has not seen its fuse being away meanwhile.
                    self._fuse_away = 0.0 if self._fuse.ready() else self._fuse_away + min(now - before, 2 * _LOOK)
                    self._changed.wait(min(max(self._deadline - now, 0.0), _LOOK))
                    continue
                self._close_or_end()
            try:
                self._on_expired()
            except Exception:  # noqa: BLE001 - this thread has to go on watching
                traceback.print_exc()
