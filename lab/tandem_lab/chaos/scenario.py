# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scenario files: one failure each, as YAML, read strictly so that a typing error is not a test that passes.

    title: The guard of the attached node is killed, and nothing else
    covers: guard alone killed
    important: true                       # part of the molecule scenario as well
    pair: {promotion: playbook}           # how the pair is provisioned and the product behaves; what is left out has its default
    steps:
      - begin: kill_process               # a fault of the lab; `of` are its parties, `with` its further values
        of: [holder]
        with: {process: guard}
      - wait: {permit_closed: holder}     # until a state is seen, never for a time
      - stays: {headless: other}          # and a state that must last for some lease lifetimes
        ttls: 2
      - end: kill_process                 # by the kind, or by the name given as `as`
      - power_on: holder                  # after a fence agent has pressed the button
    expect: {attached: holder, epoch: same}

Parties are roles: `holder` is the node that is attached when the scenario begins, `other` its partner.
"""

from __future__ import annotations

import dataclasses
import pathlib
import typing as t

import yaml

from . import conditions

NODES = ("holder", "other")
MACHINES = (*NODES, "witness")
PARTIES = (*MACHINES, "management-server", "cameras", "controller", "clients")
PROCESSES = ("guard", "fuse", "recorder", "witness")
DEFAULT_WITHIN = 60.0
DEFAULT_TTLS = 2.0


class ScenarioError(ValueError):
    """A scenario file that cannot be meant."""


@dataclasses.dataclass(frozen=True)
class FaultKind:
    """What one fault of the lab wants: whom it concerns, and further values, in the order of its parameters."""

    parties: tuple[tuple[str, ...], ...] = ()
    values: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()


FAULTS: dict[str, FaultKind] = {
    "partition": FaultKind((PARTIES, PARTIES), (), ("direction",)),
    "loss": FaultKind((PARTIES, PARTIES), ("share",)),
    "freeze": FaultKind((MACHINES,)),
    "pause": FaultKind((MACHINES,)),
    "revert": FaultKind((MACHINES,), ("snapshot",)),
    "clock_step": FaultKind((MACHINES,), ("seconds",)),
    "clock_drift": FaultKind((MACHINES,), ("rate",)),
    "kill_process": FaultKind((MACHINES,), ("process",)),
    "freeze_process": FaultKind((MACHINES,), ("process",)),
    "power_off": FaultKind((MACHINES,)),
    "management_server_down": FaultKind(),
    "disk": FaultKind((NODES,), ("drive", "state")),
    "cameras_unreachable": FaultKind((NODES,)),
    "recorder": FaultKind((NODES,), ("mode",)),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "direction": ("both", "to", "from"), "process": PROCESSES, "state": ("full", "read-only", "gone"),
}
NUMBERS = ("share", "seconds", "rate")
#: `reconnects`: whether a recorder whose connection ended connects again by itself, or only after a restart.
PAIR_SETTINGS: dict[str, tuple[str, ...]] = {"promotion": ("playbook", "automatic"), "registration": ("once", "each_time"),
                                             "reconnects": ("unaided", "restarted")}
PAIR_DEFAULTS = {"promotion": "playbook", "registration": "once", "reconnects": "unaided"}
EXPECTED: dict[str, tuple[str, ...]] = {"attached": (*NODES, "either", "nobody"), "epoch": ("same", "grows", "any")}


@dataclasses.dataclass(frozen=True)
class Begin:
    kind: str
    name: str
    parties: tuple[str, ...]
    values: tuple[t.Any, ...]


@dataclasses.dataclass(frozen=True)
class End:
    name: str


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Keep the state of a machine for a later `revert`."""

    machine: str
    name: str


@dataclasses.dataclass(frozen=True)
class PowerOn:
    """Boot a machine that something else than a fault has switched off."""

    machine: str


@dataclasses.dataclass(frozen=True)
class Wait:
    conditions: tuple[tuple[str, t.Any], ...]  # all of them, at the same time
    within: float


@dataclasses.dataclass(frozen=True)
class Stays:
    conditions: tuple[tuple[str, t.Any], ...]
    ttls: float


