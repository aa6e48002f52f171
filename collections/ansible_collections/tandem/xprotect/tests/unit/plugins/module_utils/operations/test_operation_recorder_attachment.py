# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import contextlib
import copy
import hashlib
import itertools
import os
import threading
from unittest import mock

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import _attach, _evidence, _integrations, recorder_attachment
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.image_server import Frame
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.recorder_status import RecorderStatus
from ansible_collections.tandem.xprotect.tests.unit.builders import RECORDER, Site

A, B = "north-a", "north-b"
ATTACHED, HEADLESS = {"state": "attached", "epoch": 4}, {"state": "headless", "epoch": 4}
DOWN = NodeUnreachable("no route", "north", A, code="unreachable")
RELEASED = {"changed": True, "epoch": 5, "successor": B, "steps": [{"step": "detach", "seconds": 0.1}, {"step": "recorder_attached",
                                                                                                        "seconds": 0.4}]}
TAKEN = {"changed": True, "epoch": 5, "steps": [{"step": "permit_wait", "seconds": 4.0}, {"step": "epoch", "seconds": 0.01}]}


SERVICE, OWN = "http://10.0.0.10:7563", "http://10.0.0.11:7563"


@pytest.fixture(autouse=True)
def says(monkeypatch):
    """What recorders say of themselves, by URL; by default nobody answers. A list is said one after the other, the last one for ever."""
    answers = {}

    def ask(url, **unused):
        assert url in (SERVICE, OWN, "http://10.0.0.12:7563")
        answer = answers.get(url)
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if answer is None:
            raise TandemError("no answer", "north")
        return answer

    monkeypatch.setattr(_evidence, "get_recorder_status", ask)
    monkeypatch.setattr(_attach, "RETRY_PAUSE", 0.001)
    return answers


def same(request):
    """Both nodes have the same files."""
    return {"items": {item["id"]: {"exists": item["id"] == "recorder_config", "sha256": hashlib.sha256(b"<a/>").hexdigest(),
                                   "content_b64": base64.b64encode(b"<a/>").decode()} for item in request["items"]}}


def run(site, mode="switchover", **options):
    site.answers.setdefault("config.read", same)
    context = site.context(recorder_attachment, mode=mode, **options)
    return recorder_attachment.run(context), context


def changing(site):
    """What was called, without what only reads."""
    return site.verbs(reading=("facts", "config.read", "attachment.status"))


def test_a_switchover():
    site = Site(ATTACHED, HEADLESS, attachment__release=RELEASED)
    result, unused = run(site)
    assert result["changed"] and (result["attached"], result["previously_attached"], result["epoch"], result["epoch_before"]) == (B, A, 5,
                                                                                                                                  4)
    assert [step["step"] for step in result["steps"]] == ["detach", "recorder_attached"] and result["fingerprint"] is None
    assert changing(site) == [f"{A} attachment.release"]
    assert site.requests("attachment.release") == [{"successor": B, "fetches": False, "accept": []}]
    assert result["diff"] == {"before": "attached: north-a\n", "after": "attached: north-b\n"}
    assert result["msg"].startswith("node north-b is attached instead of node north-a after ")


def test_attachment_never_asks_for_the_work_lock():
    site = Site(ATTACHED, {**HEADLESS, "lock": {"owner": "somebody"}}, attachment__release=RELEASED)
    site.answers = {key: value for key, value in site.answers.items() if not key.startswith("lock.")}
    assert run(site)[0]["changed"]


def test_the_wanted_node_is_attached_already():
    site = Site(ATTACHED, HEADLESS)
    result, unused = run(site, node=A)
    assert not result["changed"] and result["msg"] == "node north-a is attached already" and result["steps"] == [] and changing(site) == []
    assert result["diff"]["before"] == result["diff"]["after"]


def test_check_mode_of_a_switchover():
    site = Site(ATTACHED, HEADLESS)
    site.answers["config.read"] = same
    context = site.context(recorder_attachment, check_mode=True, mode="switchover")
    result = recorder_attachment.run(context)
    assert result["changed"] and result["msg"] == "node north-b would be attached instead of node north-a" and changing(site) == []


def test_a_failover():
    site = Site(DOWN, HEADLESS, attachment__take=TAKEN)
    result, unused = run(site, "failover", permit_wait=12.0)
    assert result["changed"] and result["attached"] == B and result["previously_attached"] is None
    assert site.requests("attachment.take") == [
        {"wait": 0.0, "force": None, "without_witness": False, "accept": [], "evidence": None}]
    assert result["diff"] == {"before": "attached: nobody\n", "after": "attached: north-b\n"}


