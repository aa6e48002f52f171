# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import itertools
import threading
from unittest import mock

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import _evidence, _integrations, recorder_attachment
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.image_server import Frame
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.recorder_status import RecorderStatus
from ansible_collections.tandem.xprotect.tests.unit.builders import RECORDER, Site

A, B = "north-a", "north-b"
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
DOWN = NodeUnreachable("no route", "north", A, code="unreachable")
RELEASED = {"changed": True, "epoch": 5, "successor": B, "steps": [{"step": "detach", "seconds": 0.1}, {"step": "recorder_attached",
                                                                                                        "seconds": 0.4}]}
TAKEN = {"changed": True, "epoch": 5, "steps": [{"step": "permit_wait", "seconds": 4.0}, {"step": "epoch", "seconds": 0.01}]}


@pytest.fixture(autouse=True)
def service_address(monkeypatch):
    """What a recorder at the service address says of itself; by default nobody answers."""
    answers = {"status": None}

    def ask(url, **unused):
        assert url == "http://10.0.0.10:7563"
        if answers["status"] is None:
            raise TandemError("no answer", "north")
        return answers["status"]

    monkeypatch.setattr(_evidence, "get_recorder_status", ask)
    return answers


def run(site, mode="switchover", **options):
    context = site.context(recorder_attachment, mode=mode, **options)
    return recorder_attachment.run(context), context


def test_a_switchover():
    site = Site(ATTACHED, HEADLESS, attachment__release=RELEASED)
    result, unused = run(site)
    assert result["changed"] and (result["attached"], result["previously_attached"], result["epoch"], result["epoch_before"]) == (B, A, 5,
                                                                                                                                  4)
    assert [step["step"] for step in result["steps"]] == ["detach", "recorder_attached"] and result["fingerprint"] is None
    assert site.verbs() == [f"{A} attachment.release"] and site.requests("attachment.release") == [{"successor": B, "fetches": False}]
    assert result["diff"] == {"before": "attached: north-a\n", "after": "attached: north-b\n"}
    assert result["msg"].startswith("node north-b is attached instead of node north-a after ")


def test_attachment_never_asks_for_the_work_lock():
    site = Site(ATTACHED, {**HEADLESS, "lock": {"owner": "somebody"}}, attachment__release=RELEASED)
    site.answers = {key: value for key, value in site.answers.items() if not key.startswith("lock.")}
    assert run(site)[0]["changed"]


def test_the_wanted_node_is_attached_already():
    site = Site(ATTACHED, HEADLESS)
    result, unused = run(site, node=A)
    assert not result["changed"] and result["msg"] == "node north-a is attached already" and result["steps"] == [] and site.verbs() == []
    assert result["diff"]["before"] == result["diff"]["after"]


def test_check_mode_of_a_switchover():
    site = Site(ATTACHED, HEADLESS)
    context = site.context(recorder_attachment, check_mode=True, mode="switchover")
    result = recorder_attachment.run(context)
    assert result["changed"] and result["msg"] == "node north-b would be attached instead of node north-a" and site.verbs() == []


def test_a_failover():
    site = Site(DOWN, HEADLESS, attachment__take=TAKEN)
    result, unused = run(site, "failover", permit_wait=12.0)
    assert result["changed"] and result["attached"] == B and result["previously_attached"] is None
    assert site.requests("attachment.take") == [{"mode": "failover", "wait": 12.0, "force": None}]
    assert result["diff"] == {"before": "attached: nobody\n", "after": "attached: north-b\n"}


def test_force_goes_to_the_guard_and_its_warnings_come_back():
    site = Site(DOWN, HEADLESS, attachment__take={**TAKEN, "warnings": ["clients wait for it"]})
    unused, context = run(site, "failover", force="power cable pulled")
    assert site.requests("attachment.take")[0]["force"] == "power cable pulled"
    assert context.warnings == ["node north-b: clients wait for it"]


def test_a_failover_is_refused_while_a_recorder_serves_at_the_service_address(service_address):
    service_address["status"] = RecorderStatus("Attached", "Connected")
    site = Site(DOWN, HEADLESS, attachment__take=TAKEN)
    with pytest.raises(TandemError) as caught:
        run(site, "failover")
    assert caught.value.code == "partner_serves" and site.verbs() == []
    assert str(caught.value).startswith("pair north, node north-a: it does not answer (no route), and yet a recorder answers")
    assert run(site, "failover", force="power cable pulled")[0]["changed"], "a person's proof stands against it"


