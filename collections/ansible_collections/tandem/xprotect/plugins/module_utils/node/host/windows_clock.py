# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock of leases, and the generation of a virtual machine, on Windows.

See ``windows_api``: written against the SDK (sysinfoapi.h, vmgenerationcounter.h), never run on Windows by its authors.
"""

from __future__ import annotations

import ctypes

from .windows_api import (BOOL, DWORD, ERROR_FILE_NOT_FOUND, HANDLE, LPWSTR, POINTER, UINT64, failure, function, last_error)

VM_GENERATION_DEVICE = "\\\\.\\VmGenerationCounter"
IOCTL_VMGENCOUNTER_READ = 0x32C004  # CTL_CODE(FILE_DEVICE_ACPI, 0x1, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)
GENERIC_READ_WRITE = 0xC0000000
FILE_SHARE_READ_WRITE = 0x3
OPEN_EXISTING = 3
INVALID_HANDLE = ctypes.c_void_p(-1).value
ERROR_PATH_NOT_FOUND, ERROR_NOT_SUPPORTED = 3, 50


class VM_GENCOUNTER(ctypes.Structure):
    _fields_ = [("GenerationCount", UINT64), ("GenerationCountHigh", UINT64)]


def monotonic() -> float:
    """Seconds since the system's start, sleep and hibernation included, whatever is done to the wall clock.

    GetTickCount64 and not ``time.monotonic``, which is the performance counter from Python 3.13 on: what that one does while
    the machine sleeps depends on the hardware. QueryInterruptTime counts the same, finer, on the newer systems only. This
    one goes in steps of 10 to 16 ms, which the margin of a lease (more than a second) holds many times over.
    """
    return function("kernel32", "GetTickCount64", UINT64)() / 1000.0


def vm_generation() -> str:
    """The hypervisor's VM generation identifier (Hyper-V, VMware, KVM), 32 hexadecimal digits; "" where none is offered.

    Microsoft's driver hands out what the hypervisor shows in the ACPI table, to administrators only. The device does not
    exist on real hardware, nor where the hypervisor offers no identifier: then a revert shows by the clocks alone.
    """
    device = function("kernel32", "CreateFileW", HANDLE, LPWSTR, DWORD, DWORD, ctypes.c_void_p, DWORD, DWORD, HANDLE)(
        VM_GENERATION_DEVICE, GENERIC_READ_WRITE, FILE_SHARE_READ_WRITE, None, OPEN_EXISTING, 0, None)
    if device in (None, INVALID_HANDLE):
        code = last_error()
        if code in (ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND):
            return ""
        raise failure("the virtual machine's generation identifier could not be opened", code)
    try:
        found, size = VM_GENCOUNTER(), DWORD()
        # No input: the identifier at once. With input the call would wait until it differs.
        ask = function("kernel32", "DeviceIoControl", BOOL, HANDLE, DWORD, ctypes.c_void_p, DWORD, ctypes.c_void_p, DWORD,
                       POINTER(DWORD), ctypes.c_void_p)
        if not ask(device, IOCTL_VMGENCOUNTER_READ, None, 0, ctypes.byref(found), ctypes.sizeof(found), ctypes.byref(size), None):
            code = last_error()
            if code == ERROR_NOT_SUPPORTED:
                return ""
            raise failure("the virtual machine's generation identifier could not be read", code)
    finally:
        function("kernel32", "CloseHandle", BOOL, HANDLE)(device)
    return text(found)


def text(counter: VM_GENCOUNTER) -> str:
    return f"{counter.GenerationCountHigh:016x}{counter.GenerationCount:016x}" if bytes(counter).strip(b"\0") else ""
