# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is brought onto a node in which state, with a node that exists only as a dictionary."""

from __future__ import annotations

import hashlib
import zipfile

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build, runtime_deploy
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, RuntimeMissing, TandemError, VerbError

SHA = hashlib.sha256(b"runtime").hexdigest()
PYTHON = _runtime_build.PYTHON_FOLDER
RUNTIME = _runtime_build.runtime_path(SHA)


class Session:
    pair, node_name = "north", "a"

    def __init__(self, **present):
        self.present = dict(present)
        self.brought: list[tuple[str, str]] = []
        self.python = "python" in present
        self.others: list[str] = []

    def call(self, verb, request=None, timeout=0.0):
        assert verb == "facts"
        if not self.python:
            raise RuntimeMissing("no python", code="program_missing")
        if "runtime" not in self.present:
            raise RuntimeMissing("no runtime", code="runtime_missing")
        if isinstance(self.present["runtime"], Exception):
            raise self.present["runtime"]
        return {"runtime": {"sha256": self.present["runtime"], "others": self.others}}

    def bootstrap(self, target, sha256, data, kind):
        assert hashlib.sha256(data).hexdigest() == sha256
        self.brought.append((target, kind))
        if kind == "zip":
            self.present.setdefault("python", sha256)
            self.python = self.present["python"] == sha256
            return {"installed": True, "present": self.present["python"]}
        self.present["runtime"] = sha256
        return {"installed": True, "present": sha256}


@pytest.fixture(autouse=True)
def small_runtime(monkeypatch):
    monkeypatch.setattr(_runtime_build, "build", lambda: b"runtime")
    monkeypatch.setattr(_runtime_build, "sha256", lambda: SHA)


@pytest.fixture
def archive(tmp_path):
    with zipfile.ZipFile(tmp_path / "python.zip", "w") as file:
        file.writestr("python.exe", "MZ")
    return runtime_deploy.Archive.load(str(tmp_path / "python.zip"))


NOTHING, WITH_PYTHON, WHOLE, OTHER = {}, {"python": "p"}, {"python": "p", "runtime": SHA}, {"python": "p", "runtime": "00"}
CRASHING = {"python": "p", "runtime": TandemError("crash", code="no_answer")}


@pytest.mark.parametrize("present, brought", [
    (NOTHING, [(PYTHON, "zip"), (RUNTIME, "file")]), (WITH_PYTHON, [(RUNTIME, "file")]), (WHOLE, []),
    (OTHER, [(RUNTIME, "file")]), (CRASHING, [(RUNTIME, "file")])])
def test_what_is_missing_is_brought_once(archive, present, brought):
    session = Session(**present)
    planned = runtime_deploy.ensure(session, archive, check_mode=True)
    assert planned["changed"] is bool(brought) and session.brought == []
    done = runtime_deploy.ensure(session, archive)
    assert session.brought == brought
    assert [done[key] for key in ("changed", "before", "after")] == [planned[key] for key in ("changed", "before", "after")]
    assert done["facts"]["runtime"]["sha256"] == SHA
    assert runtime_deploy.ensure(session, archive)["changed"] is False


def test_without_an_archive():
    with pytest.raises(TandemError) as caught:
        runtime_deploy.ensure(Session(), None, check_mode=True)
    assert "python_archive" in str(caught.value) and str(caught.value).startswith("pair north, node a")
    session = Session(python="p")
    assert runtime_deploy.ensure(session, None)["changed"] and session.brought == [(RUNTIME, "file")]


@pytest.mark.parametrize("present, text", [("00", "holds something else (SHA-256 00)"), ("", "was not made by Tandem")])
def test_a_strange_python_folder_is_not_overwritten(archive, present, text):
    session = Session()
    session.present["python"] = present
    with pytest.raises(TandemError) as caught:
        runtime_deploy.ensure(session, archive)
    assert text in str(caught.value) and session.brought == [(PYTHON, "zip")]


def test_a_runtime_that_still_is_another_one_is_told(archive):
    session = Session(python="p", runtime="00")
    session.bootstrap = lambda target, sha256, data, kind: {"present": sha256}
    with pytest.raises(TandemError) as caught:
        runtime_deploy.ensure(session, archive)
    assert caught.value.code == "verification"


@pytest.mark.parametrize("error", [VerbError("facts failed", code="internal"), NodeUnreachable("off", code="unreachable")])
def test_other_failures_bring_nothing(archive, error):
    session = Session(python="p", runtime=error)
    with pytest.raises(type(error)):
        runtime_deploy.ensure(session, archive)
    assert session.brought == []


@pytest.mark.parametrize("content, text", [(None, "cannot be read"), (b"no zip", "is not an archive with python.exe")])
def test_an_unusable_archive(tmp_path, content, text):
    if content is not None:
        (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(TandemError) as caught:
        runtime_deploy.Archive.load(str(tmp_path / "x.zip"))
    assert text in str(caught.value)


def test_what_cannot_be_brought_is_refused_before_anything_is_brought():
    session = Session()
    with pytest.raises(TandemError) as caught:
        runtime_deploy.judge(session, runtime_deploy.look(session), None)
    assert caught.value.code == "configuration" and session.brought == []


def test_older_runtimes():
    old = _runtime_build.runtime_path("99" * 32)
    facts = {"runtime": {"others": [RUNTIME.upper()]}, "guard": {"service": {"command": f'"C:\\python.exe" -I "{old}" guard'}}}
    assert runtime_deploy.older_runtimes(facts) == [old]
    assert runtime_deploy.older_runtimes({"runtime": {}, "guard": {"service": {"command": None}}}) == []
    assert runtime_deploy.older_runtimes(None) == []
    assert runtime_deploy.guard_runtime(facts) == old and runtime_deploy.guard_runtime({}) is None
