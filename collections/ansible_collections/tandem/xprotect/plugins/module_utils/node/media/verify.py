# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this node now holds what a plan promised: every table listed by the recorder, with the bytes that were sent."""

from __future__ import annotations

import typing as t

from ..host.base import Host
from . import banks, coverage, intervals, manifests, tables
from .staging import entry_of, sha256
from .transfer import Wanted


def check(host: Host, wanted: list[Wanted], spans: dict[tuple[str, str], intervals.Spans], *, hashes: bool = True,
          tolerance_ms: int = 1000) -> dict[str, t.Any]:
    """{"ok", "missing": [{bank, name, device, reason}], "checked"}. `spans` are the plan's, for tables that came another way."""
    known = banks.by_id(host)
    held: coverage.Coverage | None = None
    missing = []
    for table in wanted:
        reason = _imported(host, known.get(table.bank), table, hashes)
        if reason == _UNKNOWN and spans.get((table.bank, table.name)):
            held = held or coverage.read(host)
            reason = _covered(held, table.device, spans[table.bank, table.name], tolerance_ms)
        if reason:
            missing.append({"bank": table.bank, "name": table.name, "device": table.device, "reason": reason})
    return {"ok": not missing, "missing": missing, "checked": len(wanted)}


_UNKNOWN = "it was not imported"


def _imported(host: Host, bank: banks.Bank | None, table: Wanted, hashes: bool) -> str | None:
    """Why an imported table is not as it should be, None when it is."""
    if bank is None:
        return "this node has no bank with this id"
    manifest = manifests.read(host, table.bank, table.name)
    if manifest is None:
        return _UNKNOWN
    name = str(manifest.get("imported_as"))
    entry = banks.closed_entry(bank, name) if tables.parse_name(name) else None
    if entry is None:
        return f"the recorder does not list {name}"
    folder = bank.child(name)
    try:
        files = tables.list_files(folder)
        tables.check_laws(files, entry)
        if {file.path: file.size for file in files} != {path: file["size"] for path, file in manifest["files"].items()}:
            return f"{name} has other files than were sent"
        for path, file in manifest["files"].items() if hashes else ():
            if sha256(folder.joinpath(*path.split("/"))) != file["sha256"]:
                return f"{path} of {name} is not what was sent (SHA-256 differs)"
    except (OSError, tables.DamagedTable) as error:
        return f"{name} is damaged: {error}"
    sent = {column.name.lower(): column for column in entry_of(name, manifest["columns"]).columns}
    for column in entry.columns:
        other = sent.get(column.name.lower())
        if other is None or (column.size, column.begin, column.end) != (other.size, other.begin, other.end):
            return f"the recorder lists column {column.name} of {name} with other times or another size than the partner does"
    return None


def _covered(held: coverage.Coverage, device: str, wanted: intervals.Spans, tolerance_ms: int) -> str | None:
    own = held.devices.get(device)
    have = intervals.union(own.spans, own.open_spans, bridge=tables.MERGE_MS) if own else []
    lack = intervals.longer_than(intervals.subtract(wanted, have), tolerance_ms)
    return f"{_UNKNOWN}, and {intervals.total(lack)} ms of its time are not covered otherwise" if lack else None
