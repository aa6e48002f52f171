# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity verbs: what is read, what is taken over, what stays, and what forbids it."""
from __future__ import annotations

import hashlib
import json

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import FenceRules
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import identity, service
from ansible_collections.tandem.xprotect.plugins.module_utils.node.xmledit import read_values
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.test_support_media import (
    CONFIG, INSTALLATION, RECORDER_ID, make_pair, quiet, recorder_config, refused,
)

OTHER_ID = "11111111-2222-3333-4444-555555555555"
REGISTRY = f"{INSTALLATION}|RecorderIDOnMachine"


@pytest.fixture
def pair(tmp_path, monkeypatch):
    pair = make_pair(tmp_path, monkeypatch)
    pair.b.write_config(recorder_config("b", OTHER_ID))
    pair.b.host.registry[INSTALLATION, "RecorderIDOnMachine"] = OTHER_ID
    pair.b.host.fence = FenceRules(("127.9.0.2",))
    return pair


def call(node, verb, **request):
    return json.loads(json.dumps(identity.VERBS[f"identity.{verb}"](node.host, json.loads(json.dumps(request)), quiet)))


def source(pair):
    read = call(pair.a, "read")
    return {"fields": read["fields"], "registry": read["registry"]}


def test_read(pair):
    pair.a.host.registry["SOFTWARE\\WOW6432Node\\VideoOS\\DeviceDrivers", "VersionC"] = "13.5a"
    read = call(pair.a, "read")
    assert read["fields"]["recorder/id"] == RECORDER_ID
    assert read["fields"]["webapi/publicUri"] == "rec-a:9001"
    assert read["fields"]["driverservices/alert/port"] is None
    assert "recorder/ClientRegistrationId" not in read["fields"]
    assert (read["registry"], read["version"], read["device_pack"], read["time_zone"]) == (
        {REGISTRY: RECORDER_ID}, "25.1.0.2", "13.5a", "Romance Standard Time")
    assert {drive["letter"] for drive in read["drives"]} == {"C:", "D:"}
    assert read["own_backup"] is False
    assert read["config_sha256"] == hashlib.sha256(pair.a.config).hexdigest()


@pytest.mark.parametrize("damage", [lambda data: data[:300], lambda data: b"", lambda data: data.replace(b"</id>", b"</ID>"),
                                    lambda data: data.replace(b"<recorderconfig>", b"<!DOCTYPE x><recorderconfig>")])
def test_unreadable_configuration_is_named_with_its_place(pair, damage):
    pair.a.write_config(damage(pair.a.config))
    for verb in ("read", "apply"):
        with refused("config_unreadable", CONFIG):
            call(pair.a, verb, fields={"recorder/id": "x"})
        try:
            call(pair.a, verb, fields={"recorder/id": "x"})
        except Exception as error:  # noqa: BLE001
            assert error.details["line"] >= 1 and error.details["column"] >= 1
    pair.a.host.path(CONFIG).unlink()
    with refused("config_missing"):
        call(pair.a, "read")


def test_apply_takes_the_identity_and_leaves_all_else(pair):
    before = pair.b.config
    result = call(pair.b, "apply", **source(pair))
    assert result["changed"] is True and result["stopped"] is True and result["skipped"] == []
    assert {"field": "recorder/id", "before": OTHER_ID, "after": RECORDER_ID} in result["diff"]
    assert {"field": REGISTRY, "before": OTHER_ID, "after": RECORDER_ID} in result["diff"]
    assert (pair.b.recorder.state, pair.b.host.calls) == ("stopped", ["stop"])
    expected = recorder_config("a").replace(b"64fb052a-45a2-4ed9-9467-00000000000a", b"64fb052a-45a2-4ed9-9467-00000000000b")
    expected = expected.replace(b'certificateHash="aaaa"', b'certificateHash="bbbb"').replace(b"secret-a", b"secret-b")
    assert pair.b.config == expected
    assert pair.b.host.registry[INSTALLATION, "RecorderIDOnMachine"] == RECORDER_ID
    again = call(pair.b, "apply", **source(pair))
    assert (again["changed"], again["diff"], again["stopped"]) == (False, [], False)
    assert call(pair.b, "read")["own_backup"] is True
    assert call(pair.b, "undo")["changed"] is True
    assert pair.b.config == before
    assert pair.b.host.registry[INSTALLATION, "RecorderIDOnMachine"] == OTHER_ID
    assert call(pair.b, "read")["own_backup"] is False
    assert call(pair.b, "undo")["changed"] is False


