# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verbs of facts, services, storage, guard, fence, lock and selftest; and the program around them."""
from __future__ import annotations

import io
import json
import pathlib
import subprocess
import sys

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build, certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.node import host as host_package
from ansible_collections.tandem.xprotect.plugins.module_utils.node import main, precompiled, recorder_local, runtime, settings, store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import guard as guard_verbs
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import RECORDER, FakeHost, FakePair

RUNTIME = "C:\\Program Files\\Tandem\\runtime\\0123456789abcdef\\node.pyz"


@pytest.fixture
def host(tmp_path):
    return FakeHost(tmp_path, "bare", ["127.20.2.11"])


@pytest.fixture
def pair(tmp_path):
    pair = FakePair(tmp_path)
    yield pair
    pair.close()


def verb(host: FakeHost, what: str, /, **request) -> dict:
    return main.find(what)(host, request, lambda step, **fields: None)


def code(host: FakeHost, what: str, /, **request) -> str:
    with pytest.raises(NodeError) as caught:
        verb(host, what, **request)
    return caught.value.code


# -- facts -------------------------------------------------------------------------------------------------------------

def test_facts_of_a_bare_machine(host):
    facts = verb(host, "facts")
    assert facts["recorder"]["installed"] is False and facts["recorder"]["service"]["state"] == "missing"
    assert "missing" in facts["recorder"]["config_error"] and facts["tandem"] is None and facts["lock"] is None
    assert facts["guard"] == {"service": {"state": "missing", "start_type": "unknown", "pid": None, "command": None}, "status": None}
    assert facts["runtime"]["others"] == []
    assert facts["fence"] == {"installed": False, "rules": None}
    assert facts["machine"]["addresses"] == {"127.20.2.11": None} and facts["machine"]["drives"][1]["letter"] == "D:"
    json.dumps(facts)


def test_facts_of_a_node_of_a_pair(pair):
    pair.a.host.services[settings.GUARD_SERVICE] = {"state": "running", "start_type": "auto"}
    pair.a.start_guard()
    pair.a.host.rules = pair.a.settings.fence_rules()
    verb(pair.a.host, "lock.acquire", owner="me", purpose="test", ttl=60)
    facts = verb(pair.a.host, "facts")
    recorder = facts["recorder"]
    assert recorder["installed"] and recorder["id"] == "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c" and recorder["config_error"] is None
    assert recorder["web_server"]["host"] == "rec-a" and recorder["media_folders"] == ["D:\\MediaDatabase"]
    assert recorder["status"] == {"attach_state": "Detached", "connection_state": "Disconnected"}
    assert facts["guard"]["status"]["state"] == "headless" and facts["lock"]["owner"] == "me"
    assert facts["fence"]["rules"]["management_addresses"] == [pair.management]
    assert facts["tandem"]["pair"] == "pair1"


def test_facts_name_a_damaged_configuration_and_go_on(pair):
    path = pair.a.host.path(recorder_local.CONFIG_FILE)
    path.write_bytes(path.read_bytes()[:150])
    facts = verb(pair.a.host, "facts")
    assert facts["recorder"]["installed"] and "line" in facts["recorder"]["config_error"] and facts["recorder"]["id"] is None


def test_facts_list_the_other_runtimes(host, monkeypatch):
    folder = host.path(runtime.FOLDER)
    for name in ("00aa", "11bb", "22cc", "33dd"):
        (folder / name).mkdir(parents=True)
    for name in ("00aa", "11bb", "33dd"):
        (folder / name / "node.pyz").write_bytes(b"")
    monkeypatch.setattr(sys, "argv", [str(folder / "11bb" / "node.pyz")])
    assert verb(host, "facts")["runtime"]["others"] == [f"{runtime.FOLDER}\\00aa\\node.pyz", f"{runtime.FOLDER}\\33dd\\node.pyz"]
    monkeypatch.setattr(runtime, "MOST_OTHERS", 0)
    assert verb(host, "facts")["runtime"]["others"] == [], "it never reads a folder without end"


def test_facts_tell_what_the_guard_service_starts(host, pems):
    verb(host, "guard.configure", **configuration(pems))
    assert f'"{RUNTIME}" guard' in verb(host, "facts")["guard"]["service"]["command"]


# -- services and storage ----------------------------------------------------------------------------------------------

