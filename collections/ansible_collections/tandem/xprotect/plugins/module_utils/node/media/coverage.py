# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this node holds: per device the recorded spans, of closed tables and, apart from them, of the open one."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import time
import typing as t

from .. import ledger
from ..host.base import Host
from . import banks, intervals, tables

FRESH_MS = 6000  # a device whose open table grew this recently is being written


@dataclasses.dataclass
class Device:
    name: str = ""
    spans: intervals.Spans = dataclasses.field(default_factory=list)
    open_spans: intervals.Spans = dataclasses.field(default_factory=list)
    open_since: int | None = None


@dataclasses.dataclass
class Coverage:
    devices: dict[str, Device] = dataclasses.field(default_factory=dict)
    tables: int = 0
    bytes: int = 0
    rebuilding: list[str] = dataclasses.field(default_factory=list)

    def device(self, guid: str) -> Device:
        return self.devices.setdefault(guid, Device())


@functools.lru_cache(maxsize=200_000)
def closed_spans(folder: pathlib.Path, entry: tables.Entry) -> tuple[intervals.Span, ...]:
    """Closed tables do not change: the guard reads each one's records once."""
    return tuple(tables.recorded_spans(folder, entry))


def read(host: Host, since: int = 0) -> Coverage:
    """The coverage of this machine. Closed tables that ended before `since` are left out."""
    result = Coverage()
    restarts = ledger.around_restarts(host)
    closed: dict[str, list[intervals.Span]] = {}
    for bank in banks.find(host):
        content, opened = _steady(bank)
        if content.rebuilding:
            result.rebuilding.append(bank.id)
        for name, parts, entry in content.held():
            result.tables += 1
            result.bytes += entry.size
            device = result.device(parts.device)
            device.name = entry.description or device.name
            times = entry.times()
            if times and times[1] >= since:
                closed.setdefault(parts.device, []).extend(closed_spans(bank.child(name), entry))
        for guid, name, spans in opened:
            _add_open(result.device(guid), name, spans)
    for guid, spans in closed.items():
        result.devices[guid].spans = intervals.bridged(spans, tables.MERGE_MS, restarts)
    return result


def _steady(bank: banks.Bank) -> tuple[banks.Content, list[tuple[str, str, intervals.Spans]]]:
    """The bank's content with the spans of its open tables, of one moment.

    A table that is closed between the two looks would be in neither, and its media would seem to be missing here.
    """
    for attempt in range(20):
        if attempt:
            time.sleep(0.05)
        content = banks.read_content(bank)
        opened = [(parts.device, live.description if live else "", tables.growing_spans(bank.child(name), live))
                  for name, parts, live in content.open_tables()]
        if banks.unchanged(content):
            break
    return content, opened


def _add_open(device: Device, name: str, spans: intervals.Spans) -> None:
    device.name = device.name or name
    if spans:
        device.open_spans = intervals.union(device.open_spans, spans, bridge=tables.MERGE_MS)
        device.open_since = device.open_spans[0][0]


def writing(host: Host, now: int) -> dict[str, int]:
    """The devices whose open table grew within `FRESH_MS` before `now`, and when each did last."""
    result: dict[str, int] = {}
    for bank in banks.find(host):
        for name, live in banks.live_entries(bank).items():
            last = _last_growth(bank.child(name), live)
            if last is not None and last >= now - FRESH_MS:
                result[name.lower()] = max(last, result.get(name.lower(), 0))
    return result


def _last_growth(folder: pathlib.Path, live: tables.Entry | None) -> int | None:
    """The newest sign of writing: the cache, a sequence record, or the change time of a media file."""
    moments = [end for unused, end in tables.growing_spans(folder, live)]
    try:
        with os.scandir(folder / tables.MEDIA_COLUMN) as entries:
            moments += [os.stat(entry.path).st_mtime_ns // 1_000_000 for entry in entries]
    except OSError:
        pass  # the table was closed and renamed a moment ago
    return max(moments, default=None)


def as_dict(coverage: Coverage) -> dict[str, t.Any]:
    """The devices in the form of the coverage verb."""
    return {guid: {"name": device.name, "spans": device.spans, "open_spans": device.open_spans, "open_since": device.open_since}
            for guid, device in sorted(coverage.devices.items())}
