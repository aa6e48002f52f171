# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Three machines and a network, simulated: the product's own `Agent` and `Voter` run on them, everything else is made here.

Deterministic: one random generator, seeded, decides every delay and every fault; time is a number that jumps from event to event.
A machine has a clock of its own (offset, rate, it can stand still) and a process that may be stalled, killed at any store, or
started with a state that was lost or turned back. The permit closes at the deadline that the agent gave, by the machine's clock,
plus the time that closing takes: that is what the fuse and the permit's watch do without the agent.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import heapq
import math
import random
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol import views
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.agent import Agent
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.terms import (
    NONE, WITNESS, Answer, Header, Membership, Record, Timing)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import Voter, new_record

NODES = ("a", "b")
VOTERS = ("a", "b", WITNESS)
CALL_TIMEOUT = 2.0
TICK = 0.4
SHORTEST_DELAY, LONGEST_DELAY = 0.001, 0.05


@contextlib.contextmanager
def without_encoding() -> t.Iterator[None]:
    """Headers travel as they are: three times as many schedules in the same time. Decisions are not touched by it."""
    to_document, parse = Header.to_document, Header.__dict__["parse"]
    Header.to_document, Header.parse = (lambda header: header), staticmethod(lambda header: header)  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        Header.to_document, Header.parse = to_document, parse  # type: ignore[method-assign]


class Killed(BaseException):
    """The process ended in the middle of what it did."""


class Violation(BaseException):
    """What must never happen has happened. No code under test may catch it."""


@dataclasses.dataclass
class Options:
    ttl: float = 8.0
    drift: float = 0.01
    automatic: bool = True
    witness: bool = True
    fence_agent: bool = False
    joins: bool = False  # the pair begins with its two nodes, and the witness is taken in later


