# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The query part of a REST list request: disabled items, property filters, paging (documented forms).

``?disabled`` lists all items, not only the enabled ones. ``?model='AXIS Q1725'`` and ``?lastModified=gt:'2021-11-25'``
filter; the operators are lt, gt, notEquals, startsWith and contains. ``?page=0&size=100`` pages from zero.
"""

from __future__ import annotations

import re
import typing as t

Item = dict[str, t.Any]
FLAGS = frozenset({"disabled", "tasks", "resources", "definitions", "nodata", "language", "includechildren", "page", "size"})
FILTER = re.compile(r"(?:(lt|gt|notEquals|startsWith|contains):)?'(.*)'", re.DOTALL)
MAX_PAGE_SIZE = 100_000


class QueryError(Exception):
    def __init__(self, name: str, text: str):
        super().__init__(text)
        self.name = name


def _text(value: t.Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _compare(value: t.Any, wanted: str, operator: str) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return value < float(wanted) if operator == "lt" else value > float(wanted)
        except ValueError:
            return False
    return _text(value) < wanted if operator == "lt" else _text(value) > wanted


def _holds(value: t.Any, operator: str | None, wanted: str) -> bool:
    if operator in ("lt", "gt"):
        return _compare(value, wanted, operator)
    text = _text(value)
    if operator == "notEquals":
        return text.lower() != wanted.lower()
    if operator == "startsWith":
        return text.lower().startswith(wanted.lower())
    if operator == "contains":
        return wanted.lower() in text.lower()
    return text.lower() == wanted.lower()


def _filters(query: t.Mapping[str, str], sample: Item | None) -> list[tuple[str, str | None, str]]:
    names = {name.lower(): name for name in sample or {} if name != "lab"}
    found: list[tuple[str, str | None, str]] = []
    for key, value in query.items():
        if key.lower() in FLAGS:
            continue
        if sample is not None and key.lower() not in names:
            raise QueryError(key, f"Unknown property {key}")
        match = FILTER.fullmatch(value)
        if match is None:
            raise QueryError(key, f"Invalid filter for property {key}")
        found.append((names.get(key.lower(), key), match[1], match[2]))
    return found


def _number(query: t.Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text[:12]) <= high:
        raise QueryError(name, f"Invalid value for {name}")
    return int(text)


def select(items: list[Item], query: t.Mapping[str, str]) -> list[Item]:
    """The items that this request asks for, in their stored order."""
    filters = _filters(query, items[0] if items else None)
    every = "disabled" in {key.lower() for key in query}
    chosen = [
        item for item in items
        if (every or item.get("enabled", True)) and all(_holds(item[name], operator, wanted) for name, operator, wanted in filters)
    ]
    size = _number(query, "size", MAX_PAGE_SIZE, 1, MAX_PAGE_SIZE)
    page = _number(query, "page", 0, 0, 10**9)
    return chosen[page * size:(page + 1) * size]
