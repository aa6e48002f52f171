# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""After an attachment: the recorder is registered where that is wanted, and seen to connect. Restarted once where that is needed."""

from __future__ import annotations

import threading
import time

from .. import ledger
from ..errors import NodeError
from ..host.base import HostError
from . import decisions
from .core import Guard
from .decisions import ATTACHED
from .registration import register

ATTACH_LIMIT = 10.0
GIVE_UP = 300.0
LOOK = 0.25


class Follower:
    """Watches for a new attachment of this node, whoever ordered it."""

    def __init__(self, guard: Guard):
        self._guard = guard
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="after-attachment", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        followed = False
        while not self._ended.wait(LOOK / 5):
            attached = self._guard.state == ATTACHED
            if attached and not followed:
                try:
                    self._follow()
                except Exception as error:  # noqa: BLE001 - the attachment itself does not depend on it
                    self._guard.log(f"following the attachment failed: {type(error).__name__}: {error}")
            followed = attached

    def _follow(self) -> None:
        guard = self._guard
        if guard.registration.wanted:
            try:
                guard.steps.append(register(guard.host, guard.settings.recorder_service, guard.registration, guard.log,
                                            lambda: guard.state == ATTACHED and not self._ended.is_set()))
                guard.registration_error = None
            except NodeError as error:
                guard.registration_error = error.message
                guard.log(f"this node is attached, but its recorder could not be registered: {error.message}")
        started = time.monotonic()
        while not self._ended.wait(LOOK) and guard.state == ATTACHED:
            current = guard.observer.state()
            waited = time.monotonic() - started
            if (current is not None and current.attached) or waited > GIVE_UP:
                return
            if decisions.may_restart_recorder(waited, ATTACH_LIMIT, guard.management_reached_at is not None, self._partner_writing(), False):
                self._restart_recorder()
                return

    def _partner_writing(self) -> int:
        guard = self._guard
        writing = (guard.partner_report.get("recorder") or {}).get("writing") if guard.heard_partner() else 0
        return writing if isinstance(writing, int) else 0

    def _restart_recorder(self) -> None:
        guard, begin = self._guard, ledger.now_ms()
        name = guard.settings.recorder_service
        guard.log("the recorder did not connect after the promotion: restarting it once, the partner records meanwhile")
        try:
            guard.host.service_stop(name)
            guard.host.service_start(name)
            ledger.record(guard.host, f"promotion-{guard.epoch}", "promotion", begin, ledger.now_ms())
        except (HostError, NodeError) as error:
            guard.log(f"the recorder could not be restarted: {error}")
        guard.observer.watch_closely(60.0)