@dataclasses.dataclass(frozen=True)
class Playbook:
    name: str
    arguments: tuple[str, ...]
    refused: bool
    says: tuple[str, ...]


Step = Begin | End | Snapshot | PowerOn | Wait | Stays | Playbook


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    covers: str
    important: bool
    pair: dict[str, str]
    steps: tuple[Step, ...]
    attached: str
    epoch: str


def load(path: pathlib.Path) -> Scenario:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse(document, path.stem)
    except (yaml.YAMLError, ScenarioError) as error:
        raise ScenarioError(f"{path.name}: {error}") from error


def parse(document: t.Any, name: str) -> Scenario:
    fields = _mapping(document, "the scenario", {"title", "covers", "steps", "expect"}, {"important", "pair"})
    important = fields.get("important", False)
    if not isinstance(important, bool):
        raise ScenarioError("`important` is true or false")
    pair = _mapping(fields.get("pair", {}), "`pair`", set(), set(PAIR_SETTINGS))
    for key, value in pair.items():
        _one_of(value, PAIR_SETTINGS[key], f"`pair.{key}`")
    expected = _mapping(fields["expect"], "`expect`", {"attached", "epoch"}, set())
    for key, value in expected.items():
        _one_of(value, EXPECTED[key], f"`expect.{key}`")
    return Scenario(name, _text(fields["title"], "`title`"), _text(fields["covers"], "`covers`"), important, PAIR_DEFAULTS | pair,
                    _steps(fields["steps"]), expected["attached"], expected["epoch"])


def _steps(document: t.Any) -> tuple[Step, ...]:
    if not isinstance(document, list) or not document:
        raise ScenarioError("`steps` is a list with at least one step")
    steps: list[Step] = []
    for number, item in enumerate(document, 1):
        try:
            step = _step(item)
            _check_names(step, steps)
        except ScenarioError as error:
            raise ScenarioError(f"step {number}: {error}") from error
        steps.append(step)
    return tuple(steps)


def _step(item: t.Any) -> Step:
    actions: dict[str, t.Callable[[dict[str, t.Any]], Step]] = {"begin": _begin, "end": _end, "snapshot": _snapshot,
                                                                "power_on": _power_on, "wait": _wait, "stays": _stays,
                                                                "playbook": _playbook}
    named = [key for key in actions if isinstance(item, dict) and key in item]
    if len(named) != 1:
        raise ScenarioError(f"has exactly one of {', '.join(actions)}")
    return actions[named[0]](item)


def _begin(item: dict[str, t.Any]) -> Begin:
    fields = _mapping(item, "`begin`", {"begin"}, {"of", "with", "as"})
    kind = _one_of(fields["begin"], FAULTS, "`begin`")
    wanted = FAULTS[kind]
    parties = fields.get("of", [])
    if not isinstance(parties, list) or len(parties) != len(wanted.parties):
        raise ScenarioError(f"{kind} concerns {len(wanted.parties)} parties, given as the list `of`")
    for party, known in zip(parties, wanted.parties):
        _one_of(party, known, f"a party of {kind}")
    values = _mapping(fields.get("with", {}), f"`with` of {kind}", set(wanted.values), set(wanted.optional))
    for key, value in values.items():
        _value(key, value)
    ordered = tuple(values[key] for key in (*wanted.values, *wanted.optional) if key in values)
    return Begin(kind, _text(fields.get("as", kind), "`as`"), tuple(parties), ordered)


def _value(key: str, value: t.Any) -> None:
    if key in NUMBERS:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ScenarioError(f"`{key}` is a number")
    elif key in CHOICES:
        _one_of(value, CHOICES[key], f"`{key}`")
    else:
        _text(value, f"`{key}`")


def _end(item: dict[str, t.Any]) -> End:
    return End(_text(_mapping(item, "`end`", {"end"}, set())["end"], "`end`"))


def _snapshot(item: dict[str, t.Any]) -> Snapshot:
    fields = _mapping(item, "`snapshot`", {"snapshot", "as"}, set())
    return Snapshot(_one_of(fields["snapshot"], MACHINES, "`snapshot`"), _text(fields["as"], "`as`"))


