# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, drives and rights on Windows: durable replacement, free space, folders for administrators only.

See ``windows_api``: written against the SDK (winbase.h), never run on Windows by its authors.
"""

from __future__ import annotations

import ctypes
import os
import pathlib
import subprocess
import time

from .base import Drive, HostError
from .windows_api import (BOOL, DWORD, ERROR_ACCESS_DENIED, ERROR_FILE_NOT_FOUND, ERROR_SHARING_VIOLATION, LPWSTR, POINTER, UINT64,
                          failure, function, last_error)

MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH = 0x1, 0x8
ERROR_UNABLE_TO_REMOVE_REPLACED, ERROR_UNABLE_TO_MOVE_REPLACEMENT, ERROR_UNABLE_TO_MOVE_REPLACEMENT_2 = 1175, 1176, 1177
DRIVE_FIXED = 3
SYSTEM, ADMINISTRATORS = "*S-1-5-18", "*S-1-5-32-544"

_RETRY_SECONDS = 2.0
_RETRY_PAUSE = 0.05


def replace(new: pathlib.Path, target: pathlib.Path) -> None:
    """Move `new` into the place of `target` and wait for the disk.

    A reader without delete sharing (any plain reader) makes this fail for as long as it reads, so it is tried for some
    time. ReplaceFileW comes second: it succeeds with readers that share deletion and keeps the target's rights.
    """
    deadline = time.monotonic() + _RETRY_SECONDS
    while True:
        move = function("kernel32", "MoveFileExW", BOOL, LPWSTR, LPWSTR, DWORD)
        if move(str(new), str(target), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH):
            return
        code = last_error()
        if code not in (ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION):
            raise failure(f"{target} could not be replaced", code)
        if _replace_file(new, target):
            return
        if time.monotonic() >= deadline:
            raise failure(f"{target} could not be replaced: another program has kept it open for {_RETRY_SECONDS:g} s", code)
        time.sleep(_RETRY_PAUSE)


def _replace_file(new: pathlib.Path, target: pathlib.Path) -> bool:
    """ReplaceFileW with a backup name, because it may fail half-way; the backup is put back or removed."""
    backup = target.with_name(target.name + ".before")
    swap = function("kernel32", "ReplaceFileW", BOOL, LPWSTR, LPWSTR, LPWSTR, DWORD, ctypes.c_void_p, ctypes.c_void_p)
    if swap(str(target), str(new), str(backup), 0, None, None):
        _remove(backup)
        return True
    if last_error() == ERROR_UNABLE_TO_MOVE_REPLACEMENT_2:
        # The target is under the backup name now: bring it back, so that the place is never empty for long.
        move = function("kernel32", "MoveFileExW", BOOL, LPWSTR, LPWSTR, DWORD)
        if not move(str(backup), str(target), MOVEFILE_WRITE_THROUGH):
            raise failure(f"{target} was moved to {backup} and could not be brought back: rename it by hand")
    return False


def _remove(path: pathlib.Path) -> None:
    delete = function("kernel32", "DeleteFileW", BOOL, LPWSTR)
    if not delete(str(path)) and last_error() != ERROR_FILE_NOT_FOUND:
        raise failure(f"{path} could not be removed")


def drives() -> list[Drive]:
    """The fixed drives with a letter."""
    mask = function("kernel32", "GetLogicalDrives", DWORD)()
    kind = function("kernel32", "GetDriveTypeW", DWORD, LPWSTR)
    found = []
    for number in range(26):
        letter = chr(ord("A") + number) + ":"
        if mask & (1 << number) and kind(letter + "\\") == DRIVE_FIXED:
            space = _space(letter)
            if space is not None:
                found.append(Drive(letter, *space))
    return found


def _space(letter: str) -> tuple[int, int] | None:
    """Total and free bytes; None for a drive that cannot be asked (locked, offline)."""
    available, total, free = UINT64(), UINT64(), UINT64()
    ask = function("kernel32", "GetDiskFreeSpaceExW", BOOL, LPWSTR, POINTER(UINT64), POINTER(UINT64), POINTER(UINT64))
    if not ask(letter + "\\", ctypes.byref(available), ctypes.byref(total), ctypes.byref(free)):
        return None
    return total.value, available.value


def restrict(path: pathlib.Path) -> None:
    """Only SYSTEM and Administrators, by identifiers that are the same in every language; nothing is inherited."""
    rights = "(OI)(CI)F" if path.is_dir() else "F"
    _icacls(path, ["/inheritance:r", "/grant:r", f"{SYSTEM}:{rights}", f"{ADMINISTRATORS}:{rights}", "/q"], "restricted", 60)


def inherit(path: pathlib.Path) -> None:
    """The rights of the folder around it, here and all the way down; a table has some thousand files at most."""
    _icacls(path, ["/reset", "/t", "/q"] if path.is_dir() else ["/reset", "/q"], "set to those of its folder", 300)


def _icacls(path: pathlib.Path, arguments: list[str], done: str, timeout: float) -> None:
    icacls = os.path.join(os.environ.get("SystemRoot", "C:\\Windows"), "System32", "icacls.exe")
    try:
        result = subprocess.run([icacls, str(path), *arguments], capture_output=True, timeout=timeout, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"icacls could not be run for {path}: {error}") from None
    if result.returncode != 0:
        raise HostError(f"the rights on {path} could not be {done} (icacls ended with {result.returncode}: "
                        f"{result.stderr.decode('utf-8', 'replace').strip()[:200]})", result.returncode)
