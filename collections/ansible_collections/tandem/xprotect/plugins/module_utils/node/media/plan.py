# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the partner's closed tables this node lacks. Pure decisions, no file and no network.

What the partner holds and this node does not is missing time. Where this node was not available it is a *gap* and is
always fetched; the rest is *variance* and is fetched by policy. The short spans in which Tandem itself restarted this
node's recorder never cause a run of their own: each run makes such a span again, and there would be no end.
"""

from __future__ import annotations

import dataclasses
import typing as t

from .. import ledger
from ..errors import NodeError
from . import intervals, tables
from .coverage import Coverage, Device
from .intervals import Spans

AVAILABILITY_MARGIN_MS = 2000  # a node that has just come or is about to go does not record each camera yet
RESTART_HOLE_MS = 250
LIVE_MS = 6000  # an open table that grew this recently holds everything up to now
POLICIES = ("none", "long", "all")


@dataclasses.dataclass(frozen=True)
class Options:
    tolerance_ms: int = 1000
    variance: str = "long"
    variance_min_ms: int = 10_000
    restart_span_max_ms: int = 300_000
    include_restarts: bool = False
    since_ms: int = 0
    devices: frozenset[str] | None = None

    @classmethod
    def parse(cls, request: dict) -> Options:
        default = cls()
        problems = []

        def number(name: str) -> int:
            value = request.get(name)
            if value is None:
                return getattr(default, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 53:
                problems.append(f"{name} must be a number of milliseconds")
                return 0
            return int(value)

        devices = request.get("devices")
        if devices is not None and not (isinstance(devices, list) and all(isinstance(device, str) for device in devices)):
            problems.append("devices must be a list of device ids")
            devices = None
        variance = request.get("variance", default.variance)
        if variance not in POLICIES:
            problems.append(f"variance must be one of {', '.join(POLICIES)}")
        options = cls(number("tolerance_ms"), str(variance), number("variance_min_ms"), number("restart_span_max_ms"),
                      bool(request.get("include_restarts")), number("since_ms"),
                      None if devices is None else frozenset(device.lower() for device in devices))
        if problems:
            raise NodeError("bad_request", f"The request is not usable: {'; '.join(problems)}.", "Correct the named options.")
        return options


@dataclasses.dataclass
class Missing:
    """What one device lacks: closed at the partner, and apart from it what only the partner's open table holds."""

    gap: Spans = dataclasses.field(default_factory=list)
    variance: Spans = dataclasses.field(default_factory=list)
    restart: Spans = dataclasses.field(default_factory=list)
    open: Spans = dataclasses.field(default_factory=list)

    @property
    def wanted(self) -> Spans:
        return intervals.union(self.gap, self.variance)


@dataclasses.dataclass
class Away:
    """When this node could not record: in general, and because Tandem restarted its recorder."""

    unavailable: Spans
    restarts: Spans

    @classmethod
    def make(cls, availability: t.Iterable[t.Sequence[int]], restarts: t.Iterable[t.Sequence[t.Any]], options: Options, now: int) -> Away:
        there = intervals.union(availability)
        if there and now - there[-1][1] <= LIVE_MS:
            there[-1] = (there[-1][0], now)  # the heartbeat is a little older than this moment
        unavailable = intervals.widen(intervals.complement(there, 0, now), AVAILABILITY_MARGIN_MS)
        short = [(span[0], max(span[1], span[0] + 1)) for span in restarts if span[1] - span[0] < options.restart_span_max_ms]
        return cls(unavailable, intervals.widen(short, ledger.AROUND_MS))


# -- what is missing ---------------------------------------------------------------------------------------------------

def missing(own: Coverage, partner: Coverage, away: Away, options: Options, now: int) -> dict[str, Missing]:
    """What each device of the partner has there and not here."""
    result = {}
    for guid, device in partner.devices.items():
        if options.devices is None or guid in options.devices:
            lack = _missing_of(own.devices.get(guid, Device()), device, away, options, now)
            if lack.wanted or lack.restart or lack.open:
                result[guid] = lack
    return result


def _missing_of(own: Device, partner: Device, away: Away, options: Options, now: int) -> Missing:
    have = intervals.bridged([*own.spans, *own.open_spans], tables.MERGE_MS, away.restarts)
    if own.open_spans and now - own.open_spans[-1][1] <= LIVE_MS:
        have = intervals.union(have, [(own.open_spans[-1][0], now)])
    window = [(options.since_ms, max(now, options.since_ms + 1))]
    result = Missing()
    for piece in _pieces(partner.spans, have, window, away, options):
        _classify(piece, result, away, options)
    rest = intervals.union(have, partner.spans)
    tail = Missing()
    for piece in _pieces(partner.open_spans, rest, window, away, options):
        _classify(piece, tail, away, options)
    result.open = tail.wanted
    result.restart = intervals.union(result.restart, tail.restart)
    return result


def _pieces(there: Spans, here: Spans, window: Spans, away: Away, options: Options) -> Spans:
    """What is missing, without slivers. Around a restart of this node even a short hole has frames in it."""
    lacks = intervals.intersect(intervals.subtract(there, here), window)
    at_restarts = intervals.longer_than(intervals.intersect(lacks, away.restarts), min(RESTART_HOLE_MS, options.tolerance_ms))
    return intervals.union(intervals.longer_than(lacks, options.tolerance_ms), at_restarts)


