# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random schedules: what happens to a simulated pair, and when. Each seed is one schedule, and the same one each time."""

from __future__ import annotations

import dataclasses
import random
import typing as t

from .simulation import NODES, WITNESS, Options, Violation, World, other

#: Seconds of undisturbed running at the beginning and at the end.
SETTLE = 3.0
PHASE = (0.3, 7.0)


def options_of(seed: int) -> Options:
    rng = random.Random(f"options {seed}")
    witness = rng.random() < 0.92
    return Options(ttl=rng.choice((4.0, 4.0, 8.0)), automatic=rng.random() < 0.6, witness=witness, joins=witness and rng.random() < 0.2,
                   fence_agent=rng.random() < 0.15)


def run(seed: int, trace: bool = False, options: Options | None = None, **classes: t.Any) -> World:
    """One schedule to its end. Raises `Violation` with the seed and the last steps in its text."""
    world = World(seed, options or options_of(seed), trace=trace, **classes)
    schedule = Schedule(world)
    try:
        schedule.run()
    except Violation as error:
        raise Violation(f"seed {seed} ({dataclasses.asdict(world.options)}), at {world.time:.3f} s: {error}\n"
                        + "\n".join(world.trace or [])) from None
    return world


class Schedule:
    def __init__(self, world: World):
        self.world = world
        self.rng = world.rng
        self.ends: list[t.Callable[[], None]] = []
        kinds = [(self.partition, 5), (self.one_way, 3), (self.lossy, 2), (self.slow, 2), (self.kill, 4), (self.power_cut, 2), (self.stall, 3),
                 (self.pause, 2), (self.clock_step, 2), (self.blank, 1), (self.restored, 1), (self.reverted, 1), (self.dying_store, 3),
                 (self.disk_refuses, 1), (self.take, 3), (self.release, 4), (self.unfit, 1), (self.force, 1), (self.site_power, 1),
                 (self.cornered, 4), (self.isolated, 3), (self.no_fuse, 1), (self.fence_stuck, 2)]
        self.kinds, self.weights = zip(*kinds)

    def run(self) -> None:
        world, rng = self.world, self.rng
        world.run(SETTLE / 2)
        world.order(rng.choice(NODES), "take")
        world.run(SETTLE)
        if world.options.joins:
            for node in NODES:
                world.order(node, "witness")
            world.run(world.time + rng.uniform(0.0, 3.0))
        for _ in range(rng.randint(1, 5)):
            for kind in rng.choices(self.kinds, self.weights, k=rng.choice((1, 1, 2))):
                kind()
            world.run(world.time + rng.uniform(*PHASE))
            world.check_progress()
            if rng.random() < 0.6:
                self.heal()
                world.run(world.time + rng.uniform(0.1, 4.0))
        self.heal()
        world.run(max(world.time, world.changed_at) + world.options.ttl + (8.0 if world.options.fence_agent else 4.0))
        world.check_progress()

    def heal(self) -> None:
        ends, self.ends = self.ends, []
        for end in ends:
            end()
        self.world.fault("world", "healed")

    def _end(self, call: t.Callable[[], None]) -> None:
        self.ends.append(call)

    def _any(self) -> str:
        return self.rng.choice(self.world.voters)

    # -- network -------------------------------------------------------------------------------------------------------
    def partition(self) -> None:
        alone, world = self._any(), self.world
        pairs = {(alone, peer) for peer in world.voters if peer != alone}
        if self.rng.random() < 0.5:
            pairs = {self.rng.choice(sorted(pairs))}
        self._cut(pairs | {(two, one) for one, two in pairs}, "cut both ways")

    def one_way(self) -> None:
        source, target = self.rng.sample(self.world.voters, 2)
        self._cut({(source, target)}, "cut one way")

    def _cut(self, pairs: set, text: str) -> None:
        self.world.fault("network", f"{text} {sorted(pairs)}")
        self.world.cut |= pairs
        self._end(lambda: self.world.cut.difference_update(pairs))

    def lossy(self) -> None:
        pair, share = tuple(self.rng.sample(self.world.voters, 2)), self.rng.uniform(0.1, 0.9)
        self.world.fault("network", f"loses {share:.0%} of {pair}")
        self.world.loss[pair] = share
        self._end(lambda: self.world.loss.pop(pair, None))

    def slow(self) -> None:
        pair = tuple(self.rng.sample(self.world.voters, 2))
        self.world.fault("network", f"slow {pair}")
        self.world.slow.add(pair)
        self._end(lambda: self.world.slow.discard(pair))

    # -- machines ------------------------------------------------------------------------------------------------------
    def kill(self, name: str | None = None) -> None:
        name = name or self._any()
        machine = self.world.machines[name]
        self.world.fault(name, "guard killed")
        machine.end()
        self.world.after(self.rng.uniform(0.3, 4.0), self._start_again, name)

    def _start_again(self, name: str) -> None:
        self.world.changed_at = self.world.time
        self.world.machines[name].restart()

    def power_cut(self, names: t.Sequence[str] = ()) -> None:
        names = names or [self._any()]
        for name in names:
            self.world.fault(name, "power off")
            self.world.off.add(name)
            self.world.machines[name].end()

        def on() -> None:
            for name in names:
                self.world.off.discard(name)
                self.world.fault(name, "power on")
                self.world.machines[name].restart()
        self._end(on)

    def site_power(self) -> None:
        self.power_cut(self.world.voters)

    def stall(self) -> None:
        """The guard's process alone stands still: the fuse ends it, if it is attached, when its deadline has passed."""
        name = self._any()
        machine = self.world.machines[name]
        self.world.fault(name, "guard stalled")
        length = self.rng.uniform(0.5, 12.0)
        machine.stalled_until = self.world.time + length
        if machine.permit_deadline is not None and length > machine.permit_deadline - machine.now():
            self.world.after(max(0.0, machine.permit_deadline - machine.now()) + self.world.detach, self._fuse, name, machine.process)
        self.world.after(length, self.world.fault, name, "stall over")

    def _fuse(self, name: str, process: int) -> None:
        machine = self.world.machines[name]
        if machine.process == process and machine.paused_at is None and machine.permit_deadline is not None \
                and machine.now() > machine.permit_deadline:
            self.world.note(name, "fuse")
            machine.end()
            self.world.after(self.rng.uniform(0.3, 3.0), self._start_again, name)

    def pause(self) -> None:
        name = self._any()
        machine = self.world.machines[name]
        if machine.paused_at is not None:
            return
        self.world.fault(name, "machine paused, its clock stands")
        machine.pause()

        def thaw() -> None:
            if machine.paused_at is not None:
                machine.thaw()
                self.world.fault(name, "thawed")
        self._end(thaw)

    def clock_step(self) -> None:
        name, step = self._any(), self.rng.choice((-1, 1)) * self.rng.uniform(0.5, 3600)
        self.world.fault(name, f"wall clock set by {step:+.1f} s")
        self.world.machines[name].wall_offset += step

    # -- state ---------------------------------------------------------------------------------------------------------
    def blank(self) -> None:
        """One voter loses its state. More than one at a time is beyond what is promised."""
        name = self._any()
        if not self._all_vote():
            return
        self.world.fault(name, "state lost")
        self.world.state_lost = True
        machine = self.world.machines[name]
        machine.end()
        machine.disk = None
        self.world.after(self.rng.uniform(0.3, 3.0), self._start_again, name)

    def restored(self) -> None:
        """An old copy of the state file is put back and the guard started with it."""
        self._back(new_generation=False)

    def reverted(self) -> None:
        """The virtual machine goes back to a snapshot: an old disk, and a generation that is new."""
        self._back(new_generation=True)

    def _back(self, new_generation: bool) -> None:
        name = self._any()
        if not self._all_vote():
            return
        self.world.after(self.rng.uniform(1.0, 12.0), self._put_back, name, self.world.machines[name].disk, new_generation)

    def _put_back(self, name: str, disk: t.Any, new_generation: bool) -> None:
        world, machine = self.world, self.world.machines[name]
        if name in world.off or machine.paused_at is not None or not self._all_vote():
            return
        world.fault(name, "reverted to a snapshot" if new_generation else "an old state file was put back")
        machine.end()
        self._put_file_back(machine, disk, new_generation)
        if new_generation:
            world.incarnations += 1
            machine.generation = f"g{name}{world.incarnations}"
        world.after(self.rng.uniform(0.05, 3.0), self._start_again, name)

    def _put_file_back(self, machine: t.Any, disk: t.Any, new_generation: bool) -> None:
        """A node notices an old file by the serial that it keeps in a second place, and begins without a state. The witness does not."""
        self.world.state_lost = True
        noticed = machine.name in NODES and not new_generation
        machine.disk = None if noticed else disk
        self.world.file_put_back |= not (noticed or new_generation)

    def dying_store(self) -> None:
        """The process dies just before or just after it has written its state."""
        name = self._any()
        machine = self.world.machines[name]
        self.world.fault(name, "dies at a store")
        machine.kill_at_store = 0.7

        def end() -> None:
            machine.kill_at_store = 0.0
        self._end(end)

    def disk_refuses(self) -> None:
        machine = self.world.machines[self._any()]
        self.world.fault(machine.name, "disk refuses")
        machine.disk_refuses = True

        def end() -> None:
            machine.disk_refuses = False
        self._end(end)

    # -- what a single rule has to withstand ------------------------------------------------------------------------------
    def holder(self) -> str | None:
        return next((node for node in NODES if self.world.machines[node].agent and self.world.machines[node].agent.attached), None)

    def isolated(self) -> None:
        """The holder is cut off, and somebody insists on taking over."""
        holder = self.holder()
        if holder is None:
            return
        pairs = {(holder, peer) for peer in self.world.voters if peer != holder}
        if self.rng.random() < 0.3:
            pairs = set(self.rng.sample(sorted(pairs), 1))
        both = self.rng.random() < 0.7
        self._cut(pairs | {(two, one) for one, two in pairs} if both else {(two, one) for one, two in pairs}, "the holder is cut off")
        self.world.insist(other(holder), self.world.time + self.world.options.ttl + 4.0)

    def cornered(self) -> None:
        """The nodes do not hear each other, the vote of the third decides, and just that voter restarts, forgets or is turned back."""
        world, rng = self.world, self.rng
        if len(world.voters) < 3 or not self._all_vote():
            return
        snapshots = {name: world.snapshot(name) for name in world.voters}
        for node in NODES:
            if rng.random() < 0.8:
                world.order(node, "release")
        world.run(world.time + rng.uniform(1.0, 4.0))
        holder = self.holder()
        if holder is None or not self._all_vote():
            return
        self._cut({("a", "b"), ("b", "a")}, "the nodes are cut from each other")
        world.run(world.time + world.options.ttl + rng.uniform(0.1, 2.0))
        name = rng.choice((WITNESS, WITNESS, WITNESS, other(holder)))
        self._shake(name, snapshots[name])
        world.insist(other(holder), world.time + world.options.ttl + 4.0)

    def _shake(self, name: str, snapshot: t.Any) -> None:
        world, machine = self.world, self.world.machines[name]
        kind = self.rng.choice(("restart", "restart", "blank", "restored", "reverted", "reverted", "nothing"))
        if kind == "nothing" or machine.process == 0 or machine.paused_at is not None or (kind != "restart" and not self._all_vote()):
            return
        if kind == "reverted":
            world.revert(name, snapshot)
            return
        world.fault(name, kind)
        world.state_lost |= kind != "restart"
        machine.end()
        if kind == "blank":
            machine.disk = None
        elif kind == "restored":
            self._put_file_back(machine, snapshot.disk, False)
        world.after(self.rng.uniform(0.02, 0.5), self._start_again, name)

    def _all_vote(self) -> bool:
        return all(machine.voter is not None and machine.voter.record.voting for machine in self.world.machines.values())

    # -- people --------------------------------------------------------------------------------------------------------
    def take(self) -> None:
        self.world.order(self.rng.choice(NODES), "take")

    def release(self) -> None:
        for node in NODES:
            self.world.order(node, "release")

    def no_fuse(self) -> None:
        machine = self.world.machines[self.rng.choice(NODES)]
        self.world.fault(machine.name, "no fuse")
        machine.fuse = False

        def end() -> None:
            machine.fuse = True
        self._end(end)

    def fence_stuck(self) -> None:
        """Votes are had, and the permit cannot be opened with them."""
        machine = self.world.machines[self.rng.choice(NODES)]
        self.world.fault(machine.name, "the permit cannot be opened")
        machine.fence_stuck = True
        if self.rng.random() < 0.7:
            machine.end()
            self.world.after(0.5, self._start_again, machine.name)

        def end() -> None:
            machine.fence_stuck = False
        self._end(end)

    def unfit(self) -> None:
        machine = self.world.machines[self.rng.choice(NODES)]
        self.world.fault(machine.name, "records nothing")
        machine.fit = False

        def end() -> None:
            machine.fit = True
        self._end(end)

    def force(self) -> None:
        """A person has switched one machine off and promotes the other; later the machine is taken back."""
        node = self.rng.choice(NODES)
        self.power_cut([other(node)])
        self.world.after(self.rng.uniform(0.1, 2.0), self.world.order, node, "force")

        def rejoin() -> None:
            for kind in ("witness", "rejoin", "rejoin"):
                self.world.after(self.rng.uniform(0.5, 6.0), self.world.order, node, kind)
        self._end(rejoin)
