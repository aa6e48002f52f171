# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules `witness` and `witness_pair`: what they ask, bring and report."""

from __future__ import annotations

import hashlib

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import settings
from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import witness, witness_pair
from ansible_collections.tandem.xprotect.plugins.module_utils.operations._witness_machine import WitnessContext
from ansible_collections.tandem.xprotect.tests.unit.builders import WITNESS, Site

A, B = "north-a", "north-b"
DONE = {"changed": True, "running": True, "state": "unknown", "certificate": "PEM"}


def site(**answers):
    tls = {name: {"certificate": certificates.create(name, "10.0.0.1")[0], "has_key": True} for name in (A, B)}
    return Site({}, {}, **{"guard__tls": tls, "witness__pair": DONE, **answers})


# -- witness_pair ------------------------------------------------------------------------------------------------------

def test_the_witness_gets_what_it_accepts_and_no_key():
    scene = site()
    result = witness_pair.run(scene.context(witness_pair, witness=WITNESS, lease_ttl=6.0))
    request, = scene.requests("witness.pair")
    definition = settings.parse_pair(request["pair"])
    assert definition.pair == "north" and definition.names == (A, B) and definition.timing.ttl == 6.0
    assert "PRIVATE" not in str(request) and request["state"] == "present" and request["check"] is False
    assert result["changed"] and result["running"] and result["diff"]["after"] == "pair north: registered\n"


def test_check_mode_only_asks():
    scene = site(witness__pair={**DONE, "running": False})
    context = scene.context(witness_pair, check_mode=True, witness=WITNESS)
    assert witness_pair.run(context)["changed"] and scene.requests("witness.pair")[0]["check"] is True and context.warnings == []


def test_a_pair_can_be_forgotten_without_its_nodes():
    scene = site(guard__tls=TandemError("unreachable"))
    result = witness_pair.run(scene.context(witness_pair, witness=WITNESS, state="absent"))
    assert scene.requests("witness.pair") == [{"state": "absent", "pair": {"pair": "north"}, "check": False}]
    assert result["diff"] == {"before": "pair north: registered\n", "after": ""}


def test_a_witness_that_does_not_run_is_told():
    scene = site(witness__pair={**DONE, "changed": False, "running": False})
    context = scene.context(witness_pair, witness=WITNESS)
    result = witness_pair.run(context)
    assert not result["changed"] and result["diff"] == {"before": "", "after": ""} and "does not answer" in context.warnings[0]


def test_a_node_without_a_certificate_is_refused():
    scene = site(guard__tls={"certificate": None, "has_key": False})
    with pytest.raises(TandemError, match="has no certificate yet"):
        witness_pair.run(scene.context(witness_pair, witness=WITNESS))
    assert scene.requests("witness.pair") == []


# -- witness -----------------------------------------------------------------------------------------------------------

class Machine:
    """A witness's machine with scripted verbs."""

    def __init__(self, **answers):
        self.node_name, self.calls = "watch-1", []
        self.answers = {"witness.status": {"certificate": None, "has_key": False},
                        "witness.configure": {"changed": True, "certificate": "PEM", "items": [{"id": "witness.json", "changed": True}]},
                        **{name.replace("__", "."): answer for name, answer in answers.items()}}

    def call(self, verb, request=None, timeout=None):
        self.calls.append((verb, request))
        return self.answers[verb]

    def close(self):
        pass


def prepare(monkeypatch, found, runtime_changed=False, check=False, **options):
    monkeypatch.setattr(witness, "ensure", lambda session, archive, check_mode: {"changed": runtime_changed})
    given = {name: spec.get("default") for name, spec in witness.ARGUMENT_SPEC.items()}
    context = WitnessContext({**given, "witness": {**WITNESS, **options.pop("machine", {})}, **options}, check_mode=check)
    context._session = found
    return context


def test_a_new_witness_gets_a_certificate_and_a_service(monkeypatch):
    machine = Machine()
    result = witness.run(prepare(monkeypatch, machine, runtime_changed=True, api_token="a long enough token"))
    (_verb, unused), (_verb2, request) = machine.calls
    assert settings.parse(request["config"]).token_sha256 == hashlib.sha256(b"a long enough token").hexdigest()
    assert request["runtime_path"].endswith("\\node.pyz") and request["tls"]["key"].startswith("-----BEGIN PRIVATE KEY-----")
    assert certificates.read(request["tls"]["certificate"]).fits("watch-1", "10.0.0.20")
    assert result["changed"] and result["items"] == ["runtime", "witness.json"] and result["certificate"] == "PEM"


def test_a_witness_keeps_its_certificate(monkeypatch):
    machine = Machine(witness__status={"certificate": "PEM", "has_key": True},
                      witness__configure={"changed": False, "certificate": "PEM", "items": [{"id": "witness.json", "changed": False}]})
    result = witness.run(prepare(monkeypatch, machine))
    assert "tls" not in machine.calls[-1][1] and machine.calls[-1][1]["config"]["token_sha256"] is None
    assert not result["changed"] and result["items"] == []


def test_check_mode_of_a_bare_machine_asks_no_verbs(monkeypatch):
    machine = Machine()
    result = witness.run(prepare(monkeypatch, machine, runtime_changed=True, check=True))
    assert machine.calls == [] and result["changed"] and result["certificate"] is None


def test_on_the_controller_no_service_is_installed(monkeypatch):
    machine = Machine(witness__configure={"changed": True, "certificate": "PEM", "items": [], "restart_needed": True})
    context = prepare(monkeypatch, machine, machine={"connection": "local"})
    assert witness.run(context)["items"] == ["restart"] and "runtime_path" not in machine.calls[-1][1]
    assert "restart it" in context.warnings[0]


@pytest.mark.parametrize(("options", "text"), [({"api_token": "short"}, "shorter than 16"),
                                               ({"machine": {"address": "no such host.invalid"}}, "cannot be resolved")])
def test_mistakes_are_told(monkeypatch, options, text):
    with pytest.raises(TandemError, match=text):
        witness.run(prepare(monkeypatch, Machine(), **options))


def test_a_witness_that_is_managed_elsewhere_is_left_alone():
    context = WitnessContext({"witness": {**WITNESS, "connection": "none"}})
    with pytest.raises(TandemError, match="not managed from this controller"):
        _unused = context.session
