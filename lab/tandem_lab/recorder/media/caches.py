# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The XML documents of a bank and its tables: ``cache.xml`` (live tables), ``archives_cache.xml`` (closed ones), ``config.xml``.

The schema is that of the vendor's sample exports and of public code that reads recorder banks.
"""

from __future__ import annotations

import dataclasses
import os
import typing as t
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from . import layout

LIVE, ARCHIVES, CONFIG, SYNCKEY = "cache.xml", "archives_cache.xml", "config.xml", "synckey"
MAX_CACHE_BYTES = 256 * 1024 * 1024
MAX_CONFIG_BYTES = 1024 * 1024
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n'


class CacheDamaged(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class ColumnEntry:
    name: str
    size: int
    begin: int | None = None
    end: int | None = None

    def xml(self) -> str:
        times = ""
        if self.begin is not None:
            times = (
                f"            <begin_time>{self.begin}</begin_time>\n            <end_time>{self.end}</end_time>\n"
                "            <meta_data_first_record>0</meta_data_first_record>\n"
                "            <meta_data_last_record>0</meta_data_last_record>\n"
                "            <begin_time_last_record>0</begin_time_last_record>\n"
                "            <end_time_first_record>0</end_time_first_record>\n"
            )
        return f"        <column>\n            <name>{self.name}</name>\n{times}            <size>{self.size}</size>\n        </column>\n"


@dataclasses.dataclass(frozen=True)
class TableEntry:
    name: str
    size: int
    description: str
    columns: tuple[ColumnEntry, ...]

    def column(self, name: str) -> ColumnEntry | None:
        return next((column for column in self.columns if column.name == name), None)

    def xml(self) -> str:
        return (
            f"    <table>\n        <name>{self.name}</name>\n        <size>{self.size}</size>\n"
            f"        <description>{escape(self.description)}</description>\n"
            f"        <archive_source>{layout.device_of(self.name)}</archive_source>\n"
            '        <meta_data>\n            <entry key="device_type">Camera</entry>\n        </meta_data>\n'
            f"{''.join(column.xml() for column in self.columns)}    </table>\n"
        )


def document(tables: t.Iterable[str]) -> bytes:
    """A cache document of tables that are already XML."""
    return (_HEAD + '<bank version="1.2">\n' + "".join(tables) + "</bank>\n").encode()


def _number(element: ElementTree.Element, tag: str) -> int | None:
    text = element.findtext(tag)
    return None if text is None else int(text)


def _table(element: ElementTree.Element) -> TableEntry:
    columns = tuple(
        ColumnEntry(part.findtext("name", ""), _number(part, "size") or 0, _number(part, "begin_time"), _number(part, "end_time"))
        for part in element.findall("column")
    )
    name = element.findtext("name", "")
    return TableEntry(name, _number(element, "size") or 0, element.findtext("description", ""), columns)


def parse(data: bytes) -> list[TableEntry]:
    try:
        root = ElementTree.fromstring(data)
        if root.tag != "bank":
            raise CacheDamaged(f"the root element is {root.tag!r}, not 'bank'")
        return [_table(element) for element in root.findall("table")]
    except (ElementTree.ParseError, ValueError) as error:
        raise CacheDamaged(str(error)) from error


def read_bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise CacheDamaged(f"{path} is larger than {limit} bytes")
    return data


def read(path: Path) -> list[TableEntry]:
    return parse(read_bounded(path, MAX_CACHE_BYTES))


def replace(path: Path, data: bytes) -> None:
    """Write beside and rename. Only the machine's power may fail here, never its operating system, so no fsync is needed."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(data)
    os.replace(beside, path)


def table_config(description: str) -> bytes:
    return (
        f'{_HEAD}<bank version="1.2">\n    <description>{escape(description)}</description>\n    <meta_data>\n'
        '        <entry key="device_type">Camera</entry>\n    </meta_data>\n</bank>\n'
    ).encode()


def read_description(path: Path) -> str:
    try:
        return ElementTree.fromstring(read_bounded(path, MAX_CONFIG_BYTES)).findtext("description", "")
    except ElementTree.ParseError as error:
        raise CacheDamaged(f"{path}: {error}") from error


def bank_config(bank_id: str, description: str, max_size_mb: int, max_minutes: float, password: str) -> bytes:
    """`password` stands for the wrapped password: other bytes on each machine (assumption `stored_secrets_bound_to_machine`)."""
    return (
        f'{_HEAD}<bank id="{bank_id}" version="1.2">\n    <description>{escape(description)}</description>\n'
        f"    <max_size_in_mb>{max_size_mb:d}</max_size_in_mb>\n    <max_minutes>{max_minutes:g}</max_minutes>\n"
        f'    <passwords>\n        <password selector="0"\n            value="{password}" />\n    </passwords>\n'
        "    <password_encryption>AES-256</password_encryption>\n"
        "    <table_passwords_are_fips_compliant>1</table_passwords_are_fips_compliant>\n    <archive></archive>\n</bank>\n"
    ).encode()
