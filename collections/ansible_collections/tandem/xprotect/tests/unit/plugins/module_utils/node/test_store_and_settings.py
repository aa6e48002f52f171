# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tandem's own files, the work lock and node.json."""
from __future__ import annotations

import threading

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import settings, store, work_lock
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeHost

FILE = store.ROOT + "\\file.json"
DOCUMENT = {"pair": "pair1", "recorder_id": "F9DC2BCD-faea-4138-bf5a-32cd15c91f2c", "node": "pair1-a", "address": "10.0.0.11",
            "partner": {"name": "pair1-b", "address": "10.0.0.12"}, "tandem_port": 11443,
            "service_address": {"address": "10.0.0.10", "prefix": 24, "interface": "LAN"}, "management_addresses": ["10.0.0.2"],
            "lease_ttl": 8.0, "services": {"recorder": "Milestone XProtect Recording Server"}}


@pytest.fixture
def host(tmp_path):
    host = FakeHost(tmp_path, "machine", ["10.0.0.11"])
    store.make_folder(host, store.ROOT)
    return host


def code(call, *arguments, **fields) -> str:
    with pytest.raises(NodeError) as caught:
        call(*arguments, **fields)
    return caught.value.code


# -- store -------------------------------------------------------------------------------------------------------------

def test_root_is_closed_to_ordinary_users_even_when_a_subfolder_comes_first(tmp_path):
    host = FakeHost(tmp_path, "machine", [])
    assert store.make_folder(host, store.GUARD_FOLDER) and not store.make_folder(host, store.GUARD_FOLDER)
    assert host.restricted == [host.path(store.ROOT)]


def test_failed_write_leaves_the_old_file_and_no_rest(host):
    store.write_json(host, FILE, {"a": 1})
    host.fail["replace_file"] = OSError(28, "No space left on device")
    assert code(store.write_json, host, FILE, {"a": 2}) == "file_unwritable"
    assert store.read_json(host, FILE) == {"a": 1}
    assert [path.name for path in host.path(store.ROOT).iterdir()] == ["file.json"]


def test_reads_are_bounded_and_damage_is_named(host):
    assert store.read_json(host, FILE) is None
    host.path(FILE).write_bytes(b"[" * 100_000)
    assert code(store.read_json, host, FILE) == "file_damaged"
    host.path(FILE).write_bytes(b" " * 101)
    assert code(store.read_bytes, host, FILE, 100) == "file_too_large"


def test_write_if_different(host):
    assert store.write_bytes_if_different(host, FILE, b"x", check=True) and not host.path(FILE).exists()
    assert store.write_bytes_if_different(host, FILE, b"x") and not store.write_bytes_if_different(host, FILE, b"x")


def test_lines_survive_a_torn_one(host):
    store.append_line(host, FILE, {"n": 1})
    with open(host.path(FILE), "ab") as file:
        file.write(b'{"n": 2')
    store.append_line(host, FILE, {"n": 3})
    assert store.read_lines(host, FILE) == [{"n": 1}, {"n": 3}]
    assert store.read_lines(host, FILE, limit=9) == [{"n": 3}]


def test_exclusive_waits_and_gives_up(host):
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with store.exclusive(host, FILE, 1.0):
            entered.set()
            leave.wait(30.0)

    thread = threading.Thread(target=hold)
    thread.start()
    assert entered.wait(30.0)
    with pytest.raises(TimeoutError), store.exclusive(host, FILE, 0.1):
        pass
    leave.set()
    with store.exclusive(host, FILE, 30.0):
        pass
    thread.join()


# -- work lock ---------------------------------------------------------------------------------------------------------

def test_lock_belongs_to_one_owner_until_it_ends(host, monkeypatch):
    first = work_lock.acquire(host, "awx job 7", "backfill", 60)
    assert work_lock.read(host) == first
    with pytest.raises(NodeError) as caught:
        work_lock.acquire(host, "awx job 8", "sync", 60)
    assert caught.value.code == "busy" and "awx job 7" in caught.value.message and "backfill" in caught.value.message
    assert work_lock.acquire(host, "awx job 7", "backfill", 90)["since_ms"] == first["since_ms"]
    assert code(work_lock.renew, host, "awx job 8", 60) == "busy"
    assert not work_lock.release(host, "awx job 8")
    monkeypatch.setattr(work_lock, "_now", lambda: first["expires_ms"] + 60_000)
    assert work_lock.read(host) is None
    assert work_lock.renew(host, "awx job 7", 60), "nobody took it: it may be taken up again"
    assert work_lock.release(host, "awx job 7") and work_lock.read(host) is None
    assert code(work_lock.renew, host, "awx job 7", 60) == "lock_lost"


def test_expired_lock_goes_to_the_next(host, monkeypatch):
    first = work_lock.acquire(host, "one", "x", 60)
    monkeypatch.setattr(work_lock, "_now", lambda: first["expires_ms"])
    assert work_lock.acquire(host, "two", "y", 60)["owner"] == "two"
    assert code(work_lock.renew, host, "one", 60) == "busy"


