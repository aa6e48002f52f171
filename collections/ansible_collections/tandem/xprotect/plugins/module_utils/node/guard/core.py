# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's own state and the few steps that change it: attach, detach, renew. Nothing here waits for the network.

One lock protects everything; it is held for local steps only. `tick` is called several times a second and applies
`decisions.holder`. The partner's words arrive through `hear`, from whichever thread they came in on.
"""

from __future__ import annotations

import dataclasses
import threading
import time
import uuid

from ..errors import NodeError
from ..host.base import Host, HostError
from ..numbers import is_whole
from ..settings import NodeSettings
from . import decisions, state
from .decisions import ATTACHED, HEADLESS, PartnerView
from .log import GuardLog
from .observe import Observer
from .permit import PermitKeeper

#: Seconds between two looks at things that change seldom (fence, stray service address).
SLOW_PAUSE = 2.0


class Guard:
    def __init__(self, host: Host, settings: NodeSettings, observer: Observer, log: GuardLog):
        self.host = host
        self.settings = settings
        self.observer = observer
        self.log = log
        self.lock = threading.RLock()
        self.started_at = time.monotonic()
        self.boot = str(uuid.uuid4())
        self.file = state.StateFile(host)
        self.permit = PermitKeeper(host, settings.fence_rules(), lambda: log("the permit was closed: nobody renewed it in time"))
        self.partner = PartnerView()
        self.partner_report: dict = {}  # the partner's last status, for reports only
        self.busy: str | None = None
        self.changed = threading.Event()  # something that the partner should hear at once
        self.fence_installed = False
        self.address_held = False
        self.address_error: str | None = None
        self.management_reached_at = self.acknowledged_at = self.started_at
        self.ever_reached_management = False
        self._attached = False
        self._ended = False
        self._unwritten: dict | None = None  # a change of state that the disk refused; tried again
        self._serial = 0
        self._partner_serial: tuple[str, int] = ("", 0)
        self._renewed_at = self._slow_at = 0.0
        self._clock_offset = time.time() - time.monotonic()
        if self.file.lost:
            log(self.file.lost)

    # -- what it is ----------------------------------------------------------------------------------------------------
    @property
    def state(self) -> str:
        return ATTACHED if self._attached and self.permit.is_open() else HEADLESS

    @property
    def epoch(self) -> int:
        return self._unwritten["epoch"] if self._unwritten else self.file.now.epoch

    @property
    def claim(self) -> str:
        return self._unwritten["claim"] if self._unwritten else self.file.now.claim

    @property
    def reason(self) -> str:
        return self._unwritten["reason"] if self._unwritten else self.file.now.reason

    @property
    def interval(self) -> float:
        """Seconds between two renewals and between two words to the partner."""
        return min(1.0, self.settings.permit_ttl / 8)

    def announcement(self) -> dict:
        """What every message to the partner's guard carries. Numbered, so that an old one is known as old."""
        with self.lock:
            self._serial += 1
            return {"boot": self.boot, "serial": self._serial, "epoch": self.epoch, "state": self.state,
                    "incarnation": self.file.now.incarnation, "ttl": self.settings.permit_ttl, "ended": self._ended,
                    "version": self.observer.recorder().version}

    # -- what the partner says -----------------------------------------------------------------------------------------
    def hear(self, announced: object, report: dict | None = None) -> None:
        """Take in the partner's announcement. A higher epoch ends this node's attachment before anything else is done."""
        if not isinstance(announced, dict) or not is_whole(announced.get("epoch")) or not 0 <= announced["epoch"] < 1 << 53:
            return
        with self.lock:
            now = time.monotonic()
            boot, serial = str(announced.get("boot", "")), announced.get("serial")
            serial = serial if isinstance(serial, int) else 0
            if boot == self._partner_serial[0] and serial < self._partner_serial[1]:
                self.partner = dataclasses.replace(self.partner, heard_at=now)
                return
            self._partner_serial = (boot, serial)
            ttl = announced.get("ttl")
            self.partner = PartnerView(
                heard_at=now, epoch=max(announced["epoch"], self.partner.epoch),
                state=ATTACHED if announced.get("state") == ATTACHED else HEADLESS,
                incarnation=str(announced.get("incarnation", "")), ttl=float(ttl) if isinstance(ttl, (int, float)) else 0.0,
                ended=announced.get("ended") is True, version=announced.get("version") or self.partner.version)
            if report is not None:
                self.partner_report = report
            self._follow_epoch()

    def acknowledged(self, sent_at: float) -> None:
        with self.lock:
            self.acknowledged_at = max(self.acknowledged_at, sent_at)

    def management_reached(self, at: float) -> None:
        with self.lock:
            self.ever_reached_management = True
            self.management_reached_at = max(self.management_reached_at, at)

    def _follow_epoch(self) -> None:
        partner = self.partner
        if self._attached and decisions.outranked(self.epoch, self.file.now.incarnation, partner):
            self.detach(f"the partner knows epoch {partner.epoch}, higher than {self.epoch}", state.NONE, epoch=partner.epoch)
        elif partner.epoch > self.epoch and not decisions.own_offer(
                self.claim == state.RELEASED, self.busy == "release", self.epoch, partner):
            self._change(epoch=partner.epoch, claim=state.NONE, reason=f"the partner knows epoch {partner.epoch}")

    # -- steps ---------------------------------------------------------------------------------------------------------
    def attach(self, epoch: int, reason: str) -> list[dict]:
        """Epoch on disk, permit, address: in this order, each measured. Raises before the permit if the disk refuses."""
        with self.lock:
            steps = _Steps()
            self._durably(epoch, state.ATTACHED, reason)
            steps.done("epoch")
            try:
                self.permit.open(self.settings.permit_ttl)
            except (HostError, OSError) as error:
                self._change(epoch=epoch, claim=state.NONE, reason=f"the fence could not be opened: {error}")
                raise NodeError("permit_failed", f"{self._who()} could not open its fence: {error}.",
                                "Run the selftest verb on this node.") from None
            steps.done("permit")
            self._attached = True
            now = time.monotonic()
            self.management_reached_at = self.acknowledged_at = now
            self.ever_reached_management = False
            self._clock_offset = time.time() - now
            self._renew_address(now)
            steps.done("address")
            self.changed.set()
        self.observer.watch_closely(60.0)
        self.log(f"attached with epoch {epoch}: {reason}")
        return steps.list

    def detach(self, reason: str, claim: str, epoch: int | None = None) -> None:
        """Permit, address, then the disk: the fence is closed even when the disk is not there any more."""
        with self.lock:
            was = self._attached
            self._attached = False
            self.permit.close()
            if was or self.address_held:
                self._drop_address()
            self._change(epoch=max(self.epoch, epoch or 0), claim=claim, reason=reason)
            self.changed.set()
        if was:
            self.log(f"detached: {reason}")

    def accept_epoch(self, epoch: int, reason: str) -> None:
        """Agree that the partner attaches with `epoch`. Durable, or it raises."""
        with self.lock:
            self._durably(max(epoch, self.file.now.epoch), state.NONE, reason)

    def tick(self) -> None:
        """One look at the own attachment. Quick: local calls only."""
        with self.lock:
            now = time.monotonic()
            offset = time.time() - now
            jump, self._clock_offset = offset - self._clock_offset, offset
            if self._attached:
                self._tick_attached(now, jump)
            if self._unwritten:
                self._change(**self._unwritten)
        if now - self._slow_at >= SLOW_PAUSE:
            self._slow_at = now
            self._look_slowly(now)

    def end(self) -> None:
        """The guard ends in order: close the fence. The claim stays, a restarted guard asks for it."""
        with self.lock:
            self._ended = True
            if self._attached:
                self._attached = False
                self.permit.close()
                self._drop_address()
        self.permit.end()

    # -- inside --------------------------------------------------------------------------------------------------------
    def _tick_attached(self, now: float, jump: float) -> None:
        action = decisions.holder(decisions.HolderView(
            now=now, ttl=self.settings.permit_ttl, permit_deadline=self.permit.deadline, epoch=self.epoch,
            incarnation=self.file.now.incarnation, partner=self.partner, partner_acknowledged_at=self.acknowledged_at,
            management_reached_at=self.management_reached_at, clock_jump=jump))
        if action.kind == "detach":
            self.detach(action.reason, state.ATTACHED if action.keep_claim else state.NONE, epoch=action.epoch_seen)
        elif now - self._renewed_at >= self.interval:
            if not self.permit.renew(self.settings.permit_ttl):
                self.detach("the permit ran out before it was renewed", state.ATTACHED)
                return
            self._renew_address(now)

    def _renew_address(self, now: float) -> None:
        self._renewed_at = now
        service = self.settings.service_address
        try:
            self.host.hold_address(service.address, service.prefix, self.settings.permit_ttl, service.interface)
            if self.address_error:
                self.log(f"the service address {service.address} is held again")
            self.address_held, self.address_error = True, None
        except (HostError, OSError) as error:
            self.address_held = False
            if str(error) != self.address_error:
                self.log(f"the service address {service.address} could not be held: {error}")
            self.address_error = str(error)

    def _drop_address(self) -> None:
        address = self.settings.service_address.address
        try:
            if address in self.host.addresses():
                self.host.drop_address(address)
        except (HostError, OSError) as error:
            self.log(f"the service address {address} could not be dropped, it ends with its lifetime: {error}")
        self.address_held = False

    def _durably(self, epoch: int, claim: str, reason: str) -> None:
        """Have epoch and claim on the disk, or raise. A reason alone is not worth a refusal."""
        if (self.file.now.epoch, self.file.now.claim) == (epoch, claim):
            self._change(epoch, claim, reason)
        else:
            self.file.change(epoch=epoch, claim=claim, reason=reason)
            self._unwritten = None

    def _change(self, epoch: int, claim: str, reason: str) -> None:
        """Write the state; when the disk refuses, live by it all the same and try again with each tick."""
        current = self.file.now
        if (current.epoch, current.claim, current.reason) == (epoch, claim, reason):
            self._unwritten = None
            return
        try:
            self.file.change(epoch=epoch, claim=claim, reason=reason)
            self._unwritten = None
        except (NodeError, HostError, OSError) as error:
            if self._unwritten is None:
                self.log(f"the guard's state could not be written, trying again: {error}")
            self._unwritten = {"epoch": epoch, "claim": claim, "reason": reason}

    def look_at_fence(self) -> None:
        self.fence_installed = self.host.fence_rules() is not None

    def _look_slowly(self, now: float) -> None:
        """Is the fence there, and is a service address left over on a headless node?"""
        address = self.settings.service_address.address
        try:
            self.look_at_fence()
            lifetime = self.host.addresses().get(address, 0.0)
        except (HostError, OSError) as error:
            self.log.seldom("slow look", f"fence and addresses could not be read: {error}")
            return
        with self.lock:
            stray = (not self._attached and self.busy is None and self.fence_installed and self.epoch > 0
                     and lifetime != 0.0 and (lifetime is None or now - self.started_at > self.settings.permit_ttl + 1.0))
            if stray:
                self.log(f"this node is headless: dropping the service address {address} that is left on it")
                self._drop_address()

    def _who(self) -> str:
        return f"Node {self.settings.node} of pair {self.settings.pair}"


class _Steps:
    """Names of steps and the seconds that each took."""

    def __init__(self) -> None:
        self.list: list[dict] = []
        self._last = time.perf_counter()

    def done(self, step: str) -> None:
        now = time.perf_counter()
        self.list.append({"step": step, "seconds": round(now - self._last, 4)})
        self._last = now
