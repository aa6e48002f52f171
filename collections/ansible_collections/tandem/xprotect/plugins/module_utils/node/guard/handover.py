# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operator or a playbook asks of a guard: adopt, take, release, detach, rejoin, maintenance. And giving way unattended.

The votes decide in the agent; here the other reasons are looked at, the outcome is waited for and told. No lock is held while
anything is waited for; `Guard.busy` marks a flow instead.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import typing as t

from ..errors import NodeError
from ..host.base import HostError
from ..settings import WITNESS
from . import decisions, health
from .client import TandemClient
from .core import Guard, who
from .decisions import ATTACHED, Verdict
from .health_terms import Standing
from .protocol import terms, views
from .protocol.terms import Answer, BadMessage, Membership
from .tls import Pinned

ANSWER_TIMEOUT = 2.0
PROBE_TIMEOUT = 1.0
ORDER_TIMEOUT = 6.0
FUSE_SECONDS = 2.0
#: How long the outcome of a hand-over is waited for before it is told that nobody knows it.
OUTCOME_SECONDS = 6.0
#: How long a new pair's voters may take to admit each other.
ADMISSION_SECONDS = 15.0
_NEXT = {
    "lease_not_free": "Wait that long; or give the proof that the other machine is off as 'force'.",
    "no_majority": "See that the witness and its way to this node work. With the proof that the other machine is off and without a witness, "
                   "'force_without_witness' is left: it is unsafe if the other machine boots.",
    "removed": "Take this node back into the membership: rejoin, asked of the attached node.",
    "not_voting": "Wait until partner and witness have readmitted it; both must run for that.",
    "busy": "Try again in a moment.",
}


