# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assumption `local_config_cache_copyable` false: the local configuration is bound to the machine that wrote it.

The copy then carries a signature made with a key of the machine, and one that another machine signed (or nobody) is useless here.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import typing as t
from pathlib import Path

from .configuration import ConfigurationError
from .machine import Machine

KEY_FILE = "C:\\ProgramData\\Microsoft\\Crypto\\RSA\\MachineKeys\\recorder-local-configuration"
KEY_BYTES = 32
FIELD = "machine_signature"


class MachineSeal:
    """Signs and checks documents; where the assumption is true it does neither."""

    def __init__(self, machine: Machine) -> None:
        self._bound = not machine.assumes("local_config_cache_copyable", True)
        self._path = machine.path(KEY_FILE)

    def close(self, document: dict[str, t.Any]) -> dict[str, t.Any]:
        return {**document, FIELD: self._signature(document)} if self._bound else document

    def check(self, document: t.Any) -> None:
        """Raises ConfigurationError when this machine did not write the document."""
        if not self._bound:
            return
        signed = document.get(FIELD) if isinstance(document, dict) else None
        if not isinstance(signed, str) or not hmac.compare_digest(signed.encode(), self._signature(document).encode()):
            raise ConfigurationError("another machine wrote it")

    def _signature(self, document: dict[str, t.Any]) -> str:
        content = json.dumps({name: value for name, value in document.items() if name != FIELD}, sort_keys=True)
        return hmac.new(_key(self._path), content.encode(), hashlib.sha256).hexdigest()


def _key(path: Path) -> bytes:
    """The machine's key, made at first use."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{os.getpid()}.new")
        beside.write_bytes(secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
        beside.unlink()
    with path.open("rb") as file:
        return file.read(KEY_BYTES)
