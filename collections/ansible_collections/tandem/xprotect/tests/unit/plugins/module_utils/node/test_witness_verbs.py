# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of a witness, the Linux host, and the whole program as a process of its own."""
from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.node import host as host_package
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.posix import PosixHost
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import witness as verbs
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import settings
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeHost, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.witness_scenes import TestWitness, document, identity

RUNTIME = "C:\\Program Files\\Tandem\\runtime\\0123456789abcdef\\node.pyz"


@pytest.fixture
def witness(tmp_path, monkeypatch):
    witness = TestWitness(tmp_path / "home", monkeypatch)
    yield witness
    witness.stop()


def refused(call, code):
    with pytest.raises(NodeError) as caught:
        call()
    assert caught.value.code == code
    return caught.value


# -- verbs -------------------------------------------------------------------------------------------------------------

def test_configuring_again_changes_nothing(witness):
    again = verbs.configure(witness.host, {"config": witness.config}, None)
    assert not again["changed"] and again["certificate"] == identity("witness-1")[0]
    assert again["restart_needed"], "nothing runs yet"
    witness.start()
    assert not verbs.configure(witness.host, {"config": witness.config}, None)["restart_needed"]
    changed = verbs.configure(witness.host, {"config": {**witness.config, "name": "other"}, "check": True}, None)
    assert changed["changed"] and changed["restart_needed"]
    assert json.loads((witness.folder / "witness" / "witness.json").read_text())["name"] == "witness-1", "check writes nothing"


@pytest.mark.parametrize(("changes", "problem"), [({"port": 0}, "port"), ({"api_port": "x"}, "api_port"), ({"name": ""}, "name"),
                                                  ({"token_sha256": "secret"}, "token_sha256"), ({"address": None}, "address")])
def test_unusable_settings_are_refused(witness, changes, problem):
    assert problem in refused(lambda: verbs.configure(witness.host, {"config": {**witness.config, **changes}}, None),
                              "witness_config_invalid").message


def test_certificate_and_key_must_fit(witness):
    tls = {"certificate": identity("witness-1")[0], "key": identity("somebody else")[1]}
    refused(lambda: verbs.configure(witness.host, {"config": witness.config, "tls": tls}, None), "tls_invalid")
    tls = {"certificate": "nothing", "key": "nothing"}
    refused(lambda: verbs.configure(witness.host, {"config": witness.config, "tls": tls}, None), "tls_invalid")


def test_without_any_certificate_it_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    config = {"name": "w", "address": "127.0.0.1"}
    refused(lambda: verbs.configure(PosixHost(), {"config": config}, None), "tls_missing")
    refused(lambda: verbs.pair(PosixHost(), {"pair": document()}, None), "not_configured")
    assert verbs.status(PosixHost(), {}, None) == {"configured": False, "name": None, "port": None, "certificate": None, "has_key": False,
                                                   "registered": [], "service": None}
    assert not any(tmp_path.iterdir()), "asking leaves nothing behind"


@pytest.mark.parametrize(("changes", "problem"), [
    ({"pair": "../x"}, "pair"), ({"recorder_id": "7"}, "recorder_id"), ({"nodes": []}, "nodes"), ({"voters": ["a", "b"]}, "voters"),
    ({"lease_ttl": 3.0}, "ttl"), ({"lease_ttl": "8"}, "lease_ttl"), ({"lease_drift": 0.5}, "drift"),
    ({"nodes": [{"name": "a", "certificate": "x"}, {"name": "b", "certificate": None}]}, "certificate"),
    ({"nodes": [{"name": "witness", "certificate": identity("x")[0]}, {"name": "b", "certificate": identity("y")[0]}]}, "witness"),
    ({"nodes": [{"name": "a", "certificate": identity("x")[0]}, {"name": "b", "certificate": identity("x")[0]}]}, "different")])
def test_unusable_pairs_are_refused(witness, changes, problem):
    with pytest.raises(NodeError, match=problem):
        verbs.pair(witness.host, {"pair": {**document(), **changes}}, None)
    assert settings.pair_names(witness.host) == []


def test_a_pair_is_registered_once(witness):
    assert verbs.pair(witness.host, {"pair": document(), "check": True}, None)["changed"] and settings.pair_names(witness.host) == []
    assert verbs.pair(witness.host, {"pair": document()}, None)["changed"]
    assert not verbs.pair(witness.host, {"pair": document()}, None)["changed"]
    assert verbs.pair(witness.host, {"pair": document(lease_ttl=8.0)}, None)["changed"]
    assert verbs.status(witness.host, {}, None)["registered"] == ["pair1"]


def test_certificates_and_names_are_not_shared_between_pairs(witness):
    verbs.pair(witness.host, {"pair": document("pair1")}, None)
    shared = {**document("pair2"), "nodes": [document("pair1")["nodes"][0] | {"name": "pair2-a"}, document("pair2")["nodes"][1]]}
    refused(lambda: verbs.pair(witness.host, {"pair": shared}, None), "certificate_shared")
    refused(lambda: verbs.pair(witness.host, {"pair": {**document("pair3"), "pair": "PAIR1"}}, None), "pair_exists")


def test_a_pair_is_served_as_soon_as_the_verb_ends(witness):
    witness.start()
    answer = verbs.pair(witness.host, {"pair": document()}, None)
    assert answer["running"] and answer["state"] == "unknown" and answer["certificate"] == identity("witness-1")[0]


