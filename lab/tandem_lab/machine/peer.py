# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is on the network and on no lab machine (Management Server, cameras), with the same rules for its packets.

    python -m tandem_lab.machine.peer --rules FILE --module tandem_lab.cameras -- --config cameras.json

Runs the module as the main program. A thread looks at FILE ({"version": n, "rules": [...], "silent": false}), puts its rules on all
sockets of the process, and says so: `FILE.applied` then holds the version.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import threading
import time
import typing as t
from pathlib import Path

from . import storage
from .packets import PacketFilter, Rule

LOOK_SECONDS = 0.03


def applied(rules: Path) -> int:
    """The version of the rules that the process obeys."""
    return storage.read_json(_answer(rules), -1)


def _answer(rules: Path) -> Path:
    return rules.with_name(rules.name + ".applied")


class Follower:
    """Keeps the sockets of this process by the rules in a file."""

    def __init__(self, rules: Path):
        self._rules = rules
        self._packets = PacketFilter()
        self._version: t.Any = None

    def look(self) -> None:
        """Put new rules into force; while there are some, also on sockets made since the last look."""
        document = storage.read_json(self._rules, {"version": 0})
        if document["version"] != self._version:
            self._packets.load([Rule.parse(rule) for rule in document.get("rules", ())], silent=bool(document.get("silent")))
            self._version = document["version"]
            storage.write_json(_answer(self._rules), self._version)
        elif self._packets.active:
            self._packets.attach_all()

    def run(self) -> t.NoReturn:
        while True:
            self.look()
            time.sleep(LOOK_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tandem_lab.machine.peer")
    parser.add_argument("--rules", required=True, type=Path, help="the file to follow")
    parser.add_argument("--module", required=True, help="the main program")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    follower = Follower(options.rules)
    follower.look()
    threading.Thread(target=follower.run, name="network faults", daemon=True).start()
    sys.argv[1:] = options.arguments
    runpy.run_module(options.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