def _power_on(item: dict[str, t.Any]) -> PowerOn:
    return PowerOn(_one_of(_mapping(item, "`power_on`", {"power_on"}, set())["power_on"], MACHINES, "`power_on`"))


def _wait(item: dict[str, t.Any]) -> Wait:
    fields = _mapping(item, "`wait`", {"wait"}, {"within"})
    return Wait(_conditions(fields["wait"]), _positive(fields.get("within", DEFAULT_WITHIN), "`within`"))


def _stays(item: dict[str, t.Any]) -> Stays:
    fields = _mapping(item, "`stays`", {"stays"}, {"ttls"})
    return Stays(_conditions(fields["stays"]), _positive(fields.get("ttls", DEFAULT_TTLS), "`ttls`"))


def _conditions(document: t.Any) -> tuple[tuple[str, t.Any], ...]:
    if not isinstance(document, dict) or not document:
        raise ScenarioError("names at least one condition")
    for name, value in document.items():
        known = conditions.PARAMETERS.get(name)
        if known is None:
            raise ScenarioError(f"there is no condition {name!r}; known are {', '.join(sorted(conditions.PARAMETERS))}")
        if known == "node":
            _one_of(value, NODES, f"the node of {name}")
        elif known == "voter":
            _one_of(value, MACHINES, f"the voter of {name}")
        elif known == "count":
            _positive(value, name)
        elif known == "text":
            _text(value, name)
        elif known == "node_text":
            if not isinstance(value, list) or len(value) != 2:
                raise ScenarioError(f"{name} wants a node and a text")
            _one_of(value[0], NODES, f"the node of {name}")
            _text(value[1], f"the text of {name}")
        elif value is not True:
            raise ScenarioError(f"{name} is only ever `true`")
    return tuple(document.items())


def _playbook(item: dict[str, t.Any]) -> Playbook:
    fields = _mapping(item, "`playbook`", {"playbook"}, {"arguments", "refused", "says"})
    arguments, says, refused = fields.get("arguments", []), fields.get("says", []), fields.get("refused", False)
    for name, value in (("arguments", arguments), ("says", says)):
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise ScenarioError(f"`{name}` is a list of texts")
    if not isinstance(refused, bool):
        raise ScenarioError("`refused` is true or false")
    if refused and not says:
        raise ScenarioError("a refusal must be checked for its reason: `says` is missing")
    return Playbook(_text(fields["playbook"], "`playbook`"), tuple(arguments), refused, tuple(says))


def _check_names(step: Step, before: list[Step]) -> None:
    open_now: list[str] = []
    kept = [earlier.name for earlier in before if isinstance(earlier, Snapshot)]
    for earlier in before:
        if isinstance(earlier, Begin):
            open_now.append(earlier.name)
        elif isinstance(earlier, End):
            open_now.remove(earlier.name)
    if isinstance(step, Begin):
        if step.name in open_now:
            raise ScenarioError(f"a fault named {step.name} goes on already; tell them apart by `as`")
        if step.kind == "revert" and step.values[0] not in kept:
            raise ScenarioError(f"there is no snapshot {step.values[0]} to go back to")
    if isinstance(step, End) and step.name not in open_now:
        raise ScenarioError(f"no fault named {step.name} goes on here")


def _mapping(document: t.Any, what: str, needed: set[str], allowed: set[str]) -> dict[str, t.Any]:
    if not isinstance(document, dict):
        raise ScenarioError(f"{what} is a mapping")
    missing, unknown = needed - document.keys(), document.keys() - needed - allowed
    if missing or unknown:
        parts = [f"lacks {', '.join(sorted(missing))}"] if missing else []
        parts += [f"does not know {', '.join(sorted(map(str, unknown)))}"] if unknown else []
        raise ScenarioError(f"{what} {' and '.join(parts)}")
    return document


def _one_of(value: t.Any, known: t.Collection[str], what: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise ScenarioError(f"{what} is one of {', '.join(known)}, not {value!r}")
    return value


def _text(value: t.Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ScenarioError(f"{what} is a text")
    return value


def _positive(value: t.Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ScenarioError(f"{what} is a number above 0")
    return float(value)
