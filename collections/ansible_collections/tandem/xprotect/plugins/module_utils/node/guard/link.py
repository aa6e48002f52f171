# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps in touch: with the partner's guard once a second, and, while attached, with the Management Server.

A headless node that still has a claim (its guard was restarted, or it detached because it was isolated, or nobody knows
what became of a hand-over) asks the partner here to be attached again.
"""

from __future__ import annotations

import threading
import time

from ..errors import NodeError
from ..host.base import HostError
from . import decisions, state
from .client import TandemClient
from .core import Guard
from .decisions import ATTACHED
from .handover import Handover

CALL_TIMEOUT = 2.0
PROBE_TIMEOUT = 1.0
#: Seconds between two looks at a Management Server that there is no doubt about.
CALM_PAUSE = 10.0


class Link:
    def __init__(self, guard: Guard, handover: Handover):
        self._guard = guard
        self._client: TandemClient = handover.client(PROBE_TIMEOUT)
        self._ended = threading.Event()
        self._was_silent = False
        targets = [(address, port) for address in guard.settings.management_addresses for port in guard.settings.management_ports]
        self._threads = [threading.Thread(target=self._keep_in_touch, name="partner", daemon=True)]
        self._threads += [threading.Thread(target=self._probe, args=target, name="management", daemon=True) for target in targets[:8]]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._guard.changed.set()
        for thread in self._threads:
            thread.join(CALL_TIMEOUT + 2.0)

    def farewell(self) -> None:
        """Tell the partner that this guard ends and its fence is closed, so that nobody waits for the permit to run out."""
        try:
            self._client.call("status", PROBE_TIMEOUT, announce=self._guard.announcement())
        except NodeError:
            pass
        self._client.close()

    # -- the partner ---------------------------------------------------------------------------------------------------
    def _keep_in_touch(self) -> None:
        guard = self._guard
        while not self._ended.is_set():
            guard.changed.wait(guard.interval)
            guard.changed.clear()
            if self._ended.is_set():
                return
            try:
                self._talk()
                if self._was_silent:
                    self._was_silent = False
                    guard.log("the partner's guard answers again")
            except NodeError as error:
                if error.code == "partner_unreachable" and not self._was_silent:
                    self._was_silent = True
                    guard.log(error.message)
                elif error.code != "partner_unreachable":
                    guard.log(f"the partner refused: {error.message}")
                    self._ended.wait(guard.interval)
            except Exception as error:  # noqa: BLE001 - the guard goes on without this word
                guard.log(f"talking to the partner failed: {type(error).__name__}: {error}")
                self._client.close()

    def _talk(self) -> None:
        guard = self._guard
        wanted = self._wanted_epoch()
        sent_at = time.monotonic()
        try:
            if wanted is not None:
                self._client.call("resume", CALL_TIMEOUT, epoch=wanted, announce=guard.announcement())
                self._attach_again(wanted)
            else:
                report = self._client.call("renew" if guard.state == ATTACHED else "status", CALL_TIMEOUT, epoch=guard.epoch,
                                           state=guard.state, ttl=guard.settings.permit_ttl, announce=guard.announcement())
                guard.hear(self._client.announced, report)
            guard.acknowledged(sent_at)
        except NodeError as error:
            if error.code != "partner_unreachable":
                guard.hear(self._client.announced)
                guard.acknowledged(sent_at)
            raise

    def _wanted_epoch(self) -> int | None:
        guard = self._guard
        with guard.lock:
            if guard.state == ATTACHED or guard.busy:
                return None
            return decisions.resume_epoch(guard.claim == state.ATTACHED, guard.claim == state.RELEASED, guard.epoch)

    def _attach_again(self, epoch: int) -> None:
        guard = self._guard
        with guard.lock:
            if self._wanted_epoch() != epoch:
                return  # something else happened while the partner was asked
            released = guard.claim == state.RELEASED
            guard.attach(epoch, f"{guard.settings.partner.name} " + ("did not take over" if released else "agreed that this node resumes"))

    # -- the Management Server -----------------------------------------------------------------------------------------
    def _probe(self, address: str, port: int) -> None:
        guard = self._guard
        last = -CALM_PAUSE
        while not self._ended.wait(guard.interval):
            if guard.state != ATTACHED:
                last = -CALM_PAUSE
                continue
            now = time.monotonic()
            recorder = guard.observer.state()
            calm = now - guard.acknowledged_at < 2 * guard.interval and recorder is not None and recorder.attached
            if calm and now - last < CALM_PAUSE:
                continue
            last = now
            try:
                guard.host.connect(address, port, PROBE_TIMEOUT).close()
            except (OSError, HostError):
                continue
            guard.management_reached(now)
