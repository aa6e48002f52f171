# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which faults a site has now (`faults/active.json`), and when each one began and ended (`faults.jsonl`).

A line of `faults.jsonl` is ``{"t_ms", "id", "kind", "parties", "event": "begin" | "end"}`` and the fault's values. A fault that lasts
begins before anything is done and ends when everything is undone: what happened because of it lies between.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import time
import typing as t
from pathlib import Path

from ..machine import storage


class FaultError(Exception):
    """The fault cannot be begun, or does not exist."""


@dataclasses.dataclass
class Entry:
    """One fault. `values` are its parameters, told in the log; `data` is what is needed to end it."""

    id: str
    kind: str
    parties: list[str]
    values: dict[str, t.Any]
    data: dict[str, t.Any] = dataclasses.field(default_factory=dict)

    def describe(self) -> dict[str, t.Any]:
        return {"id": self.id, "kind": self.kind, "parties": self.parties, **self.values}


class Journal:
    """Safe for several processes: `changing` holds a lock."""

    def __init__(self, site: Path):
        self.folder = site / "faults"
        self._log = site / "faults.jsonl"
        self._active = self.folder / "active.json"

    @contextlib.contextmanager
    def changing(self) -> t.Iterator[None]:
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / ".lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def active(self) -> dict[str, Entry]:
        return {values["id"]: Entry(**values) for values in self._read()["active"]}

    def _read(self) -> dict[str, t.Any]:
        return storage.read_json(self._active, {"next": 1, "active": []})

    def begin(self, kind: str, parties: t.Sequence[str], values: dict[str, t.Any]) -> Entry:
        document = self._read()
        entry = Entry(f"f{document['next']}", kind, list(parties), values)
        storage.write_json(self._active, {"next": document["next"] + 1, "active": document["active"]}, 0o600)
        self._write(entry, "begin")
        return entry

    def keep(self, entry: Entry) -> None:
        """The fault lasts from now on."""
        self._save([*(other for other in self.active().values() if other.id != entry.id), entry])

    def forget(self, entry: Entry) -> None:
        """The fault lasts no longer; `end` says so in the log once everything is undone."""
        self._save([other for other in self.active().values() if other.id != entry.id])

    def end(self, entry: Entry, **details: t.Any) -> None:
        self._write(entry, "end", **details)

    def _save(self, entries: t.Iterable[Entry]) -> None:
        document = {**self._read(), "active": [dataclasses.asdict(entry) for entry in entries]}
        storage.write_json(self._active, document, 0o600)

    def _write(self, entry: Entry, event: str, **details: t.Any) -> None:
        line = {"t_ms": time.time_ns() // 1_000_000, "event": event, **entry.describe(), **details}
        fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            os.write(fd, json.dumps(line).encode() + b"\n")
        finally:
            os.close(fd)
