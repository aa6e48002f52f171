# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration verbs: replace, keep one's own values, restart only when nothing is lost, go back."""
from __future__ import annotations

import base64
import hashlib
import json

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import history, ledger
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import config
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    CONFIG, device, make_pair, now_ms, quiet, recorder_config, refused,
)

CACHE = "C:\\ProgramData\\Milestone\\XProtect Recording Server\\ConfigurationCache.json"
PRESERVE = ["recorder/ClientRegistrationId", "recorder/serverEncryption/@certificateHash", "webserver/encryption/@certificateHash"]


@pytest.fixture
def pair(tmp_path, monkeypatch):
    pair = make_pair(tmp_path, monkeypatch)
    for node in (pair.a, pair.b):
        node.host.path(CACHE).write_bytes(json.dumps({"of": node.name}).encode())
        node.recorder.recording = [device(1)]
        node.recorder.open_table(device(1), [(now_ms() - 60_000, now_ms())])
    return pair


def call(node, verb, **request):
    return json.loads(json.dumps(config.VERBS[f"config.{verb}"](node.host, json.loads(json.dumps(request)), quiet)))


def item(content: bytes, path=CACHE, **other):
    return {"id": "cache", "kind": "file", "path": path, "content_b64": base64.b64encode(content).decode(),
            "sha256": hashlib.sha256(content).hexdigest(), **other}


def xml_item(content: bytes, **other):
    return {**item(content, CONFIG), "id": "recorder_config", "kind": "xml", "preserve": PRESERVE, **other}


def apply(node, *items, **other):
    return call(node, "apply", items=list(items), author="tests", partner_timeout=0.1, **other)


def content(node, path=CACHE):
    return node.host.path(path).read_bytes()


def state(node):
    return history.read(node.host, history.numbers(node.host)[-1])["state"]


def test_read(pair):
    items = call(pair.a, "read", items=[{"id": "x", "kind": "file", "path": CACHE},
                                        {"id": "y", "kind": "xml", "path": CONFIG, "preserve": PRESERVE},
                                        {"id": "z", "kind": "file", "path": "C:\\none"}])["items"]
    assert items["x"] == {"exists": True, "size": 11, "sha256": hashlib.sha256(b'{"of": "a"}').hexdigest(),
                          "content_b64": base64.b64encode(b'{"of": "a"}').decode()}
    assert base64.b64decode(items["y"]["content_b64"]) == pair.a.config
    assert items["z"]["exists"] is False
    pair.a.host.path("C:\\big").write_bytes(bytes(history.MAX_ITEM_BYTES + 1))
    with refused("file_too_large"):
        call(pair.a, "read", items=[{"id": "x", "kind": "file", "path": "C:\\big"}])


def test_a_file_is_replaced_and_kept_in_the_history(pair):
    result = apply(pair.b, item(b"new"))
    assert (result["changed"], result["restarted"], result["version"]) == (True, False, 1)
    assert result["items"] == [{"id": "cache", "changed": True, "diff_before": '{"of": "b"}', "diff_after": "new"}]
    assert (content(pair.b), pair.b.host.calls) == (b"new", [])
    version = call(pair.b, "history")["versions"][0]
    assert (version["author"], version["state"], version["version"]) == ("tests", "applied", 1)
    assert [entry["path"] for entry in version["items"]] == [CACHE]
    assert history.changes(pair.b.host, 1) == [history.Change("cache", CACHE, b'{"of": "b"}', b"new", False)]
    again = apply(pair.b, item(b"new"))
    assert (again["changed"], again["version"], again["items"][0]["changed"]) == (False, None, False)
    assert history.numbers(pair.b.host) == [1]
    assert apply(pair.b, item(b"third"))["version"] == 2


def test_xml_keeps_this_nodes_own_values_byte_for_byte(pair):
    result = apply(pair.b, xml_item(pair.a.config))
    expected = recorder_config("a").replace(b"00000000000a", b"00000000000b").replace(b'certificateHash="aaaa"', b'certificateHash="bbbb"')
    assert pair.b.config == expected
    assert result["changed"] is True
    assert apply(pair.b, xml_item(pair.a.config))["changed"] is False


def test_secrets_are_not_shown(pair):
    shown = apply(pair.b, xml_item(pair.a.config), check=True)["items"][0]
    assert "REC-B" in shown["diff_before"] and "REC-A" in shown["diff_after"]
    assert "secret-" not in shown["diff_before"] + shown["diff_after"] and "<passphrase>***</passphrase>" in shown["diff_after"]


