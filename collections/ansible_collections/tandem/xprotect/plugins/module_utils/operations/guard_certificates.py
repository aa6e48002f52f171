# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``guard_certificates``: new certificates for the guards of both nodes, one after the other, while one node is attached.

A guard reads its certificates when it starts, and the guard of an attached node is never restarted. So nobody shows a new certificate
before those who have to accept it run with both, the old one and the new one, and where the attached node has to change, attachment
moves to its partner for that time and back. At no moment can the two guards not talk to each other.
"""

from __future__ import annotations

import time
import typing as t

from .. import _runtime_build, certificates
from ..arguments import with_pair
from ..errors import TandemError
from ..pair.attachment import ACCEPTABLE, SWITCHOVER, plan_attachment
from ..pair.pair import WITNESS
from ..pair.roles import NodeView, require_reachable
from . import _witness
from ._attach import carry_out
from ._integrations import Integrations
from ._nodes import need_roles, read_facts
from ._work import WorkLock
from .context import Context

ARGUMENT_SPEC = with_pair(
    within_days={"type": "int"},
    serve_wait={"type": "float", "default": 30.0},
)
HEARD_WAIT = 30.0
POLL_SECONDS = 0.25
INTEGRATIONS_WAIT = 60.0


def run(context: Context) -> dict[str, t.Any]:
    views, unused = read_facts(context)
    holder = need_roles(context, views, "exchange certificates").attached or ""
    _refuse_unready(context, views)
    present = context.on_nodes(lambda session: session.call("guard.tls", {}))
    old = {name: _present(context, name, present[name]) for name in context.node_names}
    days = {name: certificates.read(pem).days_left() for name, pem in old.items()}
    limit = context.params.get("within_days")
    if limit is not None and min(days.values()) > limit:
        return _result(context, False, holder, old, old, 0, [])
    if context.check_mode:
        return _result(context, True, holder, old, old, 0, [])
    with WorkLock(context, context.node_names, "exchanging certificates") as work:
        exchange = _Exchange(context, work, views, old)
        exchange.run(holder)
    return _result(context, True, holder, old, exchange.certificates(), exchange.switchovers, exchange.pending)


def _refuse_unready(context: Context, views: t.Mapping[str, NodeView]) -> None:
    require_reachable(context.pair, views, "exchange certificates")
    for name in context.node_names:
        view = views[name]
        reason = None
        if not view.guard_answers or view.part("tandem") is None:
            reason = "its guard does not answer"
        elif view.voters and name not in view.voters:
            reason = "it was removed from the voters of the pair (module pair_membership takes it back)"
        if reason:
            raise TandemError(f"certificates are exchanged only in a whole pair, and {reason}", pair=context.pair.name, node=name,
                              code="not_whole", next_step="mend that and run again; nothing was changed.")


def _present(context: Context, name: str, found: t.Mapping[str, t.Any]) -> str:
    if not found.get("certificate") or not found.get("has_key"):
        raise TandemError("it has no certificate or no key to exchange", pair=context.pair.name, node=name, code="no_certificate",
                          next_step="configure the guards first (module node_guard).")
    return str(found["certificate"])


class _Exchange:
    """The steps. After a failure module node_guard brings in line what each node accepts with what its partner has."""

    def __init__(self, context: Context, work: WorkLock, views: t.Mapping[str, NodeView], old: t.Mapping[str, str]):
        self._context = context
        self._work = work
        self._views = views
        self._old = dict(old)
        self._new = {name: certificates.create(name, str(views[name].part("tandem", "address"))) for name in context.node_names}
        self._witness = _witness.certificate(context)
        self.switchovers = 0
        self.pending: list[str] = []

    def certificates(self) -> dict[str, str]:
        return {name: pem for name, (pem, unused) in self._new.items()}

    def run(self, holder: str) -> None:
        try:
            self._exchange(holder)
        except TandemError as error:
            step = error.next_step or "look at both guards (module pair_info)."
            error.next_step = f"{step} Then run node_guard, which brings in line what the nodes accept, and this again."
            raise

    def _exchange(self, holder: str) -> None:
        other = self._context.pair.partner(holder).name
        both = {name: certificates.together(self._old[name], self._new[name][0]) for name in self._context.node_names}
        self._tell_witness(both)
        self._put(other, (self._old[other], None), both[holder])
        self._hear()
        moved = self._configure(holder, self._new[holder], both[other], check=True)
        if moved:
            self._switch(other)
        self._put(holder, self._new[holder], both[other])
        self._hear()
        if moved:
            self._switch(holder)
        self._put(other, self._new[other], self._new[holder][0])
        self._hear()
        # The attached node goes on accepting the old one until its guard starts anew: that needs nobody's attention.
        self.pending = [holder] if self._configure(holder, (self._new[holder][0], None), self._new[other][0], check=False) else []
        self._tell_witness(self.certificates())

    def _put(self, name: str, own: tuple[str, str | None], trusted: str) -> None:
        if self._configure(name, own, trusted, check=False):
            raise TandemError("its guard did not take its certificates over, because it is attached", pair=self._context.pair.name,
                              node=name, code="guard_pending", next_step="find out who attached it meanwhile (module pair_info).")

    def _configure(self, name: str, own: tuple[str, str | None], trusted: str, check: bool) -> bool:
        """Whether it has to wait until the node is headless."""
        answer = self._work.call(name, "guard.configure", {
            "config": self._views[name].part("tandem"),
            "tls": {"certificate": own[0], "key": own[1], "partner_certificate": trusted, "witness_certificate": self._witness},
            "runtime_path": _runtime_build.runtime_path(_runtime_build.sha256()), "check": check}, timeout=180.0)
        return bool(answer.get("guard_pending"))

    def _hear(self) -> None:
        """Both guards have heard each other with the certificates of now."""
        began = time.monotonic()
        while True:
            answers = self._context.try_on_nodes(lambda session: session.call("attachment.status", {}))
            passed = time.monotonic() - began
            deaf = [name for name, answer in answers.items() if isinstance(answer, TandemError) or not _heard(answer, passed)]
            if not deaf:
                return
            if passed >= HEARD_WAIT:
                raise TandemError(f"its guard has not heard its partner for {passed:.0f} s", pair=self._context.pair.name, node=deaf[0],
                                  code="not_heard", next_step="look at the guard's log in C:\\ProgramData\\Tandem\\guard on both nodes.")
            time.sleep(POLL_SECONDS)

    def _switch(self, wanted: str) -> None:
        context, integrations = self._context, Integrations(self._context)
        integrations.start()
        plan = plan_attachment(context.pair, read_facts(context)[0], SWITCHOVER, wanted, accept=ACCEPTABLE)
        problem = integrations.ready(INTEGRATIONS_WAIT)
        if problem is not None:
            raise TandemError(f"the Management Server cannot be asked, so that attachment is not moved: {problem.message}",
                              pair=context.pair.name, code="management_server", next_step="wait until the Management Server answers.")
        if plan.changed:
            carry_out(context, plan, integrations, serve_wait=context.params["serve_wait"])
            self.switchovers += 1

    def _tell_witness(self, trusted: t.Mapping[str, str]) -> None:
        context, witness = self._context, self._context.pair.witness
        if witness is None:
            return
        if witness.way == "none":
            context.warn(f"witness {witness.name} is not managed from here: register the nodes' new certificates there; it has no vote in"
                         " the pair until then")
            return
        document = next(iter(self._views.values())).part("tandem")
        context.witness_session().call("witness.pair", {"state": "present", "check": False, "pair": {
            "pair": context.pair.name, "recorder_id": context.pair.recorder_id, "voters": [*sorted(context.pair.names), WITNESS],
            "nodes": [{"name": name, "certificate": trusted[name]} for name in context.pair.names],
            "lease_ttl": document.get("lease_ttl", 8.0), "lease_drift": document.get("lease_drift", 0.01)}}, timeout=60.0)


def _heard(status: t.Mapping[str, t.Any], within: float) -> bool:
    """A word that is younger than the wait for it."""
    heard = (status.get("partner") or {}).get("heard_ago")
    return isinstance(heard, (int, float)) and heard < within


def _result(context: Context, changed: bool, holder: str, old: t.Mapping[str, str], new: t.Mapping[str, str], switchovers: int,
            pending: list[str]) -> dict[str, t.Any]:
    def described(pem: str) -> dict[str, t.Any]:
        found = certificates.read(pem)
        return {"certificate": pem, "sha256": found.sha256, "not_after": found.not_after.strftime("%Y-%m-%d"),
                "days_left": int(found.days_left())}

    return {"changed": changed, "attached": holder, "switchovers": switchovers, "pending": pending,
            "nodes": {name: described(new[name]) for name in context.pair.names},
            "diff": {"before": "", "after": "".join(f"node {name}: new certificate\n" for name in context.pair.names) if changed else ""}}
