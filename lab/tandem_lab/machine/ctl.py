# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control of a lab machine from outside: for the site that owns it, for tests, and by hand.

    python -m tandem_lab.machine.ctl --dir DIR status
    python -m tandem_lab.machine.ctl --dir DIR set-free D: 1000000      (or: none)
    python -m tandem_lab.machine.ctl --dir DIR call service.stop '{"name": "Tandem Guard"}'
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import typing as t

from . import storage
from .channel import MachineError
from .client import MachineClient


class MachineControl:
    """Asks the kernel of the machine in `folder`. Raises `MachineError` when the machine is off."""

    def __init__(self, folder: pathlib.Path | str):
        self.folder = pathlib.Path(folder)

    def running(self) -> dict[str, t.Any] | None:
        """`run.json` of a machine that is on and has booted (pid, socket, booted_ms, winrm_url), else None."""
        document = storage.read_json(self.folder / "run.json")
        if not isinstance(document, dict):
            return None
        try:
            MachineClient(document["socket"]).call("machine", timeout=5.0)
        except (OSError, KeyError):
            return None
        return document

    def call(self, op: str, *, timeout: float = 30.0, **parameters: t.Any) -> dict[str, t.Any]:
        document = storage.read_json(self.folder / "run.json")
        try:
            if not isinstance(document, dict):
                raise FileNotFoundError
            return MachineClient(document["socket"]).call(op, timeout=timeout, **parameters)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise MachineError(f"the lab machine in {self.folder} is off") from error

    def status(self) -> dict[str, t.Any]:
        return self.call("status")["status"]

    def set_free_bytes(self, letter: str, free_bytes: int | None) -> None:
        """Let a drive have so many bytes free until the next boot; None: as in machine.json."""
        self.call("drive.set", letter=letter, free_bytes=free_bytes)

    def add_static_address(self, address: str, prefix: int) -> None:
        self.call("address.add", address=address, prefix=prefix)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tandem_lab.machine.ctl")
    parser.add_argument("--dir", required=True, type=pathlib.Path, help="the machine's folder")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("status", help="everything the kernel knows, as JSON")
    free = commands.add_parser("set-free", help="free bytes of a drive")
    free.add_argument("letter")
    free.add_argument("bytes", help="a number, or none for the drive's own")
    call = commands.add_parser("call", help="any operation of the control socket")
    call.add_argument("op")
    call.add_argument("parameters", nargs="?", default="{}", help="JSON object")
    options = parser.parse_args(arguments)
    control = MachineControl(options.dir)
    try:
        if options.command == "status":
            answer: t.Any = control.status()
        elif options.command == "set-free":
            control.set_free_bytes(options.letter, None if options.bytes == "none" else int(options.bytes))
            answer = {"ok": True}
        else:
            answer = control.call(options.op, **json.loads(options.parameters))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(answer, indent=2, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
