# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checker bites: with a rule taken out it finds a violation, and with all rules it finds none in the same schedules.

The many schedules themselves are run by ``python -m model`` (`make model`).
"""

from __future__ import annotations

import pytest

from . import schedules
from .mutants import MUTANTS
from .simulation import Options, Violation, World, without_encoding

SCHEDULES = 4000


def violation(**classes) -> str | None:
    with without_encoding():
        for seed in range(SCHEDULES):
            try:
                schedules.run(seed, **classes)
            except Violation as found:
                return str(found)
    return None


@pytest.mark.parametrize("rule", MUTANTS)
def test_without_the_rule_a_violation_is_found(rule):
    found = violation(**MUTANTS[rule])
    assert found is not None, f"{SCHEDULES} schedules without {rule} show nothing: the checker is blind for it"
    assert found.startswith("seed ")


@pytest.mark.parametrize("rule", ["the promise", "the abstention from new epochs after a restart", "the incarnation",
                                  "the readmission by both others", "the margin"])
def test_these_rules_are_what_keeps_two_from_being_attached(rule):
    with without_encoding():
        for seed in range(SCHEDULES):
            try:
                schedules.run(seed, **MUTANTS[rule])
            except Violation as found:
                if "attached while" in str(found):
                    return
    pytest.fail(f"without {rule} never two were attached at once in {SCHEDULES} schedules")


def test_messages_as_they_go_over_the_wire_change_nothing():
    """The fast runs leave the encoding of headers out. Here it is in, and everything comes out the same."""
    def outcome(seed: int) -> tuple:
        world = schedules.run(seed, trace=True)
        return world.highest, world.attachments, world.trace
    encoded = [outcome(seed) for seed in range(60)]
    with without_encoding():
        assert [outcome(seed) for seed in range(60)] == encoded


def test_a_schedule_is_the_same_each_time():
    assert schedules.run(7, trace=True).trace == schedules.run(7, trace=True).trace


@pytest.mark.parametrize("ttl", [4.0, 8.0])
def test_the_exception_of_a_paused_machine_is_bounded(ttl):
    """A machine that stood still as a whole, and can talk when it goes on, ends its attachment within the stated bound."""
    overlaps = 0
    for seed in range(40):
        world = World(seed, Options(ttl=ttl, automatic=True))
        world.run(3.0)
        holder = next(name for name in ("a", "b") if world.machines[name].agent.attached)
        world.fault(holder, "machine paused, its clock stands")
        world.machines[holder].pause()
        world.run(3.0 + ttl + 4.0)
        world.machines[holder].thaw()
        world.fault(holder, "thawed")
        world.run(world.time + 10.0)  # raises when the bound is exceeded
        assert not world.machines[holder].agent.attached
        overlaps += len(world.exceptions)
        assert all(length <= world.exception_bound() + 0.1 for length in world.exceptions)
    assert overlaps  # it does happen: the exception is stated because it is real


def test_a_clock_that_jumps_with_the_pause_leaves_no_exception():
    """Where the wall clock tells (time synchronisation after the pause), the fence is closed before anything else is done."""
    for seed in range(20):
        world = World(seed, Options(ttl=4.0, automatic=True))
        world.run(3.0)
        holder = next(name for name in ("a", "b") if world.machines[name].agent.attached)
        world.machines[holder].pause()
        world.run(12.0)
        world.machines[holder].thaw()
        world.machines[holder].wall_offset += 9.0
        world.machines[holder].guarded(lambda: world.machines[holder].agent.tick(world.machines[holder].now(), world.machines[holder].wall()))
        assert not world.machines[holder].agent.attached