@pytest.mark.parametrize("data", [b"\x00\x01", b"\xff", b"x" * 300_000])
def test_what_is_no_short_text_is_shown_by_its_hash(pair, data):
    assert hashlib.sha256(data).hexdigest() in apply(pair.b, item(data), check=True)["items"][0]["diff_after"]


def test_check_changes_nothing(pair):
    before = content(pair.b), pair.b.config
    result = apply(pair.b, item(b"new", restart=True), xml_item(pair.a.config), check=True)
    assert (result["changed"], result["restart_needed"], result["version"]) == (True, True, None)
    assert ((content(pair.b), pair.b.config), history.numbers(pair.b.host), pair.b.host.calls) == (before, [], [])


def test_restart_happens_once_and_is_in_the_ledger(pair):
    seen = []
    stop, start = pair.b.recorder.stop, pair.b.recorder.start
    pair.b.recorder.stop = lambda: (seen.append(("stop", content(pair.b))), stop())
    pair.b.recorder.start = lambda: (seen.append(("start", content(pair.b))), start())
    began = now_ms()
    result = apply(pair.b, item(b"new", restart=True), xml_item(pair.a.config, restart=True))
    assert result["restarted"] is True
    assert seen == [("stop", b'{"of": "b"}'), ("start", b"new")], "the files are replaced while the recorder is stopped"
    [(begin, end, cause)] = ledger.restarts(pair.b.host)
    assert cause == "sync" and began <= begin <= end <= now_ms()


def test_an_unchanged_item_restarts_nothing(pair):
    apply(pair.b, item(b"new", restart=False), xml_item(pair.b.config, restart=True))
    assert pair.b.host.calls == [] and content(pair.b) == b"new"


def test_a_stopped_recorder_is_not_started(pair):
    pair.b.recorder.state = "stopped"
    pair.cut = True
    assert apply(pair.b, item(b"new", restart=True))["restarted"] is False
    assert (content(pair.b), pair.b.host.calls) == (b"new", [])


@pytest.mark.parametrize(("code", "prepare"), [
    ("attached", lambda pair: setattr(pair.b, "state", "attached")), ("guard_down", lambda pair: setattr(pair.b, "up", False)),
    ("partner_unreachable", lambda pair: setattr(pair, "cut", True)),
    ("partner_not_recording", lambda pair: setattr(pair.a.recorder, "state", "stopped")),
    ("partner_not_recording", lambda pair: pair.b.recorder.open_table(device(2), [(now_ms() - 5000, now_ms())]))])
def test_no_restart_unless_the_partner_records(pair, code, prepare):
    prepare(pair)
    with refused(code):
        apply(pair.b, item(b"new", restart=True))
    assert (content(pair.b), history.numbers(pair.b.host), pair.b.host.calls) == (b'{"of": "b"}', [], [])


@pytest.mark.parametrize("document", [lambda data: data[:400], lambda data: b"", lambda data: b"{}",
                                      lambda data: data.replace(b"<webserver>", b"<webserver2>")])
def test_broken_documents_are_never_written(pair, document):
    with refused("config_unreadable", CONFIG):
        apply(pair.b, xml_item(document(pair.a.config)))
    assert pair.b.config == recorder_config("b")


def test_a_document_without_place_for_own_values_is_refused(pair):
    with refused("config_unreadable", "recorder/ClientRegistrationId"):
        apply(pair.b, xml_item(pair.a.config.replace(b"ClientRegistrationId", b"ClientId")))
    pair.b.write_config(b"<recorderconfig>")
    with refused("config_unreadable", "this node"):
        apply(pair.b, xml_item(pair.a.config))
    pair.b.host.path(CONFIG).unlink()
    with refused("config_missing"):
        apply(pair.b, xml_item(pair.a.config))
    assert apply(pair.b, xml_item(pair.a.config, preserve=[]))["changed"] is True


@pytest.mark.parametrize("wrong", [
    {"id": "../x"}, {"id": "a/b"}, {"id": ".."}, {"id": ""}, {"id": None}, {"path": ""}, {"path": None}, {"kind": "registry"},
    {"sha256": "0" * 64},
    {"content_b64": "%%%"}, {"path": "C:\\ProgramData\\Tandem\\node.json"}, {"path": "c:\\programdata\\tandem\\tls\\node.key"}])
def test_items_are_checked(pair, wrong):
    with refused("bad_request"):
        apply(pair.b, {**item(b"new"), **wrong})


