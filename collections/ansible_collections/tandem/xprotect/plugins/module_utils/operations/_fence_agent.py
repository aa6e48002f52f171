# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fence agent: somebody's own program that switches a machine off and confirms it.

The contract is one number: exit code 0 means that the machine is off, confirmed. Everything else, silence included, means that
nothing is known. It runs on the controller and never against a machine that answers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import tempfile
import time
import typing as t

from ..errors import TandemError
from ..pair.pair import NodeDefinition, PairDefinition
from .context import Context

FENCE_AGENT_SPEC: dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "command": {"type": "list", "elements": "str"},
        "timeout": {"type": "float", "default": 30.0},
        "environment": {"type": "dict", "default": {}},
        "outcome": {"type": "dict", "options": {
            "confirmed": {"type": "bool", "required": True},
            "text": {"type": "str", "required": True},
        }},
    },
    "required_one_of": [["command", "outcome"]],
    "mutually_exclusive": [["command", "outcome"]],
}
TOLD = 400  # how much of its output is kept, from the end
MAX_TIMEOUT = 600.0


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What is known of the machine now."""

    confirmed: bool
    text: str
    seconds: float = 0.0

    def as_dict(self) -> dict[str, t.Any]:
        return dataclasses.asdict(self)


def check(pair: PairDefinition, options: t.Mapping[str, t.Any] | None) -> None:
    """Refuse an agent that cannot run, before anything is asked."""
    if not options:
        return
    if not 0 < options["timeout"] <= MAX_TIMEOUT:
        raise TandemError(f"fence_agent.timeout must be above 0 and at most {MAX_TIMEOUT:.0f} seconds and not {options['timeout']:g}",
                          pair=pair.name, code="configuration", next_step="correct the option.")
    if options.get("command") is not None and not (options["command"] and options["command"][0].strip()):
        raise TandemError("fence_agent.command is empty", pair=pair.name, code="configuration",
                          next_step="give the program and its arguments, or leave fence_agent out.")


def concrete(words: t.Iterable[str], pair: PairDefinition, node: NodeDefinition) -> list[str]:
    """The command for one machine. Other braces stay as they are: an agent may want JSON."""
    values = {"{pair}": pair.name, "{node}": node.name, "{address}": node.address}
    found = []
    for word in words:
        for placeholder, value in values.items():
            word = word.replace(placeholder, value)
        found.append(word)
    return found


def run(context: Context, options: t.Mapping[str, t.Any], node: NodeDefinition) -> Outcome:
    """Have the machine switched off. Never raises: an agent that fails is an outcome."""
    if options.get("outcome"):  # it ran before, as tasks of a playbook
        return Outcome(bool(options["outcome"]["confirmed"]), str(options["outcome"]["text"])[:TOLD])
    command = concrete(options["command"], context.pair, node)
    environment = {**os.environ, **{str(key): str(value) for key, value in (options.get("environment") or {}).items()},
                   "TANDEM_PAIR": context.pair.name, "TANDEM_NODE": node.name, "TANDEM_NODE_ADDRESS": node.address}
    started = time.monotonic()
    confirmed, told = _run(command, environment, options["timeout"])
    seconds = round(time.monotonic() - started, 3)
    outcome = Outcome(confirmed, f"fence agent {command[0]}: {told}", seconds)
    context.report(None, {"step": "fence_agent", "confirmed": confirmed, "seconds": seconds})
    return outcome


def _run(command: list[str], environment: dict[str, str], timeout: float) -> tuple[bool, str]:
    with tempfile.TemporaryFile() as output:
        try:
            # A session of its own, so that all that it started ends with it when it takes too long.
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment,
                                       start_new_session=True)
        except OSError as error:
            return False, f"it cannot be started: {error.strerror or error}"
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            return False, f"it did not end within {timeout:g} s and was stopped. {_last(output)}".rstrip()
        finally:
            _end(process)
        return code == 0, f"exit code {code}. {_last(output)}".rstrip()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last(output: t.BinaryIO) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - TOLD))
    return " ".join(output.read(TOLD).decode("utf-8", "replace").split())
