# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident guard: starts the threads, ticks, ends in order. One process a node, for one pair."""

from __future__ import annotations

import contextlib
import traceback
import typing as t

from .. import runtime
from ..errors import NodeError
from ..host.base import Host
from ..settings import GUARD_SERVICE, NodeSettings, configuration_sha256, require
from ..store import GUARD_FOLDER, exclusive, make_folder
from .core import Guard
from .follow import Follower
from .fuse import Fuse
from .handover import Handover
from .link import Link
from .log import GuardLog
from .observe import Observer
from .server import Server
from .status import Reporter
from .tls import Pinned

MUTEX_FILE = GUARD_FOLDER + "\\guard.mutex"
TICK = 0.2
LOOK_EVERY = 5  # ticks between two looks at whether the healthier node should be attached


def run(host: Host) -> None:
    """Be the service until it is asked to stop."""
    settings = require(host)
    host.run_service(GUARD_SERVICE, lambda wait: Resident(host, settings).run(wait))


class Resident:
    def __init__(self, host: Host, settings: NodeSettings):
        self._host = host
        self._settings = settings
        make_folder(host, GUARD_FOLDER)
        self.log = GuardLog(host)
        self.guard: Guard | None = None
        self.server: Server | None = None

    def run(self, wait: t.Callable[[float], bool]) -> None:
        """``wait(seconds)`` is true when the service is to stop."""
        try:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(exclusive(self._host, MUTEX_FILE, timeout=10.0))
                except TimeoutError:
                    raise NodeError("guard_runs", "Another guard process runs on this machine.", "Stop it first.") from None
                self._run(wait)
        except Exception:
            self.log(f"the guard ends: {traceback.format_exc()}")
            raise

    def _run(self, wait: t.Callable[[float], bool]) -> None:
        host, settings, log = self._host, self._settings, self.log
        configuration, loaded_runtime = configuration_sha256(host), runtime.sha256()
        log(f"guard of node {settings.node}, pair {settings.pair}, starts headless; runtime {runtime.VERSION}")
        pinned = Pinned(host)
        observer = Observer(host, settings, log)
        fuse = Fuse(host, log)
        guard = self.guard = Guard(host, settings, observer, fuse, log)
        report = Reporter(guard, configuration, loaded_runtime)
        handover = Handover(guard, pinned)
        server = self.server = Server(guard, handover, pinned, report)
        parts = [fuse, observer, server, Link(guard, pinned, report), Follower(guard)]
        for part in parts:
            part.start()
        try:
            self._tick_until(wait, guard, handover)
        finally:
            guard.end()
            for part in reversed(parts):
                part.stop()
            log("the guard ended; the fence is closed")

    @staticmethod
    def _tick_until(wait: t.Callable[[float], bool], guard: Guard, handover: Handover) -> None:
        ticks = 0
        while not wait(TICK):
            guard.tick()
            ticks += 1
            if ticks % LOOK_EVERY == 0:
                handover.look_unattended()
