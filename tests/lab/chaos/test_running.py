# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps and conditions against a made-up world: what is waited for, what fails, and that every fault ends."""

from __future__ import annotations

import pytest

from tandem_lab.chaos import conditions
from tandem_lab.chaos.runner import OpenFaults, StepFailed, Steps
from tandem_lab.chaos.scenario import Begin, End, Playbook, Snapshot, Stays, Wait
from tandem_lab.demo.playbook import PlaybookFailed


class FakeWorld:
    """Permits change as a script says: one entry a look."""

    nodes = ("holder", "other")
    names = {"holder": "pair1-a", "other": "pair1-b", "witness": "witness-1"}
    ttl = 0.05

    def __init__(self, looks=()):
        self.looks = list(looks)
        self.acted: list[bool] = []
        self.played: list[tuple] = []
        self.answer: str | Exception = "ok=3"

    def machine(self, party):
        return self.names.get(party, party)

    def named(self, text):
        return text.replace("{holder}", "pair1-a")

    def begin_step(self, acts=True):
        self.acted.append(acts)

    def permits(self, role):
        look = self.looks[0] if len(self.looks) == 1 or role == "holder" else self.looks.pop(0)
        return look.get(role)

    def permit_closed_lately(self, _role):
        return False

    def play(self, name, *arguments):
        self.played.append((name, *arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class FakeFaults:
    def __init__(self):
        self.log: list[tuple] = []

    def __getattr__(self, kind):
        def begin(*values):
            self.log.append((kind, *values))
            return FakeFault(self, kind)
        return begin


class FakeFault:
    def __init__(self, faults, kind):
        self.faults, self.kind = faults, kind

    def end(self):
        self.faults.log.append(("end", self.kind))
        if self.kind == "disk":
            raise OSError("the machine is off")


class Silent:
    def say(self, _text):
        pass


A_ATTACHED = {"holder": [7], "other": []}
NOBODY = {"holder": [], "other": []}
B_ATTACHED = {"holder": [], "other": [9]}


@pytest.fixture
def faults():
    return FakeFaults()


def run(world, faults, *steps):
    open_faults = OpenFaults(faults, world)
    try:
        Steps(world, open_faults, Silent()).run(steps)
    finally:
        open_faults.end_all()


def test_faults_get_machines_for_roles_and_end(faults):
    run(FakeWorld(), faults, Begin("partition", "cut", ("holder", "management-server"), ("to",)), Begin("freeze", "freeze", ("other",), ()),
        End("cut"))
    assert faults.log == [("partition", "pair1-a", "management-server", "to"), ("freeze", "pair1-b"), ("end", "partition"),
                          ("end", "freeze")]


def test_a_revert_gets_the_snapshot_that_was_kept(faults):
    snapshots = type("S", (FakeFaults,), {"snapshot": lambda self, machine: f"snapshot of {machine}"})()
    run(FakeWorld(), snapshots, Snapshot("other", "yesterday"), Begin("revert", "revert", ("other",), ("yesterday",)))
    assert snapshots.log[0] == ("revert", "pair1-b", "snapshot of pair1-b")


def test_every_fault_ends_though_one_cannot(faults):
    with pytest.raises(OSError, match="off"):
        run(FakeWorld(), faults, Begin("freeze", "a", ("holder",), ()), Begin("disk", "b", ("holder",), ("D:", "full")),
            Begin("pause", "c", ("other",), ()))
    assert faults.log[-3:] == [("end", "pause"), ("end", "disk"), ("end", "freeze")]


def test_waiting_ends_with_the_state(faults):
    world = FakeWorld([A_ATTACHED, NOBODY, B_ATTACHED])
    run(world, faults, Wait((("attached", "other"),), 30.0))
    assert len(world.looks) == 1


def test_waiting_in_vain_tells_what_was_there(faults):
    with pytest.raises(StepFailed, match="step 1: .*attached other.*attached: holder"):
        run(FakeWorld([A_ATTACHED]), faults, Wait((("attached", "other"),), 0.01))


def test_two_permits_are_neither_attachment(faults):
    both = FakeWorld([{"holder": [7], "other": [9]}])
    assert conditions.missing(both, [("attached", "holder"), ("somebody_attached", True), ("nobody_attached", True)])
    assert len(conditions.missing(both, [("attached", "holder"), ("somebody_attached", True)])) == 2


def test_a_machine_that_does_not_answer_is_not_headless():
    assert conditions.missing(FakeWorld([{"holder": None, "other": []}]), [("headless", "holder")]) == [
        "headless holder: the machine does not answer"]


def test_what_must_stay_and_does_not(faults):
    run(FakeWorld([A_ATTACHED]), faults, Stays((("attached", "holder"),), 2))
    with pytest.raises(StepFailed, match="did not stay"):
        run(FakeWorld([A_ATTACHED, NOBODY]), faults, Stays((("attached", "holder"),), 100))


def test_events_count_from_the_last_step_that_did_something(faults):
    world = FakeWorld([A_ATTACHED])
    stays = Stays((("attached", "holder"),), 1)
    run(world, faults, Begin("freeze", "freeze", ("holder",), ()), Wait((("attached", "holder"),), 1.0), stays)
    assert world.acted == [True, False, False]


# -- playbooks -----------------------------------------------------------------------------------------------------------
def test_a_refusal_must_come_and_tell_its_reason(faults):
    world = FakeWorld()
    world.answer = PlaybookFailed("failover.yml ended with status 2: pair1-a may still\n hold the lease")
    run(world, faults, Playbook("failover", ("-e", "attach={other}"), True, ("{holder} may still hold",)))
    with pytest.raises(StepFailed, match="does not say"):
        run(world, faults, Playbook("failover", (), True, ("no majority",)))
    world.answer = "ok=3"
    with pytest.raises(StepFailed, match="not refused"):
        run(world, faults, Playbook("failover", (), True, ("lease",)))


def test_a_playbook_that_fails_fails_the_step(faults):
    world = FakeWorld()
    world.answer = PlaybookFailed("status 2")
    with pytest.raises(StepFailed, match="step 1: status 2"):
        run(world, faults, Playbook("switchover", (), False, ()))
