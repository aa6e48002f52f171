# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is who: what the two nodes said about themselves, turned into attached/headless and source/twin.

The inventory never says which node is attached. It is found anew each time from the facts of both nodes: what their
guards say comes first, what the recorder says counts only on a node that has no guard yet.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..errors import TandemError
from .pair import PairDefinition, normalise_guid

QUIET_LIMIT = 600.0  # seconds without anything written after which a recorder counts as not recording
SILENT = ("unreachable", "timeout")  # error codes that mean: nothing answers there


@dataclasses.dataclass(frozen=True)
class NodeView:
    """One node as it presents itself: the result of its `facts` verb, or the reason why there is none."""

    name: str
    facts: t.Mapping[str, t.Any] | None = None
    error: str | None = None
    alive: bool = False  # no facts, and yet something answered: a refused login, a missing runtime

    @property
    def reachable(self) -> bool:
        return self.facts is not None

    def part(self, *path: str) -> t.Any:
        """A value deep in the facts, None when any step of the way is missing."""
        value: t.Any = self.facts
        for key in path:
            value = value.get(key) if isinstance(value, t.Mapping) else None
        return value

    @property
    def recorder_id(self) -> str | None:
        return normalise_guid(self.part("recorder", "id"))

    @property
    def config_error(self) -> str | None:
        return self.part("recorder", "config_error")

    @property
    def recorder_running(self) -> bool:
        return self.part("recorder", "service", "state") == "running"

    @property
    def recorder_attached(self) -> bool:
        """The recorder's own word. Compared for equality, because ``Detached`` ends in ``attached`` (assumption `attach_state_strings`)."""
        return self.recorder_running and _same(self.part("recorder", "status", "attach_state"), "attached")

    @property
    def recorder_connected(self) -> bool:
        return self.recorder_attached and _same(self.part("recorder", "status", "connection_state"), "connected")

    @property
    def guard_installed(self) -> bool:
        return self.part("guard", "service", "state") not in (None, "missing")

    @property
    def guard_answers(self) -> bool:
        return self.part("guard", "status") is not None

    @property
    def guard_state(self) -> str | None:
        """``attached`` or ``headless`` by the guard's word, None when no guard answers."""
        return self.part("guard", "status", "state")

    @property
    def epoch(self) -> int | None:
        return self.part("guard", "status", "epoch")

    @property
    def voters(self) -> tuple[str, ...]:
        """Who votes in this pair, as far as its guard knows. Empty when unknown."""
        voters = self.part("guard", "status", "membership", "voters")
        return tuple(str(voter) for voter in voters) if isinstance(voters, (list, tuple)) else ()

    @property
    def lease_free(self) -> bool:
        """Its guard promised its vote to nobody: what it knows of the lease has run out."""
        return self.part("guard", "status", "lease", "free_in") == 0

    @property
    def health_score(self) -> float | None:
        score = self.part("guard", "status", "health", "score")
        return score if isinstance(score, (int, float)) else None

    @property
    def health_causes(self) -> list[t.Mapping[str, t.Any]]:
        """What its guard says is wrong with it: code, message and devices of each cause."""
        return [cause for cause in self.part("guard", "status", "health", "causes") or [] if isinstance(cause, t.Mapping)]

    @property
    def serving_fit(self) -> bool | None:
        """Whether its guard thinks that it can serve clients; None when it does not say."""
        fit = self.part("guard", "status", "health", "serving_fit")
        return fit if isinstance(fit, bool) else None

    @property
    def fenced(self) -> bool:
        return bool(self.part("fence", "installed"))

    @property
    def writing(self) -> int:
        """How many devices the recorder writes media of, by the guard's word."""
        return int(self.part("guard", "status", "recorder", "writing") or 0)

    @property
    def records(self) -> bool:
        """Whether its recorder does its work, by the guard's word. Cameras that wait for motion write nothing for a while."""
        recorder = self.part("guard", "status", "recorder") or {}
        quiet_for, known = recorder.get("quiet_for"), recorder.get("known_devices")
        return self.writing > 0 or known == 0 or (isinstance(quiet_for, (int, float)) and quiet_for <= QUIET_LIMIT)

    @property
    def unconfigured(self) -> bool:
        """Its recorder runs and has no device yet: nothing to record, nothing to serve."""
        recorder = self.part("guard", "status", "recorder") or {}
        return self.recorder_running and recorder.get("known_devices", recorder.get("devices")) == 0

    @property
    def devices(self) -> int:
        return int(self.part("guard", "status", "recorder", "devices") or 0)

    def serves_as(self, recorder_id: str) -> bool:
        """Attached under a guard, or without any guard and fence a recorder of this id that says it is attached."""
        if self.guard_state is not None:
            return self.guard_state == "attached"
        return self.recorder_attached and not self.fenced and self.recorder_id == recorder_id


def _same(value: t.Any, word: str) -> bool:
    return isinstance(value, str) and value.strip().casefold() == word


def views_of(outcomes: t.Mapping[str, t.Any]) -> dict[str, NodeView]:
    """Views from the answers of both nodes, where an exception stands for a node that gave no facts."""
    return {name: NodeView(name, error=_reason(outcome), alive=getattr(outcome, "code", None) not in SILENT) if isinstance(outcome,
                                                                                                                           Exception)
            else NodeView(name, facts=outcome, alive=True) for name, outcome in outcomes.items()}