def test_only_one_of_many_gets_the_lock(host):
    got = []

    def attempt(number):
        try:
            got.append(work_lock.acquire(host, f"owner {number}", "race", 60)["owner"])
        except NodeError as error:
            assert error.code == "busy"

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1 and work_lock.read(host)["owner"] == got[0]


# -- settings ----------------------------------------------------------------------------------------------------------

def test_settings_are_typed(host):
    assert settings.load(host) is None and code(settings.require, host) == "not_configured"
    store.write_json(host, store.NODE_FILE, DOCUMENT)
    found = settings.require(host)
    assert found.recorder_id == DOCUMENT["recorder_id"].lower() and found.management_ports == (9000, 80)
    assert found.fence_rules().management_addresses == ("10.0.0.2",) and found.fence_rules().inbound_ports == (7563, 9001, 11000)
    minimal = {name: value for name, value in DOCUMENT.items() if name not in ("services", "lease_ttl")}
    assert settings.parse(minimal).recorder_service == DOCUMENT["services"]["recorder"] and settings.parse(minimal).lease_ttl == 8.0


def test_witness_and_what_is_unattended(host):
    plain = settings.parse(DOCUMENT)
    assert (plain.witness, plain.promotion, plain.registration, plain.fence_agent, plain.health) == (None, "playbook", "once", None, None)
    assert plain.voters == ("pair1-a", "pair1-b") and plain.lease_drift == 0.01
    full = settings.parse({**DOCUMENT, "witness": {"name": "witness-1", "address": "10.0.0.20", "port": 11444}, "promotion": "automatic",
                           "lease_ttl": 4, "health": {"stand": 5}, "fence_agent": {"command": ["C:\\off.exe", "b"]}})
    assert full.witness == settings.Witness("witness-1", "10.0.0.20", 11444) and full.voters == ("pair1-a", "pair1-b", "witness")
    assert full.lease_ttl == 4.0 and full.health == {"stand": 5}
    assert full.fence_agent == settings.FenceAgent(("C:\\off.exe", "b"), 30.0)


def test_configuration_hash_tells_every_file_that_a_guard_reads(host):
    store.make_folder(host, store.TLS_FOLDER)
    seen = {settings.configuration_sha256(host)}
    for path in (store.NODE_FILE, store.OWN_CERTIFICATE, store.OWN_KEY, store.PARTNER_CERTIFICATE, store.WITNESS_CERTIFICATE):
        store.write_bytes(host, path, b"x")
        seen.add(settings.configuration_sha256(host))
    assert len(seen) == 6


@pytest.mark.parametrize(("fields", "named"), [
    ({"pair": ""}, "pair"), ({"recorder_id": "x"}, "recorder_id"), ({"address": "10.0.0"}, "address"), ({"address": "host"}, "address"),
    ({"partner": None}, "partner"), ({"partner": {"name": "pair1-a", "address": "10.0.0.12"}}, "the same"),
    ({"partner": {"name": "pair1-b", "address": "10.0.0.11"}}, "three different"), ({"tandem_port": 0}, "tandem_port"),
    ({"tandem_port": True}, "tandem_port"), ({"service_address": {"address": "10.0.0.11", "prefix": 24}}, "three different"),
    ({"service_address": {"address": "10.0.0.10"}}, "service_address.prefix"), ({"management_addresses": []}, "management_addresses"),
    ({"management_addresses": ["ms.example"]}, "management_addresses"), ({"lease_ttl": 3.9}, "lease_ttl"),
    ({"lease_ttl": "8"}, "lease_ttl"),
    ({"services": {"recorder": 1}}, "services"), ({"management_ports": [70000]}, "management_ports"), ({"lease_ttl": 61}, "lease_ttl"),
    ({"lease_drift": 0.06}, "lease_drift"), ({"lease_drift": True}, "lease_drift"), ({"promotion": "perhaps"}, "promotion"),
    ({"registration": "never"}, "registration"), ({"health": []}, "health"), ({"register": "x"}, "register"),
    ({"witness": {"name": "w", "address": "10.0.0.20"}}, "witness.port"), ({"witness": "10.0.0.20"}, "witness"),
    ({"witness": {"name": "w", "address": "w", "port": 11444}}, "witness.address"),
    ({"node": "witness"}, "no node may be named"), ({"partner": {"name": "witness", "address": "10.0.0.12"}}, "no node may be named"),
    ({"fence_agent": {"command": []}}, "fence_agent.command"), ({"fence_agent": {"command": "off"}}, "fence_agent.command"),
    ({"fence_agent": {"command": ["off"], "timeout": 0}}, "fence_agent.timeout"), ({"fence_agent": []}, "fence_agent"),
])
def test_wrong_settings_are_named(fields, named):
    with pytest.raises(NodeError) as caught:
        settings.parse({**DOCUMENT, **fields})
    assert caught.value.code == "node_config_invalid" and named in caught.value.message


def test_all_problems_are_named_at_once():
    with pytest.raises(NodeError) as caught:
        settings.parse({"pair": 1})
    assert len(caught.value.details["problems"]) >= 8
    assert code(settings.parse, []) == "node_config_invalid"