def test_force_goes_to_the_guard_and_its_warnings_come_back():
    site = Site(DOWN, HEADLESS, attachment__take={**TAKEN, "warnings": ["clients wait for it"]})
    unused, context = run(site, "failover", force="power cable pulled")
    assert site.requests("attachment.take")[0]["force"] == "power cable pulled"
    assert context.warnings == ["node north-b: clients wait for it"]


# -- evidence ----------------------------------------------------------------------------------------------------------
CONNECTED = RecorderStatus("Attached", "Connected")
LEASED = VerbError("the lease is not free for 0.02 s", "north", B, code="lease_not_free", details={"wait": 0.02})


def test_a_failover_is_refused_while_a_recorder_serves_at_the_service_address(says):
    says[SERVICE] = CONNECTED
    site = Site(DOWN, HEADLESS, attachment__take=TAKEN)
    with pytest.raises(TandemError) as caught:
        run(site, "failover")
    assert caught.value.code == "partner_serves" and changing(site) == []
    assert str(caught.value).startswith("pair north, node north-a: it does not answer (no route), and yet a recorder answers")
    assert run(site, "failover", force="power cable pulled")[0]["changed"], "a person's proof stands against it"


@pytest.mark.parametrize("state", ["Detached", "NotAttached"])
def test_a_recorder_that_is_not_attached_is_no_proof(says, state):
    says[SERVICE] = RecorderStatus(state, "Disconnected")
    assert run(Site(DOWN, HEADLESS, attachment__take=TAKEN), "failover")[0]["changed"]


def test_only_what_is_heard_after_the_lease_ran_out_counts(says):
    """The recorder answered once while the lease went on, and never again."""
    says[SERVICE] = [CONNECTED, None]
    site = Site(DOWN, {**HEADLESS, "guard__status__lease__free_in": 5.0}, attachment__take=[LEASED, TAKEN])
    result, unused = run(site, "failover")
    assert result["changed"] and result["steps"][0]["step"] == "permit_wait" and result["steps"][0]["seconds"] >= 0.02
    assert (B, {"step": "waiting", "seconds": 0.0, "reason": LEASED.message}) in site.events


@pytest.mark.parametrize("place", [SERVICE, OWN])
def test_a_recorder_that_still_serves_after_its_lease_stops_the_failover(says, place):
    says[place] = CONNECTED
    site = Site(DOWN, {**HEADLESS, "guard__status__lease__free_in": 5.0}, attachment__take=[LEASED, TAKEN])
    with pytest.raises(TandemError) as caught:
        run(site, "failover")
    assert caught.value.code == "partner_serves" and "promise to it has run out" in str(caught.value)
    assert len(site.requests("attachment.take")) == 1, "and it was not asked again"


def test_a_lease_that_goes_on_is_waited_for_no_longer_than_allowed(says):
    says[SERVICE] = CONNECTED
    site = Site(DOWN, {**HEADLESS, "guard__status__lease__free_in": 5.0},
                attachment__take=VerbError("the lease is not free", "north", B, code="lease_not_free", details={"wait": 7.9}))
    with pytest.raises(TandemError) as caught:
        run(site, "failover", permit_wait=1.0)
    assert caught.value.code == "lease_not_free" and "a recorder answered at the service address 10.0.0.10" in str(caught.value)
    assert "raise permit_wait" in str(caught.value)


def test_a_failover_does_not_wait_long_for_a_mute_machine(monkeypatch):
    monkeypatch.setattr(recorder_attachment, "PATIENCE", 0.05)
    gate = threading.Event()

    def mute(request):
        gate.wait(20)
        raise DOWN

    site = Site(mute, HEADLESS, attachment__take=TAKEN)
    try:
        assert run(site, "failover")[0]["changed"] and not gate.is_set()
    finally:
        gate.set()


# -- a holder that answers and cannot serve ----------------------------------------------------------------------------
@pytest.mark.parametrize("broken", [{"running": False}, {"guard__status__health__serving_fit": False}])
def test_a_dead_recorder_is_failed_over_by_its_own_guard(broken):
    site = Site({**ATTACHED, **broken}, HEADLESS, attachment__release=RELEASED)
    result, unused = run(site, "failover")
    assert result["changed"] and changing(site) == [f"{A} attachment.release"]
    assert site.requests("attachment.release")[0]["accept"] == ["coverage", "config_lag", "health"], "poor is better than nobody"


def test_a_dead_recorder_is_no_reason_for_force():
    with pytest.raises(TandemError) as caught:
        run(Site({**ATTACHED, "running": False}, HEADLESS), "failover", force="it is off")
    assert caught.value.code == "partner_answers" and "leave force out" in str(caught.value)


