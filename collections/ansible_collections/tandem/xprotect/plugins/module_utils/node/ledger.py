# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger's own lines: the spans in which Tandem itself kept this node's recorder from recording, and why.

A line is ``{"id", "cause", "begin", "end"}``: `cause` is ``import`` or ``sync``, times are Unix milliseconds, and `id`
names the operation, so that an operation that is completed after a crash is not written twice.
"""

from __future__ import annotations

import time

from .host.base import Host
from .numbers import is_whole
from .store import LEDGER_FILE, ROOT, append_line, make_folder, read_lines

RESTART_CAUSES = ("import", "sync")
AROUND_MS = 5000  # after a restart cameras are connected one after the other


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def record(host: Host, identifier: str, cause: str, begin: int, end: int) -> None:
    """Add the span once, however often this is called for the same operation."""
    if any(line.get("id") == identifier for line in read_lines(host, LEDGER_FILE)):
        return
    make_folder(host, ROOT)
    append_line(host, LEDGER_FILE, {"id": identifier, "cause": cause, "begin": begin, "end": max(begin, end)})


def around_restarts(host: Host) -> list[tuple[int, int]]:
    """Where a hole in a recording, however short, is the work of a restart and no slack between two tables."""
    return [(begin - AROUND_MS, end + AROUND_MS) for begin, end, _cause in restarts(host)]


def restarts(host: Host) -> list[tuple[int, int, str]]:
    """The restart spans of this node, oldest first; lines that are not spans are left out."""
    spans = []
    for line in read_lines(host, LEDGER_FILE):
        begin, end, cause = line.get("begin"), line.get("end"), line.get("cause")
        if cause in RESTART_CAUSES and is_whole(begin) and is_whole(end) and 0 <= begin <= end:
            spans.append((begin, end, str(cause)))
    return sorted(spans)
