# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the witness tells: numbered events without silent gaps, and the HTTPS API."""
from __future__ import annotations

import asyncio
import json
import socket

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import api as api_module
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import events as events_module
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness.events import Events
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.witness_scenes import HEALTHY, TOKEN, TestWitness, WitnessHost


@pytest.fixture
def witness(tmp_path, monkeypatch):
    witness = TestWitness(tmp_path / "home", monkeypatch)
    witness.start()
    yield witness
    witness.stop()


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    (tmp_path / "witness").mkdir()
    return WitnessHost()


# -- numbers -----------------------------------------------------------------------------------------------------------

def in_a_loop(work):
    async def run():
        return await work()
    return asyncio.run(run())


def test_a_reader_that_follows_misses_nothing(host):
    async def work():
        events = Events(host, lambda text: None)
        start = events.serial
        for number in range(5):
            events.add("kind", str(number))
        found, gap = events.after(start + 2)
        assert [event.message for event in found] == ["2", "3", "4"] and gap is None
        assert events.after(events.serial) == ([], None)
        assert [event.message for event in events.after(start, limit=2)[0]] == ["0", "1"]
    in_a_loop(work)


def test_events_that_are_gone_are_told(host):
    async def work():
        events = Events(host, lambda text: None, kept=3)
        start = events.serial
        for number in range(5):
            events.add("kind", str(number))
        found, gap = events.after(start)
        assert [event.message for event in found] == ["2", "3", "4"] and gap["first"] == start + 3
        found, gap = events.after(start + 2)
        assert len(found) == 3 and gap is None, "the one before the oldest kept one is known: nothing is missing"
        assert events.after(start + 99)[1] is not None, "a number of the future comes from another life"
    in_a_loop(work)


def test_numbers_are_never_used_twice(host):
    async def first():
        events = Events(host, lambda text: None)
        await events.reserve()
        return [events.add("kind", "x").serial for _count in range(10)]

    async def after_a_crash():
        events = Events(host, lambda text: None)
        await events.reserve()
        seen, gap = events.after(numbers[-1])
        assert gap is not None and not seen
        number = events.add("kind", "y").serial
        events.close()
        return number

    async def after_an_orderly_end():
        events = Events(host, lambda text: None)
        assert events.after(number) == ([], None), "nothing happened in between"
        return events.add("kind", "z").serial

    numbers = in_a_loop(first)
    number = in_a_loop(after_a_crash)
    assert number > numbers[-1] and in_a_loop(after_an_orderly_end) == number + 1


def test_a_block_of_numbers_is_reserved_before_it_is_used_up(host, monkeypatch):
    monkeypatch.setattr(events_module, "BLOCK", 10)
    monkeypatch.setattr(events_module, "_EARLY", 5)

    async def work():
        events = Events(host, lambda text: None)
        for _round in range(20):
            await events.reserve()
            events.add("kind", "x")
            assert json.loads(host.path(events_module.FILE).read_text())["reserved"] >= events.serial
    in_a_loop(work)


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"reserved": "x"}'])
def test_a_lost_number_starts_beyond_all_that_were_used(host, damage):
    host.path(events_module.FILE).write_bytes(damage)

    async def work():
        return Events(host, lambda text: None).serial
    assert in_a_loop(work) > 1_600_000_000


# -- the API -----------------------------------------------------------------------------------------------------------

def test_the_state_of_the_pairs(witness):
    a, b = witness.admitted()
    a.report = {**HEALTHY, "state": "attached"}
    a.ask()
    status, found = witness.api("/v1/pairs")
    assert status == 200 and found["pairs"] == [{"pair": "pair1", "state": "ok", "reasons": []}]
    status, found = witness.api("/v1/pairs/pair1")
    assert status == 200 and found["state"] == "ok" and found["votes"]["voting"] is True
    assert found["nodes"]["pair1-a"]["report"]["state"] == "attached" and found["nodes"]["pair1-b"]["silent"] is False
    assert witness.api("/v1/health")[1]["states"] == {"ok": 1}
    assert witness.api("/v1/pairs/other")[0] == 404


