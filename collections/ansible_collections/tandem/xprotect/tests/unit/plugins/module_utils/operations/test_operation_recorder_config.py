# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import _turn, recorder_config
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, Site, facts

A, B = "north-a", "north-b"
XML = b'<recorderconfig>\n<recorder><id>R</id></recorder>\n<webserver><encryption certificateHash="A1" /></webserver>\n</recorderconfig>\n'
CACHE = b'{"version": 7, "password": "top"}\n'


class Files(Site):
    """Two nodes with files, and verbs that really read and write them, and that really change who is attached."""

    def __init__(self, a_cache=CACHE, b_cache=CACHE, a_xml=XML, b_xml=XML, attached=A, a=None, b=None, **verbs):
        super().__init__(**verbs)
        self.files = {A: {"recorder_config": a_xml, "local_configuration_cache": a_cache},
                      B: {"recorder_config": b_xml, "local_configuration_cache": b_cache}}
        self.attached, self.epoch, self.a, self.b = attached, 4, a or {}, b or {}
        self.on_attach = lambda node: None
        self.answers.setdefault("attachment.status", {"recorder": {"service_state": "running"}})
        self.answers.setdefault("media.writing", {A: {"writing": ["d1", "d2"]}, B: {"writing": ["d2", "d1", "d9"]}})

    def answer(self, node, verb, request, on_progress):
        own = {"facts": self.facts, "config.read": self.read, "config.apply": self.apply, "attachment.release": self.release}
        if verb in own and verb not in self.answers or verb == "facts":
            self.calls.append((node, verb, request))
            return own[verb](node, request)
        return super().answer(node, verb, request, on_progress)

    def facts(self, node, request):
        state = "attached" if node == self.attached else "headless"
        return facts(state=state, epoch=self.epoch, **(self.b if node == B else self.a))

    def read(self, node, request):
        return {"items": {item["id"]: self.content(node, item["id"]) for item in request["items"]}}

    def content(self, node, name):
        data = self.files[node].get(name)
        if data is None:
            return {"exists": False}
        return {"exists": True, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
                "content_b64": base64.b64encode(data).decode()}

    def apply(self, node, request):
        for item in request["items"]:
            data = base64.b64decode(item["content_b64"])
            assert hashlib.sha256(data).hexdigest() == item["sha256"]
            self.files[node][item["id"]] = data
        return {"changed": True, "restarted": any(item["restart"] for item in request["items"]), "version": 3, "items": []}

    def release(self, node, request):
        assert node == self.attached
        self.attached, self.epoch = request["successor"], self.epoch + 1
        self.on_attach(self.attached)
        return {"changed": True, "epoch": self.epoch, "successor": self.attached, "steps": [{"step": "detach", "seconds": 0.1}]}


PATHS = {"local_configuration_cache": "C:\\ProgramData\\Milestone\\ConfigurationCache.json"}


def run(site, **options):
    return recorder_config.run(site.context(recorder_config, **{"item_paths": PATHS, **options}))


# -- copy --------------------------------------------------------------------------------------------------------------
def test_what_differs_is_copied_and_a_second_run_changes_nothing():
    site = Files(b_cache=b'{"version": 6}\n')
    result = run(site, author="me")
    assert result["changed"] and result["restarted"] and result["version"] == 3 and (result["source"], result["target"]) == (A, B)
    assert [item["id"] for item in result["items"] if item["changed"]] == ["local_configuration_cache"]
    assert site.files[B]["local_configuration_cache"] == CACHE
    request = site.requests("config.apply")[0]
    assert request["author"] == "me" and len(request["items"]) == 1 and request["items"][0]["restart"] is True
    again = run(site)
    assert not again["changed"] and again["diff"] == [] and len(site.requests("config.apply")) == 1
    assert len(site.requests("lock.acquire")) == 2


def test_the_diff_masks_secrets():
    result = run(Files(b_cache=b'{"version": 6, "password": "old"}\n'), check_mode=True)
    diff, = result["diff"]
    assert (diff["before"], diff["after"]) == ('{"version": 6, "password": "********"}\n', '{"version": 7, "password": "********"}\n')
    assert diff["after_header"].endswith("ConfigurationCache.json")


