# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node's guard tells the partner about its media, and the files it hands out.

Everything a message names is checked: a bank is one of this machine's banks, a table has the form of a closed table's
name and is listed by the recorder, a file is one that a table can have. No path is ever taken from a message.
Answers that may be long come in pages; the pages of one answer belong to one picture, which is kept for a while.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import secrets
import threading
import time
import typing as t

from .. import ledger
from ..errors import NodeError
from ..host.base import Host
from ..numbers import is_whole
from ..settings import NodeSettings
from . import banks, coverage, intervals, tables

PAGE_BYTES = 400_000
PAGE_SECONDS = 2.0
MAX_SPANS = 4000  # of one line
CHUNK = 1 << 18
_KEEP_SECONDS = 120.0
_KEEP_PICTURES = 8


# -- pages -------------------------------------------------------------------------------------------------------------

@dataclasses.dataclass
class _Picture:
    about: dict
    items: list
    line: t.Callable[[t.Any], dict]
    used: float


_pictures: collections.OrderedDict[str, _Picture] = collections.OrderedDict()
_pictures_lock = threading.Lock()


def _paged(message: dict, make: t.Callable[[], tuple[dict, list, t.Callable[[t.Any], dict]]]) -> dict:
    """One page of lines: of the picture that the message names, or of a new one."""
    token, start = message.get("token"), message.get("start", 0)
    if not is_whole(start) or start < 0:
        raise NodeError("bad_request", "start must be the number of a line.")
    picture = _kept(token)
    if picture is None:
        if token is not None:
            raise NodeError("picture_gone", "The picture that these pages belong to is no longer kept.", "Ask again from the start.")
        token, picture = secrets.token_hex(8), _Picture(*make(), time.monotonic())
        with _pictures_lock:
            _pictures[token] = picture
            while len(_pictures) > _KEEP_PICTURES:
                _pictures.popitem(last=False)
    lines, size, limit = [], 0, time.monotonic() + PAGE_SECONDS
    index = start
    while index < len(picture.items) and size < PAGE_BYTES and (not lines or time.monotonic() < limit):
        lines.append(picture.line(picture.items[index]))
        size += len(json.dumps(lines[-1]))
        index += 1
    return {**picture.about, "token": token, "lines": lines, "next": index if index < len(picture.items) else None}


def _kept(token: object) -> _Picture | None:
    now = time.monotonic()
    with _pictures_lock:
        for old in [name for name, picture in _pictures.items() if now - picture.used > _KEEP_SECONDS]:
            del _pictures[old]
        picture = _pictures.get(token) if isinstance(token, str) else None
        if picture is not None:
            picture.used = now
        return picture


# -- answers -----------------------------------------------------------------------------------------------------------

def coverage_pages(host: Host, settings: NodeSettings, message: dict) -> dict:
    """{"since"}: a line for each device, and further lines while it has more spans than fit."""
    since = _number(message, "since")

    def make() -> tuple[dict, list, t.Callable[[t.Any], dict]]:
        measured = ledger.now_ms()
        held = coverage.read(host, since)
        items: list[dict] = []
        for guid, device in coverage.as_dict(held).items():
            items.append({"device": guid, "name": device["name"], "open_since": device["open_since"]})
            for kind in ("spans", "open_spans"):
                items += [{"device": guid, kind: device[kind][at:at + MAX_SPANS]} for at in range(0, len(device[kind]), MAX_SPANS)]
        about = {"node": settings.node, "measured_ms": measured, "time_zone": host.time_zone(), "rebuilding": held.rebuilding,
                 "recorder_id": settings.recorder_id}
        return about, items, lambda line: line

    return _paged(message, make)


def table_pages(host: Host, settings: NodeSettings, message: dict) -> dict:
    """{"devices": {guid: [begin, end]}}: the closed tables that touch these spans, and whether each is fit to be copied."""
    wanted = message.get("devices", {})
    if not isinstance(wanted, dict) or not all(isinstance(guid, str) and tables.GUID.fullmatch(guid) for guid in wanted):
        raise NodeError("bad_request", "devices must be an object of device ids.")
    try:
        windows = {guid.lower(): intervals.valid([span], 1) for guid, span in wanted.items()}
    except ValueError as error:
        raise NodeError("bad_request", f"A device has no proper span: {error}.") from None

    def make() -> tuple[dict, list, t.Callable[[t.Any], dict]]:
        items = []
        for bank in banks.by_id(host).values():
            for name, parts, entry in banks.read_content(bank).held():
                times = entry.times()
                if times and intervals.touches([(times[0], times[1] + 1)], windows.get(parts.device, [])):
                    items.append((bank, name, parts, entry))
        return {"node": settings.node}, items, lambda item: _table_line(*item)

    return _paged(message, make)


def _table_line(bank: banks.Bank, name: str, parts: tables.TableName, entry: tables.Entry) -> dict:
    times = entry.times() or (0, 0)
    line = {"bank": bank.id, "bank_version": bank.version, "name": name, "device": parts.device, "begin": times[0], "end": times[1],
            "bytes": entry.size, "spans": _limited(coverage.closed_spans(bank.child(name), entry)), "refused": _refusal(parts, entry),
            "damaged": None}
    try:
        files = tables.list_files(bank.child(name))
        tables.check_laws(files, entry)
        line["bytes"] = sum(file.size for file in files)
    except (tables.DamagedTable, OSError) as error:
        line["damaged"] = str(error)[:500]
    return line


