# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes on Windows: a handle that stays valid for one process, and children that end with this process.

A child is put into a job object that this process alone has a handle of; Windows closes it with the process, however that
ends, and ends what is in the job. See ``windows_api``: written against the SDK (processthreadsapi.h, winnt.h), never run on
Windows by its authors.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys

from .base import HostError
from .children import PipeChild
from .windows_api import BOOL, DWORD, ERROR_ACCESS_DENIED, HANDLE, LPWSTR, UINT64, failure, function, last_error

PROCESS_TERMINATE, SYNCHRONIZE = 0x1, 0x100000
WAIT_OBJECT_0, WAIT_TIMEOUT = 0, 258
CREATE_NO_WINDOW, HIGH_PRIORITY_CLASS = 0x08000000, 0x80
JOB_OBJECT_EXTENDED_LIMIT_INFORMATION = 9
JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE = 0x2000
KILLED = 1  # exit code of a process that was ended from here


class JOBOBJECT_BASIC_LIMIT_INFORMATION(ctypes.Structure):
    _fields_ = [("PerProcessUserTimeLimit", ctypes.c_int64), ("PerJobUserTimeLimit", ctypes.c_int64), ("LimitFlags", DWORD),
                ("MinimumWorkingSetSize", ctypes.c_size_t), ("MaximumWorkingSetSize", ctypes.c_size_t), ("ActiveProcessLimit", DWORD),
                ("Affinity", ctypes.c_size_t), ("PriorityClass", DWORD), ("SchedulingClass", DWORD)]


class IO_COUNTERS(ctypes.Structure):
    _fields_ = [(name, UINT64) for name in ("ReadOperationCount", "WriteOperationCount", "OtherOperationCount",
                                            "ReadTransferCount", "WriteTransferCount", "OtherTransferCount")]


class JOBOBJECT_EXTENDED_LIMIT_INFORMATION(ctypes.Structure):
    _fields_ = [("BasicLimitInformation", JOBOBJECT_BASIC_LIMIT_INFORMATION), ("IoInfo", IO_COUNTERS),
                ("ProcessMemoryLimit", ctypes.c_size_t), ("JobMemoryLimit", ctypes.c_size_t),
                ("PeakProcessMemoryUsed", ctypes.c_size_t), ("PeakJobMemoryUsed", ctypes.c_size_t)]


class WindowsProcess:
    """While this handle is open, Windows gives the number of the process to no other one."""

    def __init__(self, pid: int):
        self.pid = pid
        self._handle = function("kernel32", "OpenProcess", HANDLE, DWORD, BOOL, DWORD)(PROCESS_TERMINATE | SYNCHRONIZE, False, pid)
        if not self._handle:
            raise failure(f"process {pid} could not be opened")

    def alive(self) -> bool:
        state = function("kernel32", "WaitForSingleObject", DWORD, HANDLE, DWORD)(self._handle, 0)
        if state not in (WAIT_OBJECT_0, WAIT_TIMEOUT):
            raise failure(f"process {self.pid} could not be looked at")
        return state == WAIT_TIMEOUT

    def kill(self) -> None:
        if not function("kernel32", "TerminateProcess", BOOL, HANDLE, ctypes.c_uint32)(self._handle, KILLED):
            code = last_error()
            if code != ERROR_ACCESS_DENIED or self.alive():  # access is denied to a process that has ended, too
                raise failure(f"process {self.pid} could not be ended", code)

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            _close(self._handle)


def start_runtime(arguments: list[str]) -> PipeChild:
    """This runtime once more, before ordinary programs in line for the processor: what it watches over may be starving."""
    program = _archive()
    if program is None:
        raise HostError("this process does not run from a runtime archive, so that it could start another one")
    job = _job()
    try:
        child = PipeChild([sys.executable, "-I", "-B", "-X", "utf8", program, *arguments], lambda: _close(job),
                          stderr=subprocess.DEVNULL, creationflags=CREATE_NO_WINDOW | HIGH_PRIORITY_CLASS)
    except BaseException:
        _close(job)
        raise
    # Between its start and this call the child is not in the job yet. It needs no more than that its stdin ends with this process.
    handle = int(child.process._handle)  # type: ignore[attr-defined]
    if not function("kernel32", "AssignProcessToJobObject", BOOL, HANDLE, HANDLE)(job, handle):
        error = failure("a child process could not be put into its job object")
        child.end()
        raise error
    return child


def _archive() -> str | None:
    from .. import runtime
    return runtime.archive()


def limits() -> JOBOBJECT_EXTENDED_LIMIT_INFORMATION:
    wanted = JOBOBJECT_EXTENDED_LIMIT_INFORMATION()
    wanted.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    return wanted


def _job() -> int:
    """A job object without a name, whose handle no child inherits."""
    job = function("kernel32", "CreateJobObjectW", HANDLE, ctypes.c_void_p, LPWSTR)(None, None)
    if not job:
        raise failure("a job object could not be made")
    wanted = limits()
    put = function("kernel32", "SetInformationJobObject", BOOL, HANDLE, ctypes.c_int, ctypes.c_void_p, DWORD)
    if not put(job, JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(wanted), ctypes.sizeof(wanted)):
        error = failure("a job object could not be set up")
        _close(job)
        raise error
    return job


def _close(handle: int) -> None:
    function("kernel32", "CloseHandle", BOOL, HANDLE)(handle)
