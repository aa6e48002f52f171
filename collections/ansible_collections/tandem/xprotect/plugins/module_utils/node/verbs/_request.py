# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking typed fields out of a verb's request."""

from __future__ import annotations

import typing as t

from ..errors import NodeError

_MISSING = object()


def text(request: dict, name: str, default: t.Any = _MISSING, limit: int = 4096) -> t.Any:
    value = request.get(name)
    if value is None and default is not _MISSING:
        return default
    if not isinstance(value, str) or not value.strip() or len(value) > limit:
        raise _bad(name, "a text", value)
    return value


def number(request: dict, name: str, low: float, high: float, default: t.Any = _MISSING) -> t.Any:
    value = request.get(name)
    if value is None and default is not _MISSING:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise _bad(name, f"a number from {low:g} to {high:g}", value)
    return value


def flag(request: dict, name: str) -> bool:
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise _bad(name, "true or false", value)
    return value


def texts(request: dict, name: str, most: int = 64) -> list[str]:
    value = request.get(name)
    if not isinstance(value, list) or not 0 < len(value) <= most or not all(isinstance(item, str) and item for item in value):
        raise _bad(name, f"a list of 1 to {most} texts", value)
    return list(value)


def section(request: dict, name: str) -> dict:
    value = request.get(name)
    if not isinstance(value, dict):
        raise _bad(name, "an object", value)
    return value


def _bad(name: str, wanted: str, value: object) -> NodeError:
    shown = "missing" if value is None else repr(value)[:80]
    return NodeError("bad_request", f"{name} must be {wanted} ({shown}).")
