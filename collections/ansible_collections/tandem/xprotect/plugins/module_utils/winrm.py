# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running things on a node: `NodeSession.call` is "this verb on that node", JSON in, JSON lines out.

Connections and shells are kept for the life of a session, and programs are started without cmd.exe, so that a call costs one
process start and no quoting.
"""

from __future__ import annotations

import json
import re
import threading
import typing as t

from . import _bootstrap, _runtime_build
from ._winrm_channel import Channel, Finished
from .errors import RuntimeMissing, TandemError, VerbError

Event = dict[str, t.Any]


class NodeSession:
    """The kept connections to one node. Nothing is sent before the first use.

    May be used by several threads, and again from a progress listener while a verb runs: a call that finds all kept
    connections in use opens one more.

    With `brings_runtime` a node that has Python but not yet this version of the runtime gets it on the first call. Its folder is
    named by its hash and touches nothing else, and a failover at night must not fail because the controller was updated by day.
    """

    def __init__(self, node: t.Mapping[str, t.Any], pair: str, on_progress: t.Callable[[Event], None] | None = None,
                 brings_runtime: bool = False):
        self.node = dict(node)
        self.node_name: str = node["name"]
        self.address: str = node["address"]
        self.pair = pair
        self.brings_runtime = brings_runtime
        self._on_progress = on_progress
        self._idle: list[Channel] = [Channel(self.node, pair)]  # made now: a wrong definition is told before any work
        self._closed = False
        self._lock = threading.Lock()

    # -- verbs -----------------------------------------------------------------------------------------------------
    def call(self, verb: str, request: dict[str, t.Any] | None = None, on_progress: t.Callable[[Event], None] | None = None,
             timeout: float = 120.0, runtime: str | None = None) -> dict[str, t.Any]:
        """Run `verb` of the node runtime and return its result.

        `runtime` is the SHA-256 of the runtime to use; by default the one of this collection's own files, so controller and
        node always fit. A verb's refusal is raised as `VerbError` with the runtime's own code, text and next step.
        """
        if not re.fullmatch(r"[a-z][a-z.]{0,60}", verb):
            raise ValueError(f"not a verb: {verb!r}")
        try:
            return self._call(verb, request, on_progress, timeout, runtime)
        except RuntimeMissing as error:
            if not self.brings_runtime or runtime or error.code != "runtime_missing":
                raise
            self.bootstrap(_runtime_build.runtime_path(_runtime_build.sha256()), _runtime_build.sha256(), _runtime_build.build(), "file")
            return self._call(verb, request, on_progress, timeout, runtime)

    def _call(self, verb: str, request: dict[str, t.Any] | None, on_progress: t.Callable[[Event], None] | None, timeout: float,
              runtime: str | None) -> dict[str, t.Any]:
        command, arguments = _runtime_build.command(runtime or _runtime_build.sha256(), verb)
        answer: list[Event] = []
        noise: list[str] = []

        def line(data: bytes) -> None:
            event = _event(data)
            if event is None:
                noise.append(data[:200].decode("utf-8", "replace"))
                del noise[:-5]
            elif event["event"] == "result":
                answer.append(event)
            elif event["event"] == "progress":
                for listener in (self._on_progress, on_progress):
                    if listener:
                        listener(event)

        stdin = json.dumps(request or {}).encode()
        done = self.run(command, arguments, stdin, on_line=line, timeout=timeout, what=f"verb {verb}")
        return self._result(verb, answer, done, noise)

    def _result(self, verb: str, answer: list[Event], done: Finished, noise: list[str]) -> dict[str, t.Any]:
        if not answer:
            raise self._no_answer(verb, done, noise)
        event = answer[-1]
        if event.get("ok"):
            return event.get("result") or {}
        error = event.get("error") or {}
        details = dict(error.get("details") or {})
        if error.get("code") == "internal" and done.stderr.strip():
            details["diagnostics"] = done.stderr.strip()[-4000:]
        raise VerbError(str(error.get("message") or f"verb {verb} failed without a reason"), self.pair, self.node_name,
                        error.get("next") or None, code=str(error.get("code") or "internal"), details=details)

    def _no_answer(self, verb: str, done: Finished, noise: list[str]) -> TandemError:
        if done.exit_code == 2 and "can't open file" in done.stderr:
            return RuntimeMissing("the node runtime of this version of the collection is not on the machine", self.pair, self.node_name,
                                  "provision the node (module node_runtime) and run again.", code="runtime_missing")
        told = (done.stderr.strip().splitlines() or noise or ["it said nothing"])[-1]
        return TandemError(f"verb {verb} ended with exit code {done.exit_code} and without an answer: {told[:400]}", self.pair,
                           self.node_name, "look at the Windows event log (Application) of the node and run module node_info.",
                           code="no_answer", details={"stderr": done.stderr[-4000:]})

    def bootstrap(self, target: str, sha256: str, data: bytes, kind: str, timeout: float = 600.0) -> dict[str, t.Any]:
        """Bring `data` to `target` by PowerShell; without data only ask what is there: {"installed", "present"}."""
        text = _bootstrap.script(target, sha256, kind)
        done = self.run(_bootstrap.POWERSHELL, _bootstrap.arguments(text), _bootstrap.stdin_lines(data), timeout=timeout,
                        what=f"bringing {target}")
        answer = _object(done.stdout.strip().splitlines()[-1:] or [b""])
        if done.exit_code == 0 and "present" in answer:
            return answer
        told = answer.get("error") or (done.stderr.strip() or done.stdout.decode("utf-8", "replace").strip() or "no text")[-400:]
        raise TandemError(f"{target} could not be brought onto the machine: {told}", self.pair, self.node_name,
                          "check free space and rights on that drive, and that a policy does not forbid PowerShell scripts.",
                          code="bootstrap_failed")

    # -- programs --------------------------------------------------------------------------------------------------
    def run(self, command: str, arguments: t.Sequence[str], stdin: bytes = b"", *, on_line: t.Callable[[bytes], None] | None = None,
            timeout: float = 120.0, what: str = "the command") -> Finished:
        """Start a program without cmd.exe, hand it all of `stdin`, read its output until it ends or `timeout` is over."""
        with self._lock:
            channel = self._idle.pop() if self._idle else Channel(self.node, self.pair)
        try:
            return channel.run(command, arguments, stdin, on_line, timeout, what)
        finally:
            with self._lock:
                keep = not self._closed
                if keep:
                    self._idle.append(channel)
            if not keep:
                channel.close()

    def close(self) -> None:
        """Delete the shells, which ends whatever still runs in them, and close the connections. Never raises."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for channel in idle:
            channel.close()


def _event(data: bytes) -> Event | None:
    found = _object([data])
    return found if isinstance(found.get("event"), str) else None


def _object(lines: t.Sequence[bytes]) -> dict[str, t.Any]:
    try:
        found = json.loads(lines[0].decode("utf-8"))
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}
