# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with what a guard must not forget: its record as a voter. Durable before anything rests on it.

Each state has a serial number, which is kept in the registry too. So an old file that was put back (by a backup, for example) is
noticed and counts as lost: the other voters then tell this one what it must know.
"""

from __future__ import annotations

import time
import typing as t

from ..errors import NodeError
from ..host.base import Host
from ..numbers import is_whole
from ..settings import NodeSettings
from ..store import GUARD_FOLDER, make_folder, read_json, write_json
from .protocol.terms import BadMessage, Record
from .protocol.voter import new_record

STATE_FILE = GUARD_FOLDER + "\\state.json"
REGISTRY_KEY, REGISTRY_NAME = "SOFTWARE\\Tandem\\Guard", "StateSerial"


class StateFile:
    """`record` is always the one on the disk: `store` returns after the disk has it."""

    def __init__(self, host: Host, settings: NodeSettings):
        self._host = host
        self._pair = {"pair": settings.pair, "recorder_id": settings.recorder_id, "node": settings.node,
                      "partner": settings.partner.name}
        make_folder(host, GUARD_FOLDER)
        self.lost: str | None = None
        self.since_ms = _now_ms()
        self.slowest_detach = 0.0
        self._serial = 0
        self.record = self._load(settings)

    def store(self, record: Record) -> None:
        since = self.since_ms if (record.epoch, record.claim) == (self.record.epoch, self.record.claim) else _now_ms()
        self._write(record, since)
        self.record, self.since_ms = record, since

    def note_detach(self, seconds: float) -> None:
        """The slowest closing of the fence that was ever measured here; kept with the next store."""
        self.slowest_detach = max(self.slowest_detach, seconds)

    def _load(self, settings: NodeSettings) -> Record:
        reason = "new node"
        try:
            document = read_json(self._host, STATE_FILE)
            if document is not None:
                return self._parse(document)
        except (NodeError, BadMessage) as error:
            reason = self.lost = self._set_aside(str(error))
        # The witness is taken in afterwards, when it knows the pair (`attachment.witness`); others tell who votes by now.
        record = new_record((settings.node, settings.partner.name), self._host.vm_generation(), reason=reason)
        self._write(record, self.since_ms)
        return record

    def _parse(self, document: t.Any) -> Record:
        fields = document if isinstance(document, dict) else {}
        if {name: fields.get(name) for name in self._pair} != self._pair:
            raise BadMessage("it belongs to another pair or node")
        since, slowest = fields.get("since_ms"), fields.get("slowest_detach")
        self.since_ms = since if isinstance(since, int) and not isinstance(since, bool) else self.since_ms
        self.slowest_detach = min(float(slowest), 30.0) if isinstance(slowest, (int, float)) else 0.0
        self._serial = fields["serial"] if is_whole(fields.get("serial")) else 0
        if self._serial < self._registered():
            raise BadMessage(f"it is an old copy: number {self._serial}, and number {self._registered()} was written before")
        return Record.parse(fields.get("record"))

    def _write(self, record: Record, since_ms: int) -> None:
        serial = max(self._serial, self._registered()) + 1
        write_json(self._host, STATE_FILE, {**self._pair, "serial": serial, "since_ms": since_ms,
                                            "slowest_detach": round(self.slowest_detach, 3), "record": record.to_document()})
        self._serial = serial
        self._host.registry_write(REGISTRY_KEY, REGISTRY_NAME, str(serial))  # after the file: a crash in between leaves the newer file

    def _registered(self) -> int:
        text = self._host.registry_read(REGISTRY_KEY, REGISTRY_NAME) or "0"
        return int(text) if text.isdigit() and len(text) < 19 else 0

    def _set_aside(self, message: str) -> str:
        path = self._host.path(STATE_FILE)
        aside = path.with_name(f"{path.name}.broken-{time.time_ns() // 1_000_000}")
        path.replace(aside)
        return f"the guard's state was lost ({message}); the damaged file is kept as {aside.name}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
