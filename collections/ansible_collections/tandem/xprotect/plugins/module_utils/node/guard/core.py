# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's state in one place: the agent that votes and holds, and the machine that it holds the attachment on.

One lock protects everything; it is held for local steps only. `Guard` is the agent's `Effects`: what the agent decides is done
here to disk, permit and service address. Whoever talks to the network does so without the lock (``link``, ``handover``, ``server``).
"""

from __future__ import annotations

import threading
import time
import uuid

from ..errors import NodeError
from ..host.base import Host, HostError
from ..settings import AUTOMATIC, NodeSettings
from . import decisions, state
from .decisions import ATTACHED, HEADLESS
from .fencing import Fencing
from .fuse import Fuse
from .log import GuardLog
from .maintenance import Maintenance
from .observe import Observer
from .permit import PermitKeeper
from .protocol import terms
from .protocol.agent import Agent
from .protocol.terms import Answer, BadMessage, Record, Timing
from .protocol.voter import Voter
from .registration import Registration, can_register
from .service_address import AddressKeeper

#: Seconds between two looks at things that change seldom (fence, stray service address).
SLOW_PAUSE = 2.0
#: What was heard of the partner counts for so long.
FRESH = 3.0


class Guard:
    def __init__(self, host: Host, settings: NodeSettings, observer: Observer, fuse: Fuse, log: GuardLog):
        self.host, self.settings, self.observer, self.fuse, self.log = host, settings, observer, fuse, log
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)  # notified whenever something changed that somebody may wait for
        self.wakers: list[threading.Event] = []  # of those who talk to the peers
        self.started_at = host.monotonic()
        self.file = state.StateFile(host, settings)
        self.permit = PermitKeeper(host, settings.fence_rules(), fuse, lambda: log("the permit was closed: nobody renewed it in time"))
        self.address = AddressKeeper(host, settings, log)
        self.maintenance = Maintenance(host, log)
        self.registration = Registration.parse(settings.registration, settings.register)
        self.fencing = Fencing(host, settings, log)
        self.timing = Timing(settings.lease_ttl, settings.lease_drift)
        self.partner_report: dict = {}  # the partner's last status, for reports and for the fitness of a hand-over
        self.busy: str | None = None
        self.fence_installed = False
        self.management_reached_at: float | None = None  # since this node was attached
        self.steps: list[dict] = []  # of the last attachment: name and seconds
        self.registration_error: str | None = None
        self._ended = False
        self._slow_at = 0.0
        self.voter = Voter(settings.node, self.file.record, self.timing.slower(self.file.slowest_detach), self.store, self.started_at,
                           uuid.uuid4().hex, generation=self._generation, log=log)
        self.agent = Agent(settings.node, settings.partner.name, self.voter, self, self.started_at, host.wall(),
                           automatic=settings.promotion == AUTOMATIC and self.registration.unattended)
        observer.on_change = self.wake
        if self.file.lost:
            log(self.file.lost)

    # -- what it is ----------------------------------------------------------------------------------------------------
    @property
    def state(self) -> str:
        return ATTACHED if self.agent.attached and self.permit.is_open() else HEADLESS

    @property
    def epoch(self) -> int:
        return max(self.agent.record.epoch.number, self.agent.seen.number)

    @property
    def interval(self) -> float:
        return self.timing.interval

    # -- what happens --------------------------------------------------------------------------------------------------
    def tick(self) -> None:
        """One look at the own attachment. Quick: local calls only."""
        now = self.host.monotonic()
        with self.lock:
            self.agent.suppressed = self.maintenance.active()
            try:
                self._tick(now)
            except (NodeError, HostError, OSError) as error:
                self.log.seldom("tick", f"the guard's state could not be written, trying again: {error}")
            self.news.notify_all()
        if now - self._slow_at >= SLOW_PAUSE:
            self._slow_at = now
            self._look_slowly(now)

    def _tick(self, now: float) -> None:
        if self.agent.attached and self.permit.fuse_lost():
            self.agent.detach("the fuse is gone: nobody would end this guard if it hung", terms.ATTACHED)
        self.agent.tick(now, self.host.wall())
        if self.agent.attached:
            self.address.renew(self.agent.deadline - now, now, self.interval)

    def asked(self, peer: str, message: dict) -> dict:
        """A peer's request: its vote or its status."""
        with self.lock:
            try:
                answer = self.agent.asked(peer, message, self.host.monotonic())
            except BadMessage as error:
                raise NodeError("bad_request", f"The message is not acceptable: {error}.",
                                "Bring both nodes to the same version of the node runtime.") from None
            self.news.notify_all()
            return answer

    def end(self) -> None:
        """The guard ends in order: close the fence. The claim stays, a restarted guard asks for it."""
        with self.lock:
            self._ended = True  # the voters' last answers must not attach it again
            if self.agent.attached:
                try:
                    self.agent.detach("the guard was stopped", terms.ATTACHED)
                except (NodeError, HostError, OSError) as error:
                    self.log(f"the guard ends, and its state could not be written: {error}")
        self.permit.end()

    def reached_management(self, at: float) -> None:
        with self.lock:
            if self.agent.attached:
                self.management_reached_at = at

    # -- Effects: what the agent does to this machine ------------------------------------------------------------------
    def store(self, record: Record) -> None:
        self.file.store(record)

    def open(self, deadline: float) -> None:
        """Permit and address, each measured."""
        if self._ended:
            raise NodeError("busy", "The guard ends.", "Start the service Tandem Guard.")
        began = time.perf_counter()
        self.permit.open(deadline)
        opened = time.perf_counter()
        self.management_reached_at = None
        now = self.host.monotonic()
        self.address.hold(deadline - now, now)
        self.steps = [{"step": "permit", "seconds": round(opened - began, 4)},
                      {"step": "address", "seconds": round(time.perf_counter() - opened, 4)}]
        self.observer.watch_closely(60.0)
        if self.agent.unattended:
            threading.Thread(target=self.observer.handed_over, name="noted", daemon=True).start()  # it writes a file

    def extend(self, deadline: float) -> bool:
        return self.permit.renew(deadline)

    def close(self) -> None:
        """The permit first, then the address. The slowest closing that was ever seen lengthens the margin."""
        began = time.perf_counter()
        try:
            self.permit.close()
        finally:
            self.address.drop()
            self.file.note_detach(time.perf_counter() - began)
            self.voter.timing = self.timing.slower(self.file.slowest_detach)

    def wake(self) -> None:
        for waker in self.wakers:
            waker.set()

    def fit(self, invited: bool, fetches: bool) -> Answer:
        if not invited and self.epoch == 0:  # the machine that serves may have no fence yet: nothing would keep it from serving on
            return Answer(False, "not_adopted", "this pair has never been attached: it begins with an adoption")
        verdict = self.fitness(fetches)
        return Answer(verdict.ok, verdict.code, verdict.message, verdict.wait)

    def ready(self) -> bool:
        return not self._ended and self.fuse.ready()

    def fenced(self) -> bool:
        """A partner that is heard is headless by its own word: nothing is switched off then."""
        return self.heard_partner() or self.fencing.done(self.host.monotonic())

    # -- inside --------------------------------------------------------------------------------------------------------
    def fitness(self, fetches: bool = False) -> decisions.Verdict:
        """May this node's recorder serve, as far as it is known here?"""
        verdict = decisions.fit(self.observer.recorder(), (self.partner_report.get("recorder") or {}).get("version"), fetches)
        if not verdict.ok:
            return verdict
        found = self.observer.health()
        if not fetches and not found.serving_fit:
            return decisions.Verdict(False, "not_recording", "; ".join(cause.message for cause in found.causes) or "it was not looked at yet",
                                     "Look at this node's recorder, disks and cameras.", 1.0 if not found.causes else 0.0)
        return can_register(self.host, self.registration)

    def heard_partner(self) -> bool:
        """Does the partner's guard live, by what was heard of it just now?"""
        heard_at = self.agent.peers[self.settings.partner.name].heard_at
        return heard_at is not None and self.host.monotonic() - heard_at < FRESH

    def look_at_fence(self) -> None:
        self.fence_installed = self.host.fence_rules() is not None

    def _generation(self) -> str:
        """One that cannot be read just now is the one of before: it must not look like a change."""
        try:
            return self.host.vm_generation()
        except (HostError, OSError) as error:
            self.log.seldom("generation", f"the virtual machine's generation cannot be read: {error}")
            return self.file.record.generation

    def _look_slowly(self, now: float) -> None:
        """Is the fence there, and is a service address left over on a headless node?"""
        try:
            self.look_at_fence()
        except (HostError, OSError) as error:
            self.log.seldom("slow look", f"the fence could not be read: {error}")
            return
        with self.lock:
            if not self.agent.attached and self.busy is None and self.fence_installed and self.epoch > 0:
                self.address.drop_stray(now - self.started_at > self.settings.lease_ttl + 1.0)


def who(settings: NodeSettings) -> str:
    return f"Node {settings.node} of pair {settings.pair}"
