# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The banks (storage folders) of this machine's recorder, and the two caches that say what is in them.

A bank is a folder named by its GUID with a ``config.xml``, below a media folder: the default database path of
RecorderConfig.xml, the registry's list of media folders, or the destination of another bank's archive link.
``cache.xml`` lists the live tables and ``archives_cache.xml`` the closed ones (assumption `cache_xml_lists_live_tables`);
both are read. A closed table that no cache lists is not played by the recorder and does not count as held.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import pathlib
import re
import time
import typing as t
from xml.parsers import expat

from .. import recorder_local, xmledit
from ..errors import NodeError
from ..host.base import Host, HostError
from . import tables

ARCHIVES_CACHE = "archives_cache.xml"
LIVE_CACHE = "cache.xml"
MAX_CACHE_BYTES = 512 * 1024 * 1024
MAX_BANKS = 1000
PATIENCE = 2.0
JUST_FINISHED = 30.0


@dataclasses.dataclass(frozen=True)
class Bank:
    id: str  # upper case
    windows_path: str
    path: pathlib.Path
    version: str = ""
    description: str = ""
    max_size_mb: float | None = None
    max_minutes: float | None = None
    destination: str | None = None

    @property
    def drive(self) -> str:
        return self.windows_path[:2].upper()

    def child(self, name: str) -> pathlib.Path:
        return self.path / name


@dataclasses.dataclass
class Content:
    """What a bank holds now. `rebuilding`: closed tables lie there but the recorder has not listed them yet."""

    bank: Bank
    closed: dict[str, tables.Entry]
    live: dict[str, tables.Entry]
    folders: dict[str, tables.TableName]
    rebuilding: bool

    def held(self) -> t.Iterator[tuple[str, tables.TableName, tables.Entry]]:
        """The closed tables that are both listed and there."""
        for name, parts in sorted(self.folders.items()):
            entry = self.closed.get(name) or self.live.get(name)
            if not parts.open and entry is not None:
                yield name, parts, entry

    def open_tables(self) -> t.Iterator[tuple[str, tables.TableName, tables.Entry | None]]:
        for name, parts in sorted(self.folders.items()):
            if parts.open:
                yield name, parts, self.live.get(name)


# -- finding -----------------------------------------------------------------------------------------------------------

def media_folders(host: Host) -> list[str]:
    """The media folders of the recorder. A configuration that cannot be read is an error: its folder would be missed."""
    try:
        config = recorder_local.read_config(host)
    except NodeError as error:
        if error.code != "config_missing":
            raise
        config = {}
    return recorder_local.media_folders(host, config)


def find(host: Host) -> list[Bank]:
    """All banks below the media folders, and those that archive links lead to."""
    banks: dict[str, Bank] = {}
    for folder in media_folders(host):
        try:
            place = host.path(folder)
            names = sorted(os.listdir(place)) if place.is_dir() else []
        except (OSError, HostError):
            names = []  # a drive that is away: the recorder itself runs on without it (documented)
        for name in names:
            _add(banks, host, f"{folder}\\{name}")
    for bank in list(banks.values()):
        while bank is not None and bank.destination and len(banks) < MAX_BANKS:
            bank = _add(banks, host, bank.destination.rstrip("\\"))
    return sorted(banks.values(), key=lambda bank: bank.windows_path.lower())


def _add(banks: dict[str, Bank], host: Host, windows_path: str) -> Bank | None:
    """Read the bank at `windows_path` into `banks`; None when there is none or it is known already."""
    name = windows_path.rpartition("\\")[2]
    if windows_path.lower() in banks or not tables.GUID.fullmatch(name):
        return None
    try:
        path = host.path(windows_path)
        document = read_limited(path / "config.xml", xmledit.MAX_BYTES)
        values = xmledit.read_values(document, ["@version", "description", "max_size_in_mb", "max_minutes",
                                                "archive/link/destination_bank"])
    except (OSError, HostError, xmledit.XmlError):
        return None
    bank = Bank(name.upper(), windows_path, path, values["@version"] or "", values["description"] or "",
                _quantity(values["max_size_in_mb"]), _quantity(values["max_minutes"]), values["archive/link/destination_bank"] or None)
    banks[windows_path.lower()] = bank
    return bank


def by_id(host: Host) -> dict[str, Bank]:
    """The banks by GUID. Two folders with the same GUID are refused: nobody could say which one is meant."""
    result: dict[str, Bank] = {}
    for bank in find(host):
        if bank.id in result:
            raise NodeError("bank_ambiguous", f"bank {bank.id} exists twice: {result[bank.id].windows_path} and {bank.windows_path}",
                            "remove the copy that the recorder does not use from the media folders")
        result[bank.id] = bank
    return result


def _number(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,15}", text.strip()) else None