def test_own_values_of_the_node_are_kept():
    site = Files(a_xml=XML.replace(b"R<", b"S<"), b_xml=XML.replace(b"A1", b"B2"))
    run(site)
    assert site.files[B]["recorder_config"] == XML.replace(b"R<", b"S<").replace(b"A1", b"B2")
    assert not run(site)["changed"]


def test_check_mode_writes_nothing():
    site = Files(b_cache=None)
    result = run(site, check_mode=True)
    assert result["changed"] and "would be brought up to date" in result["msg"] and site.files[B]["local_configuration_cache"] is None
    assert not site.requests("config.apply") and not site.requests("lock.acquire")


def test_a_stopped_recorder_of_a_twin_is_started():
    site = Files(b={"running": False}, service__start={"changed": True})
    result = run(site)
    assert result["changed"] and result["recorder_started"] and "its recorder was started" in result["msg"]
    assert site.requests("service.start") == [{"name": "recorder", "start_type": "auto"}]


@pytest.mark.parametrize("start_type", ["demand", "disabled"])
def test_a_twin_that_windows_would_not_start_is_set_to_start_by_itself_once(start_type):
    site = Files(b={"recorder__service__start_type": start_type}, service__start=lambda request: site.b.clear() or {"changed": True})
    checked = run(site, check_mode=True)
    assert checked["changed"] and checked["recorder_start_type_changed"] and not site.requests("service.start")
    assert checked["msg"].endswith("its recorder service would be set to start by itself")
    assert checked["diff"] == [{"before_header": "node north-b: recorder service", "after_header": "node north-b: recorder service",
                                "before": f"start type: {start_type}\n", "after": "start type: auto\n"}]
    result = run(site)
    assert result["changed"] and result["recorder_start_type_changed"] and not result["recorder_started"]
    assert site.requests("service.start") == [{"name": "recorder", "start_type": "auto"}]
    again = run(site)
    assert not again["changed"] and not again["recorder_start_type_changed"] and len(site.requests("service.start")) == 1


@pytest.mark.parametrize("b", [{"recorder_id": OTHER}, {"recorder__service__start_type": "delayed-auto"}])
def test_whose_start_type_is_left(b):
    site = Files(b={"recorder__service__start_type": "demand", **b})
    assert not run(site)["recorder_start_type_changed"] and not site.requests("service.start")


def test_no_start_type_is_changed_when_no_restart_is_wanted():
    site = Files(b={"recorder__service__start_type": "demand"})
    assert not run(site, restart=False)["changed"]


def test_no_restart_when_it_is_not_wanted():
    site = Files(b_cache=None, b={"running": False})
    assert run(site, restart=False)["changed"] and site.requests("config.apply")[0]["items"][0]["restart"] is False
    assert not site.requests("service.start")


def test_a_node_that_is_down_is_no_failure():
    site = Site({"state": "attached"}, NodeUnreachable("no route", "north", B, code="unreachable"))
    context = site.context(recorder_config, item_paths=PATHS)
    result = recorder_config.run(context)
    assert not result["changed"] and result["skipped_reason"] == "partner_down"
    assert result["msg"] == "node north-b of pair north does not answer (no route): nothing was compared or copied" == context.warnings[0]
    assert site.verbs() == []


def test_a_wrong_password_is_a_failure():
    with pytest.raises(TandemError, match="login refused"):
        run(Site({"state": "attached"}, TandemError("login refused", "north", B, code="wrong_password")))


def test_nobody_attached_is_a_failure():
    with pytest.raises(TandemError) as caught:
        run(Files(attached=None))
    assert caught.value.code == "nobody_attached" and "Next: attach a node" in str(caught.value)


@pytest.mark.parametrize(("changes", "code", "told"), [
    ({"a_xml": XML[:60]}, "config_unreadable", "RecorderConfig.xml cannot be used: not well-formed XML"),
    ({"a_cache": b""}, "config_unreadable", "ConfigurationCache.json (item local_configuration_cache) is empty"),
    ({"a_cache": None}, "item_missing", "set item_paths.local_configuration_cache"),
    ({"a_cache": None, "b_cache": None}, "item_missing", "set item_paths.local_configuration_cache")])
@pytest.mark.parametrize("strategy", ["copy", "turn"])
def test_a_broken_source_is_refused_before_anything_is_written(changes, code, told, strategy):
    site = Files(**changes)
    with pytest.raises(TandemError) as caught:
        run(site, strategy=strategy)
    assert caught.value.code == code and told in str(caught.value)
    assert str(caught.value).startswith("pair north, node north-a: ") and not site.requests("config.apply")


