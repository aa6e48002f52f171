# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registry values under HKLM, always by the 64-bit view: the paths in the runtime name ``WOW6432Node`` where it is meant.

See ``windows_api``: never run on Windows by its authors.
"""

from __future__ import annotations

import typing as t

from .base import HostError


def read(key: str, name: str) -> str | None:
    value = _query(key, name)
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return ";".join(map(str, value))
    if isinstance(value, bytes):
        raise HostError(f"HKLM\\{key}, {name} is binary, not a text")
    return str(value)


def read_multi(key: str, name: str) -> list[str]:
    value = _query(key, name)
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, (list, tuple)) else [str(value)]


def write(key: str, name: str, value: str) -> None:
    winreg = _winreg()
    try:
        with winreg.CreateKeyEx(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_SET_VALUE | winreg.KEY_WOW64_64KEY) as handle:
            winreg.SetValueEx(handle, name, 0, winreg.REG_SZ, value)
    except OSError as error:
        raise HostError(f"HKLM\\{key}, {name} could not be written: {error}", getattr(error, "winerror", None)) from None


def delete(key: str, name: str) -> None:
    winreg = _winreg()
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_SET_VALUE | winreg.KEY_WOW64_64KEY) as handle:
            winreg.DeleteValue(handle, name)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise HostError(f"HKLM\\{key}, {name} could not be removed: {error}", getattr(error, "winerror", None)) from None


def _query(key: str, name: str) -> t.Any:
    winreg = _winreg()
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key, 0, winreg.KEY_QUERY_VALUE | winreg.KEY_WOW64_64KEY) as handle:
            return winreg.QueryValueEx(handle, name)[0]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HostError(f"HKLM\\{key}, {name} could not be read: {error}", getattr(error, "winerror", None)) from None


def _winreg() -> t.Any:
    import winreg
    return winreg
