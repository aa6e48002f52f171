# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping processes of a machine, one or all with the kernel, and letting exactly those go on."""

from __future__ import annotations

import os
import signal
import typing as t
from pathlib import Path

from ..machine import channel
from .journal import FaultError

_ROUNDS = 200
Stopped = list[list[int]]  # process and the time of its start: together they mean one process for ever


def processes(root: Path) -> list[int]:
    """All processes on the machine in this folder, its kernel excepted."""
    mark = f"{channel.ROOT_ENVIRONMENT}={root}".encode()
    return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if mark in _read(pid, "environ").split(b"\0")]


def arguments(pid: int) -> list[str]:
    return _read(pid, "cmdline").decode(errors="replace").split("\0")


def parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def stands(pid: int) -> bool:
    return _read(pid, "stat").rpartition(b")")[2].split()[:1] == [b"T"]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""  # it has ended


def _started(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[19]) if fields and fields[0] not in (b"Z", b"X") else -1


def stop(pids: t.Iterable[int]) -> Stopped:
    stopped = [[pid, _started(pid)] for pid in pids]
    for pid, started in stopped:
        send(pid, started, signal.SIGSTOP)
    return [entry for entry in stopped if entry[1] >= 0]


def stop_machine(kernel: int, root: Path) -> Stopped:
    """The kernel first, so that it starts nothing meanwhile, then everything on the machine until there is nothing more."""
    stopped = stop([kernel])
    known = {kernel}
    for _ in range(_ROUNDS):
        new = [pid for pid in processes(root) if pid not in known]
        if not new and all(stands(pid) or _started(pid) != started for pid, started in stopped):
            return stopped
        known.update(new)
        stopped += stop(new)
    go_on(stopped)
    raise FaultError(f"the processes of the machine in {root} cannot be stopped: there are always new ones")


def go_on(stopped: Stopped) -> None:
    for pid, started in stopped:
        send(pid, started, signal.SIGCONT)


def send(pid: int, started: int, number: int) -> None:
    """A signal to this very process, or to nobody."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if _started(pid) == started:  # looked at while the descriptor holds the process: the number cannot change hands now
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def kill_all(root: Path) -> None:
    """What is left of a machine whose kernel is gone: its children end with it, theirs need not."""
    while left := processes(root):
        for pid in left:
            kill(pid)


def kill(pid: int) -> None:
    send(pid, _started(pid), signal.SIGKILL)