# -- reasons that can be accepted by name ------------------------------------------------------------------------------
WORSE = {"guard__status__health": {"score": 60, "serving_fit": False, "causes": [
    {"code": "disk_full", "message": "drive D: is full", "devices": []},
    {"code": "devices_stopped", "message": "2 devices stopped", "devices": ["d1", "d2"]}]}}


def test_all_reasons_come_in_one_message_and_can_be_accepted_by_name():
    def other(request):
        found = same(request)
        found["items"]["recorder_config"].update(sha256=hashlib.sha256(b"<b/>").hexdigest(), content_b64=base64.b64encode(b"<b/>").decode())
        return found

    site = Site(ATTACHED, {**HEADLESS, **WORSE}, attachment__release=RELEASED, config__read={A: same, B: other})
    with pytest.raises(TandemError) as caught:
        run(site, "switchover")
    assert [refusal["code"] for refusal in caught.value.details["refusals"]] == ["config_lag", "coverage", "health"]
    assert "accept: [config_lag, coverage, health]" in str(caught.value) and "drive D: is full" in str(caught.value)
    assert changing(site) == []
    result, context = run(site, "switchover", accept=["config_lag", "coverage", "health"])
    assert result["changed"] and len(result["accepted"]) == 2, "what is accepted is not even compared"
    assert site.requests("attachment.release")[0]["accept"] == ["config_lag", "coverage", "health"]
    assert [text.split(":")[0] for text in context.warnings] == ["accepted", "accepted"]


def test_a_configuration_that_cannot_be_read_refuses_nothing():
    site = Site(ATTACHED, HEADLESS, attachment__release=RELEASED, config__read=VerbError("the disk does not answer", "north", B, code="x"))
    result, context = run(site)
    assert result["changed"] and "could not be compared" in context.warnings[0]


def test_the_guards_reasons_are_all_told():
    refused = VerbError("Node north-b would serve worse", "north", A, code="worse", details={"reasons": [
        {"name": "coverage", "message": "it does not record 3 devices"}, {"name": "health", "message": "drive D: is full"}]})
    with pytest.raises(TandemError) as caught:
        run(Site(ATTACHED, HEADLESS, attachment__release=refused))
    assert "it does not record 3 devices; drive D: is full" in str(caught.value)
    assert "accept: [coverage, health]" in str(caught.value)


def test_a_node_that_was_removed_is_taken_back_first():
    gone = {"guard__status__membership": {"number": 5, "voters": [A, "witness"]}}
    with pytest.raises(TandemError) as caught:
        run(Site(ATTACHED, {**HEADLESS, **gone}))
    assert caught.value.code == "removed" and "pair_membership" in str(caught.value)


# -- the fence agent ---------------------------------------------------------------------------------------------------
QUIET = {**HEADLESS, "guard__status__partner": {"heard_ago": 60.0}}


def agent(tmp_path, code, **options):
    script = f'echo "$TANDEM_NODE $TANDEM_PAIR $0 $COLOUR" > {tmp_path}/ran; echo "outlet 4"; exit {code}'
    return {"command": ["/bin/sh", "-c", script, "{address}"],
            "timeout": 30.0, "environment": {"COLOUR": "red"}, "outcome": None, **options}


def test_the_agent_switches_the_silent_machine_off_first(tmp_path):
    site = Site(DOWN, QUIET, attachment__take=TAKEN)
    result, context = run(site, "failover", fence_agent=agent(tmp_path, 0))
    assert (tmp_path / "ran").read_text() == "north-a north 10.0.0.11 red\n"
    assert result["fence"]["confirmed"] and result["fence"]["text"] == "fence agent /bin/sh: exit code 0. outlet 4"
    assert site.requests("attachment.take")[0]["evidence"] == result["fence"]["text"] and context.warnings == []


def test_without_it_the_lease_alone_decides(tmp_path):
    site = Site(DOWN, QUIET, attachment__take=TAKEN)
    result, context = run(site, "failover", fence_agent=agent(tmp_path, 3))
    assert result["changed"] and not result["fence"]["confirmed"] and "exit code 3. outlet 4" in context.warnings[0]


def test_a_forced_failover_needs_its_word(tmp_path):
    site = Site(DOWN, QUIET, attachment__take=TAKEN)
    with pytest.raises(TandemError) as caught:
        run(site, "failover", force="it is off", fence_agent=agent(tmp_path, 3))
    assert caught.value.code == "fence_failed" and changing(site) == []
    run(site, "failover", force="it is off", force_without_witness=True, fence_agent=agent(tmp_path, 0))
    request = site.requests("attachment.take")[0]
    assert request["force"] == "it is off [fence agent /bin/sh: exit code 0. outlet 4]" and request["without_witness"] is True


