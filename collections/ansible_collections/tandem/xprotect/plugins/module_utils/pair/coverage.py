# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Coverage of a pair: what each node holds, what both together hold, and what neither does.

Spans are ``[begin, end]`` in Unix milliseconds.
"""

from __future__ import annotations

import typing as t

from ..node.media import intervals

Spans = list[list[int]]
LIVE_MS = 6000  # an open table that grew this recently holds everything up to now


def node_spans(device: t.Mapping[str, t.Any] | None, now_ms: int) -> list[tuple[int, int]]:
    """A device's spans on one node, those of its open table included. A table that grew just now reaches to the present."""
    if not device:
        return []
    opened = intervals.union(device.get("open_spans") or [])
    if opened and now_ms - opened[-1][1] <= LIVE_MS:
        opened.append((opened[-1][0], now_ms))
    elif not opened and device.get("open_since") is not None:
        opened.append((int(device["open_since"]), now_ms))
    return intervals.union(device.get("spans") or [], opened)


def pair_coverage(reports: t.Mapping[str, t.Mapping[str, t.Any] | None], now_ms: int, tolerance_ms: int = 1000) -> list[dict[str, t.Any]]:
    """Per device: spans of each node, of both together, and what each node lacks of that union beyond the tolerance.

    `reports` are the results of the verb ``media.coverage`` by node name; None for a node that did not answer. All are
    looked at as of the earliest of them, so that what was recorded between two answers is nobody's lack.
    """
    answered = {name: report for name, report in reports.items() if report is not None}
    now_ms = min([now_ms, *(int(report["measured_ms"]) for report in answered.values() if report.get("measured_ms"))])
    guids = sorted({guid for report in answered.values() for guid in report.get("devices") or {}})
    return [_device(guid, answered, now_ms, tolerance_ms) for guid in guids]


def summary(devices: t.Sequence[t.Mapping[str, t.Any]], nodes: t.Iterable[str]) -> dict[str, t.Any]:
    """The totals of `pair_coverage`: how much both hold together and what each node lacks of it."""
    return {
        "devices": len(devices),
        "union_seconds": round(sum(device["union_seconds"] for device in devices), 3),
        "nodes": {name: _node_summary([device["nodes"][name] for device in devices if name in device["nodes"]]) for name in nodes},
    }


def _node_summary(entries: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    return {
        "seconds": round(sum(entry["seconds"] for entry in entries), 3),
        "lacks_seconds": round(sum(entry["lacks_seconds"] for entry in entries), 3),
        "lacks_devices": sum(1 for entry in entries if entry["lacks"]),
    }


def _device(guid: str, reports: t.Mapping[str, t.Mapping[str, t.Any]], now_ms: int, tolerance_ms: int) -> dict[str, t.Any]:
    entries = {name: (report.get("devices") or {}).get(guid) for name, report in reports.items()}
    spans = {name: node_spans(entry, now_ms) for name, entry in entries.items()}
    spans = {name: intervals.intersect(own, [(0, now_ms)]) for name, own in spans.items()}
    union = intervals.union(*spans.values())
    whole = intervals.complement(union, union[0][0], union[-1][1]) if union else []
    return {
        "id": guid,
        "name": next((entry["name"] for entry in entries.values() if entry and entry.get("name")), guid),
        "nodes": {name: _node_entry(own, union, tolerance_ms) for name, own in spans.items()},
        "union": _lists(union),
        "union_seconds": _seconds(union),
        "neither": _lists(intervals.longer_than(whole, tolerance_ms)),
    }


def _node_entry(own: list[tuple[int, int]], union: list[tuple[int, int]], tolerance_ms: int) -> dict[str, t.Any]:
    lacks = intervals.longer_than(intervals.subtract(union, own), tolerance_ms)
    return {"spans": _lists(own), "seconds": _seconds(own), "lacks": _lists(lacks), "lacks_seconds": _seconds(lacks)}


def _lists(spans: t.Iterable[tuple[int, int]]) -> Spans:
    return [[begin, end] for begin, end in spans]


def _seconds(spans: t.Iterable[tuple[int, int]]) -> float:
    return round(intervals.total(spans) / 1000, 3)
