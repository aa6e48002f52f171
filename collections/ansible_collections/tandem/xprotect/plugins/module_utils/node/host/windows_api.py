# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the Windows modules share: fixed-width types, lazily loaded libraries with typed functions, errors as `HostError`.

None of the ``windows*.py`` modules has been run on Windows by its authors: they are written against the SDK headers,
import on any system, and their structure layouts are tested for 64 bit. Run the ``selftest`` verb on a real machine first.
``ctypes.wintypes`` is not used, because its integers have other sizes outside Windows and the layout tests would lie.
"""

from __future__ import annotations

import ctypes
import functools
import typing as t

from .base import HostError

BYTE = ctypes.c_uint8
WORD = ctypes.c_uint16
DWORD = ctypes.c_uint32
BOOL = ctypes.c_int32
UINT64 = ctypes.c_uint64
HANDLE = ctypes.c_void_p
LPWSTR = ctypes.c_wchar_p
POINTER = ctypes.POINTER

ERROR_FILE_NOT_FOUND = 2
ERROR_ACCESS_DENIED = 5
ERROR_SHARING_VIOLATION = 32


class GUID(ctypes.Structure):
    _fields_ = [("Data1", ctypes.c_uint32), ("Data2", ctypes.c_uint16), ("Data3", ctypes.c_uint16), ("Data4", ctypes.c_uint8 * 8)]

    @classmethod
    def parse(cls, text: str) -> GUID:
        import uuid
        return cls.from_buffer_copy(uuid.UUID(text).bytes_le)


@functools.cache
def function(library: str, name: str, result: t.Any, *arguments: t.Any) -> t.Any:
    """A typed function of a system library. `GetLastError` is kept per call (`last_error`)."""
    loaded = _library(library)
    found = getattr(loaded, name)
    found.restype = result
    found.argtypes = list(arguments)
    return found


@functools.cache
def _library(name: str) -> t.Any:
    # LOAD_LIBRARY_SEARCH_SYSTEM32: never from the folder of the program or the working folder.
    return ctypes.WinDLL(name, use_last_error=True, winmode=0x00000800)  # type: ignore[attr-defined]


def last_error() -> int:
    return ctypes.get_last_error()  # type: ignore[attr-defined]


def describe(code: int) -> str:
    try:
        return ctypes.FormatError(code).strip()  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return "unknown error"


def failure(what: str, code: int | None = None) -> HostError:
    """The exception for a failed call: what was tried, the number, and Windows' own words."""
    code = last_error() if code is None else code
    return HostError(f"{what}: error {code if code < 0x10000 else hex(code)}, {describe(code)}", code)


def check(code: int, what: str, *accepted: int) -> int:
    """For functions that return an error number: raise unless it is 0 or one of `accepted`."""
    if code != 0 and code not in accepted:
        raise failure(what, code)
    return code
