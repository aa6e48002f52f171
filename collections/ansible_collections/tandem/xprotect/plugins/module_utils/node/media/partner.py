# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The other end of `remote`: ask the partner's guard for its coverage and tables, page by page, and check the answers."""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import NodeError
from ..guard.client import TandemClient
from ..numbers import is_whole
from . import intervals, tables
from .coverage import Coverage

CALL_SECONDS = 120.0  # the first page of a large site reads the sequence records of every table
MAX_LINES = 5_000_000


@dataclasses.dataclass
class Picture:
    coverage: Coverage
    measured_ms: int
    time_zone: str
    recorder_id: str


def read_coverage(partner: TandemClient, since: int = 0) -> Picture:
    about, lines = _pages(partner, "coverage", {"since": since})
    result = Coverage(rebuilding=[str(bank) for bank in about.get("rebuilding") or []])
    try:
        for line in lines:
            device = result.device(_guid(line["device"]))
            device.name = str(line.get("name", device.name))[:256]
            device.open_since = line.get("open_since", device.open_since)
            device.spans = intervals.union(device.spans, intervals.valid(line.get("spans", [])))
            device.open_spans = intervals.union(device.open_spans, intervals.valid(line.get("open_spans", [])))
        return Picture(result, int(about["measured_ms"]), str(about["time_zone"]), str(about["recorder_id"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _unusable("coverage", error) from error


def read_tables(partner: TandemClient, windows: dict[str, intervals.Span]) -> list[dict]:
    """The partner's closed tables that touch the window of their device."""
    offered: list[dict] = []
    devices = sorted(windows)
    for at in range(0, len(devices), 5000):  # a request must fit into one frame
        part = {device: list(windows[device]) for device in devices[at:at + 5000]}
        lines = _pages(partner, "tables", {"devices": part})[1]
        try:
            offered += [_table(line) for line in lines]
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable("tables", error) from error
    return offered


def _table(line: dict) -> dict:
    parts = tables.parse_name(line["name"])
    if parts is None or parts.open or not tables.GUID.fullmatch(line["bank"]) or parts.device != line["device"]:
        raise ValueError(f"not a closed table: {str(line)[:100]}")
    if not is_whole(line["bytes"]) or line["bytes"] < 0:
        raise ValueError(f"not a size: {line['bytes']!r}")
    intervals.valid([[line["begin"], line["end"]]])
    return {"bank": line["bank"].upper(), "bank_version": str(line["bank_version"]), "name": line["name"], "device": parts.device,
            "begin": line["begin"], "end": line["end"], "bytes": line["bytes"], "spans": intervals.valid(line["spans"]),
            "refused": line.get("refused"), "damaged": line.get("damaged")}


def _pages(partner: TandemClient, op: str, fields: dict) -> tuple[dict, list[dict]]:
    """All lines of one picture. When the partner has dropped it meanwhile, once more from the start."""
    for last_try in (False, True):
        lines: list[dict] = []
        answer: dict[str, t.Any] = {"next": 0}
        try:
            page = partner.call(op, CALL_SECONDS, **fields)
            answer = page
            while True:
                lines += page["lines"]
                if page["next"] is None:
                    return answer, lines
                if len(lines) > MAX_LINES or not page["lines"]:
                    raise ValueError("it does not end")
                page = partner.call(op, CALL_SECONDS, **fields, token=page["token"], start=page["next"])
        except NodeError as error:
            if error.code != "picture_gone" or last_try:
                raise
        except (KeyError, TypeError, ValueError) as error:
            raise _unusable(op, error) from error
    raise AssertionError("unreachable")


def _guid(value: object) -> str:
    if not isinstance(value, str) or not tables.GUID.fullmatch(value):
        raise ValueError(f"not a device id: {str(value)[:60]}")
    return value.lower()


def _unusable(what: str, error: Exception) -> NodeError:
    return NodeError("protocol", f"The partner's answer about its {what} is not usable: {error}.",
                     "Deploy the same version of the node runtime to both nodes.")
