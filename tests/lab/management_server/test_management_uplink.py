# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders at the uplink: hello, tokens, configuration, silence, duplicates."""

from __future__ import annotations

import json
import socket
import time
import uuid

import pytest
from management_server_helpers import login_body, token_of, wait_until

HELLO = {"type": "hello", "instance": "next", "client_registration_id": "x", "name": "x", "host": "x", "port": 7563, "version": "1",
         "time_zone": "UTC"}


def test_welcome_brings_configuration_and_tokens(server, recorder):
    token = token_of(server.soap(login_body()))
    welcome = recorder().wait("welcome")
    assert token in [entry["token"] for entry in welcome["tokens"]]
    assert all(entry["expires_ms"] > time.time() * 1000 for entry in welcome["tokens"])
    configuration = welcome["configuration"]
    assert configuration["recorder"] == {"id": server.pair.recorder_id, "name": "Recorder 1"}
    assert [storage["disk_path"] for storage in configuration["storages"]] == ["D:\\MediaDatabase"]
    cameras = configuration["cameras"]
    assert [camera["id"] for camera in cameras] == [camera.camera_id for camera in server.pair.cameras]
    assert [camera["url"] for camera in cameras] == [camera.url for camera in server.pair.cameras]
    assert [camera["recording_mode"] for camera in cameras] == ["always", "always", "motion", "manual"]
    assert {camera["recording_storage_id"] for camera in cameras} == {server.pair.storage_id}
    assert cameras[0]["prebuffer_seconds"] == cameras[0]["prebufferSeconds"] == 3
    assert {entry["id"] for entry in configuration["hardware"]} == {camera["hardware_id"] for camera in cameras}


def test_a_recorder_knows_a_token_before_its_client_does(server, recorder):
    fake = recorder(delay=0.1)
    fake.wait("welcome")
    for _ in range(3):
        token = token_of(server.soap(login_body()))
        assert token in [message["token"] for message in fake.of_type("token")]


def test_a_silent_recorder_delays_a_login_only_shortly(server, recorder):
    recorder(silent=True).wait("welcome")
    begin = time.monotonic()
    assert token_of(server.soap(login_body()))
    assert time.monotonic() - begin < 2.5


def test_logout_reaches_recorders(server, recorder):
    fake = recorder()
    token = token_of(server.soap(login_body()))
    server.soap('<Logout xmlns="http://videoos.net/2/XProtectCSServerCommand"><instanceId>'
                f"{uuid.uuid4()}</instanceId><currentToken>{token}</currentToken></Logout>")
    ends = [message["expires_ms"] for message in fake.of_type("token") if message["token"] == token]
    assert ends[-1] <= time.time() * 1000 < ends[0]


@pytest.mark.parametrize(("kind", "index", "change", "seen"), [
    ("cameras", 0, {"prebufferSeconds": 9}, lambda c: c["cameras"][0]["prebuffer_seconds"] == 9),
    ("hardware", 1, {"enabled": False}, lambda c: c["cameras"][1]["enabled"] is False),
    ("recordingServers", 0, {"name": "Other"}, lambda c: c["recorder"]["name"] == "Other"),
    ("storages", 0, {"retainMinutes": 5}, lambda c: c["storages"][0]["retain_minutes"] == 5),
])
def test_a_change_is_pushed_with_a_higher_version(start_server, recorder, kind, index, change, seen):
    server = start_server()
    fake = recorder(running=server)
    before = fake.wait("welcome")["configuration"]["version"]
    item = server.get(f"{kind}?disabled")["array"][index]
    assert server.rest("PATCH", f"{kind}/{item['id']}", json=change).status_code == 200
    configuration = fake.wait("configuration")["configuration"]
    assert configuration["version"] == before + 1
    assert seen(configuration)
    fake.close()
    assert recorder(running=server).wait("welcome")["configuration"] == configuration


def test_the_recorder_writes_its_address_and_no_configuration_version(start_server, recorder):
    server = start_server()
    version = recorder(running=server, host="rec.example").wait("welcome")["configuration"]["version"]
    item = server.get(f"recordingServers/{server.pair.recorder_id}")["data"]
    assert (item["hostName"], item["webServerUri"]) == ("rec.example", "http://rec.example:7563/")
    assert recorder(running=server, instance="x").wait("welcome")["configuration"]["version"] == version