@pytest.mark.parametrize("state", ["Detached", "NotAttached"])
def test_a_recorder_that_is_not_attached_is_no_proof(service_address, state):
    service_address["status"] = RecorderStatus(state, "Disconnected")
    assert run(Site(DOWN, HEADLESS, attachment__take=TAKEN), "failover")[0]["changed"]


def test_a_second_failover_changes_nothing():
    site = Site(DOWN, {"state": "attached", "epoch": 5})
    result, unused = run(site, "failover")
    assert not result["changed"] and result["attached"] == B and site.verbs() == []


def test_a_failover_is_refused_while_the_old_node_serves():
    site = Site(ATTACHED, HEADLESS)
    with pytest.raises(TandemError) as caught:
        run(site, "failover", force="I know it")
    assert caught.value.code == "partner_answers" and site.verbs() == []
    assert str(caught.value).startswith("pair north, node north-b: failover to it is refused: node north-a answers and is attached")


def test_the_guards_refusal_is_passed_on():
    refused = VerbError("the partner's permit may still be open for 5.0 s", "north", B, code="permit_may_be_open", details={"wait": 5.0})
    with pytest.raises(TandemError) as caught:
        run(Site(DOWN, HEADLESS, attachment__take=refused), "failover", permit_wait=0.0)
    assert caught.value.code == "permit_may_be_open" and "raise permit_wait" in str(caught.value)


@pytest.mark.parametrize(("mode", "options", "told"), [
    ("switchover", {"force": "x"}, "belongs to mode failover"), ("failover", {"force": " "}, "force is a text"),
    ("failover", {"permit_wait": -1.0}, "permit_wait must be from 0 to 120"), ("failover", {"serve_wait": 1e9}, "serve_wait must be"),
    ("failover", {"node": "north-c"}, "no node called 'north-c'")])
def test_options_that_do_not_fit(mode, options, told):
    site = Site(DOWN, HEADLESS)
    with pytest.raises(TandemError, match=told):
        run(site, mode, **options)
    assert site.calls == []


# -- with a Management Server ------------------------------------------------------------------------------------------
CAMERA = "0a0b0c0d-0000-4000-8000-000000000003"


class Server:
    """What `Integrations` asks of a Management Server."""

    def __init__(self):
        self.rest, self.soap, self.name, self.tokens, self.broken = self, self, "REC", 0, None
        self.gate = threading.Event()
        self.gate.set()

    def recorder(self, recorder_id):
        self.gate.wait(5)
        if self.broken:
            raise self.broken
        return {"id": recorder_id, "name": self.name, "webServerUri": "http://10.0.0.10:7563/", "lastModified": "now"}

    def recorder_uri(self, recorder_id):
        return self.recorder(recorder_id)["webServerUri"]

    def list(self, path, **unused):
        self.recorder(RECORDER)
        parent = {"hardware": ("recordingServers", RECORDER), "cameras": ("hardware", "h")}.get(path)
        item = {"hardware": "h", "cameras": CAMERA}.get(path)
        return [{"id": item, "enabled": True, "relations": {"parent": {"id": parent[1]}}}] if item else []

    def recorder_info(self, recorder_id):
        return {"RecorderId": recorder_id, "Name": self.name, "WebServerUri": "http://10.0.0.10:7563/"}

    def token(self):
        return f"TOKEN {self.tokens}"

    def forget_token(self):
        self.tokens += 1


class Recorder:
    """The recorder behind the service address: states and refusals come one after the other."""

    def __init__(self, monkeypatch, states=("Attached",), refusals=()):
        self.refusals, self.asked, self.clients = list(refusals), [], []
        self.next_state = mock.Mock(side_effect=itertools.chain(states, itertools.repeat(states[-1])))  # raises those that are errors
        monkeypatch.setattr(_integrations, "get_recorder_status", self.status)
        monkeypatch.setattr(_integrations, "ImageServerClient", self.client)
        monkeypatch.setattr(_integrations, "POLL_SECONDS", 0.01)
        monkeypatch.setattr(_integrations, "FINGERPRINT_WAIT", 0.05)
        monkeypatch.setattr(_integrations, "FINGERPRINT_POLL", 0.01)

    def status(self, url, token, **unused):
        self.asked.append(url)
        state = self.next_state()
        return RecorderStatus(state, "Connected" if state == "Attached" else "Disconnected")

    def client(self, address, camera, token, **unused):
        recorder = self

        class Client:
            def __enter__(self):
                recorder.clients.append((address, camera, token))
                if recorder.refusals:
                    raise recorder.refusals.pop(0)
                return self

            def __exit__(self, *unused):
                pass

            def live_frame(self):
                return Frame(0, 1, 0, "image/jpeg", b"\xff\xd8")

        return Client()


