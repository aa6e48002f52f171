# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resident witness: one process, one event loop, all pairs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import threading
import time
import traceback
import typing as t

from .. import runtime
from ..errors import NodeError
from ..host.base import Host, HostError
from ..store import exclusive, make_folder
from . import judgement, settings
from .api import Api
from .book import Book
from .events import Events
from .log import WitnessLog
from .server import Identity, VotePort
from .settings import PairDefinition, WitnessSettings
from .watch import Watch

MUTEX_FILE = settings.FOLDER + "\\witness.mutex"
RELOAD_PAUSE = 2.0
#: Seconds for which one thread may keep the others from running. Python's own 5 ms let the threads that write records delay the loop.
SWITCH_INTERVAL = 0.0005
_ENDED_PAUSE = 0.5


def run(host: Host) -> None:
    """Be the service until it is asked to stop."""
    about = settings.require(host)
    host.run_service(settings.SERVICE, lambda wait: Resident(host, about).run(wait))


class Resident:
    def __init__(self, host: Host, about: WitnessSettings):
        self._host = host
        self._about = about
        for folder in (settings.FOLDER, settings.PAIRS_FOLDER, settings.VOTES_FOLDER):
            make_folder(host, folder)
        self.log = WitnessLog(host)
        self.ready = threading.Event()  # it listens
        self._loaded_runtime = runtime.sha256()
        self._configuration = settings.configuration_sha256(host)
        self._started = time.monotonic()

    def run(self, wait: t.Callable[[float], bool]) -> None:
        """``wait(seconds)`` is true when the service is to stop."""
        before = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL)
        try:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(exclusive(self._host, MUTEX_FILE, timeout=10.0))
                except TimeoutError:
                    raise NodeError("witness_runs", "Another witness process runs on this machine.", "Stop it first.") from None
                asyncio.run(self._run(wait))
        except Exception:
            self.log(f"the witness ends: {traceback.format_exc()}")
            raise
        finally:
            sys.setswitchinterval(before)
            self.log.close()

    async def _run(self, wait: t.Callable[[float], bool]) -> None:
        self.log(f"witness {self._about.name} starts; runtime {runtime.VERSION}, Python {sys.version.split()[0]}")
        self.events = Events(self._host, self.log)
        await self.events.reserve()
        self.events.add("witness_started", f"witness {self._about.name} started")
        self.watch = Watch(self._host, self.events)
        self.book = Book(self._host, self.log, self._added, self._removed)
        try:
            await self.book.reload()
            gc.freeze()  # what was loaded stays; the collector need not look at it again and again
            await self._serve(wait)
        finally:
            self.book.close()
            self.events.close()
            self.log("the witness ended")

    async def _serve(self, wait: t.Callable[[float], bool]) -> None:
        identity = Identity(self._host, self.book)
        self.votes = VotePort(self._host, self._about, self.book, self.watch, identity, self.log, self.report)
        ports = [self.votes.port]
        if self._about.token_sha256:
            ports.append(Api(self._host, self._about, identity, self, self.events, self.log).port)
        for port in ports:
            port.start()
        looking = [asyncio.create_task(self._look()), asyncio.create_task(self._reload())]
        try:
            await self._until_stopped(wait, looking)
        finally:
            for task in looking:
                task.cancel()
            await asyncio.gather(*looking, return_exceptions=True)
            await asyncio.gather(*(port.stop() for port in ports))

    async def _until_stopped(self, wait: t.Callable[[float], bool], tasks: list[asyncio.Task]) -> None:
        """Until the service is asked to stop. A task that ends by itself is a fault, and the service manager starts anew."""
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                if wait(_ENDED_PAUSE):
                    with contextlib.suppress(RuntimeError):
                        loop.call_soon_threadsafe(stop.set)
                    return

        threading.Thread(target=listen, name="service-stop", daemon=True).start()
        self.ready.set()
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _pending = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            over.set()
            stopped.cancel()

    # -- again and again -----------------------------------------------------------------------------------------------
    async def _look(self) -> None:
        while True:
            self.watch.look(self.book)
            await self.events.reserve()
            await asyncio.sleep(judgement.LOOK)

    async def _reload(self) -> None:
        while True:
            await asyncio.sleep(RELOAD_PAUSE)
            try:
                if await self.book.reload():
                    self.votes.close_strangers()
            except (NodeError, HostError) as error:
                self.log.seldom("reload", f"the pairs cannot be read: {error}")

    def _added(self, definition: PairDefinition) -> None:
        self.watch.add(definition)

    def _removed(self, definition: PairDefinition) -> None:
        self.watch.remove(definition)

    # -- what it tells -------------------------------------------------------------------------------------------------
    def report(self) -> dict:
        """For a verb on this machine."""
        return {**self.health(), "pairs": self.watch.summary(), "runtime_sha256": self._loaded_runtime,
                "configuration_sha256": self._configuration, "problems": dict(self.book.problems)}

    def pairs(self) -> dict:
        return {"witness": self._about.name, "suspect": self.watch.suspect, "pairs": self.watch.summary()}

    def pair(self, name: str) -> dict | None:
        described, entry = self.watch.describe(name), self.book.entries.get(name)
        if described is None:
            return None
        votes = None if entry is None else entry.voter.describe(self._host.monotonic())
        return {**described, "recorder_id": entry.definition.recorder_id if entry else None, "votes": votes}

    def health(self) -> dict:
        counts: dict[str, int] = {}
        for row in self.watch.summary():
            counts[row["state"]] = counts.get(row["state"], 0) + 1
        return {"witness": self._about.name, "suspect": self.watch.suspect, "runtime_version": runtime.VERSION,
                "running_for": round(time.monotonic() - self._started, 1), "serial": self.events.serial, "states": counts,
                "connections": self.votes.port.count, "answered": self.votes.answered, "unusable_pairs": sorted(self.book.problems),
                "latest_look_late": round(self.watch.latest_look_late, 3)}