@pytest.mark.parametrize("strategy", ["copy", "turn"])
def test_without_the_path_of_the_local_configuration_cache_nothing_is_done(strategy):
    site = Files()
    with pytest.raises(TandemError) as caught:
        run(site, strategy=strategy, item_paths={})
    assert caught.value.code == "path_unknown" and caught.value.pair == "north"
    assert "set item_paths.local_configuration_cache" in str(caught.value) and site.calls == []


def test_a_partner_that_does_not_record_is_told():
    site = Files(b_cache=None, config__apply=VerbError("north-a does not record", "north", B, "Bring it to record.",
                                                       code="partner_not_recording"))
    with pytest.raises(TandemError) as caught:
        run(site)
    assert caught.value.code == "partner_not_recording" and len(site.requests("lock.release")) == 2


def test_content_that_did_not_arrive_whole():
    site = Files()
    site.content = lambda node, name: {"exists": True, "sha256": "0" * 64, "content_b64": "AAAA"}
    with pytest.raises(TandemError) as caught:
        run(site)
    assert caught.value.code == "transfer"


# -- turn --------------------------------------------------------------------------------------------------------------
@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(_turn, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(_turn, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(_turn, "READY_SECONDS", 0.1)


def fetching(content=CACHE, **changes):
    """A site whose node b fetches `content` when it is attached."""
    site = Files(**{"b_cache": b"old", **changes})
    site.on_attach = lambda node: node == B and site.files[B].update(local_configuration_cache=content)
    return site


def test_a_turn_fetches_the_configuration_and_hands_back():
    site = fetching()
    result = run(site, strategy="turn")
    assert result["changed"] and result["turn"]["attached_meanwhile"] == B and result["turn"]["fetched"]["equal"]
    assert (result["turn"]["there"]["epoch"], result["turn"]["back"]["epoch"], site.attached) == (5, 6, A)
    assert [name for name, verb, unused in site.calls if verb == "attachment.release"] == [A, B]
    assert not run(site, strategy="turn")["changed"] and site.epoch == 6


def test_files_that_are_never_equal_count_as_equal_after_a_turn():
    site = fetching(b'{"version": 7, "machine": "b"}')
    result = run(site, strategy="turn")
    assert result["turn"]["fetched"]["differing"] == ["local_configuration_cache"] and site.attached == A
    record = json.loads(site.files[B]["turn"])
    assert record["local_configuration_cache"][B] == hashlib.sha256(b'{"version": 7, "machine": "b"}').hexdigest()
    assert not run(site, strategy="turn")["changed"]
    site.files[A]["local_configuration_cache"] = b'{"version": 8}'
    assert run(site, strategy="turn", check_mode=True)["changed"]
    site.files[A]["local_configuration_cache"] = CACHE
    assert run(site, strategy="copy", check_mode=True)["changed"], "copying compares the files themselves"


def test_other_items_are_copied_and_make_no_turn():
    site = Files(b_xml=XML.replace(b"R<", b"S<"))
    result = run(site, strategy="turn")
    assert result["changed"] and result["turn"] is None and site.epoch == 4


def test_check_mode_makes_no_turn():
    site = fetching()
    result = run(site, strategy="turn", check_mode=True)
    assert result["changed"] and result["turn"] is None and site.epoch == 4


def new_twin(**changes):
    """A site whose node b has no configuration and writes nothing before it has fetched one."""
    site = fetching(**{"b_cache": None,
                       "b": {"running": False, "guard__status__recorder": {"devices": 0, "known_devices": 0, "writing": 0}},
                       "attachment__status": {"recorder": {"service_state": "running", "known_devices": 0}},
                       "media__writing": {A: {"writing": ["d1", "d2"]}, B: {"writing": []}}, **changes})

    def start(request):
        site.b["running"] = True
        return {"changed": True}

    def attached(node):
        site.files[B].update(local_configuration_cache=CACHE)
        site.answers["media.writing"][B] = {"writing": ["d1", "d2"]}

    site.answers["service.start"] = start
    site.on_attach = attached
    return site


def flags(site):
    return [request["fetches"] for request in site.requests("attachment.release")]


def test_a_new_twin_without_devices_takes_a_turn():
    site = new_twin()
    assert run(site, strategy="turn")["recorder_started"] and site.files[B]["local_configuration_cache"] == CACHE and site.attached == A
    assert flags(site) == [True, False]
    assert not run(site, strategy="turn")["changed"]


def test_old_media_does_not_keep_a_node_without_configuration_from_its_first_turn():
    site = new_twin(attachment__status={"recorder": {"service_state": "running", "known_devices": 3}},
                    b={"guard__status__recorder": {"devices": 0, "known_devices": 3, "writing": 0}})
    assert run(site, strategy="turn")["changed"] and flags(site) == [True, False]


def test_no_first_turn_while_the_partner_records_nothing():
    site = new_twin(a={"guard__status__recorder": {"devices": 2, "known_devices": 2, "writing": 0}})
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn")
    assert caught.value.code == "not_recording" and "node north-a does not record meanwhile" in str(caught.value)
    assert site.epoch == 4 and flags(site) == []


def test_no_later_turn_of_a_node_that_does_not_record_everything():
    site = fetching(media__writing={A: {"writing": ["d1", "d2"]}, B: {"writing": ["d1"]}})
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn")
    assert caught.value.code == "not_recording" and caught.value.node == B and site.epoch == 4
    assert "does not record device d2 that node north-a records" in str(caught.value)
    assert "ConfigurationCache.json away" in str(caught.value)


def test_a_recording_on_motion_that_begins_a_little_later_is_waited_for():
    site = fetching()
    looks = []

    def writing(node):
        looks.append(node)
        return {"writing": ["d1"] if node == B and len(looks) < 6 else ["d1", "d2"]}

    site.answers["media.writing"] = {A: lambda request: writing(A), B: lambda request: writing(B)}
    assert run(site, strategy="turn")["changed"] and len(looks) >= 6


def test_a_table_that_is_just_being_split_hides_no_device():
    site = fetching(media__writing={A: [{"writing": []}, {"writing": ["d1", "d2"]}], B: {"writing": ["d1"]}})
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn")
    assert caught.value.code == "not_recording" and site.epoch == 4


def test_a_twin_that_records_nothing_after_its_turn_is_an_error():
    site = new_twin()
    site.on_attach = lambda node: site.files[B].update(local_configuration_cache=CACHE)
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn")
    assert caught.value.code == "not_recording" and site.attached == A
    assert "it has fetched its configuration and records none of the 2 devices that node north-a records" in str(caught.value)


def test_what_only_one_node_was_told_to_record_is_a_warning_after_the_first_turn():
    site = new_twin()
    site.answers["media.writing"][A] = {"writing": ["d1", "d2", "started-by-hand"]}
    context = site.context(recorder_config, strategy="turn", item_paths=PATHS)
    assert recorder_config.run(context)["changed"] and site.attached == A
    assert len(context.warnings) == 1 and "does not record device started-by-hand that node north-a records" in context.warnings[0]


def test_what_was_not_fetched_is_an_error_after_handing_back():
    site = Files(b_cache=None)
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn", turn_wait=0.1)
    assert caught.value.code == "not_fetched" and caught.value.node == B and site.attached == A
    assert "its local_configuration_cache did not become what its partner had; the pair was handed back" in str(caught.value)
    assert len(site.requests("lock.release")) == 2


def test_only_equal_files_when_that_is_wanted():
    site = fetching(b"other")
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn", turn_wait=0.2, turn_accept="equal")
    assert caught.value.code == "not_fetched" and site.attached == A


def test_a_turn_that_cannot_be_ended_says_so():
    site = fetching()

    def refuse(node):
        site.files[B]["local_configuration_cache"] = CACHE
        site.answers["attachment.release"] = VerbError("it does not record", "north", B, code="not_recording")

    site.on_attach = refuse
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn")
    assert caught.value.code == "not_handed_back" and "node north-a was to be attached again: it does not record" in str(caught.value)
    assert "Next: read the state of the pair" in str(caught.value)


def test_a_recorder_that_does_not_run_takes_no_turn():
    site = fetching(attachment__status={"recorder": {"service_state": "stopped"}})
    with pytest.raises(TandemError) as caught:
        run(site, strategy="turn")
    assert caught.value.code == "recorder_stopped" and site.epoch == 4
