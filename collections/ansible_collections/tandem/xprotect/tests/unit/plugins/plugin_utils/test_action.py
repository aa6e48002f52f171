# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the action plugins: arguments, check mode, diff, progress, errors, masking, closing."""

from __future__ import annotations

import types
from unittest import mock

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.arguments import with_pair
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.plugin_utils import action

NODES = [{"name": "a", "address": "10.0.0.11", "username": "u", "password": "geheim-a"},
         {"name": "b", "address": "10.0.0.12", "username": "u"}]
ARGS = {"pair": "north", "recorder_id": "0a0b0c0d-0000-4000-8000-000000000001", "service_address": {"address": "10.0.0.10"}, "nodes": NODES}


class Shown:
    def __init__(self):
        self.lines, self.verbose, self.warnings = [], [], []

    def display(self, text):
        self.lines.append(text)

    def v(self, text):
        self.verbose.append(text)

    def warning(self, text):
        self.warnings.append(text)


@pytest.fixture
def shown(monkeypatch):
    found = Shown()
    monkeypatch.setattr(action, "display", found)
    monkeypatch.setattr(action, "TERMINAL", False)
    monkeypatch.setenv("TANDEM_NODE_PASSWORD", "geheim-b")
    return found


def run(operation, args=None, check=False, diff=False, **constraints):
    spec = with_pair(mode={"type": "str", "choices": ["x", "y"], "default": "x"}, other={"type": "int"})
    noun = types.SimpleNamespace(ARGUMENT_SPEC=spec,
                                 run=operation, CONSTRAINTS=constraints)
    kind = type("ActionModule", (action.OperationAction,), {"OPERATION": noun})
    task = mock.MagicMock(args=dict(ARGS, **(args or {})), check_mode=check, diff=diff, async_val=0, action="x")
    plugin = kind(task, mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock(), mock.MagicMock())
    return plugin.run(task_vars={})


def test_the_result_and_the_arguments(shown):
    seen = {}

    def operation(context):
        seen.update(check=context.check_mode, diff=context.diff, params=context.params, context=context)
        return {"changed": True, "diff": {"before": 1}, "told": "with geheim-a and geheim-b"}

    result = run(operation, {"other": "7"}, check=True)
    assert result["changed"] is True and "diff" not in result and not result.get("failed")
    assert (seen["check"], seen["diff"], seen["params"]["other"], seen["params"]["mode"]) == (True, False, 7, "x")
    assert seen["params"]["nodes"][1]["password"] == "geheim-b" and seen["params"]["service_address"]["prefix"] == 24
    assert "geheim" not in str(result) and result["told"].count("***") >= 2
    assert result["invocation"]["module_args"]["pair"] == "north"


def test_the_difference_is_given_when_asked_for(shown):
    assert run(lambda context: {"diff": {"before": 1, "after": 2}}, diff=True)["diff"] == {"before": 1, "after": 2}


@pytest.mark.parametrize("args, text", [
    ({"mode": "z"}, "value of mode must be one of: x, y, got: z"), ({"pair": None}, "(option pair)"), ({"nodes": []}, "exactly two nodes"),
    ({"unknown": 1}, "unknown"), ({"nodes": [{"name": "a"}]}, "address")])
def test_wrong_arguments(shown, args, text):
    operation = mock.Mock()
    result = run(operation, args)
    assert result["failed"] is True and text in result["msg"] and not operation.called


def test_constraints(shown):
    result = run(lambda context: {}, {"other": 1, "mode": "y"}, mutually_exclusive=[("mode", "other")])
    assert result["failed"] and "mutually exclusive" in result["msg"]


def test_an_error_becomes_a_failed_result(shown):
    def operation(context):
        raise TandemError("held with geheim-a", "north", "a", "wait.", code="busy", details={"since": 1})

    result = run(operation)
    assert result["failed"] is True and result["msg"].startswith("pair north, node a: held with ***") and "geheim-a" not in result["msg"]
    assert result["error_code"] == "busy" and result["next_step"] == "wait." and result["error_details"] == {"since": 1}


def test_sessions_are_closed_whatever_happens(shown, monkeypatch):
    closed = []

    def close(self):
        closed.append(self)

    monkeypatch.setattr(action.Context, "close", close)
    with pytest.raises(ZeroDivisionError):
        run(lambda context: 1 / 0)
    run(lambda context: {})
    assert len(closed) == 2


@pytest.mark.parametrize("terminal", [True, False])
def test_progress(shown, monkeypatch, terminal):
    monkeypatch.setattr(action, "TERMINAL", terminal)

    def operation(context):
        context.report("a", {"event": "progress", "step": "stage", "done_bytes": 1500000, "total_bytes": 3e6, "table": "geheim-a"})
        context.warn("look at geheim-b")
        return {}

    run(operation)
    lines, others = (shown.lines, shown.verbose) if terminal else (shown.verbose, shown.lines)
    assert len(lines) == 1 and others == []
    assert lines[0].startswith("pair north, node a: stage, done 1.5 MB of 3.0 MB, table ***")
    assert "geheim" not in str(shown.warnings) and shown.warnings[0].startswith("look at ***")


def test_progress_text():
    assert action.progress_text("north", None, {"step": "permit", "seconds": 0.1234}) == "pair north: permit, seconds 0.12"
    assert len(action.progress_text("north", "a", {"step": "x" * 2000})) <= 500
