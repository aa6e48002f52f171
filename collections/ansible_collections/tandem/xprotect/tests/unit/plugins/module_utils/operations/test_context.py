# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an operation gets, with sessions that are not real."""

from __future__ import annotations

import threading

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import (
    NodeUnreachable, RuntimeMissing, SeveralErrors, TandemError)
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import context as context_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_info
from ansible_collections.tandem.xprotect.plugins.module_utils.operations.context import Context

PARAMS = {
    "pair": "north", "recorder_id": "0a0b0c0d-0000-4000-8000-000000000001", "service_address": {"address": "10.0.0.10", "prefix": 24},
    "nodes": [{"name": "a", "address": "10.0.0.11", "username": "u", "password": "p"},
              {"name": "b", "address": "10.0.0.12", "username": "u", "password": "p"}],
    "management_server": None, "tandem_port": 11443, "node": None, "selftest": False, "python_archive": None,
}


class Session:
    made: list = []
    answers: dict = {}

    def __init__(self, node, pair, on_progress=None, brings_runtime=False):
        self.node_name, self.pair, self.on_progress, self.closed = node["name"], pair, on_progress, False
        self.brings_runtime = brings_runtime
        Session.made.append(self)

    def call(self, verb, request=None, **keywords):
        answer = Session.answers[self.node_name]
        self.on_progress({"event": "progress", "step": verb})
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def sessions(monkeypatch):
    monkeypatch.setattr(context_module, "NodeSession", Session)
    Session.made, Session.answers = [], {"a": {"x": 1}, "b": {"x": 2}}


def test_sessions_are_made_once_and_closed():
    with Context(PARAMS) as context:
        assert Session.made == []
        assert context.call("a", "facts") == {"x": 1} and context.session("A") is context.session("a")
        assert context.pair.name == "north" and context.node_names == ["a", "b"]
    assert [session.closed for session in Session.made] == [True]
    with pytest.raises(TandemError):
        context.session("c")


@pytest.mark.parametrize("check_mode", [False, True])
def test_a_missing_runtime_is_brought_by_the_way_but_not_in_check_mode(check_mode):
    assert Context(PARAMS, check_mode=check_mode).session("a").brings_runtime is not check_mode


def test_both_nodes_at_the_same_time():
    together = threading.Barrier(2, timeout=30)

    def work(session):
        together.wait()
        return session.node_name

    assert Context(PARAMS).on_nodes(work) == {"a": "a", "b": "b"}
    assert Context(PARAMS).on_nodes(lambda session: session.node_name, ["b"]) == {"b": "b"}


def test_errors_of_nodes():
    off = NodeUnreachable("off", code="unreachable")
    Session.answers["a"] = off
    context = Context(PARAMS)
    with pytest.raises(NodeUnreachable) as caught:
        context.on_nodes(lambda session: session.call("facts"))
    assert str(caught.value) == "pair north, node a: off"
    assert context.try_on_nodes(lambda session: session.call("facts")) == {"a": off, "b": {"x": 2}}
    Session.answers["b"] = RuntimeMissing("none", code="runtime_missing")
    with pytest.raises(SeveralErrors) as caught:
        context.on_nodes(lambda session: session.call("facts"))
    assert "node a: off" in str(caught.value) and "node b: none" in str(caught.value)


def test_a_bug_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        Context(PARAMS).on_nodes(lambda session: 1 / 0)


def test_progress_names_the_node():
    seen = []
    context = Context(PARAMS, progress=lambda node, event: seen.append((node, event["step"])))
    context.call("b", "media.plan")
    context.report(None, {"step": "done"})
    assert seen == [("b", "media.plan"), (None, "done")]


def test_the_management_server_is_asked_for_only_when_given():
    with pytest.raises(TandemError) as caught:
        Context(PARAMS).management_server()
    assert "set management_server" in str(caught.value)
    options = {"url": "http://127.0.0.1:1", "username": "u", "password": "p"}
    with Context({**PARAMS, "management_server": options}) as context:
        assert context.management_server() is context.management_server()


def test_a_wrong_definition_is_refused_before_anything():
    with pytest.raises(TandemError):
        Context({**PARAMS, "nodes": PARAMS["nodes"][:1]})


def test_warnings_are_kept_once():
    context = Context(PARAMS)
    context.warn("x")
    context.warn("x")
    assert context.warnings == ["x"]


def test_node_info_reports_a_node_that_is_off():
    Session.answers = {"a": NodeUnreachable("off", code="unreachable"), "b": {"machine": {"name": "B"}}}
    found = node_info.run(Context(PARAMS))
    assert found["changed"] is False
    assert found["nodes"]["a"] == {"reachable": False, "runtime_installed": None, "error": "pair north, node a: off",
                                   "error_code": "unreachable", "facts": None}
    assert found["nodes"]["b"] == {"reachable": True, "runtime_installed": True, "error": None, "error_code": None,
                                   "facts": {"machine": {"name": "B"}}}


def test_node_info_without_any_answer_fails():
    Session.answers = {"a": NodeUnreachable("off", code="unreachable"), "b": RuntimeMissing("none", code="program_missing")}
    with pytest.raises(SeveralErrors):
        node_info.run(Context(PARAMS))
    with pytest.raises(RuntimeMissing):
        node_info.run(Context({**PARAMS, "node": "b"}))


def test_node_info_selftest():
    found = node_info.run(Context({**PARAMS, "node": "B", "selftest": True}))
    assert found["nodes"] == {"b": {"reachable": True, "runtime_installed": True, "error": None, "error_code": None, "facts": {"x": 2},
                                    "selftest": {"x": 2}}}
