# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows services through advapi32: no text output to parse, so no language of the system matters.

See ``windows_api``: written against the SDK (winsvc.h), never run on Windows by its authors.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
import typing as t

from .base import HostError, ServiceStatus
from .windows_api import BOOL, BYTE, DWORD, HANDLE, LPWSTR, POINTER, failure, function, last_error

SC_MANAGER_CONNECT, SC_MANAGER_CREATE_SERVICE = 0x1, 0x2
SERVICE_QUERY_CONFIG, SERVICE_CHANGE_CONFIG, SERVICE_QUERY_STATUS = 0x1, 0x2, 0x4
SERVICE_START, SERVICE_STOP, DELETE = 0x10, 0x20, 0x10000
SERVICE_WIN32_OWN_PROCESS = 0x10
SERVICE_AUTO_START, SERVICE_DEMAND_START, SERVICE_DISABLED = 2, 3, 4
SERVICE_ERROR_NORMAL = 1
SERVICE_NO_CHANGE = 0xFFFFFFFF
SERVICE_CONTROL_STOP = 1
SC_STATUS_PROCESS_INFO = 0
SERVICE_CONFIG_DESCRIPTION, SERVICE_CONFIG_FAILURE_ACTIONS = 1, 2
SERVICE_CONFIG_DELAYED_AUTO_START_INFO, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG = 3, 4
SC_ACTION_NONE, SC_ACTION_RESTART = 0, 1

ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST = 1056, 1060
ERROR_SERVICE_NOT_ACTIVE, ERROR_SERVICE_CANNOT_ACCEPT_CTRL, ERROR_SERVICE_MARKED_FOR_DELETE = 1062, 1061, 1072
ERROR_INSUFFICIENT_BUFFER = 122

STATES = {1: "stopped", 2: "start_pending", 3: "stop_pending", 4: "running", 5: "start_pending", 6: "stop_pending", 7: "paused"}
START_TYPES = {SERVICE_AUTO_START: "auto", SERVICE_DEMAND_START: "demand", SERVICE_DISABLED: "disabled"}
START_CODES = {"auto": SERVICE_AUTO_START, "delayed-auto": SERVICE_AUTO_START, "demand": SERVICE_DEMAND_START,
               "disabled": SERVICE_DISABLED}

_POLL = 0.1
_MAX_CONFIG = 8192  # documented limit of QueryServiceConfigW


class SERVICE_STATUS(ctypes.Structure):
    _fields_ = [(name, DWORD) for name in ("dwServiceType", "dwCurrentState", "dwControlsAccepted", "dwWin32ExitCode",
                                           "dwServiceSpecificExitCode", "dwCheckPoint", "dwWaitHint")]


class SERVICE_STATUS_PROCESS(ctypes.Structure):
    _fields_ = [*SERVICE_STATUS._fields_, ("dwProcessId", DWORD), ("dwServiceFlags", DWORD)]


class QUERY_SERVICE_CONFIGW(ctypes.Structure):
    _fields_ = [("dwServiceType", DWORD), ("dwStartType", DWORD), ("dwErrorControl", DWORD), ("lpBinaryPathName", LPWSTR),
                ("lpLoadOrderGroup", LPWSTR), ("dwTagId", DWORD), ("lpDependencies", LPWSTR), ("lpServiceStartName", LPWSTR),
                ("lpDisplayName", LPWSTR)]


class SERVICE_DELAYED_AUTO_START_INFO(ctypes.Structure):
    _fields_ = [("fDelayedAutostart", BOOL)]


class SERVICE_FAILURE_ACTIONS_FLAG(ctypes.Structure):
    _fields_ = [("fFailureActionsOnNonCrashFailures", BOOL)]


class SC_ACTION(ctypes.Structure):
    _fields_ = [("Type", DWORD), ("Delay", DWORD)]


class SERVICE_FAILURE_ACTIONSW(ctypes.Structure):
    _fields_ = [("dwResetPeriod", DWORD), ("lpRebootMsg", LPWSTR), ("lpCommand", LPWSTR), ("cActions", DWORD),
                ("lpsaActions", POINTER(SC_ACTION))]


def query(name: str) -> ServiceStatus:
    with _manager() as manager:
        handle = _open(manager, name, SERVICE_QUERY_STATUS | SERVICE_QUERY_CONFIG, missing_ok=True)
        if not handle:
            return ServiceStatus(name, "missing", "unknown")
        with _closing(handle):
            status, (start_type, command) = _status(handle, name), _config(handle, name)
    return ServiceStatus(name, STATES.get(status.dwCurrentState, "missing"), start_type, status.dwProcessId or None, command)