def test_it_is_measured_as_an_integration_sees_it(monkeypatch):
    recorder = Recorder(monkeypatch, ["Detached", TandemError("refused", code="unreachable"), "Attached"])
    site = Site(ATTACHED, HEADLESS, attachment__release=RELEASED)
    result, context = run(site, management_server=Server())
    assert [step["step"] for step in result["steps"]] == ["detach", "recorder_attached", "connection_seen", "first_client_served"]
    assert result["fingerprint"]["equal"] is True and result["fingerprint"]["before"] == result["fingerprint"]["after"]
    assert recorder.asked == ["http://10.0.0.10:7563"] * 3 and recorder.clients == [("10.0.0.10", CAMERA, "TOKEN 0")]
    assert context.warnings == [] and (None, result["steps"][3]) in site.events


def test_a_refused_token_is_renewed(monkeypatch):
    recorder = Recorder(monkeypatch, refusals=[TandemError("no", code="refused", details={"reason": "Security token invalid"})])
    run(Site(ATTACHED, HEADLESS, attachment__release=RELEASED), management_server=Server())
    assert [token for unused, unused2, token in recorder.clients] == ["TOKEN 0", "TOKEN 1"]


def test_a_client_that_is_not_served_in_time_is_a_warning(monkeypatch):
    Recorder(monkeypatch, ["Detached"])
    result, context = run(Site(ATTACHED, HEADLESS, attachment__release=RELEASED), management_server=Server(), serve_wait=0.05)
    assert result["changed"] and context.warnings[0].endswith("the recorder says Detached, Disconnected")
    assert "connection seen was not reached within 0 s" in context.warnings[0]


def test_another_fingerprint_fails_with_the_fields_that_differ(monkeypatch):
    Recorder(monkeypatch)
    server = Server()

    def release(request):
        server.name = "renamed"
        return RELEASED

    with pytest.raises(TandemError) as caught:
        run(Site(ATTACHED, HEADLESS, attachment__release=release), management_server=server)
    assert caught.value.code == "fingerprint_changed"
    assert {change["field"] for change in caught.value.details["differences"]} == {"rest.recorder.name", "soap.Name"}
    assert "rest.recorder.name: 'REC' became 'renamed'" in str(caught.value) and "pair north" in str(caught.value)


def test_a_switchover_needs_the_management_server():
    server, site = Server(), Site(ATTACHED, HEADLESS, attachment__release=RELEASED)
    server.broken = TandemError("it cannot be reached", code="unreachable")
    with pytest.raises(TandemError) as caught:
        run(site, management_server=server)
    assert caught.value.code == "management_server" and "nothing was changed" in str(caught.value) and site.verbs() == []


def test_a_failover_does_not():
    server, site = Server(), Site(DOWN, HEADLESS, attachment__take=TAKEN)
    server.broken = TandemError("it cannot be reached", code="unreachable")
    result, context = run(site, "failover", management_server=server)
    assert result["changed"] and result["fingerprint"] is None and "clients wait for the Management Server" in context.warnings[0]


def test_a_failover_does_not_wait_for_a_server_that_hangs(monkeypatch):
    monkeypatch.setitem(recorder_attachment.BEFORE_WAIT, "failover", 0.05)
    server = Server()
    server.gate.clear()

    def take(request):
        server.gate.set()  # the answer comes while the node is being attached: it is not from before
        return copy.deepcopy(TAKEN)

    result, context = run(Site(DOWN, HEADLESS, attachment__take=take), "failover", management_server=server)
    assert result["changed"] and result["fingerprint"] is None and "did not give the fingerprint within 0 s" in context.warnings[0]


def test_a_fingerprint_that_cannot_be_read_afterwards_is_a_warning(monkeypatch):
    Recorder(monkeypatch)
    server = Server()

    def take(request):
        server.broken = TandemError("it cannot be reached", code="unreachable")
        return TAKEN

    result, context = run(Site(DOWN, HEADLESS, attachment__take=take), "failover", management_server=server)
    assert result["fingerprint"]["equal"] is None and "could not be read afterwards" in context.warnings[0]