def test_recorder_is_not_stopped_while_it_serves(pair):
    host = pair.a.host
    assert code(host, "service.stop", name="recorder") == "attached"  # no fence, connected
    host.rules = pair.a.settings.fence_rules()
    permit = host.open_permit(host.rules)
    assert code(host, "service.stop", name="recorder") == "attached"  # attached
    assert verb(host, "service.status")["service"]["state"] == "running"
    assert verb(host, "service.stop", name="recorder", force="planned outage")["changed"]
    permit.close()
    stopped = {"state": "stopped", "start_type": "auto", "pid": None}
    assert verb(host, "service.stop", name="recorder") == {"changed": False, "service": stopped}
    assert verb(host, "service.start", name="recorder")["changed"] and not verb(host, "service.start")["changed"]
    assert verb(host, "service.stop", name="recorder")["changed"]  # headless: nothing is in the way
    assert code(host, "service.start", name="guard") == "service_missing"
    assert code(host, "service.stop", name="spooler") == "bad_request"


def test_storage_folders(host):
    wanted = ["D:\\MediaDatabase", "D:\\Archive"]
    assert verb(host, "storage.prepare", folders=wanted, check=True) == {"changed": True, "created": wanted}
    assert not host.path(wanted[0]).exists()
    assert verb(host, "storage.prepare", folders=wanted, required_free_bytes=host.free_bytes)["created"] == wanted
    assert verb(host, "storage.prepare", folders=wanted) == {"changed": False, "created": []}
    assert code(host, "storage.prepare", folders=wanted, required_free_bytes=host.free_bytes + 1) == "disk_full"
    assert code(host, "storage.prepare", folders=["E:\\Media"]) == "drive_missing"
    assert code(host, "storage.prepare", folders=[]) == "bad_request"
    host.path("D:\\file").write_bytes(b"")
    assert code(host, "storage.prepare", folders=["D:\\file"]) == "not_a_folder"


# -- guard and fence ---------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def pems():
    return certificates.create("pair1-a", "127.20.2.11"), certificates.create("pair1-b", "127.20.2.12")


def configuration(pems, **tls) -> dict:
    (own, key), (partner, _key) = pems
    document = {"pair": "pair1", "recorder_id": "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c", "node": "pair1-a", "address": "127.20.2.11",
                "partner": {"name": "pair1-b", "address": "127.20.2.12"}, "tandem_port": 11443,
                "service_address": {"address": "127.20.2.10", "prefix": 24}, "management_addresses": ["127.20.2.2"]}
    return {"config": document, "tls": {"certificate": own, "key": key, "partner_certificate": partner, **tls}, "runtime_path": RUNTIME}


def test_guard_is_configured_and_started(host, pems):
    wanted = configuration(pems)
    checked = verb(host, "guard.configure", **wanted, check=True)
    assert checked["changed"] and checked["restart_needed"] and not host.services and not host.path(store.ROOT).exists()
    result = verb(host, "guard.configure", **wanted)
    assert result["changed"] and {item["id"] for item in result["items"] if item["changed"]} == {
        "node.json", "node.pem", "node.key", "partner.pem", "service"}
    service = host.services[settings.GUARD_SERVICE]
    assert service["command"] == f'"C:\\Program Files\\Tandem\\python\\python.exe" -I -B -X utf8 "{RUNTIME}" guard'
    assert (service["state"], service["start_type"], service["restart_after"]) == ("running", "auto", 2.0)
    assert {host.path(store.ROOT), host.path(store.TLS_FOLDER)} <= set(host.restricted)
    assert sorted(path.name for path in host.path(store.TLS_FOLDER).iterdir()) == ["node.key", "node.pem", "partner.pem"]
    assert verb(host, "guard.tls") == {"certificate": pems[0][0], "has_key": True}


@pytest.mark.parametrize(("tls", "named"), [
    ({"certificate": "nonsense"}, "tls_invalid"), ({"key": None}, "tls_missing"), ({"key": "-----BEGIN PRIVATE KEY-----"}, "tls_invalid"),
    ({"certificate": ""}, "bad_request"),
])
def test_unusable_certificates_change_nothing(host, pems, tls, named):
    assert code(host, "guard.configure", **configuration(pems, **tls)) == named
    assert not host.services and verb(host, "guard.tls")["certificate"] is None


def test_key_of_another_certificate_and_equal_certificates_are_refused(host, pems):
    assert code(host, "guard.configure", **configuration(pems, key=pems[1][1])) == "tls_invalid"
    assert code(host, "guard.configure", **configuration(pems, partner_certificate=pems[0][0])) == "tls_invalid"