def start(name: str, timeout: float) -> None:
    with _manager() as manager, _closing(_open(manager, name, SERVICE_START | SERVICE_QUERY_STATUS)) as handle:
        begin = function("advapi32", "StartServiceW", BOOL, HANDLE, DWORD, POINTER(LPWSTR))
        if not begin(handle, 0, None) and last_error() != ERROR_SERVICE_ALREADY_RUNNING:
            raise failure(f"service {name} could not be started")
        _wait(handle, name, 4, timeout)


def stop(name: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    with _manager() as manager, _closing(_open(manager, name, SERVICE_STOP | SERVICE_QUERY_STATUS)) as handle:
        control = function("advapi32", "ControlService", BOOL, HANDLE, DWORD, POINTER(SERVICE_STATUS))
        while not control(handle, SERVICE_CONTROL_STOP, ctypes.byref(SERVICE_STATUS())):
            if last_error() == ERROR_SERVICE_NOT_ACTIVE:
                return
            # A service that is starting or stopping takes no request now, and later none or one.
            if last_error() != ERROR_SERVICE_CANNOT_ACCEPT_CTRL or time.monotonic() >= deadline:
                raise failure(f"service {name} could not be stopped")
            if _status(handle, name).dwCurrentState in (1, 3):
                break
            time.sleep(_POLL)
        _wait(handle, name, 1, deadline - time.monotonic())


def configure(name: str, start_type: str) -> None:
    with _manager() as manager, _closing(_open(manager, name, SERVICE_CHANGE_CONFIG)) as handle:
        _change(handle, name, start_type, None, None)
        _set_delayed(handle, name, start_type)


def install(name: str, display: str, command: str, start_type: str, restart_after: float | None) -> None:
    """The service runs as LocalSystem in a process of its own."""
    with _manager(SC_MANAGER_CONNECT | SC_MANAGER_CREATE_SERVICE) as manager:
        access = SERVICE_CHANGE_CONFIG | SERVICE_START | SERVICE_QUERY_STATUS
        handle = _open(manager, name, access, missing_ok=True)
        if handle:
            with _closing(handle):
                _change(handle, name, start_type, command, display)
                _finish(handle, name, start_type, restart_after)
            return
        create = function("advapi32", "CreateServiceW", HANDLE, HANDLE, LPWSTR, LPWSTR, DWORD, DWORD, DWORD, DWORD, LPWSTR, LPWSTR,
                          POINTER(DWORD), LPWSTR, LPWSTR, LPWSTR)
        handle = create(manager, name, display, access, SERVICE_WIN32_OWN_PROCESS, START_CODES[start_type], SERVICE_ERROR_NORMAL,
                        command, None, None, None, None, None)
        if not handle:
            raise failure(f"service {name} could not be created")
        with _closing(handle):
            _finish(handle, name, start_type, restart_after)


def remove(name: str) -> None:
    with _manager() as manager:
        handle = _open(manager, name, DELETE, missing_ok=True)
        if not handle:
            return
        with _closing(handle):
            if not function("advapi32", "DeleteService", BOOL, HANDLE)(handle) and last_error() != ERROR_SERVICE_MARKED_FOR_DELETE:
                raise failure(f"service {name} could not be removed")


# -- inside ------------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def _manager(access: int = SC_MANAGER_CONNECT) -> t.Iterator[int]:
    handle = function("advapi32", "OpenSCManagerW", HANDLE, LPWSTR, LPWSTR, DWORD)(None, None, access)
    if not handle:
        raise failure("the service manager could not be opened")
    with _closing(handle):
        yield handle


@contextlib.contextmanager
def _closing(handle: int) -> t.Iterator[int]:
    try:
        yield handle
    finally:
        function("advapi32", "CloseServiceHandle", BOOL, HANDLE)(handle)


def _open(manager: int, name: str, access: int, missing_ok: bool = False) -> int:
    handle = function("advapi32", "OpenServiceW", HANDLE, HANDLE, LPWSTR, DWORD)(manager, name, access)
    if not handle and not (missing_ok and last_error() == ERROR_SERVICE_DOES_NOT_EXIST):
        raise failure(f"service {name} could not be opened")
    return handle or 0


def _status(handle: int, name: str) -> SERVICE_STATUS_PROCESS:
    status, needed = SERVICE_STATUS_PROCESS(), DWORD()
    ask = function("advapi32", "QueryServiceStatusEx", BOOL, HANDLE, DWORD, POINTER(BYTE), DWORD, POINTER(DWORD))
    buffer = ctypes.cast(ctypes.byref(status), POINTER(BYTE))
    if not ask(handle, SC_STATUS_PROCESS_INFO, buffer, ctypes.sizeof(status), ctypes.byref(needed)):
        raise failure(f"the state of service {name} could not be read")
    return status


def _config(handle: int, name: str) -> tuple[str, str | None]:
    buffer, needed = ctypes.create_string_buffer(_MAX_CONFIG), DWORD()
    config = ctypes.cast(buffer, POINTER(QUERY_SERVICE_CONFIGW))
    ask = function("advapi32", "QueryServiceConfigW", BOOL, HANDLE, POINTER(QUERY_SERVICE_CONFIGW), DWORD, POINTER(DWORD))
    if not ask(handle, config, _MAX_CONFIG, ctypes.byref(needed)):
        raise failure(f"the configuration of service {name} could not be read")
    start_type = START_TYPES.get(config.contents.dwStartType, "unknown")
    if start_type == "auto" and _delayed(handle):
        start_type = "delayed-auto"
    return start_type, config.contents.lpBinaryPathName


def _delayed(handle: int) -> bool:
    info, needed = SERVICE_DELAYED_AUTO_START_INFO(), DWORD()
    ask = function("advapi32", "QueryServiceConfig2W", BOOL, HANDLE, DWORD, POINTER(BYTE), DWORD, POINTER(DWORD))
    buffer = ctypes.cast(ctypes.byref(info), POINTER(BYTE))
    done = ask(handle, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, buffer, ctypes.sizeof(info), ctypes.byref(needed))
    return bool(done and info.fDelayedAutostart)


def _change(handle: int, name: str, start_type: str, command: str | None, display: str | None) -> None:
    change = function("advapi32", "ChangeServiceConfigW", BOOL, HANDLE, DWORD, DWORD, DWORD, LPWSTR, LPWSTR, POINTER(DWORD), LPWSTR,
                      LPWSTR, LPWSTR, LPWSTR)
    if not change(handle, SERVICE_NO_CHANGE, START_CODES[start_type], SERVICE_NO_CHANGE, command, None, None, None, None, None, display):
        raise failure(f"service {name} could not be changed")


def _change2(handle: int, name: str, level: int, info: ctypes.Structure) -> None:
    change = function("advapi32", "ChangeServiceConfig2W", BOOL, HANDLE, DWORD, ctypes.c_void_p)
    if not change(handle, level, ctypes.byref(info)):
        raise failure(f"service {name} could not be changed (level {level})")


def _set_delayed(handle: int, name: str, start_type: str) -> None:
    if START_CODES[start_type] == SERVICE_AUTO_START:
        _change2(handle, name, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, SERVICE_DELAYED_AUTO_START_INFO(start_type == "delayed-auto"))


def _finish(handle: int, name: str, start_type: str, restart_after: float | None) -> None:
    _set_delayed(handle, name, start_type)
    restart = restart_after is not None
    action = SC_ACTION(SC_ACTION_RESTART if restart else SC_ACTION_NONE, int((restart_after or 0) * 1000))
    # One action: it is repeated for every further failure. A stop with an error code counts as a failure too.
    failures = SERVICE_FAILURE_ACTIONSW(86400, None, None, 1, ctypes.pointer(action))
    _change2(handle, name, SERVICE_CONFIG_FAILURE_ACTIONS, failures)
    _change2(handle, name, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, SERVICE_FAILURE_ACTIONS_FLAG(restart))


def _wait(handle: int, name: str, wanted: int, timeout: float) -> None:
    deadline = time.monotonic() + max(0.0, timeout)
    while True:
        status = _status(handle, name)
        if status.dwCurrentState == wanted:
            return
        if wanted == 4 and status.dwCurrentState == 1:
            raise HostError(f"service {name} stopped while it was started (exit code {status.dwWin32ExitCode}, "
                            f"{status.dwServiceSpecificExitCode}); look at its log", status.dwWin32ExitCode or None)
        if time.monotonic() >= deadline:
            raise HostError(f"service {name} is still {STATES.get(status.dwCurrentState)} after {timeout:.0f} s")
        time.sleep(_POLL)
