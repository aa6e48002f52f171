# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Exchanging certificates on two nodes that behave like guards: what a running one knows is what was on the disk at its start."""

from __future__ import annotations

import dataclasses

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import guard_certificates
from ansible_collections.tandem.xprotect.tests.unit.builders import THREE, WITNESS, Site, facts

A, B = "north-a", "north-b"
PEM = {name: certificates.create(name, "10.0.0.11")[0] for name in (A, B, "watch-1")}
DOCUMENT = {"address": "10.0.0.11", "lease_ttl": 4.0}


@dataclasses.dataclass
class Guard:
    attached: bool
    disk: tuple[str, str]  # own certificate, what is accepted of the partner
    runs: tuple[str, str]


class Pair(Site):
    """Two guards and a witness. It fails as soon as something is asked of guards that cannot talk to each other."""

    def __init__(self, live_reload=False):
        super().__init__()
        self.live_reload = live_reload
        self.guards = {A: Guard(True, (PEM[A], PEM[B]), (PEM[A], PEM[B])), B: Guard(False, (PEM[B], PEM[A]), (PEM[B], PEM[A]))}
        self.witness = []
        self.broken_at = None

    def answer(self, node, verb, request, on_progress):
        self.calls.append((node, verb, request))
        if len(self.calls) == self.broken_at:
            raise VerbError("it broke", "north", node, code="machine")
        if verb.startswith("lock."):
            return {"changed": True}
        return getattr(self, verb.replace(".", "_"))(node, request)

    def facts(self, node, unused):
        return facts(state="attached" if self.guards[node].attached else "headless", epoch=4, tandem=DOCUMENT, **THREE)

    def guard_tls(self, node, unused):
        return {"certificate": self.guards[node].disk[0], "has_key": True}

    def guard_configure(self, node, request):
        guard, tls = self.guards[node], request["tls"]
        wanted = (tls["certificate"], tls["partner_certificate"])
        assert (tls["key"] is not None) is (wanted[0] != guard.disk[0]), "a new certificate comes with its key"
        pending = wanted != guard.runs and guard.attached and not self.live_reload
        if not request["check"]:
            guard.disk = wanted
            guard.runs = guard.runs if pending else wanted
        return {"changed": True, "items": [], "guard_pending": pending}

    def attachment_status(self, node, unused):
        self.local(node)
        return {"state": "attached" if self.guards[node].attached else "headless", "partner": {"heard_ago": 0.0 if self.talk() else 99.0}}

    def attachment_release(self, node, request):
        self.local(node)
        assert self.talk() and self.guards[node].attached
        for name, guard in self.guards.items():
            guard.attached = name == request["successor"]
        return {"changed": True, "epoch": 5, "steps": []}

    def witness_status(self, *unused):
        return {"certificate": PEM["watch-1"]}

    def witness_pair(self, unused, request):
        self.witness = [certificates.split(node["certificate"]) for node in request["pair"]["nodes"]]
        return {"changed": True}

    def local(self, node):
        """A verb shows the certificate on the disk to the guard that runs."""
        assert self.guards[node].disk[0] == self.guards[node].runs[0]

    def talk(self):
        a, b = self.guards[A].runs, self.guards[B].runs
        return a[0] in b[1] and b[0] in a[1]


def test_both_get_new_ones_and_can_always_talk():
    site = Pair()
    result = guard_certificates.run(site.context(guard_certificates, witness=WITNESS))
    assert result["changed"] and result["attached"] == A and result["switchovers"] == 2 and site.guards[A].attached
    for name, partner in ((A, B), (B, A)):
        own, accepted = site.guards[name].disk
        assert own == result["nodes"][name]["certificate"] != PEM[name]
        assert accepted == site.guards[partner].disk[0], "the old one is not accepted any more"
    assert site.talk() and site.witness == [[site.guards[A].disk[0]], [site.guards[B].disk[0]]]
    assert result["pending"] == [A] and result["nodes"][A]["days_left"] > 3600
    assert all(request["config"] == DOCUMENT and request["tls"]["witness_certificate"] == PEM["watch-1"]
               for request in site.requests("guard.configure"))


def test_the_witness_knows_the_new_ones_before_they_are_shown():
    site = Pair()
    guard_certificates.run(site.context(guard_certificates, witness=WITNESS))
    first = next(request for unused, verb, request in site.calls if verb == "witness.pair")
    assert [len(certificates.split(node["certificate"])) for node in first["pair"]["nodes"]] == [2, 2]
    verbs = [verb for unused, verb, unused2 in site.calls]
    assert verbs.index("witness.pair") < verbs.index("guard.configure") and first["pair"]["lease_ttl"] == 4.0


def test_guards_that_read_them_anew_need_no_switchover():
    site = Pair(live_reload=True)
    result = guard_certificates.run(site.context(guard_certificates))
    assert result["switchovers"] == 0 and result["pending"] == [] and site.talk() and "witness.pair" not in [call[1] for call in site.calls]


def test_a_witness_that_is_managed_elsewhere_is_a_warning():
    context = Pair().context(guard_certificates, witness={**WITNESS, "connection": "none", "certificate": PEM["watch-1"]})
    assert guard_certificates.run(context)["changed"] and "register the nodes' new certificates there" in context.warnings[0]


@pytest.mark.parametrize("number", range(1, 40))
def test_wherever_it_breaks_the_guards_can_talk_and_one_is_attached(number):
    site = Pair()
    site.broken_at = number
    try:
        guard_certificates.run(site.context(guard_certificates))
    except TandemError:
        pass
    assert site.talk() and sum(guard.attached for guard in site.guards.values()) == 1
    for name in (A, B):
        site.local(name)


def test_only_when_they_end_soon():
    site = Pair()
    result = guard_certificates.run(site.context(guard_certificates, within_days=365))
    assert not result["changed"] and result["diff"]["after"] == "" and sorted(site.verbs()) == [f"{A} guard.tls", f"{B} guard.tls"]
    assert guard_certificates.run(Pair().context(guard_certificates, within_days=4000))["changed"]


def test_check_mode():
    site = Pair()
    assert guard_certificates.run(site.context(guard_certificates, check_mode=True))["changed"]
    assert sorted(site.verbs()) == [f"{A} guard.tls", f"{B} guard.tls"]


def test_it_needs_the_whole_pair(monkeypatch):
    site = Pair()
    down = NodeUnreachable("no route", "north", B, code="unreachable")
    monkeypatch.setattr(site, "facts", lambda node, request: _raise(down) if node == B else Pair.facts(site, node, request))
    with pytest.raises(TandemError, match="both nodes are needed to exchange certificates"):
        guard_certificates.run(site.context(guard_certificates))


def test_guards_that_do_not_hear_each_other_end_it(monkeypatch):
    monkeypatch.setattr(guard_certificates, "HEARD_WAIT", 0.01)
    site = Pair()
    monkeypatch.setattr(site, "attachment_status", lambda node, request: {"partner": {"heard_ago": None}})
    with pytest.raises(TandemError) as caught:
        guard_certificates.run(site.context(guard_certificates))
    assert caught.value.code == "not_heard" and "run node_guard" in str(caught.value)


def _raise(error):
    raise error
