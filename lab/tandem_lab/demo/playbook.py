# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one playbook as a user would, show the lines that tell something, and keep what a measurement needs."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from .screen import Screen

PROJECT = pathlib.Path(__file__).resolve().parents[3]
RECAP = re.compile(r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)")
TASK = re.compile(r"^TASK \[(?:(?P<role>[\w.]+) : )?(?P<name>[^\]]+)\]")
PROGRESS = re.compile(r"^pair \S+?(?:, node (?P<node>\S+))?: (?P<text>.+)$")
STAGE = re.compile(r"^stage, done (?P<done>\S+) MB of (?P<total>\S+) MB")
LIMIT_SECONDS = 300


class PlaybookFailed(Exception):
    pass


@dataclasses.dataclass
class Run:
    started_ms: int
    seconds: float
    status: int
    ok: int
    changed: int
    lines: list[str]


def run(screen: Screen, site_file: pathlib.Path, playbook: str, *arguments: str) -> Run:
    """``ansible-playbook playbooks/NAME.yml`` against the site; raises PlaybookFailed with the last lines when it fails."""
    words = ["ansible-playbook", f"playbooks/{playbook}.yml", *arguments]
    screen.command(" ".join(words))
    environment = dict(os.environ, TANDEM_LAB_SITE=str(site_file), ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg"), ANSIBLE_NOCOLOR="1",
                       PYTHONUNBUFFERED="1", TANDEM_PROGRESS="1", COLUMNS="110")
    program = shutil.which("ansible-playbook", path=f"{pathlib.Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if program is None:
        raise PlaybookFailed("ansible-playbook is not installed in this environment: run `make venv`")
    started = time.time()
    process = subprocess.Popen([program, "-i", str(PROJECT / "inventories" / "lab"), *words[1:]], cwd=PROJECT, env=environment, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = _follow(screen, process, started)
    run_ = _result(lines, started, process.wait())
    if run_.status != 0:
        raise PlaybookFailed(f"{words[1]} ended with status {run_.status}:\n" + "\n".join(lines[-40:]))
    screen.say(f"ok={run_.ok} changed={run_.changed}  in {run_.seconds:.1f} s")
    return run_


def _follow(screen: Screen, process: subprocess.Popen, started: float) -> list[str]:
    lines: list[str] = []
    told = Telling()
    assert process.stdout is not None
    for raw in process.stdout:
        line = raw.rstrip("\n")
        lines.append(line)
        shown = told.line(line)
        if shown is not None:
            screen.output(shown)
        if time.time() - started > LIMIT_SECONDS:
            process.kill()
            raise PlaybookFailed(f"the playbook did not end within {LIMIT_SECONDS} s:\n" + "\n".join(lines[-40:]))
    return lines


class Telling:
    """Picks the lines that tell something: tasks, differences, failures, messages. Not Ansible's ok/changed bookkeeping."""

    def __init__(self) -> None:
        self._block: int | None = None  # indentation of a message of several lines

    def line(self, line: str) -> str | None:
        """How to show this line, None when it is left out."""
        stripped = line.strip()
        if self._block is not None:
            if stripped and len(line) - len(line.lstrip()) <= self._block:
                self._block = None
            else:
                return line[self._block + 4:]
        match = TASK.match(line)
        if match:
            return None if match["name"].startswith("Validating arguments") else f"· {match['name']}"
        if stripped in ("msg: |-", "msg: |"):
            self._block = len(line) - len(line.lstrip())
            return None
        progress = PROGRESS.match(stripped)
        if progress:
            step = STAGE.match(progress["text"])
            return None if step and step["done"] != step["total"] else f"  {progress['node'] or 'client'}: {progress['text'].split(', table ')[0]}"
        if stripped.startswith(("+", "fatal:", "msg:", "[WARNING]")) or (stripped.startswith("-") and not stripped.startswith("---")):
            return stripped
        return None


def _result(lines: list[str], started: float, status: int) -> Run:
    ok = changed = 0
    for line in lines:
        match = RECAP.match(line)
        if match:
            ok, changed = ok + int(match["ok"]), changed + int(match["changed"])
    return Run(int(started * 1000), time.time() - started, status, ok, changed, lines)