def test_on_windows_the_service_is_installed_and_restarted_when_something_changed(tmp_path):
    host = FakeHost(tmp_path, "witness-1", ["10.0.0.9"])
    pem, key = identity("witness-1")
    request = {"config": {"name": "witness-1", "address": "127.0.0.1", "port": 1}, "tls": {"certificate": pem, "key": key},
               "runtime_path": RUNTIME}
    done = verbs.configure(host, request, None)
    assert done["changed"] and not done["restart_needed"] and "service" in [item["id"] for item in done["items"] if item["changed"]]
    service = host.service(settings.SERVICE)
    assert service.state == "running" and service.command.endswith(f'"{RUNTIME}" witness') and service.start_type == "auto"
    assert host.path(settings.TLS_FOLDER) in host.restricted
    refused(lambda: verbs.configure(host, {**request, "runtime_path": 'C:\\a"\\node.pyz'}, None), "bad_request")


# -- the Linux host ----------------------------------------------------------------------------------------------------

def test_linux_is_a_witness_when_it_is_told_so(monkeypatch, tmp_path):
    monkeypatch.delenv("TANDEM_NODE_HOST", raising=False)
    monkeypatch.delenv("TANDEM_HOME", raising=False)
    assert isinstance(host_package.load("witness.status"), PosixHost)
    refused(lambda: host_package.load("facts"), "no_host")
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path))
    assert isinstance(host_package.load("facts"), PosixHost)
    monkeypatch.setenv("TANDEM_HOME", "relative")
    with pytest.raises(HostError):
        host_package.load("witness")


def test_linux_has_tandems_folder_and_nothing_else(monkeypatch, tmp_path):
    monkeypatch.setenv("TANDEM_HOME", str(tmp_path / "home"))
    host = PosixHost()
    assert host.path(store.ROOT) == tmp_path / "home"
    assert host.path("c:\\programdata\\TANDEM\\witness\\pairs") == tmp_path / "home" / "witness" / "pairs"
    for path in ("C:\\Windows", "D:\\ProgramData\\Tandem", "C:\\ProgramData", "C:\\ProgramData\\Tandem\\..\\x", "relative"):
        with pytest.raises(HostError):
            host.path(path)
    store.make_folder(host, store.ROOT)
    store.write_json(host, store.LOCK_FILE, {"a": 1})
    assert store.read_json(host, store.LOCK_FILE) == {"a": 1} and (tmp_path / "home").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("call", [
    lambda host: host.service("x"), lambda host: host.service_start("x"), lambda host: host.service_stop("x"),
    lambda host: host.service_install("x", "x", "x"), lambda host: host.service_remove("x"),
    lambda host: host.service_configure("x", start_type="auto"), lambda host: host.registry_read("x", "y"),
    lambda host: host.registry_write("x", "y", "z"), lambda host: host.addresses(), lambda host: host.hold_address("x", 1, 1.0),
    lambda host: host.drop_address("x"), lambda host: host.fence_rules(), lambda host: host.fence_remove(),
    lambda host: host.fence_install(None), lambda host: host.open_permit(None), lambda host: host.permit_open(),
    lambda host: host.drives(), lambda host: host.time_zone(), lambda host: host.inherit_permissions(pathlib.Path("/"))])
def test_what_only_a_recorders_machine_has_is_refused(call):
    with pytest.raises(HostError, match="not available on a witness"):
        call(PosixHost())


def test_sockets_of_linux(tmp_path):
    host = PosixHost()
    listener = host.listen("127.0.0.1", 0)
    assert host.accept(listener, 0.01) is None
    client = host.connect("127.0.0.1", listener.getsockname()[1], 2.0)
    accepted, peer = host.accept(listener, 5.0)
    assert peer == "127.0.0.1"
    with pytest.raises(HostError, match="cannot be listened on"):
        host.listen("127.0.0.1", listener.getsockname()[1])
    for sock in (client, accepted, listener):
        sock.close()
    assert host.monotonic() <= host.monotonic() and host.machine_name() and host.os_name() and host.vm_generation() == ""


# -- the program -------------------------------------------------------------------------------------------------------

@pytest.fixture
def program(tmp_path, witness):
    """The archive as it is shipped, run as its own process."""
    archive = tmp_path / "node.pyz"
    archive.write_bytes(_runtime_build.build())
    environment = {**os.environ, "TANDEM_HOME": str(witness.folder)}
    environment.pop("TANDEM_NODE_HOST", None)
    running = []

    def start(verb):
        process = subprocess.Popen([sys.executable, "-I", "-B", str(archive), verb], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   env=environment)
        running.append(process)
        return process

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_the_shipped_program_serves_votes_and_ends_on_request(witness, program):
    a, _b = witness.register()
    process = program("witness")
    asked = {}

    def answered():
        assert process.poll() is None
        try:
            asked.update(a.ask())
        except OSError:
            return False
        return True
    wait_until(answered, "the witness serves")
    assert asked["ok"] and asked["announce"]["witness"] == "witness-1"
    output, _error = program("witness.status").communicate(b"{}", timeout=30)
    told = json.loads(output)["result"]
    assert told["service"]["states"] == {"nobody_attached": 1} or told["service"]["states"] == {"unknown": 1}
    assert told["certificate"] == identity("witness-1")[0]
    process.send_signal(signal.SIGTERM)
    output, _error = process.communicate(timeout=30)
    assert process.returncode == 0 and json.loads(output)["result"] == {"stopped": True}
    assert witness.log().endswith("the witness ended\n")