def _reason(error: Exception) -> str:
    return str(getattr(error, "message", error))


@dataclasses.dataclass(frozen=True)
class Roles:
    """Who is attached now. `guarded`: under a guard. `complete`: both nodes answered, so that nothing was assumed."""

    attached: str | None
    headless: str | None
    epoch: int | None
    guarded: bool
    complete: bool


def find_roles(pair: PairDefinition, views: t.Mapping[str, NodeView]) -> Roles:
    """Which node is attached and which is headless; refuses when both say that they serve."""
    serving = [name for name in pair.names if views[name].serves_as(pair.recorder_id)]
    if len(serving) == 2:
        raise _both_attached(pair, views)
    attached = serving[0] if serving else None
    headless = None
    if attached:
        partner = pair.partner(attached).name
        headless = partner if views[partner].reachable else None
    epochs = [view.epoch for view in views.values() if view.epoch is not None]
    return Roles(attached=attached, headless=headless, epoch=max(epochs) if epochs else None,
                 guarded=bool(attached and views[attached].guard_state == "attached"),
                 complete=all(view.reachable for view in views.values()))


def _both_attached(pair: PairDefinition, views: t.Mapping[str, NodeView]) -> TandemError:
    first, second = sorted((views[name] for name in pair.names), key=lambda view: view.epoch or 0)
    said = " and ".join(f"node {view.name} ({_word(view)})" for view in (first, second))
    if (first.epoch or 0) == (second.epoch or 0):
        step = (f"find out at the Management Server which of {first.name} and {second.name} it talks to, and stop the recorder service"
                " of the other one.")
    else:
        step = f"stop the recorder service of node {first.name} at once, and read the guard's log there."
    return TandemError(f"both nodes are attached: {said}; two recorders of one id must never serve at the same time", pair=pair.name,
                       next_step=step, code="both_attached")


def _word(view: NodeView) -> str:
    return f"epoch {view.epoch}" if view.guard_state else "its recorder is connected and there is no guard"


def require_reachable(pair: PairDefinition, views: t.Mapping[str, NodeView], purpose: str) -> None:
    """Refuse when a node gave no facts. `purpose` completes "both nodes are needed to ..."."""
    silent = [views[name] for name in pair.names if not views[name].reachable]
    if silent:
        told = "; ".join(f"node {view.name} did not answer: {view.error}" for view in silent)
        raise TandemError(f"both nodes are needed to {purpose}, and {told}",
                          pair=pair.name, node=silent[0].name, code="node_unreachable",
                          next_step=f"bring node {silent[0].name} up (or correct how it is reached) and run again.")


def source_and_twin(pair: PairDefinition, views: t.Mapping[str, NodeView]) -> tuple[str, str]:
    """For provisioning: the node that has the pair's identity, and the one that is to get it.

    When both have it already, the attached node is the source.
    """
    require_reachable(pair, views, "tell the source from the twin")
    _refuse_unreadable(pair, views)
    owners = [name for name in pair.names if views[name].recorder_id == pair.recorder_id]
    roles = find_roles(pair, views)
    if not owners:
        raise _unknown_id(pair, views)
    if len(owners) == 1:
        source = owners[0]
        if roles.attached and roles.attached != source:
            raise TandemError(f"it is attached, and its recorder id is {views[roles.attached].recorder_id} and not {pair.recorder_id},"
                              f" which node {source} has", pair=pair.name, node=roles.attached, code="wrong_identity",
                              next_step=f"attach node {source}, then run again.")
        return source, pair.partner(source).name
    source = roles.attached or _holder_of_service_address(pair, views)
    if source is None:
        raise TandemError("both nodes have the pair's recorder id and neither is attached, so that neither can count as the source",
                          pair=pair.name, code="nobody_attached", next_step="attach one node (module recorder_attachment), then run again.")
    return source, pair.partner(source).name


def _refuse_unreadable(pair: PairDefinition, views: t.Mapping[str, NodeView]) -> None:
    for name in pair.names:
        if views[name].config_error:
            raise TandemError(f"RecorderConfig.xml cannot be used: {views[name].config_error}", pair=pair.name, node=name,
                              code="config_unreadable",
                              next_step="put a good copy in its place (the folder of the recorder and the node's history hold backups);"
                                        " nothing was changed.")


def _unknown_id(pair: PairDefinition, views: t.Mapping[str, NodeView]) -> TandemError:
    found = ", ".join(f"node {name} has {views[name].recorder_id or 'none'}" for name in pair.names)
    return TandemError(f"recorder id {pair.recorder_id} is unknown on both nodes: {found}", pair=pair.name, code="unknown_recorder_id",
                       next_step="set recorder_id to the id of the recorder that serves now, or correct the addresses of the nodes.")


def _holder_of_service_address(pair: PairDefinition, views: t.Mapping[str, NodeView]) -> str | None:
    address = pair.service_address.address
    holders = [name for name in pair.names if address in (views[name].part("machine", "addresses") or {})]
    return holders[0] if len(holders) == 1 else None
