# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting programs on the machine (`CreateProcess`) and noticing when they end.

A program is an executable file on one of the machine's drives. Every process gets a session of its own, so that its tree can
be killed, and dies with the kernel (`PR_SET_PDEATHSIG`), however the kernel ends.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import pathlib
import signal
import subprocess
import typing as t

from . import channel, commandline, settings
from .paths import PathError, WindowsPaths
from .storage import EventLog

ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_BAD_EXE_FORMAT = 193
SEARCH_PATH = ("C:\\Windows\\System32", "C:\\Windows", "C:\\Windows\\System32\\WindowsPowerShell\\v1.0")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Process:
    """A running child. `ended` is done with the return code (negative: the number of the signal that killed it)."""

    def __init__(self, popen: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop):
        self.popen = popen
        self.pid = popen.pid
        self.ended: asyncio.Future[int] = loop.create_future()
        self._loop = loop
        self._pidfd = os.pidfd_open(popen.pid)
        loop.add_reader(self._pidfd, self._reap)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self.popen.wait()
        if not self.ended.done():
            self.ended.set_result(code)

    @property
    def running(self) -> bool:
        return not self.ended.done()

    def signal(self, number: int) -> None:
        if self.running:
            self.popen.send_signal(number)

    def kill_tree(self) -> None:
        """Kill the process and what it started, even when the process itself has ended."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


class Processes:
    """The machine's process table."""

    def __init__(self, root: pathlib.Path, machine: settings.MachineSettings, socket_name: str, events: EventLog):
        self._root = root
        self._events = events
        self._paths = WindowsPaths(root)
        self._kernel_pid = os.getpid()
        self._environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(root),
            "TZ": settings.TIME_ZONES[machine.time_zone],
            "COMPUTERNAME": machine.name.upper(),
            channel.ENVIRONMENT: socket_name,
            channel.ROOT_ENVIRONMENT: str(root),
            "TANDEM_NODE_HOST": "tandem_lab.machine.host:LabHost",
        }
        self.running: dict[int, Process] = {}

    def find(self, program: str) -> pathlib.Path:
        """The file that a program name means. Bare names are looked up in the Windows folders."""
        names = [program] if "." in program.rpartition("\\")[2] else [program, program + ".exe"]
        folders = [""] if ":" in program or "\\" in program else [folder + "\\" for folder in SEARCH_PATH]
        for folder in folders:
            for name in names:
                try:
                    path = self._paths.host(folder + name)
                except PathError as error:
                    raise channel.MachineError(f"cannot start {program!r}: {error}", ERROR_FILE_NOT_FOUND) from error
                if path.is_file():
                    return path
        raise channel.MachineError(f"the system cannot find the file specified: {program}", ERROR_FILE_NOT_FOUND)

    def start(self, line: str, *, stdin: t.Any = subprocess.DEVNULL, stdout: t.Any = subprocess.DEVNULL,
              stderr: t.Any = subprocess.DEVNULL, environment: dict[str, str] | None = None, folder: str | None = None) -> Process:
        """Start a Windows command line. Raises `MachineError` with the Windows error number."""
        path, arguments = self._resolve(line)
        if not os.access(path, os.X_OK):
            raise channel.MachineError(f"{path.name} is not a program", ERROR_BAD_EXE_FORMAT)
        try:
            popen = subprocess.Popen(
                [str(path), *arguments], bufsize=0, stdin=stdin, stdout=stdout, stderr=stderr, cwd=self._folder(folder),
                env={**(environment or {}), **self._environment}, start_new_session=True, preexec_fn=self._die_with_kernel)
        except OSError as error:
            raise channel.MachineError(f"cannot start {path.name}: {error}", ERROR_BAD_EXE_FORMAT) from error
        process = Process(popen, asyncio.get_running_loop())
        self.running[process.pid] = process
        self._events.add("process_started", pid=process.pid, program=path.name, does=_purpose(arguments))
        process.ended.add_done_callback(lambda future: self._ended(process, future.result()))
        return process

    def _ended(self, process: Process, code: int) -> None:
        self.running.pop(process.pid, None)
        self._events.add("process_ended", pid=process.pid, code=code)

    def _resolve(self, line: str) -> tuple[pathlib.Path, list[str]]:
        """Program file and arguments. A path with blanks and without quotes is tried piece by piece, as CreateProcess does."""
        failure: channel.MachineError | None = None
        for program, arguments in commandline.candidates(line):
            try:
                return self.find(program), arguments
            except channel.MachineError as error:
                failure = failure or error
        raise failure or channel.MachineError("the command line is empty", ERROR_FILE_NOT_FOUND)

    def _folder(self, folder: str | None) -> pathlib.Path:
        if not folder:
            return self._root / "C"
        try:
            path = self._paths.host(folder)
        except PathError as error:
            raise channel.MachineError(f"cannot start in folder {folder!r}: {error}", 267) from error
        if not path.is_dir():
            raise channel.MachineError(f"the directory name is invalid: {folder}", 267)
        return path

    def _die_with_kernel(self) -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != self._kernel_pid:  # the kernel ended before the line above
            os._exit(1)


def _purpose(arguments: list[str]) -> str | None:
    """What an archive is to do (its first argument); of other programs nothing is told: their arguments may be anything."""
    archive = next((index for index, argument in enumerate(arguments) if argument.lower().endswith(".pyz")), None)
    return None if archive is None else next(iter(arguments[archive + 1:]), None)
