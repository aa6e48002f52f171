# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When this node was able to record: the availability journal.

The guard replaces ``heartbeat.json`` every second (without waiting for the disk) and appends an interval to
``availability.jsonl`` when the ability ends. After a crash the interval that was open ends at the last heartbeat, so
the journal never claims more than was seen. Times are Unix milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os

from ..errors import NodeError
from ..host.base import Host
from ..store import GUARD_FOLDER, append_line, make_folder, read_json, read_lines, write_bytes

HEARTBEAT_FILE = GUARD_FOLDER + "\\heartbeat.json"
JOURNAL_FILE = GUARD_FOLDER + "\\availability.jsonl"

#: Two looks further apart than this belong to two intervals: nobody knows what was between them.
MAX_PAUSE_MS = 5000
_COMPACT_BYTES = 8 * 1024 * 1024
_KEEP_LINES = 50_000


def availability(host: Host) -> list[list[int]]:
    """All intervals ``[begin, end]`` in which the node recorded, in order, without overlaps, the open one included."""
    spans = [[line["from_ms"], line["to_ms"]] for line in read_lines(host, JOURNAL_FILE)
             if isinstance(line.get("from_ms"), int) and isinstance(line.get("to_ms"), int) and line["to_ms"] > line["from_ms"]]
    open_span = _open_span(host)
    if open_span is not None:
        spans.append(open_span)
    merged: list[list[int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    return merged


class Journal:
    """The writing side, for the guard alone."""

    def __init__(self, host: Host):
        self._host = host
        make_folder(host, GUARD_FOLDER)
        self._begin: int | None = None
        self._good: int = 0  # last moment at which the node was seen to record
        self._seen: int = 0
        self._recover()

    def look(self, now_ms: int, recording: bool, last_write_ms: int | None = None) -> None:
        """One look a second. `last_write_ms`: when media was last written, where an interval ends that fades out."""
        if self._begin is not None and not 0 <= now_ms - self._seen <= MAX_PAUSE_MS:
            self._end(self._good)
        self._seen = now_ms
        if recording:
            self._begin = now_ms if self._begin is None else self._begin
            self._good = now_ms
        elif self._begin is not None:
            end = self._good if last_write_ms is None else max(self._begin, min(self._good, last_write_ms))
            self._end(end)
        self._beat(now_ms)

    def close(self) -> None:
        """The guard ends in order: what is open is written down."""
        if self._begin is not None:
            self._end(self._good)
        self._beat(self._seen)

    def _end(self, end: int) -> None:
        begin, self._begin = self._begin, None
        if begin is not None and end > begin:
            append_line(self._host, JOURNAL_FILE, {"from_ms": begin, "to_ms": end})

    def _beat(self, now_ms: int) -> None:
        document = {"at_ms": now_ms, "open_from_ms": self._begin, "good_ms": self._good if self._begin is not None else None}
        target = self._host.path(HEARTBEAT_FILE)
        beside = target.with_name(target.name + ".new")
        # A reader may hold the file open just now; the next beat is only a second away.
        with contextlib.suppress(OSError):
            beside.write_bytes(json.dumps(document).encode())
            os.replace(beside, target)

    def _recover(self) -> None:
        span = _open_span(self._host)
        lines = read_lines(self._host, JOURNAL_FILE)
        if span is not None and not any(line.get("from_ms") == span[0] for line in lines[-5:]):
            append_line(self._host, JOURNAL_FILE, {"from_ms": span[0], "to_ms": span[1]})
        with contextlib.suppress(FileNotFoundError):
            if self._host.path(JOURNAL_FILE).stat().st_size > _COMPACT_BYTES:
                kept = read_lines(self._host, JOURNAL_FILE)[-_KEEP_LINES:]
                data = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in kept)
                write_bytes(self._host, JOURNAL_FILE, data.encode())


def _open_span(host: Host) -> list[int] | None:
    try:
        beat = read_json(host, HEARTBEAT_FILE, 4096)
    except NodeError:
        return None  # torn by a power cut, which is allowed: it is not synced
    if not isinstance(beat, dict):
        return None
    begin, good = beat.get("open_from_ms"), beat.get("good_ms")
    return [begin, good] if isinstance(begin, int) and isinstance(good, int) and good > begin else None
