# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The open fence with a deadline.

The operating system closes the fence when the guard's process ends. This closes it when the process lives but its loop
does not renew: a thread of its own watches the deadline, and a renewal that comes too late is refused, so that a
process which stood still does not go on as if nothing had happened.
"""

from __future__ import annotations

import threading
import time
import typing as t

from ..host.base import FenceRules, Host, Permit


class PermitKeeper:
    def __init__(self, host: Host, rules: FenceRules, on_expired: t.Callable[[], None] = lambda: None):
        self._host = host
        self._rules = rules
        self._on_expired = on_expired
        self._changed = threading.Condition()
        self._permit: Permit | None = None
        self._deadline = 0.0
        self._ended = False
        self._thread = threading.Thread(target=self._watch, name="permit", daemon=True)
        self._thread.start()

    @property
    def deadline(self) -> float:
        return self._deadline

    def is_open(self) -> bool:
        return self._permit is not None and time.monotonic() < self._deadline

    def expires_in(self) -> float:
        return max(0.0, self._deadline - time.monotonic()) if self._permit is not None else 0.0

    def open(self, ttl: float) -> None:
        with self._changed:
            if self._permit is None:
                self._permit = self._host.open_permit(self._rules)
            self._deadline = time.monotonic() + ttl
            self._changed.notify_all()

    def renew(self, ttl: float) -> bool:
        """Move the deadline. False when it has passed or nothing is open: then the permit is closed."""
        with self._changed:
            if self._permit is None or time.monotonic() >= self._deadline:
                self._close()
                return False
            self._deadline = time.monotonic() + ttl
            return True

    def close(self) -> None:
        with self._changed:
            self._close()

    def end(self) -> None:
        with self._changed:
            self._close()
            self._ended = True
            self._changed.notify_all()
        self._thread.join(5.0)

    def _close(self) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.close()

    def _watch(self) -> None:
        while True:
            with self._changed:
                if self._ended:
                    return
                if self._permit is None:
                    self._changed.wait()
                    continue
                left = self._deadline - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                self._close()
            self._on_expired()
