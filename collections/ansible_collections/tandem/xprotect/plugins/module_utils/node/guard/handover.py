# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attaching and handing over: the flows that need the partner. Each local step is `Guard`'s; here is only the talking.

No lock is held while the network is waited for. `Guard.busy` marks a flow instead, and each flow looks again under the
lock before it changes anything.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t

from .. import ledger
from ..errors import NodeError
from ..host.base import HostError
from . import decisions, state
from .client import TandemClient
from .core import Guard
from .decisions import ATTACHED, AskedView, PartnerView, Verdict
from .tls import Pinned

ANSWER_TIMEOUT = 2.0
PROBE_TIMEOUT = 1.0
#: How long a holder tries to find out what became of a hand-over before it reports that it does not know.
RESOLVE_SECONDS = 3.0
ATTACH_LIMIT = 10.0


class Handover:
    def __init__(self, guard: Guard, pinned: Pinned):
        self._guard = guard
        self._pinned = pinned
        self._follower: threading.Thread | None = None
        self._ended = threading.Event()

    def client(self, connect_timeout: float = PROBE_TIMEOUT) -> TandemClient:
        return TandemClient(self._guard.host, self._guard.settings, "partner", self._pinned, connect_timeout)

    def stop(self) -> None:
        self._ended.set()
        if self._follower is not None:
            self._follower.join(2.0)

    # -- asked by the partner ------------------------------------------------------------------------------------------
    def take_from_holder(self, epoch: int, fetches: bool = False) -> dict:
        """The releasing holder asks this node to be attached now; `fetches`: to fetch its first configuration."""
        guard = self._guard
        with guard.lock:
            recorder = guard.observer.recorder()
            _refuse(decisions.may_be_given(self._asked(epoch), recorder, fetches), guard, "does not take over")
            steps = guard.attach(epoch, f"switchover from {guard.settings.partner.name}")
        self._follow()
        return {"epoch": epoch, "steps": steps}

    def resume(self, epoch: int) -> dict:
        """The partner asks for this node's consent to be attached."""
        guard = self._guard
        with guard.lock:
            _refuse(decisions.may_resume(self._asked(epoch)), guard, "does not agree")
            guard.accept_epoch(epoch, f"{guard.settings.partner.name} is attached with this node's consent")
            return {"epoch": guard.epoch}

    def _asked(self, epoch: int) -> AskedView:
        guard = self._guard
        return AskedView(guard.state, guard.epoch, guard.claim, guard.busy, epoch)

    # -- asked by a verb on this machine -------------------------------------------------------------------------------
    def adopt(self, force: str | None) -> dict:
        """First attachment of the machine that serves already. The permit is open before the fence exists: nothing is cut."""
        guard = self._guard
        if guard.state == ATTACHED:
            missing = guard.host.fence_rules() is None  # an earlier adoption ended here
            return {"changed": missing, "epoch": guard.epoch, "steps": [self._install_fence()] if missing else []}
        with self._busy("adopt"):
            answer = self._partner_view()
            recorder_state = guard.observer.state()
            _refuse(decisions.may_adopt(guard.epoch, guard.host.fence_rules() is not None,
                                        None if recorder_state is None else recorder_state.attached, answer, force),
                    guard, "cannot be adopted")
            if force:
                guard.log(f"adopted by force: {force}")
            with guard.lock:
                steps = guard.attach(guard.epoch + 1, "adopted: it served already")
            steps.append(self._install_fence())
            return {"changed": True, "epoch": guard.epoch, "steps": steps}

    def _install_fence(self) -> dict:
        guard, started = self._guard, time.perf_counter()
        try:
            guard.host.fence_install(guard.settings.fence_rules())
        except (HostError, OSError) as error:
            # A failed adoption must not stop the service that the machine gives.
            raise NodeError("fence_failed", f"The fence could not be installed: {error}.",
                            "Correct it and run the same task again; this node serves on without a fence.") from None
        guard.fence_installed = True
        return {"step": "fence", "seconds": round(time.perf_counter() - started, 4)}

    def take(self, force: str | None) -> dict:
        """Failover: the partner is silent, or answers and is headless."""
        guard = self._guard
        if guard.state == ATTACHED:
            return {"changed": False, "epoch": guard.epoch, "steps": []}
        with self._busy("take"), self.client() as client:
            asked_at = time.monotonic()
            answer = self._ask_state(client)
            view = decisions.TakeView(asked_at, guard.started_at, guard.settings.permit_ttl, None, guard.observer.recorder(),
                                      guard.partner, answer, force)
            _refuse(decisions.may_take(view), guard, "is not attached")
            epoch = max(guard.epoch, guard.partner.epoch) + 1
            reason = "failover"
            if answer is not None:
                client.call("resume", ANSWER_TIMEOUT, epoch=epoch, announce=guard.announcement())
                reason = f"failover with the consent of {guard.settings.partner.name}"
            elif force:
                reason = f"failover by force: {force}"
            with guard.lock:
                self._still_silent(answer, asked_at, epoch)
                steps = guard.attach(epoch, reason)
        self._follow()
        return {"changed": True, "epoch": epoch, "steps": steps}

    def detach(self) -> dict:
        guard = self._guard
        with guard.lock:
            changed = guard.state == ATTACHED or guard.claim != state.NONE
            if changed:
                guard.detach("detached by an operator", state.NONE)
        return {"changed": changed, "epoch": guard.epoch}

    def release(self, successor: str, fetches: bool = False) -> dict:
        """Planned hand-over: detach, ask the successor, and come back when it proves that it did not take over.

        `fetches`: the successor has no configuration yet and is attached to fetch it.
        """
        guard = self._guard
        with self._busy("release"), self.client() as client:
            self._may_release(client, successor, fetches)
            started = time.perf_counter()
            with guard.lock:
                if guard.state != ATTACHED:
                    raise self._error("not_attached", "was detached meanwhile", "Look at the status of both nodes.")
                epoch = guard.epoch
                guard.detach(f"handing over to {successor}", state.RELEASED)
            steps = [{"step": "detach", "seconds": round(time.perf_counter() - started, 4)}]
            started = time.perf_counter()
            try:
                answer = client.call("take", ANSWER_TIMEOUT, epoch=epoch + 1, fetches=fetches, announce=guard.announcement())
            except NodeError as error:
                return self._resolve(epoch, error, steps, started)
            return self._handed_over(epoch + 1, answer.get("steps"), steps, started)

    # -- inside --------------------------------------------------------------------------------------------------------
    def _may_release(self, client: TandemClient, successor: str, fetches: bool) -> None:
        guard = self._guard
        answer, answer_fit = None, decisions.YES
        if guard.state == ATTACHED:
            try:
                status = client.call("status", ANSWER_TIMEOUT, announce=guard.announcement())
                guard.hear(client.announced, status)
                answer = guard.partner
                answer_fit = decisions.fit(_recorder_of(status), guard.observer.recorder().version, fetches)
            except NodeError as error:
                guard.log(f"asked for a hand-over, but {error.message}")
        _refuse(decisions.may_release(guard.state, None, successor, guard.settings.partner.name, answer, answer_fit),
                guard, "stays as it is")
        if fetches:
            _refuse(decisions.may_let_fetch(guard.observer.recorder()), guard, "stays as it is")

    def _resolve(self, epoch: int, error: NodeError, steps: list[dict], started: float) -> dict:
        """The successor did not say yes. Only its consent to epoch + 2 proves that it will not take epoch + 1 any more."""
        guard = self._guard
        guard.log(f"the hand-over was not confirmed: {error.message}")
        deadline = time.monotonic() + RESOLVE_SECONDS
        while True:
            with self.client() as client:
                try:
                    client.call("resume", PROBE_TIMEOUT, epoch=epoch + 2, announce=guard.announcement())
                    break
                except NodeError as refusal:
                    announced = client.announced or {}
                    if announced.get("state") == ATTACHED and announced.get("epoch") == epoch + 1:
                        return self._handed_over(epoch + 1, None, steps, started)
                    if refusal.code != "partner_unreachable":
                        raise self._unknown(refusal) from None
            if time.monotonic() >= deadline:
                raise self._unknown(error)
            time.sleep(0.1)
        with guard.lock:
            guard.attach(epoch + 2, f"{guard.settings.partner.name} did not take over")
        raise self._error("handover_failed", f"is attached again (epoch {epoch + 2}), because {guard.settings.partner.name} "
                          f"did not take over: {error.message}", error.next or "Correct the cause and run the switchover again.",
                          {"cause": error.as_dict(), "epoch": epoch + 2})

    def _handed_over(self, epoch: int, partner_steps: object, steps: list[dict], started: float) -> dict:
        guard = self._guard
        name = guard.settings.partner.name
        try:
            guard.accept_epoch(epoch, f"{name} took over")
        except (NodeError, HostError, OSError) as error:
            guard.log(f"the hand-over to {name} is done, but could not be written down: {error}")
        steps = steps + [{"step": str(step.get("step"))[:32], "seconds": step.get("seconds")}
                         for step in (partner_steps if isinstance(partner_steps, list) else [])[:16] if isinstance(step, dict)]
        steps.append({"step": "hand_over", "seconds": round(time.perf_counter() - started, 4)})
        return {"changed": True, "epoch": epoch, "successor": name, "steps": steps}

    def _unknown(self, error: NodeError) -> NodeError:
        name = self._guard.settings.partner.name
        return self._error("handover_unknown", f"is headless and does not know whether {name} took over: {error.message}",
                           f"Look at {name}. This node goes on asking and comes back by itself when {name} proves that it did not "
                           f"take over; with proof that {name} is off, promote this node with a failover.", {"cause": error.as_dict()})

    def _ask_state(self, client: TandemClient) -> str | None:
        """The partner's state when it answers now, None when it is silent."""
        guard = self._guard
        try:
            status = client.call("status", PROBE_TIMEOUT, announce=guard.announcement())
        except NodeError as error:
            if error.code == "partner_unreachable":
                return None
            return f"{error.code}: {error.message}"
        guard.hear(client.announced, status)
        return str(status.get("state"))

    def _partner_view(self) -> PartnerView | None:
        with self.client() as client:
            answer = self._ask_state(client)
        if answer is None:
            return None
        return self._guard.partner if self._guard.partner.heard_at is not None else PartnerView(state=answer)

    def _still_silent(self, answer: str | None, asked_at: float, epoch: int) -> None:
        """Called under the lock, just before attaching: nothing that was decided upon may have changed."""
        guard, partner = self._guard, self._guard.partner
        if answer is None and partner.heard_at is not None and partner.heard_at > asked_at:
            raise self._error("partner_answers", "is not attached: the partner's guard came back just now", "Look at its status.")
        if partner.epoch >= epoch and partner.state == ATTACHED or guard.epoch > epoch:
            raise self._error("higher_epoch", f"is not attached: epoch {max(partner.epoch, guard.epoch)} was seen meanwhile",
                              "Look at the status of both nodes.")

    @contextlib.contextmanager
    def _busy(self, what: str) -> t.Iterator[None]:
        guard = self._guard
        with guard.lock:
            if guard.busy:
                raise self._error("busy", f"is busy: {guard.busy}", "Try again in a moment.")
            guard.busy = what
        try:
            yield
        finally:
            with guard.lock:
                guard.busy = None

    def _error(self, code: str, what: str, next: str, details: dict | None = None) -> NodeError:
        settings = self._guard.settings
        return NodeError(code, f"Node {settings.node} of pair {settings.pair} {what}.", next, details)

    # -- after a promotion ---------------------------------------------------------------------------------------------
    def _follow(self) -> None:
        """Watch that the recorder connects; restart it once where that is needed and the partner records."""
        self._follower = threading.Thread(target=self._follow_promotion, name="promotion", daemon=True)
        self._follower.start()

    def _follow_promotion(self) -> None:
        guard, started = self._guard, time.monotonic()
        while not self._ended.wait(0.25) and guard.state == ATTACHED:
            waited = time.monotonic() - started
            current = guard.observer.state()
            if current is not None and current.attached:
                return
            reached = guard.ever_reached_management and time.monotonic() - guard.management_reached_at < 5.0
            heard_at = guard.partner.heard_at
            fresh = heard_at is not None and time.monotonic() - heard_at < 3.0
            writing = (guard.partner_report.get("recorder") or {}).get("writing") if fresh else 0
            if decisions.may_restart_recorder(waited, ATTACH_LIMIT, reached, writing if isinstance(writing, int) else 0, False):
                self._restart_recorder()
                return
            if waited > 300.0:
                return

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


def _recorder_of(status: dict) -> decisions.Recorder:
    """The partner's recorder out of its status, as far as it is plausible."""
    recorder = status.get("recorder") if isinstance(status.get("recorder"), dict) else {}
    quiet = recorder.get("quiet_for")
    known = recorder.get("known_devices")
    writing = recorder.get("writing")
    return decisions.Recorder(str(recorder.get("service_state")), writing if isinstance(writing, int) else 0,
                              known if isinstance(known, int) else 0, quiet if isinstance(quiet, (int, float)) else None,
                              recorder.get("storage_error"), recorder.get("version"))


def _refuse(verdict: Verdict, guard: Guard, what: str) -> None:
    if verdict.ok:
        return
    settings = guard.settings
    details: dict = {"wait": round(verdict.wait, 2)} if verdict.wait else {}
    raise NodeError(verdict.code, f"Node {settings.node} of pair {settings.pair} {what}: {verdict.message}.", verdict.next, details)