def test_undo_keeps_what_was_changed_otherwise_meanwhile(pair):
    call(pair.b, "apply", **source(pair))
    pair.b.write_config(pair.b.config.replace(b"<webapiport>9000<", b"<webapiport>9000<!-- looked at --><").replace(b"bbbb", b"cccc"))
    call(pair.b, "undo")
    assert b"looked at" in pair.b.config and b"cccc" in pair.b.config
    assert read_values(pair.b.config, ["recorder/id"]) == {"recorder/id": OTHER_ID}


def start(node, **request):
    return service.VERBS["service.start"](node.host, {"name": "recorder", **request}, quiet)


@pytest.mark.parametrize("own", ["demand", "disabled"])
def test_the_twin_starts_by_itself_and_gets_its_own_start_type_back_with_its_identity(pair, own):
    pair.b.host.start_type = own
    call(pair.b, "apply", **source(pair))
    pair.b.host.calls.clear()
    started = start(pair.b, start_type="auto")
    assert (started["changed"], started["started"], started["start_type_changed"], started["service"]["start_type"]) == (
        True, True, True, "auto")
    assert pair.b.host.calls == ["start type auto", "start"], "a disabled service cannot be started"
    assert start(pair.b, start_type="auto")["changed"] is False
    checked = call(pair.b, "undo", check=True)
    field = {"field": "start type of service Milestone XProtect Recording Server", "before": "auto", "after": own}
    assert field in checked["diff"] and pair.b.host.start_type == "auto"
    assert field in call(pair.b, "undo")["diff"] and pair.b.host.start_type == own


def test_a_running_twin_that_windows_would_not_start_is_changed_once(pair):
    call(pair.b, "apply", **source(pair))
    start(pair.b)
    pair.b.host.start_type = "demand"
    changed = start(pair.b, start_type="auto")
    assert (changed["changed"], changed["started"], pair.b.host.start_type) == (True, False, "auto")
    assert start(pair.b, start_type="auto")["changed"] is False
    pair.b.host.start_type = "disabled"  # by somebody else, later
    start(pair.b, start_type="auto")
    call(pair.b, "undo")
    assert pair.b.host.start_type == "demand", "what is given back is what was there before the first change"


def test_a_start_type_that_suits_is_left_and_not_touched_by_undo(pair):
    pair.b.host.start_type = "delayed-auto"
    call(pair.b, "apply", **source(pair))
    assert start(pair.b, start_type="auto")["start_type_changed"] is False
    assert pair.b.host.start_type == "delayed-auto"
    pair.b.host.start_type = "auto"
    call(pair.b, "undo")
    assert pair.b.host.start_type == "auto"


def test_only_auto_can_be_wanted_and_only_where_it_is_asked_for(pair):
    pair.b.host.start_type = "demand"
    assert start(pair.b)["start_type_changed"] is False and pair.b.host.start_type == "demand"
    with refused("bad_request", "start_type must be 'auto'"):
        start(pair.b, start_type="disabled")


def test_own_identity_is_kept_from_before_the_first_change(pair):
    call(pair.b, "apply", **source(pair))
    call(pair.b, "apply", fields={"recorder/displayname": "renamed"})
    call(pair.b, "undo")
    assert pair.b.config == recorder_config("b", OTHER_ID)