def test_changes_come_as_events_at_once(witness):
    a, b = witness.admitted()
    a.report = {**HEALTHY, "state": "attached"}
    a.ask()
    b.report = {**HEALTHY, "recorder": {"service_state": "stopped", "recording": False}}
    b.ask()
    assert witness.kinds("majority_back", "no_majority") == ["witness_started", "pair_added", "attached", "recorder_dead", "not_recording"]
    events = witness.events()
    assert [event["serial"] for event in events] == list(range(events[0]["serial"], events[0]["serial"] + len(events)))
    assert events[-1]["pair"] == "pair1" and events[-1]["node"] == "pair1-b"


def test_silence_of_a_node_becomes_an_event(witness):
    a, b = witness.admitted()

    def told():
        a.ask()
        return [event for event in witness.events() if event["kind"] == "node_silent"]
    event, = wait_until(told, "the silence of b is told")
    assert event["node"] == "pair1-b" and 2.0 < event["details"]["silent_for"]
    b.ask()
    assert "node_back" in witness.kinds()


def test_a_reader_that_waits_is_answered_when_something_happens(witness):
    a, _b = witness.admitted()
    serial = witness.api("/v1/pairs")[1]["serial"]
    reader = witness.reader()
    reader.request("GET", f"/v1/events?after={serial}&wait=30", headers={"Authorization": f"Bearer {TOKEN}"})
    a.report = {**HEALTHY, "state": "attached"}
    a.ask()
    found = json.loads(reader.getresponse().read())
    assert [event["kind"] for event in found["events"]] == ["attached"] and found["serial"] == serial + 1 and found["gap"] is None
    reader.close()


def test_the_stream_brings_events_and_signs_of_life(witness, monkeypatch):
    monkeypatch.setattr(api_module, "KEEP_ALIVE", 0.1)
    a, _b = witness.admitted()
    reader = witness.reader()
    reader.request("GET", "/v1/events/stream?after=1", headers={"Authorization": f"Bearer {TOKEN}"})
    answer = reader.getresponse()
    lines = [json.loads(answer.readline()) for _count in range(4)]
    assert "gap" in lines[0] and lines[1]["kind"] == "witness_started"
    while not lines[-1].get("keep_alive"):
        lines.append(json.loads(answer.readline()))
    a.report = {**HEALTHY, "state": "attached"}
    a.ask()
    while lines[-1].get("kind") != "attached":
        lines.append(json.loads(answer.readline()))
    reader.close()


@pytest.mark.parametrize("token", [None, "", "wrong", "ä"])
def test_without_the_token_nothing_is_told(witness, token, monkeypatch):
    monkeypatch.setattr(api_module, "_REFUSED_PAUSE", 0.0)
    status, found = witness.api("/v1/pairs", token)
    assert status == 401 and set(found) == {"error"}
    wait_until(lambda: "refused by the API (401)" in witness.log(), "it is logged")


@pytest.mark.parametrize(("request_head", "status"), [
    (b"POST /v1/pairs HTTP/1.1", 405), (b"GET /v1/pairs", 400), (b"GET /v1/pairs HTTP/1.1\r\nContent-Length: 5", 400),
    (b"GET /v1/events?after=x HTTP/1.1", 400), (b"GET /v1/events?after=-1 HTTP/1.1", 400), (b"GET /../etc HTTP/1.1", 404),
    (b"GET /v1/events?" + b"a=1&" * 100 + b" HTTP/1.1", 400), (b"GET http://[/ HTTP/1.1", 400),
    (b"GET /v1/pairs HTTP/1.1\r\nX: " + b"x" * 9000, 431)])
def test_improper_requests_are_refused(witness, request_head, status):
    reader = witness.reader()
    reader.connect()
    reader.sock.sendall(request_head + f"\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        piece = reader.sock.recv(4096)
        assert piece, answer
        answer += piece
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    reader.close()


def test_a_kept_connection_serves_several_requests(witness):
    reader = witness.reader()
    for _count in range(3):
        reader.request("GET", "/v1/health", headers={"Authorization": f"Bearer {TOKEN}"})
        assert json.loads(reader.getresponse().read())["witness"] == "witness-1"
    reader.close()


def test_without_a_token_the_port_stays_closed(tmp_path, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import witness as verbs
    witness = TestWitness(tmp_path / "home", monkeypatch)
    verbs.configure(witness.host, {"config": {**witness.config, "token_sha256": None}}, None)
    witness.start()
    with pytest.raises(OSError):
        socket.create_connection((witness.address, witness.api_port), 1)
    witness.stop()