class Handover:
    def __init__(self, guard: Guard, pinned: Pinned):
        self._guard = guard
        self._pinned = pinned

    def client(self, connect_timeout: float = PROBE_TIMEOUT) -> TandemClient:
        return TandemClient(self._guard.host, self._guard.settings, "partner", self._pinned, connect_timeout)

    # -- taking over ---------------------------------------------------------------------------------------------------
    def adopt(self, force: str | None) -> dict:
        """First attachment of the machine that serves already. The permit is open before the fence exists: nothing is cut."""
        guard = self._guard
        if guard.state == ATTACHED:
            missing = guard.host.fence_rules() is None  # an earlier adoption ended here
            return {"changed": missing, "epoch": guard.epoch, "steps": [self._install_fence()] if missing else []}
        with self._busy("adopt"):
            status = self._ask_partner()
            recorder = guard.observer.state()
            self._refuse(decisions.may_adopt(guard.epoch, guard.host.fence_rules() is not None, None if recorder is None else recorder.attached,
                                             None if status is None else str(status.get("state")), force), "cannot be adopted")
            if force:
                guard.log(f"adopted by force: {force}")
            membership = self._without_partner(False) if status is None else None
            if membership is None:
                self._wait_admitted()
            self._attach(views.ADOPT, "adopted: it served already", membership, "cannot be adopted")
            return {"changed": True, "epoch": guard.epoch, "steps": [*guard.steps, self._install_fence()]}

    def take(self, force: str | None, without_witness: bool, accept: t.Collection[str], evidence: str | None = None) -> dict:
        """Failover: the partner is silent, or answers and is headless. `evidence`: what a fence agent said, for the log."""
        guard = self._guard
        if guard.state == ATTACHED:
            return {"changed": False, "epoch": guard.epoch, "steps": []}
        with self._busy("take"):
            status = self._ask_partner()
            self._refuse(self._may_take(status, force, accept), "is not attached")
            reason = f"failover by force: {force}" if force else f"failover ({evidence})" if evidence else "failover"
            membership = self._without_partner(without_witness) if force and status is None else None
            self._attach(views.TAKE, reason, membership, "is not attached")
            return {"changed": True, "epoch": guard.epoch, "steps": list(guard.steps)}

    def _may_take(self, status: dict | None, force: str | None, accept: t.Collection[str]) -> Verdict:
        guard = self._guard
        if status is not None and status.get("state") != decisions.HEADLESS:
            return Verdict(False, "partner_answers", f"{guard.settings.partner.name}'s guard answers and says: {status.get('state')}",
                           "Use a planned switchover, or detach the partner first.")
        fitness = guard.fitness()
        if not fitness.ok:
            return fitness
        if status is not None and decisions.fit(_recorder_of(status)).ok:
            return self._worse(guard.observer.standing(), Standing.parse(status, guard.host.monotonic()), accept)
        return decisions.YES

    def _attach(self, kind: str, reason: str, membership: Membership | None, what: str) -> None:
        """Seek the votes and wait for what comes of it."""
        guard, began = self._guard, time.perf_counter()
        guard.fuse.wait_ready(FUSE_SECONDS)  # here, because an opening without one would hold the lock
        with guard.lock:
            guard.steps = []
            order = guard.agent.start(kind, guard.host.monotonic(), reason, membership=membership)
            deadline = time.monotonic() + ORDER_TIMEOUT
            while not order.done and time.monotonic() < deadline:
                guard.news.wait(0.5)
            if order.ok:
                votes = time.perf_counter() - began - sum(step["seconds"] for step in guard.steps)
                guard.steps.insert(0, {"step": "votes", "seconds": round(max(0.0, votes), 4)})
                return
            refusal = order.refusal or Answer(False, "no_majority", "no majority answered in time")
        raise self._error(refusal.code, f"{what}: {refusal.message}", _NEXT.get(refusal.code, "Look at the status of both nodes."),
                          {} if math.isinf(refusal.wait) or not refusal.wait else {"wait": round(refusal.wait, 2)})

    def _without_partner(self, without_witness: bool) -> Membership | None:
        guard = self._guard
        own = guard.agent.record.membership
        gone = {guard.settings.partner.name} | ({WITNESS} if without_witness else set())
        voters = tuple(voter for voter in own.voters if voter not in gone)
        return Membership(own.number + 1, voters) if voters != own.voters else None

    def _wait_admitted(self) -> None:
        guard, deadline = self._guard, time.monotonic() + ADMISSION_SECONDS
        with guard.lock:
            while not guard.agent.record.voting and time.monotonic() < deadline:
                guard.news.wait(0.2)

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

    # -- giving away ---------------------------------------------------------------------------------------------------
    def detach(self) -> dict:
        guard = self._guard
        with guard.lock:
            changed = guard.state == ATTACHED or guard.agent.record.claim != terms.NONE
            if changed:
                guard.agent.release("", guard.host.monotonic(), "detached by an operator")
        return {"changed": changed, "epoch": guard.epoch}

    def release(self, successor: str, fetches: bool, accept: t.Collection[str]) -> dict:
        """Planned hand-over. `fetches`: the successor has no configuration yet and is attached to fetch it."""
        with self._busy("release"):
            status = self._ask_partner()
            self._refuse(self._may_release(successor, status, fetches, accept), "stays as it is")
            return self._hand_over(successor, fetches, f"handing over to {successor}")

    def _may_release(self, successor: str, status: dict | None, fetches: bool, accept: t.Collection[str]) -> Verdict:
        guard = self._guard
        version = guard.observer.recorder().version
        partner_fit = decisions.YES if status is None else decisions.fit(_recorder_of(status), version, fetches)
        verdict = decisions.may_release(guard.state, successor, guard.settings.partner.name,
                                        None if status is None else str(status.get("state")), partner_fit)
        if not verdict.ok:
            return verdict
        if fetches:
            return decisions.may_let_fetch(guard.observer.recorder())
        return self._worse(Standing.parse(status, guard.host.monotonic()), guard.observer.standing(), accept)

    def _hand_over(self, successor: str, fetches: bool, reason: str, unattended: bool = False) -> dict:
        guard, began = self._guard, time.perf_counter()
        with guard.lock:
            if guard.state != ATTACHED:
                raise self._error("not_attached", "was detached meanwhile", "Look at the status of both nodes.")
            epoch = guard.epoch
            guard.agent.release(successor, guard.host.monotonic(), reason, fetches, unattended)
            steps = [{"step": "detach", "seconds": round(time.perf_counter() - began, 4)}]
            began = time.perf_counter()
            outcome = self._wait_outcome(epoch)
        if outcome == "taken":
            steps += self._partner_steps()
            steps.append({"step": "hand_over", "seconds": round(time.perf_counter() - began, 4)})
            return {"changed": True, "epoch": guard.epoch, "successor": successor, "steps": steps}
        if outcome == "back":
            declined = guard.agent.declined
            cause = f": {declined.message}" if declined else ""
            raise self._error("handover_failed", f"is attached again (epoch {guard.epoch}), because {successor} did not take over{cause}",
                              "Correct the cause and run the switchover again.", {"cause": declined.to_document() if declined else None})
        raise self._error("handover_unknown", f"is headless and does not know whether {successor} took over",
                          f"Look at {successor}. This node goes on asking for the votes and comes back by itself when nobody holds them; with "
                          f"proof that {successor} is off, promote this node with a failover.")

    def _wait_outcome(self, epoch: int) -> str | None:
        """Called and returns with the lock held; it is free while waiting."""
        guard, deadline = self._guard, time.monotonic() + OUTCOME_SECONDS
        while time.monotonic() < deadline:
            if guard.agent.attached:
                return "back"
            if guard.agent.lost_to_partner(epoch):
                return "taken"
            guard.news.wait(0.2)
        return None

    def _partner_steps(self) -> list[dict]:
        steps = (self._ask_partner() or {}).get("steps")
        return [{"step": str(step.get("step"))[:32], "seconds": step.get("seconds")}
                for step in (steps if isinstance(steps, list) else [])[:16] if isinstance(step, dict)]

    def look_unattended(self) -> None:
        """Called once a second: does the policy say that the healthier partner should be attached?"""
        guard = self._guard
        if guard.state != ATTACHED or guard.busy or not guard.agent.automatic:
            return
        verdict = guard.observer.should_yield(guard.maintenance.active())
        if verdict.ok:
            threading.Thread(target=self._yield, args=(verdict.message,), name="yield", daemon=True).start()

    def _yield(self, causes: str) -> None:
        guard, name = self._guard, self._guard.settings.partner.name
        try:
            with self._busy("yield"):
                guard.log(f"handing over to {name}, which is healthier: {causes}")
                guard.observer.handed_over()
                self._hand_over(name, False, f"{name} is healthier: {causes}", unattended=True)
        except NodeError as error:
            guard.log(f"giving way to {name}: {error.message}")

    # -- membership and maintenance ------------------------------------------------------------------------------------
    def rejoin(self, node: str) -> dict:
        """Asked of the attached node: the partner that was removed by force votes again, once it is readmitted."""
        guard = self._guard
        if node != guard.settings.partner.name:
            raise self._error("not_partner", f"has no partner {node!r}", "Name the partner.")
        changed = self._join_witness()
        voters = guard.agent.record.membership.voters
        return self._change_membership({*voters, node}, changed)

    def follow_witness(self) -> dict:
        """Asked of the attached node: the witness of node.json votes, or does not vote any more."""
        membership = self._guard.agent.record.membership
        if not self._guard.settings.witness:
            return self._change_membership(set(membership.nodes))
        changed = self._join_witness()
        return {"changed": changed, "membership": self._guard.agent.record.membership.to_document()}

    def _join_witness(self) -> bool:
        """Have the configured witness vote, and wait until it does."""
        guard = self._guard
        voters = guard.agent.record.membership.voters
        changed = bool(guard.settings.witness) and WITNESS not in voters
        if changed:
            self._change_membership({*voters, WITNESS})
        if guard.settings.witness:
            self._wait_for_vote(WITNESS)
        return changed

    def _wait_for_vote(self, voter: str) -> None:
        guard, deadline = self._guard, time.monotonic() + ADMISSION_SECONDS
        with guard.lock:
            while guard.agent.attached and time.monotonic() < deadline:
                if guard.agent.peers[voter].voted == guard.agent.record.epoch:
                    return
                guard.news.wait(0.2)
        raise self._error("not_voting", f"sees no vote of {voter} yet", f"See that {voter} runs, knows this pair, and hears both nodes; then run "
                          "again.")

    def _change_membership(self, voters: set[str], changed: bool = False) -> dict:
        guard = self._guard
        with guard.lock:
            own = guard.agent.record.membership
            if voters != set(own.voters):
                if guard.state != ATTACHED:
                    raise self._error("not_attached", "is headless: only the attached node changes the membership", "Ask the attached node.")
                answer = guard.agent.change_membership(voters, guard.host.monotonic())
                if not answer.granted:
                    raise self._error(answer.code, f"leaves the membership as it is: {answer.message}",
                                      "See that partner and witness answer this node, then run again.")
                changed = True
            return {"changed": changed, "membership": guard.agent.record.membership.to_document()}

    def set_maintenance(self, seconds: float, reason: str) -> dict:
        guard = self._guard
        changed = guard.maintenance.set(seconds, reason)
        guard.wake()
        return {"changed": changed, "maintenance": guard.maintenance.describe()}

    # -- inside --------------------------------------------------------------------------------------------------------
    def _ask_partner(self) -> dict | None:
        """The partner's report when it answers now, None when it is silent."""
        guard = self._guard
        name = guard.settings.partner.name
        with guard.lock:
            sent_at = guard.host.monotonic()
            request = {"op": "status", "header": guard.voter.header(name, sent_at)}
        try:
            with self.client() as client:
                answer = client.call("status", ANSWER_TIMEOUT, header=request["header"])
        except NodeError as error:
            if error.code == "partner_unreachable":
                return None
            return {"state": f"{error.code}: {error.message}"}
        with guard.lock:
            try:
                guard.agent.answered(name, request, answer, sent_at, guard.host.monotonic())
            except BadMessage as error:
                return {"state": f"not understood: {error}"}
        report = answer.get("report")
        guard.partner_report = report if isinstance(report, dict) else {}
        return guard.partner_report

    def _worse(self, candidate: Standing | None, holder: Standing | None, accept: t.Collection[str]) -> Verdict:
        reasons = [reason for reason in health.worse(candidate, holder, self._guard.observer.policy) if reason["name"] not in accept]
        if not reasons:
            return decisions.YES
        return Verdict(False, "worse", "; ".join(reason["message"] for reason in reasons),
                       f"Correct that, or accept it by name: {', '.join(sorted({reason['name'] for reason in reasons}))}.")

    def _refuse(self, verdict: Verdict, what: str) -> None:
        if not verdict.ok:
            raise self._error(verdict.code, f"{what}: {verdict.message}", verdict.next, {"wait": round(verdict.wait, 2)} if verdict.wait else {})

    def _error(self, code: str, what: str, next: str, details: dict | None = None) -> NodeError:
        return NodeError(code, f"{who(self._guard.settings)} {what}.", next, details)

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


def _recorder_of(status: dict) -> decisions.Recorder:
    """The partner's recorder out of its status, as far as it is plausible."""
    recorder = status.get("recorder")
    recorder = recorder if isinstance(recorder, dict) else {}
    quiet = recorder.get("quiet_for")
    known = recorder.get("known_devices")
    writing = recorder.get("writing")
    return decisions.Recorder(str(recorder.get("service_state")), writing if isinstance(writing, int) else 0,
                              known if isinstance(known, int) else 0, quiet if isinstance(quiet, (int, float)) else None,
                              recorder.get("storage_error"), recorder.get("version"))