def _refusal(parts: tables.TableName, entry: tables.Entry) -> str | None:
    if entry.encrypted:
        return "encrypted storage"
    return None if parts.tag in tables.TAGS else f"origin {parts.tag} is not transferred"


def _limited(spans: t.Sequence[intervals.Span]) -> intervals.Spans:
    """At most `MAX_SPANS` spans, by closing the shortest holes."""
    result, bridge = intervals.union(spans), tables.MERGE_MS
    while len(result) > MAX_SPANS:
        bridge *= 2
        result = intervals.union(result, bridge=bridge)
    return result


def manifest(host: Host, settings: NodeSettings, message: dict) -> dict:
    """{"bank", "table"}: the files of one closed table, after its size laws were checked."""
    bank, name, entry = _table(host, message)
    try:
        files = tables.list_files(bank.child(name))
        tables.check_laws(files, entry)
    except FileNotFoundError:
        raise _gone(settings, bank, name) from None
    except tables.DamagedTable as error:
        raise NodeError("damaged", f"Table {name} in bank {bank.id} on {settings.node} is damaged: {error}.",
                        "It is not copied. Look at the recorder's log of that node.") from None
    times = entry.times() or (0, 0)
    columns = [[column.name, column.size, column.begin, column.end] for column in entry.columns]
    reply = {"bank": bank.id, "table": name, "device": name[:36].lower(), "begin": times[0], "end": times[1],
             "spans": _limited(coverage.closed_spans(bank.child(name), entry)), "columns": columns,
             "files": [[file.path, file.size, file.mtime_ns] for file in files]}
    if len(json.dumps(reply)) > 900_000:
        raise NodeError("damaged", f"Table {name} in bank {bank.id} on {settings.node} has too many files ({len(files)}).",
                        "It is not copied.")
    return reply


def writing(host: Host, settings: NodeSettings, message: dict) -> dict:
    """Whether this node's recorder runs and writes, and the devices whose media it writes now, by id."""
    state = host.service(settings.recorder_service).state
    devices = coverage.writing(host, ledger.now_ms()) if state == "running" else {}
    return {"node": settings.node, "service": state, "running": state == "running" and bool(devices), "writing": sorted(devices)}


def read_stream(host: Host, settings: NodeSettings, message: dict) -> tuple[int, t.Iterator[bytes]]:
    """{"bank", "table", "file"}: length and bytes of one file of a closed table."""
    bank, name, unused = _table(host, message)
    path = message.get("file")
    if not isinstance(path, str) or not tables.valid_file(path):
        raise NodeError("bad_request", "This is not the name of a file that a table can have.")
    try:
        stream = open(bank.child(name).joinpath(*path.split("/")), "rb")
    except OSError:
        raise _gone(settings, bank, f"{name}, file {path}") from None
    length = stream.seek(0, 2)
    stream.seek(0)

    def pieces() -> t.Iterator[bytes]:
        left = length
        with stream:
            while left:
                piece = stream.read(min(CHUNK, left))
                if not piece:
                    raise OSError(f"{path} became shorter while it was read")
                left -= len(piece)
                yield piece

    return length, pieces()


def _table(host: Host, message: dict) -> tuple[banks.Bank, str, tables.Entry]:
    """The closed table that a message names, checked; only one that the recorder lists and that may be transferred."""
    wanted, name = message.get("bank"), message.get("table")
    parts = tables.parse_name(name) if isinstance(name, str) else None
    if not isinstance(wanted, str) or not tables.GUID.fullmatch(wanted) or parts is None or parts.open:
        raise NodeError("bad_request", "bank must be the id of a bank and table the name of a closed table.")
    bank = banks.by_id(host).get(wanted.upper())
    if bank is None:
        raise NodeError("missing", f"There is no bank {wanted.upper()} on this node.", "Make a new plan.")
    entry = banks.closed_entry(bank, name)
    if entry is None:
        raise NodeError("missing", f"There is no closed table {name} in bank {bank.id} on this node.", "Make a new plan.")
    refusal = _refusal(parts, entry)
    if refusal:
        raise NodeError("refused", f"Table {name} is not transferred: {refusal}.", "Make a new plan.")
    return bank, name, entry


def _gone(settings: NodeSettings, bank: banks.Bank, what: str) -> NodeError:
    return NodeError("missing", f"{what} in bank {bank.id} on {settings.node} is no longer there.", "Make a new plan.")


def _number(message: dict, name: str) -> int:
    value = message.get(name, 0)
    if not is_whole(value) or value < 0:
        raise NodeError("bad_request", f"{name} must be a number of milliseconds.")
    return value


OPS: dict[str, t.Callable[[Host, NodeSettings, dict], dict]] = {
    "coverage": coverage_pages, "tables": table_pages, "manifest": manifest, "writing": writing,
    "writing_devices": writing}  # the guard answers "writing" with its own counts; here the devices are named
