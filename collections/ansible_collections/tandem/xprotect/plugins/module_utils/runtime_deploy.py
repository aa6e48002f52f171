# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bringing Python and the node runtime onto a node.

Asked first is the runtime itself: when its ``facts`` verb answers from the versioned path with the right SHA-256, all is there and
nothing else is sent. PowerShell is used only for what is missing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import typing as t
import zipfile

from . import _runtime_build as runtime
from .errors import RuntimeMissing, TandemError, VerbError
from .winrm import NodeSession

ARCHIVE_LIMIT = 128 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Archive:
    """The Windows embeddable package of Python, read once for all nodes."""

    path: str
    data: bytes = dataclasses.field(repr=False)
    sha256: str

    @classmethod
    def load(cls, path: str) -> "Archive":
        try:
            size = pathlib.Path(path).stat().st_size
            data = pathlib.Path(path).read_bytes() if size <= ARCHIVE_LIMIT else b""
        except OSError as error:
            raise TandemError(f"the Python archive {path} cannot be read: {error.strerror}", code="configuration",
                              next_step="correct python_archive.") from None
        if not _holds_python(data):
            raise TandemError(f"{path} is not an archive with python.exe at its top", code="configuration", next_step="give the"
                              " 'Windows embeddable package (64-bit)' of Python 3.11 or later, a zip file, as python_archive.")
        return cls(path, data, hashlib.sha256(data).hexdigest())


def _holds_python(data: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return "python.exe" in (name.casefold() for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def look(session: NodeSession) -> dict[str, t.Any]:
    """What is on the node: ``python`` and ``runtime`` are each present, missing or (runtime) damaged; ``facts`` when it answered."""
    session.brings_runtime = False  # asked is what is there, not what could be
    try:
        facts = session.call("facts", timeout=60.0)
    except RuntimeMissing as error:
        missing = error.code == "program_missing"
        return {"python": "missing" if missing else "present", "runtime": "missing", "facts": None}
    except VerbError:
        raise  # it is there and runs: its own words tell what is wrong
    except TandemError as error:
        if error.code != "no_answer":
            raise
        return {"python": "present", "runtime": "damaged", "facts": None, "problem": error.message}
    whole = facts.get("runtime", {}).get("sha256") == runtime.sha256()
    return {"python": "present", "runtime": "present" if whole else "damaged", "facts": facts}


def ensure(session: NodeSession, archive: Archive | None, check_mode: bool = False) -> dict[str, t.Any]:
    """Bring what is missing. The answer has ``changed``, ``before``, ``after`` and, when it ran, ``facts``."""
    answer = judge(session, look(session), archive)
    return answer if check_mode else bring(session, answer, archive)


def judge(session: NodeSession, found: dict[str, t.Any], archive: Archive | None) -> dict[str, t.Any]:
    """What `bring` would do about what `look` found, as the answer of `ensure`; refuses what cannot be brought."""
    before = {"python": found["python"], "runtime": found["runtime"]}
    after = {"python": "present", "runtime": "present"}
    if before != after and found["python"] == "missing" and archive is None:
        raise TandemError("there is no Python for Tandem on the machine and no archive to bring it from", session.pair, session.node_name,
                          "download the 'Windows embeddable package (64-bit)' of Python and name the zip file with python_archive.",
                          code="configuration")
    return {"changed": before != after, "before": before, "after": after, "facts": found["facts"]}


def bring(session: NodeSession, answer: dict[str, t.Any], archive: Archive | None) -> dict[str, t.Any]:
    """Do what `judge` told; its answer with the facts that the runtime gives now."""
    if not answer["changed"]:
        return answer
    if answer["before"]["python"] == "missing" and archive is not None:
        _bring(session, runtime.PYTHON_FOLDER, archive.sha256, archive.data, "zip")
    _bring(session, runtime.runtime_path(runtime.sha256()), runtime.sha256(), runtime.build(), "file")
    return {**answer, "facts": _verified(session)}


def _bring(session: NodeSession, target: str, sha256: str, data: bytes, kind: str) -> None:
    told = session.bootstrap(target, sha256, data, kind)
    if str(told.get("present", "")).lower() == sha256:
        return
    what = f"holds something else (SHA-256 {told['present']})" if told.get("present") else "was not made by Tandem"
    raise TandemError(f"{target} exists on the machine and {what}; it is not overwritten", session.pair, session.node_name,
                      f"look at {target} and remove or rename it, then run again.", code="bootstrap_failed")


def _verified(session: NodeSession) -> dict[str, t.Any]:
    facts = session.call("facts", timeout=120.0)  # the first start of a new program waits for the virus scanner
    told = facts.get("runtime", {}).get("sha256")
    if told != runtime.sha256():
        raise TandemError(f"the runtime on the machine says it is {told}, not {runtime.sha256()}", session.pair, session.node_name,
                          "run again; if it persists, look for what changes files below C:\\Program Files\\Tandem.", code="verification")
    return facts


def older_runtimes(facts: dict[str, t.Any] | None) -> list[str]:
    """Paths of other versions that the node knows of: those beside this one, and the one that its guard was started from."""
    if not facts:
        return []
    own = runtime.runtime_path(runtime.sha256()).casefold()
    found = {str(path) for path in facts.get("runtime", {}).get("others") or []}
    found |= {path for path in (guard_runtime(facts),) if path}
    return sorted(path for path in found if path.casefold() != own)


def guard_runtime(facts: dict[str, t.Any]) -> str | None:
    """The path of the runtime that the guard service starts, None where there is no guard."""
    command = (facts.get("guard") or {}).get("service", {}).get("command") or ""
    return next((part for part in command.split('"') if part.casefold().endswith("node.pyz")), None)
