# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``tandem-lab``: raise, look at, break and switch off a simulated site.

    tandem-lab up --dir build/lab              tandem-lab power-off pair1-a
    tandem-lab status                          tandem-lab power-on pair1-a
    tandem-lab wait --recording pair1-a --closed pair1-b
    tandem-lab down                            tandem-lab power off|on|status pair1-a
    tandem-lab fault begin|end|list|clear ...  (see `faults.commands`)

Which site: --dir, else the one whose site.json the variable TANDEM_LAB_SITE names (as for `inventories/lab`), else build/lab.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import sys
import time
import typing as t
from pathlib import Path

from . import disks
from .faults import FaultError, commands as fault_commands
from .machine.channel import MachineError
from .site import ProcessError, Site, SiteError


def _up(site: Site, options: argparse.Namespace) -> None:
    if not site.exists:
        settings: dict[str, t.Any] = {"table_seconds": options.table_seconds} if options.table_seconds else {}
        if options.assume:
            settings["assumptions"] = dict(_assumption(text) for text in options.assume)
        site.create(cameras=options.cameras, pairs=options.pairs, settings=settings)
    begin = time.monotonic()
    site.up(timeout=options.timeout)
    print(f"The site in {site.directory} is up ({time.monotonic() - begin:.1f} s).")
    for pair in site.describe()["pairs"]:
        machines = ", ".join(f"{node['name']} {node['address']}" for node in pair["nodes"])
        print(f"  {pair['name']}: {pair['service_url']} on {machines}")
    print(f"  {len(site.describe()['cameras'])} cameras, Management Server {site.describe()['management_server']['http_url']}")
    print(f"  users and passwords: {site.directory / 'site.json'}, logs: {site.directory / 'logs'}")


def _assumption(text: str) -> tuple[str, bool]:
    key, separator, value = text.partition("=")
    if not separator or value not in ("true", "false"):
        raise SiteError(f"--assume wants key=true or key=false, not {text!r}")
    return key, value == "true"


def _down(site: Site, _options: argparse.Namespace) -> None:
    site.down()
    print(f"The site in {site.directory} is down. Its media and configuration are kept.")


def _status(site: Site, options: argparse.Namespace) -> None:
    state = site.status()
    if options.json:
        print(json.dumps(state, indent=2, sort_keys=True))
        return
    for name, running in state["processes"].items():
        print(f"{name:20} {'runs' if running else 'off'}")
        for service in state["machines"].get(name, {}).get("services", []):
            print(f"  {service['name']:45} {service['state']}")
    for entry in (state["recorders"] or {}).get("connected", []):
        print(f"connected: recorder {entry['recorder_id']} from {entry['source']}")
    print(f"double registrations: {(state['recorders'] or {}).get('duplicates', 'unknown')}")


def _power_off(site: Site, options: argparse.Namespace) -> None:
    site.power_off(options.machine)
    print(f"{options.machine} is off.")


def _power_on(site: Site, options: argparse.Namespace) -> None:
    site.power_on(options.machine)
    print(f"{options.machine} is on.")


def _power(site: Site, options: argparse.Namespace) -> int:
    """The power button as a hypervisor offers it. 0: done and confirmed, or it is on; 2: it is off; 1: it could not be done or told."""
    name = options.machine
    if options.action == "off":
        with contextlib.suppress(SiteError):  # it is off already
            site.power_off(name)
        if site.powered(name):
            raise SiteError(f"{name} is still on")
    elif options.action == "on" and not site.powered(name):
        site.power_on(name)
    on = site.powered(name)
    print(f"{name} is {'on' if on else 'off'}.")
    return 2 if options.action == "status" and not on else 0


def _wait(site: Site, options: argparse.Namespace) -> None:
    """First until a machine records; then until the other has closed all tables that hold something from before that."""
    for machine in options.recording:
        site.wait_for(f"{machine} to record", lambda: disks.recording(site, machine, int(time.time() * 1000) - 3000), options.timeout)
    now = int(time.time() * 1000)
    for machine in options.closed:
        site.wait_for(f"{machine} to close its tables", lambda: disks.closed_until(site, machine) >= now, options.timeout)


def _site_folder() -> Path:
    named = os.environ.get("TANDEM_LAB_SITE")
    return Path(named).parent if named else Path("build/lab")


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--dir", type=Path, default=_site_folder(), help="the site's folder (default: %(default)s; see TANDEM_LAB_SITE)")
    parser = argparse.ArgumentParser(prog="tandem-lab", description="A simulated XProtect site on loopback addresses.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: t.Callable[[Site, argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, parents=[shared])
        added.set_defaults(run=run)
        return added

    up = command("up", _up, "create the site if there is none, start it, wait until it serves")
    up.add_argument("--cameras", type=int, default=8, help="cameras of each pair, for a new site (default: 8)")
    up.add_argument("--pairs", type=int, default=1, help="pairs, for a new site (default: 1)")
    up.add_argument("--table-seconds", type=float, help="length of a media table, for a new site (default: 10)")
    up.add_argument("--assume", action="append", metavar="KEY=true|false", help="an assumption about XProtect, for a new site")
    up.add_argument("--timeout", type=float, default=30.0, help="seconds until it must serve (default: 30)")
    command("down", _down, "stop the site's processes")
    command("status", _status, "what runs and who is connected").add_argument("--json", action="store_true")
    command("power-off", _power_off, "pull a machine's plug").add_argument("machine")
    command("power-on", _power_on, "boot a machine").add_argument("machine")
    power = command("power", _power, "the power button, as a fence agent wants it: status ends with 0 (on) or 2 (off)")
    power.add_argument("action", choices=("off", "on", "status"))
    power.add_argument("machine")
    fault_commands.add(commands, shared)
    wait = command("wait", _wait, "wait until machines record or have closed their tables")
    wait.add_argument("--recording", action="append", default=[], metavar="MACHINE")
    wait.add_argument("--closed", action="append", default=[], metavar="MACHINE")
    wait.add_argument("--timeout", type=float, default=60.0)
    return parser


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    site = Site(options.dir)
    try:
        if options.command == "up":
            site.directory.mkdir(parents=True, exist_ok=True)
        else:
            site.describe()  # there must be one
        with open(site.directory / ".lock", "w", encoding="ascii") as lock:
            if options.command in ("up", "down", "power-off", "power-on", "power"):
                fcntl.flock(lock, fcntl.LOCK_EX)  # two commands at once would start things twice
            return options.run(site, options) or 0
    except (SiteError, FaultError, ProcessError, MachineError, TimeoutError, OSError, ValueError) as error:
        print(f"tandem-lab {options.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
