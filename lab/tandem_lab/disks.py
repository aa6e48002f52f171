# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the simulated machines' disks from outside, with a reader of its own: neither the recorder's code nor the product's.

Frames lie in the block files of a table's media column as packets with a 32-byte big-endian header (u16 type, u32 total length,
..., u64 picture time at offset 20) and a JPEG whose comment tells camera and counter.
"""

from __future__ import annotations

import json
import pathlib
import re
import struct
import time
import typing as t

MEDIA_COLUMN = "7ea9b53b-749e-420b-891b-43b238f6144e"
RECORDER_SERVICE = "Milestone XProtect Recording Server"
OPEN_TABLE = re.compile(r"^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
COMMENT = re.compile(rb"TANDEM1 (\{[^}]*\})")
HEADER = 32


class DeviceTable(t.NamedTuple):
    device: str
    path: pathlib.Path
    open: bool


def tables(site: t.Any, machine: str) -> list[DeviceTable]:
    found = []
    for folder in sorted((site.machine_directory(machine) / "D" / "MediaDatabase").glob("*/*")):
        device = folder.name[:36]
        if folder.is_dir() and OPEN_TABLE.match(device):
            found.append(DeviceTable(device, folder, len(folder.name) == 36))
    return found


def packets(table: DeviceTable, limit: int | None = None) -> t.Iterator[tuple[int, bytes]]:
    """(picture time in unix ms, start of the payload) of each complete packet; a torn last one is left out."""
    blocks = sorted((table.path / MEDIA_COLUMN).glob("block*.blk"), key=lambda block: int(block.stem[5:]))
    count = 0
    for block in blocks:
        try:
            data = block.read_bytes()
        except FileNotFoundError:  # closed and renamed in between: the caller sees it under its new name next time
            return
        offset = 0
        while offset + HEADER <= len(data):
            kind, length = struct.unpack_from(">HI", data, offset)
            if kind != 0x0010 or length < HEADER or offset + length > len(data):
                break
            yield struct.unpack_from(">Q", data, offset + 20)[0], data[offset + HEADER:offset + min(length, HEADER + 512)]
            offset += length
            count += 1
            if count == limit:
                return


def counters(site: t.Any, machine: str) -> dict[str, set[int]]:
    """Camera id -> the counters of all frames on the machine's disks, open tables included."""
    held: dict[str, set[int]] = {}
    done: set[pathlib.Path] = set()
    # Until no name is new: a table that was closed, and so renamed, while it was to be read is found under its new one.
    while found := [table for table in tables(site, machine) if table.path not in done]:
        for table in found:
            for _time, payload in packets(table):
                match = COMMENT.search(payload)
                if match:
                    held.setdefault(table.device, set()).add(json.loads(match[1])["counter"])
        done.update(table.path for table in found)
    return held


def closed_until(site: t.Any, machine: str) -> int:
    """Everything that the machine recorded before this moment (unix ms) lies in closed tables.

    A camera that always records has an open table at any time but in the moment of a change; one that waits for motion may have none.
    """
    begins = {}
    for table in tables(site, machine):
        if table.open:
            first = next(packets(table, limit=1), None)
            if first:
                begins[table.device] = first[0]
    return min(begins.values()) if _steady(site) <= begins.keys() else 0


def recording(site: t.Any, machine: str, since_ms: int) -> bool:
    """Whether every always-recording camera has written since then: to its open table, or to one that was closed meanwhile."""
    written = {table.device for table in tables(site, machine)
               if _modified(table) >= since_ms and (table.open or _last_picture(table) >= since_ms)}
    return _steady(site) <= written


def closed_tables(site: t.Any, machine: str) -> dict[str, int]:
    """Closed table -> its size in bytes, by its place below the media folder."""
    return {f"{table.path.parent.name}/{table.path.name}": sum(f.stat().st_size for f in table.path.rglob("*.blk"))
            for table in tables(site, machine) if not table.open}


def vanished(before: dict[str, dict[str, int]], after: dict[str, dict[str, int]]) -> list[str]:
    return [f"{machine}: {name}" for machine, names in before.items() for name, size in names.items() if after[machine].get(name) != size]


def cached_camera(site: t.Any, machine: str, camera_id: str) -> dict:
    cache = site.machine_directory(machine) / "C/ProgramData/Milestone/XProtect Recording Server/ConfigurationCache.json"
    document = json.loads(cache.read_text(encoding="utf-8"))
    return next(camera for camera in document["cameras"] if camera["id"] == camera_id)


def recorder_starts(site: t.Any, machine: str) -> int:
    """How often the machine's service manager started the recorder, by the machine's own event log."""
    return sum(1 for event in _lines(site.machine_directory(machine) / "events.jsonl")
               if event.get("service") == RECORDER_SERVICE and event.get("state") == "start_pending")


def announced_restarts(site: t.Any, machine: str) -> int:
    return len(_ledger(site, machine))


def restart_spans(site: t.Any, machine: str) -> list[tuple[int, int]]:
    return [(entry["begin"], entry["end"]) for entry in _ledger(site, machine)]


def counters_in(status: dict, spans: list[tuple[int, int]], candidates: set[int], slack_ms: int = 1500) -> set[int]:
    """Those of `candidates` whose frames were made within `slack_ms` of one of the spans; `status` is the camera's own."""
    first_ms, step = status["frame_times"]["first_ms"], 1000 / status["fps"]
    return {counter for counter in candidates
            if any(begin - slack_ms <= first_ms + counter * step <= end + slack_ms for begin, end in spans)}


def _ledger(site: t.Any, machine: str) -> list[dict]:
    return list(_lines(site.machine_directory(machine) / "C/ProgramData/Tandem/ledger.jsonl"))


def _steady(site: t.Any) -> set[str]:
    return {camera["id"] for camera in site.describe()["cameras"] if camera["recording_mode"] == "always"}


def _modified(table: DeviceTable) -> float:
    try:
        found = [block.stat().st_mtime * 1000 for block in (table.path / MEDIA_COLUMN).glob("block*.blk")]
    except FileNotFoundError:
        found = []
    if not found and table.open and not table.path.exists():
        return time.time() * 1000  # just closed: it was being written
    return max(found, default=0)


def _last_picture(table: DeviceTable) -> int:
    """A table that was brought from the other node is new on the disk, its pictures are old."""
    return max((moment for moment, _payload in packets(table)), default=0)


def _lines(path: pathlib.Path) -> t.Iterator[dict]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.strip():
                yield json.loads(line)
