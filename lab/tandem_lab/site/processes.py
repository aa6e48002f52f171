# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a site: started detached, recorded with pid and start time, stopped by exactly that record.

A pid alone may belong to somebody else by the time it is used; pid and start time (from ``/proc``) together do not.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ..management_server import files

PR_SET_PDEATHSIG = 1
KILL_SECONDS = 5.0
LOG_BYTES = 4 << 20
_libc = ctypes.CDLL(None, use_errno=True)


class ProcessError(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class Record:
    name: str
    pid: int
    start_time: int
    log: str

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.start_time

    def signal(self, number: int) -> None:
        """Send a signal to this very process; nothing happens when it has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # The descriptor pins the process: between this look and the signal the pid cannot change hands.
            if self.alive:
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None when there is no such process or only its remains."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def log_tail(path: str | Path, size: int = 1500) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - size))
            return file.read(size).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Processes:
    """The records in ``processes.json``, and the children among them, so that none stays behind as a zombie."""

    def __init__(self, directory: Path):
        self.directory = directory
        self._file = directory / "processes.json"
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def records(self) -> dict[str, Record]:
        if not self._file.exists():
            return {}
        return {name: Record(name, **values) for name, values in json.loads(self._file.read_bytes()).items()}

    def _save(self, records: t.Iterable[Record]) -> None:
        document = {record.name: {"pid": record.pid, "start_time": record.start_time, "log": record.log} for record in records}
        files.write_durable(self._file, (json.dumps(document, indent=1) + "\n").encode())

    def start(self, name: str, module: str, arguments: list[str], *, die_with_parent: bool) -> Record:
        known = self.records()
        if name in known and known[name].alive:
            raise ProcessError(f"{name} runs already (pid {known[name].pid})")
        log = self.directory / "logs" / f"{name}.log"
        log.parent.mkdir(exist_ok=True)
        keep = log.exists() and log.stat().st_size < LOG_BYTES
        with log.open("ab" if keep else "wb") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=self.directory, preexec_fn=_die_with_parent if die_with_parent else None,
            )
        self._children[child.pid] = child
        began = start_time(child.pid)
        if began is None:
            raise ProcessError(f"{name} ended at once with code {child.wait(1)}: {log_tail(log)}\nlog: {log}")
        record = Record(name, child.pid, began, str(log))
        self._save([*(entry for entry in known.values() if entry.name != name), record])
        return record

    def check(self, names: t.Iterable[str]) -> None:
        """Raise for the first of these that does not run."""
        records = self.records()
        for name in names:
            record = records.get(name)
            if record is None:
                raise ProcessError(f"{name} was never started")
            if not self._running(record):
                raise ProcessError(f"{name} has ended: {log_tail(record.log)}\nlog: {record.log}")

    def running(self, name: str) -> bool:
        record = self.records().get(name)
        return record is not None and self._running(record)

    def _running(self, record: Record) -> bool:
        child = self._children.get(record.pid)
        if child is not None and child.poll() is not None:
            del self._children[record.pid]
        return record.alive

    def kill(self, name: str) -> bool:
        """SIGKILL, and wait until the process is gone. False when it did not run."""
        return self._end([name], signal.SIGKILL, KILL_SECONDS)

    def stop(self, names: list[str], grace: float = KILL_SECONDS) -> None:
        """SIGTERM to all of them at once, SIGKILL to those that take longer than `grace`."""
        self._end(names, signal.SIGTERM, grace)
        self._end(names, signal.SIGKILL, KILL_SECONDS)
        left = [name for name in names if self.running(name)]
        if left:
            raise ProcessError(f"these processes do not end: {', '.join(left)}")
        self._save([record for record in self.records().values() if record.name not in names])

    def _end(self, names: list[str], number: int, seconds: float) -> bool:
        found = [record for name, record in self.records().items() if name in names and self._running(record)]
        for record in found:
            record.signal(number)
        deadline = time.monotonic() + seconds
        while any(self._running(record) for record in found) and time.monotonic() < deadline:
            time.sleep(0.01)
        return bool(found)