def _quantity(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if value > 0 and math.isfinite(value) else None


# -- content -----------------------------------------------------------------------------------------------------------

def read_content(bank: Bank) -> Content:
    """Caches and folders of a bank that belong together.

    The recorder closes tables meanwhile: a folder gets its closed name a moment before the cache lists it, or after.
    Media would be missing for that moment, so a picture that does not fit is taken again for `PATIENCE` seconds. Only a
    table that was finished just now is waited for; others that no cache lists are unknown to the recorder.
    """
    limit = time.monotonic() + PATIENCE
    while True:
        before = _signature(bank)
        live = read_cache(bank.child(LIVE_CACHE)) or {}
        closed = read_cache(bank.child(ARCHIVES_CACHE))
        folders = _folders(bank)
        unlisted = [name for name, parts in folders.items() if not parts.open and name not in live and name not in (closed or {})]
        fits = _signature(bank) == before and not any(_just_finished(bank.child(name)) for name in unlisted)
        if fits or time.monotonic() >= limit:
            return Content(bank, closed or {}, live, folders, rebuilding=closed is None and bool(unlisted))
        time.sleep(0.05)


def _just_finished(table: pathlib.Path) -> bool:
    try:
        return time.time() - os.stat(table / tables.MEDIA_COLUMN / "cindex.idx").st_mtime < JUST_FINISHED
    except OSError:
        return False


def closed_entry(bank: Bank, name: str) -> tables.Entry | None:
    """What the caches say about one closed table that is there, None when it is not there or not listed."""
    parts = tables.parse_name(name)
    if parts is None or parts.open or not bank.child(name).is_dir():
        return None
    closed, live = read_cache(bank.child(ARCHIVES_CACHE)) or {}, read_cache(bank.child(LIVE_CACHE)) or {}
    return closed.get(name) or live.get(name)


def live_entries(bank: Bank) -> dict[str, tables.Entry | None]:
    """The open tables by name: those of the live cache, and those that are there and not listed in it.

    After a split a table may be there for a while before the recorder lists it (it does not rewrite its cache for each frame).
    """
    found: dict[str, tables.Entry | None] = {name: None for name, parts in _folders(bank).items() if parts.open}
    found.update({name: entry for name, entry in (read_cache(bank.child(LIVE_CACHE)) or {}).items() if len(name) == 36})
    return found


def unchanged(content: Content) -> bool:
    """Whether the bank still has the folders that it had when `content` was read."""
    return _folders(content.bank) == content.folders


def _signature(bank: Bank) -> list[tuple[int, int] | None]:
    result: list[tuple[int, int] | None] = []
    for name in (LIVE_CACHE, ARCHIVES_CACHE):
        try:
            about = os.stat(bank.child(name))
            result.append((about.st_size, about.st_mtime_ns))
        except OSError:
            result.append(None)
    return result


def _folders(bank: Bank) -> dict[str, tables.TableName]:
    folders: dict[str, tables.TableName] = {}
    try:
        with os.scandir(bank.path) as entries:
            for entry in entries:
                parts = tables.parse_name(entry.name)
                if parts is not None and entry.is_dir(follow_symlinks=False):
                    folders[entry.name] = parts
    except FileNotFoundError:
        pass
    return folders


def read_cache(path: pathlib.Path, patience: float = 3.0) -> dict[str, tables.Entry] | None:
    """The tables of a cache by name, None when the file does not exist.

    The recorder rewrites the file while it runs: one that cannot be parsed is read again for `patience` seconds.
    """
    limit = time.monotonic() + patience
    while True:
        try:
            about = os.stat(path)
            return _parse_cache(path, about.st_size, about.st_mtime_ns)
        except FileNotFoundError:
            return None
        except (expat.ExpatError, ValueError, PermissionError) as error:
            if time.monotonic() >= limit:
                raise NodeError("cache_unreadable", f"{path.name} of bank {path.parent.name} cannot be read: {error}",
                                "look into the recorder's log; the recorder rebuilds the file when it starts without it",
                                {"bank": path.parent.name, "file": path.name}) from error
            time.sleep(0.05)


@functools.lru_cache(maxsize=64)
def _parse_cache(path: pathlib.Path, size: int, mtime_ns: int) -> dict[str, tables.Entry]:
    # The guard asks often and a large cache changes seldom: size and time of change are the key.
    if size > MAX_CACHE_BYTES:
        raise ValueError(f"{size} bytes, more than the {MAX_CACHE_BYTES} that are accepted")
    reader = _CacheReader()
    with open(path, "rb") as stream:
        reader.parser.ParseFile(stream)
    return reader.entries


class _CacheReader:
    """Reads ``<table>`` elements one by one: a cache of a large site is too long to be held as a tree."""

    def __init__(self) -> None:
        self.entries: dict[str, tables.Entry] = {}
        self.parser = expat.ParserCreate()
        self.parser.buffer_text = True
        self.parser.StartDoctypeDeclHandler = self._doctype
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters
        self._table: dict[str, str] | None = None
        self._column: dict[str, str] | None = None
        self._columns: list[tables.Column] = []
        self._path: list[str] = []
        self._text: list[str] = []

    def _doctype(self, *unused: t.Any) -> None:
        raise ValueError("a DTD is refused")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        self._path.append(name)
        if name == "table" and self._table is None:
            self._table, self._columns = {}, []
        elif name == "column" and self._table is not None:
            self._column = {}

    def _characters(self, data: str) -> None:
        self._text.append(data)

    def _end(self, name: str) -> None:
        self._path.pop()
        text = "".join(self._text).strip()
        self._text.clear()
        parent = self._path[-1] if self._path else ""
        if name == "column" and self._column is not None:
            values, self._column = self._column, None
            self._columns.append(tables.Column(values.get("name", ""), int(values.get("size", "0")),
                                               _number(values.get("begin_time")), _number(values.get("end_time"))))
        elif name == "table" and self._table is not None and parent != "table":
            values, self._table = self._table, None
            self._add(values)
        elif self._column is not None and parent == "column":
            self._column[name] = text
        elif self._table is not None and parent in ("table", "encryption"):
            self._table[name if parent == "table" else f"encryption/{name}"] = text

    def _add(self, values: dict[str, str]) -> None:
        name = values.get("name", "")
        if tables.parse_name(name) is not None:
            self.entries[name] = tables.Entry(name, int(values.get("size", "0")), values.get("description", ""),
                                              bool(values.get("encryption/algorithm")), tuple(self._columns))


def read_limited(path: pathlib.Path, limit: int) -> bytes:
    """The whole file, at most `limit` bytes. Raises XmlError above that, as everything that is read here is XML."""
    with open(path, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise xmledit.XmlError(f"{path.name} has more than {limit} bytes")
    return data