def test_running_guard_is_left_alone_when_nothing_changed_and_pending_while_attached(pair, monkeypatch):
    node, host = pair.a, pair.a.host
    host.services[settings.GUARD_SERVICE] = {"state": "running", "start_type": "auto", "command": guard_verbs._command(RUNTIME)}
    node.start_guard()
    text = {name: host.path(path).read_text() for name, path in (
        ("certificate", store.OWN_CERTIFICATE), ("partner_certificate", store.PARTNER_CERTIFICATE))}
    wanted = {"config": node.document, "tls": text, "runtime_path": RUNTIME}
    assert verb(host, "guard.configure", **wanted) == {
        "changed": False, "restart_needed": False, "guard_pending": False, "items": [
            {"id": "node.json", "changed": False}, {"id": "node.pem", "changed": False}, {"id": "partner.pem", "changed": False},
            {"id": "service", "changed": False}]}
    permit = host.open_permit(node.settings.fence_rules())
    newer = {**wanted, "config": {**node.document, "lease_ttl": 6.0}}
    pending = verb(host, "guard.configure", **newer)
    assert pending["changed"] and pending["guard_pending"] and pending["restart_needed"] and host.journal[-1][1] == "permit opened"
    for check in (True, False, False):
        again = verb(host, "guard.configure", **newer, check=check)
        assert again["guard_pending"] and not any(item["changed"] for item in again["items"]), "still pending, though the files are right"
        assert again["changed"] is False and host.journal[-1][1] == "permit opened", "nothing was done, so nothing has changed"
    permit.close()
    assert verb(host, "guard.configure", **newer, check=True)["changed"], "now the next run moves it"
    done = verb(host, "guard.configure", **newer)
    assert done["changed"] and not done["guard_pending"]
    assert [what for _at, what in host.journal[-2:]] == [f"{settings.GUARD_SERVICE} stopped", f"{settings.GUARD_SERVICE} running"]


def test_fence_is_installed_only_where_it_cuts_nobody(pair):
    a, b = pair.a.host, pair.b.host
    assert code(a, "fence.install") == "attached"  # it serves without a fence
    b.service_stop(RECORDER)
    assert verb(b, "fence.install", check=True)["changed"] and b.rules is None
    assert verb(b, "fence.install")["changed"] and b.rules == pair.b.settings.fence_rules()
    assert not verb(b, "fence.install")["changed"]
    b.service_start(RECORDER)
    assert code(b, "fence.remove") == "recorder_running"
    b.service_stop(RECORDER)
    assert verb(b, "fence.remove")["changed"] and not verb(b, "fence.remove")["changed"]


def test_rules_are_not_changed_under_an_attached_node(pair):
    host = pair.a.host
    host.rules = pair.a.settings.fence_rules()
    permit = host.open_permit(host.rules)
    store.write_json(host, store.NODE_FILE, {**pair.a.document, "management_addresses": ["127.20.9.9"]})
    assert code(host, "fence.install") == "attached"
    permit.close()
    assert verb(host, "fence.install")["changed"] and host.rules.management_addresses == ("127.20.9.9",)


# -- selftest ----------------------------------------------------------------------------------------------------------

def outcomes(result: dict) -> dict:
    return {item["name"]: item["outcome"] for item in result["items"]}


def test_selftest_of_a_healthy_node_leaves_nothing_behind(pair):
    before = sorted(str(path) for path in pair.a.host.path(store.ROOT).rglob("*"))
    result = verb(pair.a.host, "selftest")
    skipped = {name for name, outcome in outcomes(result).items() if outcome == "skipped"}
    assert result["ok"] and skipped == {"management_time", "registration", "address_lifetime", "permit_cycle"}
    assert sorted(str(path) for path in pair.a.host.path(store.ROOT).rglob("*")) == before


def test_selftest_finds_what_does_not_work(pair):
    pair.a.host.fail["replace_file"] = HostError("access denied", 5)
    pair.a.recorder.stop()
    result = verb(pair.a.host, "selftest")
    assert not result["ok"]
    assert {name for name, outcome in outcomes(result).items() if outcome == "error"} == {"files", "media_drives", "recorder_status"}