class Machine:
    """Clock, disk, permit and the process on it."""

    def __init__(self, world: World, name: str):
        self.world, self.name = world, name
        rng = world.rng
        self.rate = 1.0 + rng.uniform(-1, 1) * world.options.drift
        self.local_base, self.real_base = rng.uniform(0, 1000), 0.0
        self.wall_offset = rng.uniform(0, 1e6)
        self.paused_at: float | None = None
        self.stood_until = -1.0  # real time of the last thaw or revert: the stated exception counts from here
        self.generation = f"g{name}0"
        self.disk: Record | None = None
        self.process = 0  # number of the running process, 0 while there is none
        self.stalled_until = -1.0
        self.disk_refuses = False
        self.kill_at_store = 0.0
        self.agent: Agent | None = None
        self.voter: Voter | None = None
        self.permit_deadline: float | None = None  # local time; None: closed
        self.closing_until = -1.0  # real time until which a closed permit may still let something through
        self.fit = True
        self.fuse = True
        self.fence_stuck = False
        self.agent_since: float | None = None  # real time at which this node's fence agent was started

    # -- clock ---------------------------------------------------------------------------------------------------------
    def now(self) -> float:
        real = self.world.time if self.paused_at is None else self.paused_at
        return self.local_base + (real - self.real_base) * self.rate

    def wall(self) -> float:
        return self.now() + self.wall_offset

    def pause(self) -> None:
        self.paused_at = self.world.time

    def thaw(self) -> None:
        self.local_base, self.real_base = self.now(), self.world.time
        self.paused_at = None
        self.stood_until = self.world.time

    # -- the process ---------------------------------------------------------------------------------------------------
    def start(self) -> None:
        world = self.world
        world.changed_at = world.time
        world.processes += 1
        self.process, self.stalled_until, self.kill_at_store = world.processes, -1.0, 0.0
        effects = MachineEffects(self)
        if self.disk is None:
            world.incarnations += 1
            voters = NODES if world.options.joins else world.voters
            self.disk = new_record(voters, self.generation, f"{self.name}{world.incarnations}")
        self.voter = world.voter_class(self.name, self.disk, world.timing, effects.store, self.now(),
                                       f"n{self.process}", generation=lambda: self.generation, fresh=world.fresh)
        if self.name in NODES:
            self.agent = world.agent_class(self.name, other(self.name), self.voter, effects, self.now(), self.wall(),
                                           automatic=world.options.automatic, rng=random.Random(world.rng.random()))
            world.after(world.rng.uniform(0, TICK), self.tick, self.process)
            for peer in world.voters:
                if peer != self.name:
                    world.after(world.rng.uniform(0, 0.5), world.talk, self, peer, self.process)

    def end(self) -> None:
        """The process ends, however it ends: the operating system closes the permit."""
        self.process, self.agent, self.voter = 0, None, None
        self.close_permit(0.0)
        self.closing_until = min(self.closing_until, self.world.time)

    def runs(self, process: int) -> bool:
        return self.process == process and process > 0 and self.paused_at is None

    def tick(self, process: int) -> None:
        if self.process != process:
            return
        if self.paused_at is None and self.world.time >= self.stalled_until and self.agent is not None:
            self.guarded(lambda: self.agent.tick(self.now(), self.wall()))
        self.world.after(TICK * self.world.rng.uniform(0.7, 1.3), self.tick, process)

    def guarded(self, call: t.Callable[[], t.Any]) -> t.Any:
        """Run a piece of the process: it may be killed in it, and its disk may refuse."""
        try:
            return call()
        except Killed:
            self.end()
            self.world.after(self.world.rng.uniform(0.3, 3.0), self.restart)
        except OSError:
            pass
        return None

    def restart(self) -> None:
        if not self.process and self.name not in self.world.off:
            if self.paused_at is not None:
                self.world.after(1.0, self.restart)
            else:
                self.start()

    # -- the permit ----------------------------------------------------------------------------------------------------
    def open_for(self) -> bool:
        """Is the permit open at this moment, the fuse and the watch taken into account?"""
        if self.world.time < self.closing_until:
            return True
        if self.permit_deadline is None:
            return False
        return self.paused_at is not None or self.now() < self.permit_deadline + self.world.detach

    def close_permit(self, took: float) -> None:
        if self.permit_deadline is not None:
            if self.open_for():
                self.closing_until = self.world.time + took
                self.world.last_open = self.closing_until
            self.permit_deadline = None


class MachineEffects:
    """What the agent may do to its machine."""

    def __init__(self, machine: Machine):
        self.machine = machine

    def __deepcopy__(self, _memo: dict) -> MachineEffects:
        return self

    def store(self, record: Record) -> None:
        machine, rng = self.machine, self.machine.world.rng
        if machine.disk_refuses:
            raise OSError("the disk refuses")
        if machine.kill_at_store and rng.random() < machine.kill_at_store / 2:
            raise Killed
        machine.disk = record
        machine.world.stored(machine, record)
        if machine.kill_at_store and rng.random() < machine.kill_at_store:
            raise Killed

    def ready(self) -> bool:
        return self.machine.fuse

    def fenced(self) -> bool:
        """An agent that switches the machine off, and takes a while for it."""
        return self.machine.world.fenced(self.machine)

    def open(self, deadline: float) -> None:
        if self.machine.fence_stuck:
            raise OSError("the permit cannot be opened")
        self.machine.permit_deadline = deadline
        self.machine.world.opened(self.machine)

    def extend(self, deadline: float) -> bool:
        machine = self.machine
        if machine.permit_deadline is None or machine.now() >= machine.permit_deadline:
            machine.close_permit(0.0)
            return False
        machine.permit_deadline = deadline
        return True

    def close(self) -> None:
        """Returns when the permit is closed: until then this process says nothing."""
        machine, took = self.machine, self.machine.world.rng.uniform(0, self.machine.world.detach)
        machine.close_permit(took)
        machine.stalled_until = max(machine.stalled_until, machine.world.time + took)

    def wake(self) -> None:
        self.machine.world.wake(self.machine)

    def fit(self, invited: bool, fetches: bool) -> Answer:
        return Answer(self.machine.fit, "" if self.machine.fit else "not_recording")

    def log(self, text: str) -> None:
        self.machine.world.note(self.machine.name, text)