def test_address_stays_when_recorders_do_not_write_it(start_server, recorder):
    server = start_server(settings={"assumptions": {"web_server_uri_written_by_recorder": False}})
    recorder(running=server, host="rec.example").wait("welcome")
    assert server.get(f"recordingServers/{server.pair.recorder_id}")["data"]["webServerUri"] == server.pair.service_url


def test_unknown_recorder_is_refused(server, recorder):
    fake = recorder(str(uuid.uuid4()))
    assert "not registered" in fake.wait("refused")["reason"]
    assert fake.ended.wait(5)
    assert server.recorders()["connected"] == []


def test_connected_recorders_are_listed_with_their_source(server, recorder):
    source = server.pair.nodes[0].address
    fake = recorder(source=source)
    fake.wait("welcome")
    state = server.recorders()
    assert [(entry["instance"], entry["source"]) for entry in state["connected"]] == [(fake.instance, source)]
    assert state["registrations"][-1]["client_registration_id"] == server.pair.nodes[0].client_registration_id


def test_two_recorders_with_one_id_are_counted_and_both_stay(start_server, recorder):
    server = start_server()
    one, two = recorder(running=server), recorder(running=server, source=server.pair.nodes[1].address)
    one.wait("welcome"), two.wait("welcome")
    wait_until(lambda: server.recorders()["duplicates"] == 1)
    assert len(server.recorders()["connected"]) == 2
    assert not one.ended.is_set() and not two.ended.is_set()
    assert server.recorders()["duplicate_events"][0]["new"] == server.pair.nodes[1].address


def test_a_recorder_that_follows_another_is_no_duplicate(start_server, recorder):
    """The server finds the hello of the next one together with the end of the one before it."""
    server = start_server()
    first = recorder(running=server)
    first.wait("welcome")
    with socket.create_connection((server.config.address, 9000), 5) as following:
        assert len(server.recorders()["connected"]) == 1  # by now the server has accepted the next one, too
        server.hold(0.3)
        following.sendall(json.dumps({**HELLO, "recorder_id": server.pair.recorder_id}).encode() + b"\n")
        first.close()
        following.settimeout(5)
        assert b'"welcome"' in following.recv(100)
        assert server.recorders()["duplicates"] == 0


def test_a_change_goes_to_the_recorder_that_it_concerns(start_server, recorder):
    server = start_server(pairs=2)
    one, two = (recorder(pair.recorder_id, running=server) for pair in server.plan.pairs)
    one.wait("welcome")
    version = two.wait("welcome")["configuration"]["version"]
    camera = server.plan.pairs[1].cameras[0].camera_id
    server.rest("PATCH", f"cameras/{camera}", json={"prebufferSeconds": 9})
    assert two.wait("configuration")["configuration"]["version"] == version + 1
    token_of(server.soap(login_body()))
    assert one.of_type("token") and not one.of_type("configuration")


def test_tolerated_duplicates_are_not_counted(start_server, recorder):
    server = start_server(settings={"assumptions": {"duplicate_recorder_id_tolerated": True}})
    for _ in range(2):
        recorder(running=server).wait("welcome")
    assert server.recorders()["duplicates"] == 0
    assert len(server.recorders()["duplicate_events"]) == 1


def test_pings_come_and_a_silent_recorder_is_dropped(server, recorder):
    fake, silent = recorder(), recorder(instance="same", silent=True)
    begin = time.monotonic()
    assert silent.ended.wait(6)
    assert 2 < time.monotonic() - begin < 5
    assert not fake.ended.is_set()
    assert len(fake.of_type("ping")) >= 3


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"type":"hello"}\n', b"[]\n", b"x" * 200_000])
def test_nonsense_is_dropped(server, line):
    with socket.create_connection((server.config.address, 9000), 5) as peer:
        peer.sendall(line)
        peer.settimeout(5)
        try:
            assert peer.recv(1) == b""
        except ConnectionResetError:
            pass
    assert server.recorders()["connected"] == []


def test_tokens_survive_a_restart(start_server, tmp_path):
    first = start_server(tmp_path)
    token, access = token_of(first.soap(login_body())), first.access_token()
    first.stop()
    start_server.forget(first)
    second = start_server(tmp_path, plan=first.plan)
    assert token in [entry.text for entry in second.server.tokens.all_live()]
    assert second.rest("GET", "sites", access).status_code == 200
