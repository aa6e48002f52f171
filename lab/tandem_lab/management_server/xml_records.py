# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Data contracts as XML. A record lists its members in declared order; the writer chooses the order on the wire.

The WCF services (``.svc``) write members alphabetically, those of a base type first; the older ``.asmx`` services write
them as declared (documented: the vendor's WSDLs).
"""

from __future__ import annotations

import dataclasses
import typing as t
from xml.sax.saxutils import escape

ARRAYS = "http://schemas.microsoft.com/2003/10/Serialization/Arrays"


@dataclasses.dataclass(frozen=True)
class Guids:
    """An array of GUIDs: in its own namespace in the WCF services, in the service's namespace in the others."""

    values: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Record:
    members: dict[str, t.Any]
    base: "Record | None" = None


@dataclasses.dataclass(frozen=True)
class Many:
    """An array of records, each written as an element of this name."""

    element: str
    records: tuple[Record, ...] = ()


def _scalar(value: t.Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return escape(str(value))


def element(name: str, value: t.Any, *, alphabetical: bool) -> str:
    """One element. None is nil; an empty text or array is an empty element."""
    if value is None:
        return f'<{name} xmlns:i="http://www.w3.org/2001/XMLSchema-instance" i:nil="true" />'
    content = _content(value, alphabetical)
    return f"<{name}>{content}</{name}>" if content else f"<{name} />"


def _content(value: t.Any, alphabetical: bool) -> str:
    if isinstance(value, Record):
        return _record(value, alphabetical)
    if isinstance(value, Many):
        return "".join(element(value.element, record, alphabetical=alphabetical) for record in value.records)
    if isinstance(value, Guids):
        if alphabetical:
            return "".join(f'<a:guid xmlns:a="{ARRAYS}">{escape(guid)}</a:guid>' for guid in value.values)
        return "".join(f"<guid>{escape(guid)}</guid>" for guid in value.values)
    return _scalar(value)


def _record(record: Record, alphabetical: bool) -> str:
    names = sorted(record.members) if alphabetical else list(record.members)
    own = "".join(element(name, record.members[name], alphabetical=alphabetical) for name in names)
    return (_record(record.base, alphabetical) if record.base else "") + own
