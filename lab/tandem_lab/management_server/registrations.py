# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine registered a recorder last, and what that means (assumptions `client_registration_shareable`,
`reregistration_invalidates_partner`).

A registration gives the machine a client secret of its own, and the last one that registers wins. In the lab the machine's address
stands for that secret. The site's setting `registration` says how the server takes it: ``once``, all machines of a pair share
their registration and may connect; ``each_time``, only the last one that registered may. Before any registration the first
machine that connects counts as the one: it was registered when it was installed. The wording ``invalid_client`` is the identity
provider's, seen in the event logs of real recorders; the rest of the text is the lab's own.
"""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

from . import files
from .config import read_json

FILE_NAME = "registrations.json"
MODES = ("once", "each_time")


class Registrations:
    def __init__(self, state: Path, mode: str) -> None:
        if mode not in MODES:
            raise ValueError(f"the setting registration is one of {', '.join(MODES)}, not {mode!r}")
        self.mode = mode
        self._path = state / FILE_NAME
        self._entries: dict[str, dict[str, t.Any]] = read_json(self._path) if self._path.exists() else {}

    def register(self, recorder_id: str, machine: str, client_registration_id: str) -> None:
        """The machine is the one that registered last; durable when this returns."""
        entry = {"machine": machine, "client_registration_id": client_registration_id, "registered_ms": int(time.time() * 1000)}
        entries = self._entries | {recorder_id: entry}
        files.write_durable(self._path, (json.dumps(entries, indent=1) + "\n").encode())
        self._entries = entries

    def refusal(self, recorder_id: str, machine: str) -> str | None:
        """Why this machine may not connect as the recorder; None when it may."""
        entry = self._entries.get(recorder_id)
        if self.mode == "once" or entry is None or entry["machine"] == machine:
            return None
        return (
            "invalid_client: the registration of this machine is no longer valid, the recorder was registered from another machine. "
            "Register this one with the Server Configurator"
        )

    def known(self, recorder_id: str) -> bool:
        return recorder_id in self._entries

    def describe(self) -> dict[str, t.Any]:
        return {"mode": self.mode, "registered": {recorder: dict(entry) for recorder, entry in self._entries.items()}}