def test_paths_outside_the_machine_are_refused(pair):
    with pytest.raises(HostError):
        apply(pair.b, item(b"new", "C:\\x\\..\\y"))


def test_all_files_or_none(pair, monkeypatch):
    real = config.write_bytes

    def full(host, path, data):
        if path == CONFIG and data != recorder_config("b"):
            raise NodeError("file_unwritable", "no space left")
        real(host, path, data)

    monkeypatch.setattr(config, "write_bytes", full)
    with refused("file_unwritable"):
        apply(pair.b, item(b"new", restart=True), xml_item(pair.a.config), item(b"fresh", "C:\\fresh", id="fresh"))
    assert (content(pair.b), pair.b.config, pair.b.recorder.state, state(pair.b)) == (b'{"of": "b"}', recorder_config("b"), "running",
                                                                                      "undone")
    with refused("file_unwritable"):
        apply(pair.b, item(b"fresh", "C:\\fresh", id="fresh"), xml_item(pair.a.config))
    assert not pair.b.host.path("C:\\fresh").exists()


def test_a_configuration_that_the_recorder_does_not_start_with_is_taken_back(pair, monkeypatch):
    start = pair.b.host.service_start

    def picky(name, timeout=90.0):
        if content(pair.b) == b"new":
            raise HostError("error 1067")
        start(name, timeout)

    monkeypatch.setattr(pair.b.host, "service_start", picky)
    with refused("recorder_not_starting", "error 1067"):
        apply(pair.b, item(b"new", restart=True))
    assert (content(pair.b), pair.b.recorder.state, state(pair.b)) == (b'{"of": "b"}', "running", "undone")
    assert len(ledger.restarts(pair.b.host)) == 1


def test_a_stop_that_fails_changes_nothing(pair):
    pair.b.host.fail["stop"] = "error 1061"
    with pytest.raises(HostError):
        apply(pair.b, item(b"new", restart=True))
    assert (content(pair.b), pair.b.host.calls) == (b'{"of": "b"}', ["stop", "start"])


# -- history -----------------------------------------------------------------------------------------------------------

def test_rollback_brings_the_content_of_before_back(pair):
    apply(pair.b, item(b"second"), item(b"fresh", "C:\\fresh", id="fresh"))
    apply(pair.b, item(b"third", restart=True))
    assert call(pair.b, "rollback", version=1, check=True)["changed"] is True
    assert content(pair.b) == b"third"
    result = call(pair.b, "rollback", version=1, author="x")
    assert (result["changed"], result["version"], result["left"]) == (True, 3, ["C:\\fresh"])
    assert content(pair.b) == b'{"of": "b"}'
    assert call(pair.b, "rollback", version=2)["restarted"] is True
    assert content(pair.b) == b"second"
    assert call(pair.b, "rollback", version=2)["changed"] is False
    with refused("no_version", "99"):
        call(pair.b, "rollback", version=99)


def test_a_damaged_backup_is_not_used(pair):
    apply(pair.b, item(b"second"))
    pair.b.host.path(f"{history.FOLDER}\\1\\before\\cache").write_bytes(b"rotten")
    with refused("file_damaged", CACHE):
        call(pair.b, "rollback", version=1)
    assert content(pair.b) == b"second"


def test_a_run_that_was_ended_in_the_middle_is_marked_and_can_be_taken_back(pair, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*unused):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(config, "_write", lambda host, changes: config.write_bytes(host, CACHE, b"half") or killed())
        patch.setattr(history, "finish", killed)
        with pytest.raises(Killed):
            apply(pair.b, item(b"half"), xml_item(pair.a.config))
    assert state(pair.b) == "applying"
    assert apply(pair.b, item(b"half"), xml_item(pair.a.config))["version"] == 2
    assert [version["state"] for version in call(pair.b, "history")["versions"]] == ["interrupted", "applied"]
    call(pair.b, "rollback", version=1)
    assert (content(pair.b), pair.b.config) == (b'{"of": "b"}', recorder_config("b"))


def test_a_half_built_version_does_not_count(pair):
    building = pair.b.host.path(f"{history.FOLDER}\\1.new")
    building.mkdir(parents=True)
    (building / "junk").write_text("x")
    assert apply(pair.b, item(b"new"))["version"] == 1
    assert not building.exists()


def test_old_versions_are_dropped(pair, monkeypatch):
    monkeypatch.setattr(history, "KEEP", 3)
    for number in range(6):
        apply(pair.b, item(str(number).encode()))
    assert history.numbers(pair.b.host) == [4, 5, 6]
