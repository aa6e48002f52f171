# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Being a Windows service: the control dispatcher, without any wrapper program.

See ``windows_api``: written against the SDK (winsvc.h), never run on Windows by its authors.
"""

from __future__ import annotations

import ctypes
import threading
import traceback
import typing as t

from .windows_api import BOOL, DWORD, HANDLE, LPWSTR, POINTER, failure, function
from .windows_services import SERVICE_STATUS, SERVICE_WIN32_OWN_PROCESS

SERVICE_STOPPED, SERVICE_START_PENDING, SERVICE_STOP_PENDING, SERVICE_RUNNING = 1, 2, 3, 4
SERVICE_ACCEPT_STOP, SERVICE_ACCEPT_SHUTDOWN = 0x1, 0x4
SERVICE_CONTROL_STOP, SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_SHUTDOWN = 1, 4, 5
NO_ERROR, ERROR_CALL_NOT_IMPLEMENTED, ERROR_SERVICE_SPECIFIC_ERROR = 0, 120, 1066
STOP_HINT_MS = 30_000

# On Windows these are stdcall; on 64 bit there is only one convention, so CFUNCTYPE serves for importing elsewhere.
_FUNCTYPE = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
SERVICE_MAIN_FUNCTION = _FUNCTYPE(None, DWORD, POINTER(LPWSTR))
HANDLER_FUNCTION_EX = _FUNCTYPE(DWORD, DWORD, DWORD, ctypes.c_void_p, ctypes.c_void_p)


class SERVICE_TABLE_ENTRYW(ctypes.Structure):
    _fields_ = [("lpServiceName", LPWSTR), ("lpServiceProc", SERVICE_MAIN_FUNCTION)]


class Dispatcher:
    """Runs one body as one service. The callbacks are kept alive by this object for as long as the dispatcher runs."""

    def __init__(self, name: str, body: t.Callable[[t.Callable[[float], bool]], None]):
        self._name = name
        self._body = body
        self._stop = threading.Event()
        self._handle: int | None = None
        self._main = SERVICE_MAIN_FUNCTION(self._service_main)
        self._handler = HANDLER_FUNCTION_EX(self._control)
        self.failed: BaseException | None = None

    def run(self) -> None:
        """Blocks until the service has stopped."""
        table = (SERVICE_TABLE_ENTRYW * 2)()
        table[0].lpServiceName = self._name
        table[0].lpServiceProc = self._main
        begin = function("advapi32", "StartServiceCtrlDispatcherW", BOOL, POINTER(SERVICE_TABLE_ENTRYW))
        if not begin(table):
            raise failure(f"this process was not started by the service manager as {self._name}")
        if self.failed is not None:
            raise self.failed

    def _service_main(self, _count: int, _arguments: t.Any) -> None:
        register = function("advapi32", "RegisterServiceCtrlHandlerExW", HANDLE, LPWSTR, HANDLER_FUNCTION_EX, ctypes.c_void_p)
        self._handle = register(self._name, self._handler, None)
        if not self._handle:
            self.failed = failure("the control handler of the service could not be registered")
            return
        self._report(SERVICE_RUNNING)
        try:
            self._body(self._stop.wait)
        except BaseException as error:  # noqa: BLE001 - the service manager must learn of it, whatever it was
            self.failed = error
            traceback.print_exc()
        self._report(SERVICE_STOPPED, specific=0 if self.failed is None else 1)

    def _control(self, control: int, _event: int, _data: t.Any, _context: t.Any) -> int:
        if control in (SERVICE_CONTROL_STOP, SERVICE_CONTROL_SHUTDOWN):
            self._report(SERVICE_STOP_PENDING)
            self._stop.set()
            return NO_ERROR
        return NO_ERROR if control == SERVICE_CONTROL_INTERROGATE else ERROR_CALL_NOT_IMPLEMENTED

    def _report(self, state: int, specific: int = 0) -> None:
        accepted = SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN if state == SERVICE_RUNNING else 0
        status = SERVICE_STATUS(SERVICE_WIN32_OWN_PROCESS, state, accepted, ERROR_SERVICE_SPECIFIC_ERROR if specific else NO_ERROR,
                                specific, 0, STOP_HINT_MS if state == SERVICE_STOP_PENDING else 0)
        function("advapi32", "SetServiceStatus", BOOL, HANDLE, POINTER(SERVICE_STATUS))(self._handle, ctypes.byref(status))
