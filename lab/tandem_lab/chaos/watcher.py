# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of the voters' durable records, read from their disks several times a second while a scenario runs.

A record is replaced by a rename, so a sample is always one whole state that the voter could have started again from.
"""

from __future__ import annotations

import json
import pathlib
import threading
import time
import typing as t

PAUSE_SECONDS = 0.1
DATA = pathlib.PurePath("C/ProgramData/Tandem")


def find_record(document: t.Any) -> dict | None:
    """The part of a state file that has the epoch; a voter may keep more beside it."""
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("epoch"), list) and len(document["epoch"]) == 3:
        return document
    return next((found for value in document.values() if (found := find_record(value)) is not None), None)


class Watcher:
    """Keeps every change, with the time at which it was seen, and adds it to a file for those who want to look later."""

    def __init__(self, machines: dict[str, pathlib.Path], pair: str, out: pathlib.Path):
        self._machines = machines
        self._pair = pair
        self._out = out
        self._lock = threading.Lock()
        self._latest: dict[str, dict] = {}
        self._rows: list[dict] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="durable records", daemon=True)

    def start(self) -> None:
        self._sample()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def latest(self, voter: str) -> dict:
        with self._lock:
            return self._latest.get(voter, {})

    def rows(self, since_ms: float) -> list[dict]:
        """The samples since then, and of each voter the last one before."""
        with self._lock:
            before = {row["voter"]: row for row in self._rows if row["t_ms"] < since_ms}
            return [*before.values(), *(row for row in self._rows if row["t_ms"] >= since_ms)]

    def _run(self) -> None:
        while not self._stop.wait(PAUSE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        for voter, folder in self._machines.items():
            record = self._read(folder)
            if record is not None and record != self._latest.get(voter):
                self._keep(voter, record)

    def _keep(self, voter: str, record: dict) -> None:
        row = {"t_ms": int(time.time() * 1000), "voter": voter, "epoch": record["epoch"][0], "holder": record["epoch"][1],
               "incarnation": record.get("incarnation"), "voting": record.get("voting"), "membership": record.get("membership"),
               "claim": record.get("claim"), "released": record.get("released"), "reason": record.get("reason")}
        with self._lock:
            self._latest[voter] = record
            self._rows.append(row)
        with self._out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _read(self, folder: pathlib.Path) -> dict | None:
        own = folder / DATA / "guard" / "state.json"
        files = [own] if own.exists() else sorted(folder.joinpath(DATA, "witness").glob(f"**/*{self._pair}*.json"))
        for file in files:
            try:
                record = find_record(json.loads(file.read_bytes()))
            except (OSError, ValueError):  # replaced or removed just now: the next sample sees it
                continue
            if record is not None:
                return record
        return None
