# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing the runtime: both nodes are looked at, and the Management Server is asked, before anything is brought to one."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, RuntimeMissing, SeveralErrors, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_runtime
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.management_server import ManagementServer
from ansible_collections.tandem.xprotect.tests.unit.builders import RECORDER, Site

A, B = "north-a", "north-b"
SHA = hashlib.sha256(b"runtime").hexdigest()
NO_PYTHON = RuntimeMissing("no python", "north", code="program_missing")
NO_RUNTIME = RuntimeMissing("no runtime", "north", code="runtime_missing")
REFUSED = TandemError("the login of tandem was refused", "north", B, "correct the password.", code="wrong_password")
HERE = {"runtime": {"sha256": SHA, "version": "0.1.0", "python": "3.13.1", "others": []}}


class Machines(Site):
    """Nodes to which things can be brought; `facts` of a node that got the runtime are `HERE`."""

    def __init__(self, a, b):
        super().__init__(a=None, b=None)
        self.answers["facts"] = {A: a, B: b}
        self.brought = []

    def bootstrap(self, node, kind, sha256):
        self.brought.append((node, kind))
        if kind == "file":
            self.answers["facts"][node] = HERE
        return {"installed": True, "present": sha256}

    def context(self, operation, **options):
        context = super().context(operation, **options)
        original = context.session

        def session(name):
            found = original(name)
            found.pair = context.pair.name
            found.bootstrap = lambda target, sha256, data, kind: self.bootstrap(found.node_name, kind, sha256)
            return found

        context.session = session
        return context


class Server:
    """A Management Server that knows the pair's recorder, or answers with an error."""

    def __init__(self, error=None):
        self.error, self.asked = error, []

    def recorder(self, recorder_id):
        self.asked.append(recorder_id)
        if self.error:
            raise self.error
        return {"id": recorder_id}


@pytest.fixture(autouse=True)
def small_runtime(monkeypatch):
    monkeypatch.setattr(_runtime_build, "build", lambda: b"runtime")
    monkeypatch.setattr(_runtime_build, "sha256", lambda: SHA)


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "python.zip", "w") as file:
        file.writestr("python.exe", "MZ")
    return str(tmp_path / "python.zip")


def run(site, **options):
    context = site.context(node_runtime, **options)
    return node_runtime.run(context), context


def test_both_nodes_get_what_they_lack(archive):
    site = Machines(NO_PYTHON, NO_RUNTIME)
    result, context = run(site, python_archive=archive)
    assert result["changed"] and sorted(site.brought) == [(A, "file"), (A, "zip"), (B, "file")] and context.warnings == []
    assert result["nodes"][A]["before"] == {"python": "missing", "runtime": "missing"} and result["nodes"][A]["python"] == "3.13.1"
    assert result["diff"]["after"] == dict.fromkeys((A, B), {"python": "present", "runtime": "present"})
    again, unused = run(site, python_archive=archive)
    assert not again["changed"] and len(site.brought) == 3


def test_check_mode_brings_nothing(archive):
    site = Machines(NO_PYTHON, HERE)
    result, unused = run(site, python_archive=archive, check_mode=True)
    assert result["changed"] and site.brought == [] and [node["changed"] for node in result["nodes"].values()] == [True, False]


@pytest.mark.parametrize("error", [REFUSED, NodeUnreachable("off", "north", B, code="unreachable")])
def test_what_is_wrong_with_one_node_leaves_the_other_untouched(archive, error):
    site = Machines(NO_PYTHON, error)
    with pytest.raises(TandemError) as caught:
        run(site, python_archive=archive)
    assert caught.value is error and site.brought == []


def test_both_mistakes_are_told_at_once(archive):
    with pytest.raises(SeveralErrors):
        run(Machines(NodeUnreachable("off", "north", A, code="unreachable"), REFUSED), python_archive=archive)


def test_without_an_archive_no_node_gets_anything():
    site = Machines(NO_RUNTIME, NO_PYTHON)
    with pytest.raises(TandemError) as caught:
        run(site)
    assert caught.value.node == B and caught.value.code == "configuration" and site.brought == []


def test_one_node_only_while_the_other_is_off(archive):
    site = Machines(NodeUnreachable("off", "north", A, code="unreachable"), NO_PYTHON)
    result, unused = run(site, python_archive=archive, node=B)
    assert result["changed"] and list(result["nodes"]) == [B] and site.brought == [(B, "zip"), (B, "file")]


def test_a_recorder_that_the_management_server_does_not_know_is_refused_before_anything_is_brought(archive):
    unknown = TandemError(f"the Management Server knows no recording server {RECORDER}", "north", next_step="correct recorder_id.",
                          code="not_found")
    site, server = Machines(NO_PYTHON, NO_PYTHON), Server(unknown)
    with pytest.raises(TandemError) as caught:
        run(site, python_archive=archive, management_server=server)
    assert str(caught.value) == f"pair north: the Management Server knows no recording server {RECORDER}. Next: correct recorder_id."
    assert server.asked == [RECORDER] and site.brought == []


def test_the_real_client_says_which_pair_and_which_id(http_fake, archive):
    """Through the client itself: what a Management Server answers about an id that it does not know."""
    def answer(request):
        if request.path.endswith("/connect/token"):
            return 200, {}, b'{"access_token": "x", "expires_in": 3600}'
        return 404, {}, b'{"error": {"httpCode": 404}}'

    site = Machines(NO_PYTHON, NO_PYTHON)
    server = ManagementServer({"url": http_fake(answer).url, "username": "u", "password": "p"}, "north")
    with pytest.raises(TandemError) as caught:
        run(site, python_archive=archive, management_server=server)
    assert "pair north" in str(caught.value) and RECORDER in str(caught.value) and "Next: correct recorder_id" in str(caught.value)
    assert site.brought == []


def test_a_refused_login_at_the_management_server_is_told_before_anything_is_brought(archive):
    site = Machines(NO_PYTHON, NO_PYTHON)
    with pytest.raises(TandemError, match="refused the login"):
        run(site, python_archive=archive, management_server=Server(TandemError("it refused the login", code="wrong_password")))
    assert site.brought == []


@pytest.mark.parametrize("error", [NodeUnreachable("no route", code="unreachable"), TandemError("silence", code="timeout"),
                                   TandemError("HTTP 503", code="http", details={"status": 503})])
def test_a_management_server_that_is_down_does_not_hinder(archive, error):
    site = Machines(NO_PYTHON, NO_PYTHON)
    result, context = run(site, python_archive=archive, management_server=Server(error))
    assert result["changed"] and len(site.brought) == 4
    assert f"pair north: whether there is a recorder {RECORDER} could not be asked: {error.message}" in context.warnings


def test_older_runtimes_are_listed_and_only_one_that_the_guard_uses_is_a_warning():
    old, older = (_runtime_build.runtime_path(digit * 64) for digit in "98")
    here = {"runtime": {**HERE["runtime"], "others": [old, older]}}
    guarded = {**here, "guard": {"service": {"command": f'"C:\\python.exe" -I "{old}" guard'}}}
    result, context = run(Machines(here, guarded))
    assert result["nodes"][A]["older_runtimes"] == result["nodes"][B]["older_runtimes"] == sorted([old, older])
    assert len(context.warnings) == 1 and "node north-b" in context.warnings[0] and old in context.warnings[0]
