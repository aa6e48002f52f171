# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interval algebra against a brute-force bitmap: every millisecond of a small world is looked at."""
from __future__ import annotations

import random

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import intervals

WORLD = 60


def bits(spans) -> set[int]:
    return {moment for begin, end in spans for moment in range(begin, end)}


def spans_of(moments: set[int]) -> list[tuple[int, int]]:
    result: list[tuple[int, int]] = []
    for moment in sorted(moments):
        if result and result[-1][1] == moment:
            result[-1] = (result[-1][0], moment + 1)
        else:
            result.append((moment, moment + 1))
    return result


def some(chance: random.Random) -> list[tuple[int, int]]:
    pairs = [sorted((chance.randrange(WORLD), chance.randrange(WORLD))) for unused in range(chance.randrange(8))]
    return [(pair[0], pair[1]) for pair in pairs]


@pytest.mark.parametrize("seed", range(20))
def test_algebra_equals_the_bitmap(seed):
    chance = random.Random(seed)
    for unused in range(100):
        one, other = some(chance), some(chance)
        assert intervals.union(one, other) == spans_of(bits(one) | bits(other))
        assert intervals.subtract(one, other) == spans_of(bits(one) - bits(other))
        assert intervals.intersect(one, other) == spans_of(bits(one) & bits(other))
        assert intervals.touches(one, other) == bool(bits(one) & bits(other))
        assert intervals.total(one) == len(bits(one))
        begin, end = sorted((chance.randrange(WORLD), chance.randrange(WORLD)))
        assert intervals.complement(one, begin, end) == spans_of(set(range(begin, end)) - bits(one))
        limit = chance.randrange(6)
        assert intervals.longer_than(one, limit) == [span for span in spans_of(bits(one)) if span[1] - span[0] > limit]
        by = chance.randrange(5)
        grown = {moment + step for moment in bits(one) for step in range(-by, by + 1)}
        assert intervals.widen(one, by) == spans_of(grown)
        kept = {moment for moment in bits(one) if all(moment + step in bits(one) for step in range(-by, by + 1))}
        assert intervals.widen(one, -by) == spans_of(kept)


@pytest.mark.parametrize("seed", range(5))
def test_bridge_fills_short_holes_only(seed):
    chance = random.Random(seed)
    for unused in range(100):
        one, bridge = some(chance), chance.randrange(6)
        moments = bits(one)
        holes = [hole for hole in intervals.complement(one, min(moments, default=0), max(moments, default=0) + 1)
                 if hole[1] - hole[0] <= bridge] if moments else []
        assert intervals.union(one, bridge=bridge) == spans_of(moments | bits(holes))


@pytest.mark.parametrize("value", [None, {}, [1], [[1]], [[2, 1]], [[-1, 2]], [["1", 2]], [[1.0, 2]], [[True, 2]], [[1, 1 << 60]],
                                   [[1, 2]] * 3])
def test_foreign_spans_are_checked(value):
    with pytest.raises(ValueError, match="span"):
        intervals.valid(value, limit=2)


def test_foreign_spans_are_put_in_order():
    assert intervals.valid([[5, 9], [1, 2], [3, 3], [2, 4, "cause"]]) == [(1, 4), (5, 9)]
