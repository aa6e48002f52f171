# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.local_runtime import LocalSession

PROGRAM = """import json, sys, time
verb, request = sys.argv[1], json.load(sys.stdin)
if verb == "hang":
    time.sleep(1000)
if verb == "die":
    sys.exit("it hurts")
print("noise")
print(json.dumps({"event": "progress", "step": "working"}))
error = {"code": "busy", "message": "not now", "next": "wait.", "details": {"wait": 3}}
answer = {"ok": verb != "refuse", "result": request, "error": error}
print(json.dumps({"event": "result", **answer}))
"""


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr(_runtime_build, "build", PROGRAM.encode)
    events = []
    found = LocalSession("watch-1", "north", events.append)
    found.events = events
    yield found
    found.close()


def test_a_verb_runs_here(session):
    assert session.call("witness.status", {"a": 1}) == {"a": 1} and session.events == [{"event": "progress", "step": "working"}]
    assert session.call("witness.status") == {}


def test_a_refusal_keeps_its_code_and_its_next_step(session):
    with pytest.raises(VerbError) as caught:
        session.call("refuse")
    assert (caught.value.code, caught.value.details, caught.value.next_step, caught.value.node) == ("busy", {"wait": 3}, "wait.", "watch-1")


@pytest.mark.parametrize(("verb", "code", "told"), [("die", "no_answer", "it hurts"), ("hang", "timeout", "did not end within")])
def test_no_answer(session, verb, code, told):
    with pytest.raises(TandemError, match=told) as caught:
        session.call(verb, timeout=0.5 if verb == "hang" else 60.0)
    assert caught.value.code == code


def test_nothing_is_left(session):
    session.call("witness.status")
    path = session._runtime()
    session.close()
    assert not path.exists() and not path.parent.exists()
