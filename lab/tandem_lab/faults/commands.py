# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``tandem-lab fault``: faults by hand and from scripts.

    tandem-lab fault begin partition pair1-a witness-1 to        tandem-lab fault list [--json]
    tandem-lab fault begin clock_step pair1-b -30                tandem-lab fault end f3
    tandem-lab fault begin disk pair1-b D: full                  tandem-lab fault clear
    tandem-lab fault snapshot pair1-a                            tandem-lab fault begin revert pair1-a pair1-a-1
"""

from __future__ import annotations

import argparse
import inspect
import json
import typing as t

from .faults import Faults
from .journal import FaultError

if t.TYPE_CHECKING:
    from ..site import Site

KINDS = ("partition", "loss", "freeze", "pause", "revert", "clock_step", "clock_drift", "kill_process", "freeze_process", "power_off",
         "management_server_down", "disk", "cameras_unreachable", "recorder")


def add(commands: t.Any, shared: argparse.ArgumentParser) -> None:
    """The command and its own commands."""
    parser = commands.add_parser("fault", help="break something, look at what is broken, mend it")
    fault = parser.add_subparsers(dest="action", required=True)
    begin = fault.add_parser("begin", help="begin a fault; prints its id", parents=[shared])
    begin.add_argument("kind", choices=KINDS)
    begin.add_argument("values", nargs="*", help="; ".join(f"{kind} {_usage(kind)}".strip() for kind in KINDS))
    begin.set_defaults(run=_begin)
    end = fault.add_parser("end", help="end a fault", parents=[shared])
    end.add_argument("id")
    end.set_defaults(run=_end)
    listing = fault.add_parser("list", help="the faults that last", parents=[shared])
    listing.add_argument("--json", action="store_true")
    listing.set_defaults(run=_list)
    fault.add_parser("clear", help="end all faults", parents=[shared]).set_defaults(run=lambda site, _options: site.faults.clear())
    snapshot = fault.add_parser("snapshot", help="keep a machine's state for a later revert; prints its name", parents=[shared])
    snapshot.add_argument("machine")
    snapshot.set_defaults(run=lambda site, options: print(site.faults.snapshot(options.machine)))


def _parameters(kind: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(Faults, kind)).parameters.values())[1:]


def _usage(kind: str) -> str:
    return " ".join(f"[{item.name}]" if item.default is not inspect.Parameter.empty else item.name.upper() for item in _parameters(kind))


def _begin(site: Site, options: argparse.Namespace) -> None:
    wanted, given = _parameters(options.kind), options.values
    least = sum(1 for item in wanted if item.default is inspect.Parameter.empty)
    if not least <= len(given) <= len(wanted):
        raise FaultError(f"{options.kind} wants: {_usage(options.kind) or 'nothing'}")
    values = [_number(text, item.name) if item.annotation == "float" else text for text, item in zip(given, wanted)]
    print(getattr(site.faults, options.kind)(*values).id)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise FaultError(f"{name} is a number, not {text!r}") from None


def _end(site: Site, options: argparse.Namespace) -> None:
    try:
        site.faults.end(options.id)
    except KeyError as error:
        raise FaultError(str(error.args[0])) from None


def _list(site: Site, options: argparse.Namespace) -> None:
    active = site.faults.active()
    if options.json:
        print(json.dumps(active, indent=2, sort_keys=True))
        return
    for fault in active:
        values = " ".join(f"{key}={value}" for key, value in fault.items() if key not in ("id", "kind", "parties"))
        print(f"{fault['id']:5} {fault['kind']:22} {', '.join(fault['parties'])} {values}".rstrip())
