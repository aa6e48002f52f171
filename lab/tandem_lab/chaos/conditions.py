# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The states that a scenario waits for, as they are seen from outside: the machines' kernels, disks, clients, the cameras.

A condition answers with an empty text when it holds, else with what is there instead.
"""

from __future__ import annotations

import typing as t

from ..disks import RECORDER_SERVICE

#: Condition -> what it is asked about: node, voter, count, text, node_text ([node, text]), or flag (`true`).
PARAMETERS: dict[str, str] = {}
_CHECKS: dict[str, t.Callable[[t.Any, t.Any], str]] = {}
_Check = t.Callable[[t.Any, t.Any], str]


def _condition(parameter: str) -> t.Callable[[_Check], _Check]:
    def register(check: _Check) -> _Check:
        name = check.__name__
        PARAMETERS[name], _CHECKS[name] = parameter, check
        return check
    return register


def missing(world: t.Any, wanted: t.Iterable[tuple[str, t.Any]]) -> list[str]:
    """What does not hold now, each with what is there instead."""
    answers = ((name, value, _CHECKS[name](world, value)) for name, value in wanted)
    return [f"{name} {'' if value is True else value}: {answer}".replace(" :", ":") for name, value, answer in answers if answer]


def _attached_now(world: t.Any) -> list[str]:
    return [role for role in world.nodes if world.permits(role)]


# -- attachment ------------------------------------------------------------------------------------------------------
@_condition("node")
def attached(world: t.Any, role: str) -> str:
    """This node's fence is open, and its partner's is not known to be."""
    now = _attached_now(world)
    return "" if now == [role] else f"attached: {', '.join(now) or 'nobody'}"


@_condition("node")
def headless(world: t.Any, role: str) -> str:
    permits = world.permits(role)
    if permits is None:
        return "the machine does not answer"
    return "its permit is open" if permits else ""


@_condition("node")
def permit_closed(world: t.Any, role: str) -> str:
    """Closed now, or for a moment since the last step that did something."""
    return "" if headless(world, role) == "" or world.permit_closed_lately(role) else "it was open all the time"


@_condition("flag")
def nobody_attached(world: t.Any, _value: t.Any) -> str:
    now = _attached_now(world)
    return f"attached: {', '.join(now)}" if now else ""


@_condition("flag")
def somebody_attached(world: t.Any, _value: t.Any) -> str:
    now = _attached_now(world)
    return "" if len(now) == 1 else f"attached: {', '.join(now) or 'nobody'}"


@_condition("voter")
def voting(world: t.Any, role: str) -> str:
    return "" if world.voting(role) else "it does not vote"


@_condition("voter")
def not_voting(world: t.Any, role: str) -> str:
    return "it votes" if world.voting(role) else ""


# -- service ---------------------------------------------------------------------------------------------------------
@_condition("flag")
def served(world: t.Any, _value: t.Any) -> str:
    """Every camera's picture reaches a client."""
    dark = world.dark_cameras()
    return f"{dark} cameras are dark on the wall" if dark else ""


@_condition("flag")
def not_served(world: t.Any, _value: t.Any) -> str:
    return "" if world.dark_cameras() else "all cameras are on the wall"


@_condition("node")
def connected(world: t.Any, role: str) -> str:
    """The Management Server sees the recorder at this node's addresses."""
    sources = world.connected_from()
    return "" if role in sources else f"connected from: {', '.join(sources) or 'nowhere'}"


# -- recording -------------------------------------------------------------------------------------------------------
@_condition("node")
def recording(world: t.Any, role: str) -> str:
    return "" if world.recording(role) else "not every camera was written to its disk in the last seconds"


@_condition("node")
def not_recording(world: t.Any, role: str) -> str:
    return "it records" if world.recording(role) else ""


@_condition("count")
def frames(world: t.Any, count: float) -> str:
    """So many pictures were taken by a camera since the step began: this is how a scenario lets something last."""
    made = world.frames_since_step()
    return "" if made >= count else f"{made} so far"


# -- machines --------------------------------------------------------------------------------------------------------
@_condition("voter")
def answers(world: t.Any, role: str) -> str:
    return "" if world.status(role) is not None else "the machine does not answer"


@_condition("voter")
def guard_runs(world: t.Any, role: str) -> str:
    """The resident service of Tandem, the witness's included."""
    state = world.tandem_service(role)
    return "" if state == "running" else state


@_condition("voter")
def guard_stopped(world: t.Any, role: str) -> str:
    """Its process has ended, though it may have been started again since the last step that did something."""
    state = world.tandem_service(role)
    return "" if state != "running" or world.service_ended_lately(role, world.tandem_service_name(role)) else state


@_condition("node")
def recorder_stopped(world: t.Any, role: str) -> str:
    """The same of the recorder's process."""
    return "" if world.service_ended_lately(role, RECORDER_SERVICE) else "it did not end"


@_condition("node")
def recorder_runs_on(world: t.Any, role: str) -> str:
    """Nobody has ended it since the last step that did something."""
    return "it ended" if world.service_ended_lately(role, RECORDER_SERVICE) else ""


# -- what is told ----------------------------------------------------------------------------------------------------
@_condition("text")
def status_shows(world: t.Any, text: str) -> str:
    """`status.yml` tells it."""
    shown = world.status_playbook()
    return "" if text.lower() in shown.lower() else f"status.yml shows {shown[-1000:]}"


@_condition("node_text")
def guard_logs(world: t.Any, wanted: list[str]) -> str:
    """Since the last step that did something."""
    role, text = wanted
    return "" if any(text in line for line in world.guard_log_lately(role)) else "its log does not say so"
