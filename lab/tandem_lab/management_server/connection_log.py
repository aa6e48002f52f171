# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which recorder was connected from where and when: ``connections.jsonl`` in the server's state folder, for whoever checks a story.

One line for each event: ``{"t_ms", "recorder_id", "from", "event", ...}`` with the events

=============  ======================================================================================================
started        the server starts; whatever was connected before is no longer
connected      with `instance` (of the recorder's process), `host` (what it publishes) and `client_registration_id`
duplicate      follows a `connected`: the same recorder is connected from elsewhere; `rivals` says from where and for how long
               each has been silent (a computer that has gone without a word counts as connected for three seconds)
disconnected   with `instance`, `since_ms`, `heard_ms` (when it was heard last) and `reason`
refused        with `reason`; repeated refusals of the same kind are one event
registered     a machine registered the recorder (`client_registration_id`)
stopped        the server ends as it should
=============  ======================================================================================================
"""

from __future__ import annotations

import json
import time
import typing as t
from pathlib import Path

FILE_NAME = "connections.jsonl"


class ConnectionLog:
    def __init__(self, state: Path) -> None:
        self._path = state / FILE_NAME
        self._file: t.TextIO | None = None

    def open(self) -> None:
        self._file = self._path.open("a", encoding="utf-8")

    def close(self) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def __call__(self, event: str, recorder_id: str | None = None, source: str | None = None, **more: t.Any) -> None:
        """Each line is with the operating system when this returns: it outlives the process."""
        if self._file is None:
            return
        line = {"t_ms": int(time.time() * 1000), "recorder_id": recorder_id, "from": source, "event": event, **more}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()