def test_selftest_tries_an_address_and_the_permit_on_request(pair, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import selftest
    monkeypatch.setattr(selftest, "LIFETIME", 0.2)
    pair.b.host.rules = pair.b.settings.fence_rules()
    result = verb(pair.b.host, "selftest", address={"address": pair.service_address, "prefix": 24}, permit=True)
    assert outcomes(result)["address_lifetime"] == outcomes(result)["permit_cycle"] == "ok"
    assert not pair.b.host.permit_open() and pair.service_address not in pair.b.host.addresses()


# -- the program -------------------------------------------------------------------------------------------------------

def run_main(monkeypatch, capsysbinary, host, name: str, stdin: bytes) -> tuple[int, list[dict]]:
    monkeypatch.setattr(host_package, "load", lambda verb: host)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
    status = main.main([name])
    return status, [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]


def test_result_is_the_last_line_after_progress(monkeypatch, capsysbinary, host):
    status, lines = run_main(monkeypatch, capsysbinary, host, "selftest", b"{}")
    assert [line["event"] for line in lines[:-1]] == ["progress"] * (len(lines) - 1) and len(lines) > 10
    assert lines[-1]["event"] == "result" and lines[-1]["ok"] is True and status == 0


@pytest.mark.parametrize(("name", "stdin", "expected"), [
    ("nothing", b"{}", "unknown_verb"), ("lock.steal", b"{}", "unknown_verb"), ("lock.acquire", b"[]", "bad_request"),
    ("lock.acquire", b"{", "bad_request"), ("lock.acquire", b"", "bad_request"), ("attachment.status", b"{}", "not_configured"),
])
def test_errors_are_answers(monkeypatch, capsysbinary, host, name, stdin, expected):
    status, lines = run_main(monkeypatch, capsysbinary, host, name, stdin)
    assert status == 1 and lines[-1]["ok"] is False and lines[-1]["error"]["code"] == expected
    assert set(lines[-1]["error"]) == {"code", "message", "next", "details"}


def test_unexpected_errors_keep_their_traceback_to_themselves(monkeypatch, capsysbinary, host):
    monkeypatch.setattr(host, "drives", lambda: 1 / 0)
    monkeypatch.setattr(host_package, "load", lambda verb: host)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    assert main.main(["facts"]) == 1
    captured = capsysbinary.readouterr()
    line = json.loads(captured.out)
    assert line["error"]["code"] == "internal" and b"Traceback" in captured.err and b"Traceback" not in captured.out

    def no_drives():
        raise HostError("no drives", 21)

    monkeypatch.setattr(host, "drives", no_drives)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"{}")))
    assert main.main(["facts"]) == 1
    error = json.loads(capsysbinary.readouterr().out)["error"]
    assert error["code"] == "machine" and error["details"] == {"windows_error": 21}


def test_packed_runtime_answers_in_a_bare_interpreter(tmp_path):
    archive = pathlib.Path(tmp_path, "node.pyz")
    archive.write_bytes(_runtime_build.build())
    done = subprocess.run([sys.executable, "-I", "-B", "-X", "utf8", str(archive), "facts"], input=b"{}", capture_output=True, timeout=30,
                          check=False, env={"PATH": "/usr/bin:/bin"})
    line = json.loads(done.stdout)
    assert done.returncode == 1 and line["error"]["code"] == "no_host" and done.stderr == b""


def test_precompiled_runtime_is_used_and_answers_the_same(tmp_path):
    archive = pathlib.Path(tmp_path, "node.pyz")
    archive.write_bytes(_runtime_build.build())
    assert precompiled.make(str(archive)) and not precompiled.make(str(archive))
    show = (f"import sys; sys.argv[0] = {str(archive)!r}; sys.path.insert(0, sys.argv[0])\n"
            "from tandem_node import errors, main\nprint(main.NodeError.__module__, sys.modules['tandem_node.host.base'].__spec__.origin)")
    done = subprocess.run([sys.executable, "-I", "-B", "-c", show], capture_output=True, text=True, timeout=30, check=True)
    module, origin = done.stdout.split()
    assert module == "tandem_node.errors" and origin == str(pathlib.Path(precompiled.folder(str(archive)), "host", "base.pyc"))
    done = subprocess.run([sys.executable, "-I", "-B", str(archive), "nothing"], input=b"", capture_output=True, timeout=30, check=False)
    assert json.loads(done.stdout)["error"]["code"] == "unknown_verb" and done.returncode == 1


@pytest.mark.parametrize("named", ["nonsense", "json:JSONDecoder", "no_such_module:Host"])
def test_host_that_is_none_is_refused(monkeypatch, named):
    monkeypatch.setenv("TANDEM_NODE_HOST", named)
    with pytest.raises(NodeError) as caught:
        host_package.load()
    assert caught.value.code == "no_host"


def test_every_verb_family_has_its_module():
    for family, module in main.FAMILIES.items():
        source = pathlib.Path(main.__file__).parent / "verbs" / f"{module}.py"
        assert source.is_file() or family in ("identity", "config", "media"), family
