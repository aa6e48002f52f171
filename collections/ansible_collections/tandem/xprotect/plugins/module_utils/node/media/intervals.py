# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets of time, as sorted lists of ``[begin, end)`` in whole milliseconds.

Every function takes spans in any order, overlapping or not, and returns them sorted and apart. Empty spans vanish.
"""

from __future__ import annotations

import typing as t

from ..numbers import is_whole

Span = tuple[int, int]
Spans = list[Span]


def union(*sets: t.Iterable[t.Sequence[int]], bridge: int = 0) -> Spans:
    """All time of all sets. Spans that are at most `bridge` apart become one."""
    ordered = sorted((span[0], span[1]) for spans in sets for span in spans if span[1] > span[0])
    result: Spans = []
    for begin, end in ordered:
        if result and begin - result[-1][1] <= bridge:
            result[-1] = (result[-1][0], max(end, result[-1][1]))
        else:
            result.append((begin, end))
    return result


def bridged(spans: t.Iterable[t.Sequence[int]], bridge: int, keep: t.Iterable[t.Sequence[int]]) -> Spans:
    """Like `union` with `bridge`, but what lies between two spans stays open where `keep` says that it is a real hole."""
    raw = union(spans)
    whole = union(raw, bridge=bridge)
    return subtract(whole, intersect(subtract(whole, raw), keep))


def subtract(spans: t.Iterable[t.Sequence[int]], holes: t.Iterable[t.Sequence[int]]) -> Spans:
    """The time of `spans` that is not in `holes`."""
    result: Spans = []
    cuts = union(holes)
    index = 0
    for begin, end in union(spans):
        while index < len(cuts) and cuts[index][1] <= begin:
            index += 1
        look = index
        while look < len(cuts) and cuts[look][0] < end:
            if cuts[look][0] > begin:
                result.append((begin, cuts[look][0]))
            begin = max(begin, cuts[look][1])
            look += 1
        if begin < end:
            result.append((begin, end))
    return result


def intersect(one: t.Iterable[t.Sequence[int]], other: t.Iterable[t.Sequence[int]]) -> Spans:
    """The time that is in both sets."""
    left, right = union(one), union(other)
    result: Spans = []
    i = j = 0
    while i < len(left) and j < len(right):
        begin, end = max(left[i][0], right[j][0]), min(left[i][1], right[j][1])
        if begin < end:
            result.append((begin, end))
        if left[i][1] < right[j][1]:
            i += 1
        else:
            j += 1
    return result


def widen(spans: t.Iterable[t.Sequence[int]], by: int) -> Spans:
    """Each span `by` longer at both ends; a negative `by` makes them shorter."""
    return union((begin - by, end + by) for begin, end in union(spans))


def complement(spans: t.Iterable[t.Sequence[int]], begin: int, end: int) -> Spans:
    """The time from `begin` to `end` that is not in `spans`."""
    return subtract([(begin, end)], spans)


def longer_than(spans: t.Iterable[t.Sequence[int]], limit: int) -> Spans:
    """The spans of more than `limit` milliseconds."""
    return [span for span in union(spans) if span[1] - span[0] > limit]


def touches(spans: t.Iterable[t.Sequence[int]], others: t.Iterable[t.Sequence[int]]) -> bool:
    return bool(intersect(spans, others))


def total(spans: t.Iterable[t.Sequence[int]]) -> int:
    return sum(end - begin for begin, end in union(spans))


def valid(value: object, limit: int = 1_000_000) -> Spans:
    """Spans as another machine sent them, checked: pairs of whole numbers, begin before end. Raises ValueError."""
    if not isinstance(value, list) or len(value) > limit:
        raise ValueError("spans are not a list of acceptable length")
    for pair in value:
        if not (isinstance(pair, (list, tuple)) and len(pair) >= 2 and is_whole(pair[0]) and is_whole(pair[1])):
            raise ValueError(f"not a span: {str(pair)[:60]}")
        if not 0 <= pair[0] <= pair[1] < 1 << 53:
            raise ValueError(f"not a span: {str(pair)[:60]}")
    return union(value)
