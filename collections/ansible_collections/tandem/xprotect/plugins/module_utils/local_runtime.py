# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running verbs of the node runtime on the controller itself: for a witness that lives there.

It looks like `NodeSession`. Which folder the witness keeps is told by the environment variable TANDEM_HOME, as to the witness itself.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import typing as t

from . import _runtime_build
from .errors import TandemError, VerbError

Event = dict[str, t.Any]
OUTPUT_LIMIT = 32 * 1024 * 1024


class LocalSession:
    """``LocalSession("watch-1", "north").call("witness.status")``. The runtime is written to a folder of its own at the first call."""

    def __init__(self, name: str, pair: str, on_progress: t.Callable[[Event], None] | None = None):
        self.node_name = name
        self.pair = pair
        self._on_progress = on_progress
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()

    def call(self, verb: str, request: dict[str, t.Any] | None = None, on_progress: t.Callable[[Event], None] | None = None,
             timeout: float = 120.0) -> dict[str, t.Any]:
        command = [sys.executable, "-I", "-B", "-X", "utf8", str(self._runtime()), verb]
        try:
            done = subprocess.run(command, input=json.dumps(request or {}).encode(), capture_output=True, timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise TandemError(f"verb {verb} did not end within {timeout:.0f} s on the controller", self.pair, self.node_name,
                              "look at the load of the controller and run again.", code="timeout") from None
        events = [event for event in map(_object, done.stdout[:OUTPUT_LIMIT].splitlines()) if isinstance(event.get("event"), str)]
        for event in events:
            for listener in (self._on_progress, on_progress):
                if listener and event["event"] == "progress":
                    listener(event)
        return self._result(verb, [event for event in events if event["event"] == "result"], done)

    def _result(self, verb: str, answers: list[Event], done: subprocess.CompletedProcess[bytes]) -> dict[str, t.Any]:
        diagnostics = done.stderr.decode("utf-8", "replace").strip()
        if not answers:
            told = diagnostics[-400:] or "no text"
            raise TandemError(f"verb {verb} ended with exit code {done.returncode} and without an answer: {told}",
                              self.pair, self.node_name, "look at the controller's disk and rights below TANDEM_HOME.", code="no_answer")
        if answers[-1].get("ok"):
            return answers[-1].get("result") or {}
        error = answers[-1].get("error") or {}
        raise VerbError(str(error.get("message") or f"verb {verb} failed without a reason"), self.pair, self.node_name,
                        error.get("next") or None, code=str(error.get("code") or "internal"), details=dict(error.get("details") or {}))

    def _runtime(self) -> pathlib.Path:
        with self._lock:
            if self._folder is None:
                self._folder = tempfile.TemporaryDirectory(prefix="tandem-runtime-")
                (pathlib.Path(self._folder.name) / "node.pyz").write_bytes(_runtime_build.build())
            return pathlib.Path(self._folder.name) / "node.pyz"

    def close(self) -> None:
        with self._lock:
            folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()


def _object(line: bytes) -> Event:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