def _classify(piece: intervals.Span, result: Missing, away: Away, options: Options) -> None:
    """Sort one missing piece. Slivers below the tolerance take the kind of the rest of the piece.

    Whether variance is long is judged on the whole piece: a manual recording that begins beside a restart stays one recording.
    """
    long = piece[1] - piece[0] >= options.variance_min_ms
    outside = intervals.longer_than(intervals.subtract([piece], away.restarts), options.tolerance_ms)
    if not outside:
        result.restart.append(piece)
        return
    for part in outside:
        gap = intervals.longer_than(intervals.intersect([part], away.unavailable), options.tolerance_ms)
        result.gap += gap
        variance = intervals.longer_than(intervals.subtract([part], gap), options.tolerance_ms)
        if options.variance == "all" or (options.variance == "long" and long):
            result.variance += variance
    result.restart += intervals.longer_than(intervals.intersect([piece], away.restarts), min(RESTART_HOLE_MS, options.tolerance_ms))


# -- which tables ------------------------------------------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Limits:
    """What this node's bank accepts: `oldest` is the end of its retention, `room` what fits below its maximum size."""

    version: str
    oldest: int = 0
    room: int | None = None


def choose(lacks: dict[str, Missing], offered: list[dict], banks: dict[str, Limits], options: Options) -> dict[str, t.Any]:
    """The plan's tables out of the partner's `offered` ones, newest first, and what stays out and why.

    Restart spans are fetched only when something else is fetched anyway, or when the request asks for it.
    """
    skipped: list[dict] = []
    damaged: list[dict] = []
    usable = []
    for table in offered:
        lack = lacks.get(table["device"])
        if lack is None or not intervals.touches(table["spans"], intervals.union(lack.wanted, lack.restart)):
            continue
        reason = _refusal(table, banks)
        if table.get("damaged"):
            damaged.append({**_short(table), "reason": table["damaged"]})
        elif reason:
            skipped.append({**_short(table), "reason": reason})
        else:
            usable.append(table)
    wanted = [(table, reason) for table in usable if (reason := _reason(table, lacks[table["device"]]))]
    if wanted or options.include_restarts:
        taken = {id(table) for table, unused in wanted}
        wanted += [(table, "gap") for table in usable
                   if id(table) not in taken and intervals.touches(table["spans"], lacks[table["device"]].restart)]
    chosen = _fitting(wanted, banks, skipped)
    return {"tables": chosen, "bytes": sum(table["bytes"] for table in chosen), "damaged": damaged, "skipped": skipped}


def _reason(table: dict, lack: Missing) -> str | None:
    if intervals.touches(table["spans"], lack.gap):
        return "gap"
    return "variance" if intervals.touches(table["spans"], lack.variance) else None


def _refusal(table: dict, banks: dict[str, Limits]) -> str | None:
    limits = banks.get(table["bank"])
    if limits is None:
        return "this node has no bank with this id"
    if limits.version != table["bank_version"]:
        return f"bank version {table['bank_version']!r} there, {limits.version!r} here"
    if table.get("refused"):
        return str(table["refused"])
    return "older than the retention of this node's bank" if table["end"] <= limits.oldest else None


def _fitting(wanted: list[tuple[dict, str]], banks: dict[str, Limits], skipped: list[dict]) -> list[dict]:
    """Newest first, as long as the bank stays below its maximum size: the recorder would delete its oldest media."""
    room = {bank: limits.room for bank, limits in banks.items()}
    chosen = []
    for table, reason in sorted(wanted, key=lambda item: (-item[0]["end"], item[0]["bank"], item[0]["name"])):
        left = room[table["bank"]]
        if left is not None and table["bytes"] > left:
            skipped.append({**_short(table), "reason": "the bank would grow above its maximum size"})
            continue
        if left is not None:
            room[table["bank"]] = left - table["bytes"]
        chosen.append({**_short(table), "begin": table["begin"], "end": table["end"], "bytes": table["bytes"], "reason": reason,
                       "spans": table["spans"]})
    return chosen


def _short(table: dict) -> dict:
    return {"bank": table["bank"], "name": table["name"], "device": table["device"]}


def remains(lacks: dict[str, Missing], chosen: list[dict], horizon: int) -> dict[str, t.Any]:
    """What the plan does not bring: the partner's open tables, and restart spans. `complete_until` is where that begins."""
    brought: dict[str, Spans] = {}
    for table in chosen:
        brought.setdefault(table["device"], []).extend(table["spans"])
    not_closed = [_piece(guid, span) for guid, lack in sorted(lacks.items()) for span in lack.open]
    left = [_piece(guid, span) for guid, lack in sorted(lacks.items())
            for span in intervals.subtract(lack.restart, brought.get(guid, []))]
    return {"not_closed": not_closed, "left_restarts": left, "complete_until": min([piece["begin"] for piece in not_closed] + [horizon])}


def _piece(guid: str, span: intervals.Span) -> dict:
    return {"device": guid, "begin": span[0], "end": span[1]}
