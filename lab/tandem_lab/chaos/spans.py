# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Arithmetic of spans of time: sorted lists of (begin, end), in unix milliseconds, end excluded."""

from __future__ import annotations

import math
import typing as t


class Span(t.NamedTuple):
    begin: float
    end: float = math.inf

    @property
    def length(self) -> float:
        return self.end - self.begin

    def holds(self, moment: float) -> bool:
        return self.begin <= moment < self.end


def union(spans: t.Iterable[Span]) -> list[Span]:
    joined: list[Span] = []
    for span in sorted(spans):
        if span.length <= 0:
            continue
        if joined and span.begin <= joined[-1].end:
            joined[-1] = Span(joined[-1].begin, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


def intersection(one: t.Iterable[Span], two: t.Iterable[Span]) -> list[Span]:
    others = union(two)
    return union(Span(max(a.begin, b.begin), min(a.end, b.end)) for a in union(one) for b in others)


def subtract(one: t.Iterable[Span], two: t.Iterable[Span]) -> list[Span]:
    left = union(one)
    for cut in union(two):
        left = [piece for span in left for piece in (Span(span.begin, min(span.end, cut.begin)), Span(max(span.begin, cut.end), span.end))
                if piece.length > 0]
    return left


def total(spans: t.Iterable[Span]) -> float:
    return sum(span.length for span in union(spans))


def holds(spans: t.Iterable[Span], moment: float) -> bool:
    return any(span.holds(moment) for span in spans)