def test_check_changes_nothing(pair):
    before, registry = pair.b.config, dict(pair.b.host.registry)
    result = call(pair.b, "apply", **source(pair), check=True)
    assert result["changed"] is True and len(result["diff"]) > 5
    assert (pair.b.config, pair.b.host.registry, pair.b.host.calls) == (before, registry, [])
    assert call(pair.b, "read")["own_backup"] is False
    call(pair.b, "apply", **source(pair))
    config = pair.b.config
    assert call(pair.b, "undo", check=True)["changed"] is True
    assert pair.b.config == config and call(pair.b, "read")["own_backup"] is True


def test_a_registry_value_that_does_not_exist_is_not_made(pair):
    del pair.b.host.registry[INSTALLATION, "RecorderIDOnMachine"]
    result = call(pair.b, "apply", **source(pair))
    assert result["skipped"] == [REGISTRY]
    assert (INSTALLATION, "RecorderIDOnMachine") not in pair.b.host.registry
    assert call(pair.b, "apply", **source(pair))["changed"] is False


def test_names_with_the_root_element_or_the_hive_are_the_same(pair):
    call(pair.b, "apply", fields={"/recorderconfig/recorder/id": RECORDER_ID}, registry={f"HKLM\\{REGISTRY}": RECORDER_ID})
    assert call(pair.b, "read")["fields"]["recorder/id"] == RECORDER_ID == call(pair.b, "read")["registry"][REGISTRY]


@pytest.mark.parametrize("request_", [
    {"fields": {"recorder/ClientRegistrationId": "x"}}, {"fields": {"recorder/serverEncryption/@certificateHash": "x"}},
    {"fields": {"version": "1"}},
    {"fields": {"recorder/id": 5}}, {"fields": ["recorder/id"]}, {"registry": {"SOFTWARE\\Run|evil": "x"}}, {"check": "yes"}])
def test_nothing_else_can_be_set(pair, request_):
    before = pair.b.config
    with refused("bad_request"):
        call(pair.b, "apply", **request_)
    assert pair.b.config == before


@pytest.mark.parametrize(("code", "prepare"), [
    ("not_fenced", lambda node: setattr(node.host, "fence", None)), ("attached", lambda node: setattr(node.host, "permit", True)),
    ("attached", lambda node: setattr(node, "state", "attached"))])
def test_refused_where_it_could_be_seen(pair, code, prepare):
    before = pair.b.config
    prepare(pair.b)
    with refused(code, "pair1"):
        call(pair.b, "apply", **source(pair))
    assert (pair.b.config, pair.b.host.calls, call(pair.b, "read")["own_backup"]) == (before, [], False)


def test_allowed_while_the_guard_is_down_behind_a_closed_fence(pair):
    pair.b.up = False
    assert call(pair.b, "apply", **source(pair))["changed"] is True


def test_a_document_without_the_element_is_refused(pair):
    pair.b.write_config(pair.b.config.replace(b"<displayname>REC-B</displayname>", b""))
    before = pair.b.config
    with refused("config_unreadable", "recorder/displayname"):
        call(pair.b, "apply", **source(pair))
    assert pair.b.config == before and pair.b.host.calls == []


def test_a_crash_before_the_file_is_replaced_is_completed_by_the_next_run(pair, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node import store

    class Killed(BaseException):
        pass

    real = store.write_bytes

    def killed(host, path, data):
        if path == CONFIG:
            raise Killed
        real(host, path, data)

    monkeypatch.setattr(identity, "write_bytes", killed)
    with pytest.raises(Killed):
        call(pair.b, "apply", **source(pair))
    assert pair.b.config == recorder_config("b", OTHER_ID)
    monkeypatch.setattr(identity, "write_bytes", real)
    call(pair.b, "apply", **source(pair))
    call(pair.b, "undo")
    assert pair.b.config == recorder_config("b", OTHER_ID)