@dataclasses.dataclass
class Snapshot:
    """What a hypervisor keeps of a running machine: disk, memory, clock, and the state of its firewall."""

    disk: Record | None
    agent: Agent | None
    voter: Voter | None
    now: float
    permit_deadline: float | None


class World:
    def __init__(self, seed: int, options: Options, voter_class: type[Voter] = Voter, agent_class: type[Agent] = Agent,
                 timing_class: type[Timing] = Timing, trace: bool = False):
        self.seed, self.options = seed, options
        self.rng = random.Random(seed)
        self.voter_class, self.agent_class = voter_class, agent_class
        self.timing = timing_class(options.ttl, options.drift)
        self.time, self.serial, self.processes, self.incarnations = 0.0, 0, 0, 0
        self.events: list = []
        self.trace: list[str] | None = [] if trace else None
        self.detach = 0.5
        self.voters = VOTERS if options.witness else NODES
        self.cut: set[tuple[str, str]] = set()
        self.loss: dict[tuple[str, str], float] = {}
        self.slow: set[tuple[str, str]] = set()
        self.off: set[str] = set()
        self.waiting: dict[tuple[str, str], int] = {}  # the conversation that waits for its next turn
        self.talking: set[tuple[str, str, int]] = set()
        self.highest: tuple[int, str, str] = (0, "", "")
        self.attachments = 0
        self.state_lost = False
        self.file_put_back = False  # an old state file, which nothing tells from the true one: numbers may be used again
        self.exceptions: list[float] = []  # lengths of overlaps that the stated exception covers
        self.watch_overlap: str | None = None
        self.last_open = 0.0
        self.changed_at = 0.0  # of the last fault or change of who votes: progress counts from here
        self.machines = {name: Machine(self, name) for name in self.voters}
        for machine in self.machines.values():
            machine.start()

    # -- events --------------------------------------------------------------------------------------------------------
    def after(self, delay: float, call: t.Callable, *arguments: t.Any) -> None:
        self.serial += 1
        heapq.heappush(self.events, (self.time + delay, self.serial, call, arguments))

    def run(self, until: float) -> None:
        events = self.events
        while events and events[0][0] <= until:
            self.time, _serial, call, arguments = heapq.heappop(events)
            call(*arguments)
        self.time = until

    def note(self, who: str, text: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.time:9.3f} {who:8} {text}")

    def fresh(self) -> str:
        self.incarnations += 1
        return f"i{self.incarnations}"

    # -- conversations: one request at a time between a node and a voter -------------------------------------------------
    def talk(self, machine: Machine, peer: str, process: int) -> None:
        """The node's turn to say something to the peer."""
        if machine.process != process:
            return
        self.waiting.pop((machine.name, peer), None)
        if not machine.runs(process) or self.time < machine.stalled_until:
            self._next_turn(machine, peer, process, 0.2)
            return
        request = machine.guarded(lambda: machine.agent.next_request(peer, machine.now()))
        if request is None:
            return self._next_turn(machine, peer, process, 0.5)
        self.serial += 1
        call = (machine.name, peer, self.serial)
        self.talking.add(call)
        sent_at = machine.now()
        self.after(CALL_TIMEOUT, self._timed_out, machine, peer, process, call, request)
        if self._passes(machine.name, peer):
            self.after(self._delay(machine.name, peer), self._arrive, machine, peer, process, call, request, sent_at)

    def _arrive(self, machine: Machine, peer: str, process: int, call: tuple, request: dict, sent_at: float) -> None:
        asked = self.machines[peer]
        if asked.process == 0:
            return
        if asked.paused_at is not None or self.time < asked.stalled_until:
            self.after(0.3, self._arrive, machine, peer, process, call, request, sent_at)  # it lies in the buffer
            return
        handler = asked.agent or asked.voter
        answer = asked.guarded(lambda: handler.asked(machine.name, request, asked.now()))
        if answer is not None and self._passes(peer, machine.name):
            busy = max(0.0, asked.stalled_until - self.time)
            self.after(busy + self._delay(peer, machine.name), self._answered, machine, peer, process, call, request, answer, sent_at)

    def _answered(self, machine: Machine, peer: str, process: int, call: tuple, request: dict, answer: dict, sent_at: float) -> None:
        if call not in self.talking or machine.process != process:
            return
        if machine.paused_at is not None or self.time < machine.stalled_until:
            self.after(0.3, self._answered, machine, peer, process, call, request, answer, sent_at)
            return
        self.talking.discard(call)
        machine.guarded(lambda: machine.agent.answered(peer, request, answer, sent_at, machine.now()))
        self._next_turn(machine, peer, process, machine.voter.timing.interval if machine.voter else 1.0)

    def _timed_out(self, machine: Machine, peer: str, process: int, call: tuple, request: dict) -> None:
        if call not in self.talking:
            return
        if machine.process == process and (machine.paused_at is not None or self.time < machine.stalled_until):
            self.after(0.3, self._timed_out, machine, peer, process, call, request)
            return
        self.talking.discard(call)
        if machine.process == process:
            machine.guarded(lambda: machine.agent.failed(peer, request, machine.now()))
            self._next_turn(machine, peer, process, 0.2)

    def _next_turn(self, machine: Machine, peer: str, process: int, delay: float) -> None:
        if machine.process != process:
            return
        self.serial += 1
        self.waiting[machine.name, peer] = token = self.serial
        self.after(delay, self._turn, machine, peer, process, token)

    def _turn(self, machine: Machine, peer: str, process: int, token: int) -> None:
        if self.waiting.get((machine.name, peer)) == token:
            self.talk(machine, peer, process)

    def wake(self, machine: Machine) -> None:
        for name, peer in list(self.waiting):
            if name == machine.name:
                self._next_turn(machine, peer, machine.process, 0.001)

    def _passes(self, source: str, target: str) -> bool:
        return (source, target) not in self.cut and self.rng.random() >= self.loss.get((source, target), 0.0)

    def _delay(self, source: str, target: str) -> float:
        longest = 6.0 if (source, target) in self.slow and self.rng.random() < 0.3 else LONGEST_DELAY
        return self.rng.uniform(SHORTEST_DELAY, longest)

    # -- what must hold ------------------------------------------------------------------------------------------------
    def opened(self, machine: Machine) -> None:
        epoch = machine.disk.epoch
        self.note(machine.name, f"OPEN epoch {epoch.number}")
        self.attachments += 1
        order = (epoch.number, epoch.holder, epoch.incarnation)
        fell = epoch.number < self.highest[0] or (epoch.number == self.highest[0] and order != self.highest)
        stood = 0 <= self.time - machine.stood_until < self.exception_bound()  # it acts on votes of before: the stated exception
        if epoch.holder != machine.name or (fell and not self.file_put_back and not stood):
            raise Violation(f"{machine.name} attached with epoch {order} after {self.highest}")
        self.highest = max(self.highest, order, key=lambda item: item[0]) if not self.file_put_back else order
        for rival in self.machines.values():
            if rival is not machine and rival.open_for():
                self._overlap(machine, rival)

    def _overlap(self, machine: Machine, rival: Machine) -> None:
        """Two at once is a violation, but for a machine that stands still or stood still a moment ago."""
        stood = next((item for item in (rival, machine) if item.paused_at is not None or item.stood_until >= 0), None)
        if stood is None:
            raise Violation(f"{machine.name} attached while {rival.name} is, with epoch {machine.disk.epoch.number}")
        if self.watch_overlap is None:
            self.watch_overlap = rival.name
            self.after(0.05, self._look_at_overlap, machine, rival, stood, 0.0)

    def _look_at_overlap(self, machine: Machine, rival: Machine, stood: Machine, length: float) -> None:
        if not (machine.open_for() and rival.open_for()):
            self.watch_overlap = None
            if length:
                self.exceptions.append(length)
            return
        if stood.paused_at is None:  # while it stands still it serves nobody
            length += 0.05
            isolated = any((stood.name, peer) in self.cut or (peer, stood.name) in self.cut or self.loss.get((stood.name, peer))
                           or self.loss.get((peer, stood.name)) or (stood.name, peer) in self.slow or (peer, stood.name) in self.slow
                           or self.machines[peer].process == 0 or self.machines[peer].paused_at is not None
                           or self.time < self.machines[peer].stalled_until
                           for peer in self.voters if peer != stood.name)
            stalled = self.time < stood.stalled_until
            bound = self.timing.hold + self.detach if isolated or stalled else self.exception_bound()
            if length > bound + 0.1:
                raise Violation(f"{machine.name} and {rival.name} were attached at once for {length:.2f} s after {stood.name} stood still; "
                                f"the stated bound is {bound:.2f} s")
        self.after(0.05, self._look_at_overlap, machine, rival, stood, length)

    def exception_bound(self) -> float:
        """One renewal round trip and the time to detach."""
        interval = Timing(self.options.ttl).interval
        return (interval + 2 * LONGEST_DELAY + CALL_TIMEOUT) / (1 - self.options.drift) + self.detach

    def stored(self, machine: Machine, record: Record) -> None:
        if machine.voter is not None and machine.voter.record.voting != record.voting:
            self.changed_at = self.time

    def fenced(self, machine: Machine) -> bool:
        """The fence agent must never be run against a node that serves."""
        if not self.options.fence_agent:
            return True
        victim = self.machines[other(machine.name)]
        if machine.agent_since is None or self.time - machine.agent_since > 60.0:
            if victim.open_for() and victim.paused_at is None and victim.stood_until < 0 and self.time > victim.closing_until:
                raise Violation(f"{machine.name} has {victim.name} switched off, which is attached")
            machine.agent_since = self.time
            self.note(machine.name, f"FENCE {victim.name}")
        return self.time - machine.agent_since > 3.0

    def attached(self) -> list[str]:
        return [name for name, machine in self.machines.items() if machine.open_for() and machine.paused_at is None]

    def check_progress(self) -> None:
        """Where a majority could talk undisturbed for ttl + 2 s, somebody is attached."""
        since = max(self.changed_at, self.last_open)
        if self.time - since <= (self.options.ttl + 2.0 + (4.0 if self.options.fence_agent else 0.0)) * (1 + 2 * self.options.drift) + 2 * TICK or self.attached():
            return
        able = self.able_majority()
        if able:
            raise Violation(f"nobody is attached although {' and '.join(able)} could talk for {self.time - since:.1f} s")

    def able_majority(self) -> list[str]:
        """A node that may attach by itself, and a voter with which it can talk. Empty when there are none."""
        for node in NODES:
            machine = self.machines[node]
            if not self._works(node) or not machine.voter.record.voting or not machine.fuse or machine.fence_stuck:
                continue
            if not machine.voter.record.membership.expires and self.state_lost:
                continue  # without a witness a promise ends by release or by force only: here a person is needed
            if machine.voter.free_in(machine.now()) == math.inf and not machine.agent.wants_back():
                continue
            if machine.agent.unable(machine.now() - self.options.ttl - 6.0):
                continue  # it gave others a chance in this time
            claims = machine.voter.record.claim != NONE
            if not claims and not (self.options.automatic and machine.fit):
                continue
            needed = machine.voter.record.membership.take_quorum - 1
            helpers = [peer for peer in machine.voter.record.membership.voters if peer != node and self._works(peer)
                       and self.machines[peer].voter.record.voting and not self._disturbed(node, peer)
                       and self.machines[peer].voter.record.membership == machine.voter.record.membership]
            if len(helpers) >= needed:
                return [node, *helpers]
        return []

    def _works(self, name: str) -> bool:
        machine = self.machines.get(name)
        return bool(machine and machine.process and machine.paused_at is None and self.time >= machine.stalled_until
                    and not machine.disk_refuses and not machine.kill_at_store)

    def _disturbed(self, one: str, two: str) -> bool:
        return any(pair in self.cut or pair in self.slow or self.loss.get(pair) for pair in ((one, two), (two, one)))

    # -- faults --------------------------------------------------------------------------------------------------------
    def fault(self, name: str, text: str) -> None:
        self.changed_at = self.time
        self.note(name, f"-- {text}")

    def __deepcopy__(self, _memo: dict) -> World:
        return self

    def snapshot(self, name: str) -> Snapshot:
        machine = self.machines[name]
        agent = copy.deepcopy(machine.agent)
        voter = agent.voter if agent is not None else copy.deepcopy(machine.voter)
        return Snapshot(machine.disk, agent, voter, machine.now(), machine.permit_deadline)

    def revert(self, name: str, snapshot: Snapshot) -> None:
        """The virtual machine goes on from a snapshot, as if nothing had happened since. Only its generation is new."""
        machine = self.machines[name]
        self.fault(name, "reverted to a snapshot while it runs")
        self.state_lost = True
        self.incarnations += 1
        machine.generation = f"g{name}{self.incarnations}"
        machine.disk, machine.agent, machine.voter = snapshot.disk, snapshot.agent, snapshot.voter
        machine.local_base, machine.real_base = snapshot.now, self.time
        machine.permit_deadline, machine.stood_until = snapshot.permit_deadline, self.time
        for talk in [talk for talk in self.talking if talk[0] == name]:
            self.talking.discard(talk)
        for peer in self.voters:
            if name in NODES and peer != name:
                self._next_turn(machine, peer, machine.process, 0.1)

    def insist(self, node: str, until: float) -> None:
        """A playbook that asks to take over again and again, until it is attached."""
        machine = self.machines[node]
        agent = machine.agent
        if self.time > until or (agent is not None and agent.attached):
            return
        if agent is not None and machine.runs(machine.process) and self.time >= machine.stalled_until:
            machine.guarded(lambda: agent.start(views.TAKE, machine.now(), "failover"))
        self.after(self.rng.uniform(0.03, 0.3), self.insist, node, until)

    def order(self, node: str, kind: str, **options: t.Any) -> None:
        """What a playbook asks of a guard."""
        machine = self.machines[node]
        if not machine.runs(machine.process) or self.time < machine.stalled_until or machine.agent is None:
            return
        agent, now = machine.agent, machine.now()
        self.fault(node, f"order {kind} {options or ''}")
        if kind == "take":
            machine.guarded(lambda: agent.start(views.TAKE, now, "failover"))
        elif kind == "release" and agent.attached:
            machine.guarded(lambda: agent.release(other(node), now, "switchover"))
        elif kind == "force" and other(node) in self.off:  # the proof is true when it is given
            voters = tuple(sorted(set(agent.record.membership.voters) - {other(node)}))
            membership = Membership(agent.record.membership.number + 1, voters)
            self.file_put_back |= self.state_lost  # nobody is left who knows the numbers
            machine.guarded(lambda: agent.start(views.TAKE, now, "by force", membership=membership))
        elif kind in ("rejoin", "witness"):
            machine.guarded(lambda: agent.change_membership({*agent.record.membership.voters, other(node) if kind == "rejoin" else WITNESS}, now))


def other(node: str) -> str:
    return NODES[1 - NODES.index(node)]