def test_an_agent_that_hangs_is_stopped_with_all_that_it_started(tmp_path):
    """The child holds the writing end of a pipe open: reading ends when nobody is left who could write."""
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        hanging = agent(tmp_path, 0, command=["/bin/sh", "-c", f"exec 3> {tmp_path}/pipe; sleep 1000 & wait"], timeout=0.5)
        result, context = run(Site(DOWN, QUIET, attachment__take=TAKEN), "failover", fence_agent=hanging)
        assert not result["fence"]["confirmed"] and "did not end within 0.5 s" in context.warnings[0]
        os.set_blocking(reading, True)
        assert os.read(reading, 1) == b""
    finally:
        os.close(reading)


def test_an_agent_that_is_not_there(tmp_path):
    missing = agent(tmp_path, 0, command=[str(tmp_path / "none")])
    assert "cannot be started" in run(Site(DOWN, QUIET, attachment__take=TAKEN), "failover", fence_agent=missing)[1].warnings[0]


@pytest.mark.parametrize(("a", "b"), [
    (DOWN, {**HEADLESS, "guard__status__lease__free_in": None}),  # only a release frees it: a pair without a witness
    (DOWN, {**QUIET, "guard__status__lease__free_in": 60.0}),  # it renews with somebody
    (TandemError("login refused", "north", A, code="wrong_password"), QUIET),  # it answers
    (HEADLESS, QUIET)])
def test_no_machine_is_switched_off_that_may_be_recording(tmp_path, a, b):
    site = Site(a, b, attachment__take=TAKEN)
    with contextlib.suppress(TandemError):
        run(site, "failover", fence_agent=agent(tmp_path, 0))
    assert not (tmp_path / "ran").exists()


def test_a_machine_that_its_partner_still_hears_is_not_switched_off(tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    heard = {"partner": {"heard_ago": 0.2}, "lease": {"free_in": 0}}
    site = Site(DOWN, {**HEADLESS, "guard__status__partner": {"heard_ago": 0.2}}, attachment__take=TAKEN, attachment__status=heard)
    result, context = run(site, "failover", fence_agent=agent(tmp_path, 0))
    assert not (tmp_path / "ran").exists() and "not silent to its partner" in context.warnings[0] and result["fence"] is None
    heard["partner"]["heard_ago"] = 4.0
    assert run(site, "failover", fence_agent=agent(tmp_path, 0))[0]["fence"]["confirmed"], "it fell silent meanwhile"


def test_the_outcome_of_tasks_is_taken_as_it_is():
    told = {"command": None, "timeout": 30.0, "environment": {}, "outcome": {"confirmed": True, "text": "redfish.yml confirmed it"}}
    site = Site(DOWN, QUIET, attachment__take=TAKEN)
    assert run(site, "failover", fence_agent=told)[0]["fence"]["text"] == "redfish.yml confirmed it"


def test_check_mode_tells_which_machine_is_silent(tmp_path):
    def look(b, **options):
        return run_check(Site(DOWN, b), mode="failover", **options)["silent"]

    assert look(QUIET) == {"node": A, "seconds": 0}
    assert look({**QUIET, "guard__status__lease__free_in": 6.5}) == {"node": A, "seconds": 6.5}
    assert look({**QUIET, "guard__status__lease__free_in": 6.5}, force="it is off") == {"node": A, "seconds": 0}
    assert look({**QUIET, "guard__status__lease__free_in": None}) is None


def run_check(site, **options):
    return recorder_attachment.run(site.context(recorder_attachment, check_mode=True, **options))


def test_a_second_failover_changes_nothing():
    site = Site(DOWN, {"state": "attached", "epoch": 5})
    result, unused = run(site, "failover")
    assert not result["changed"] and result["attached"] == B and changing(site) == []


def test_a_failover_is_refused_while_the_old_node_serves():
    site = Site(ATTACHED, HEADLESS)
    with pytest.raises(TandemError) as caught:
        run(site, "failover", force="I know it")
    assert caught.value.code == "partner_answers" and changing(site) == []
    assert str(caught.value).startswith("pair north, node north-b: failover to it is refused: node north-a answers and is attached")


@pytest.mark.parametrize(("mode", "options", "told"), [
    ("switchover", {"force": "x"}, "belongs to mode failover"), ("failover", {"force": " "}, "force is a text"),
    ("failover", {"force_without_witness": True}, "goes beyond force"),
    ("failover", {"fence_agent": {"command": ["x"], "timeout": 0.0}}, "fence_agent.timeout must be"),
    ("failover", {"fence_agent": {"command": [], "timeout": 1.0}}, "fence_agent.command is empty"),
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
    assert caught.value.code == "management_server" and "nothing was changed" in str(caught.value) and changing(site) == []


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
