# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of an import: what was decided and how far it is. Each state is on the disk before its work begins.

========== ===========================================================================================================
state      work that may have been begun
========== ===========================================================================================================
planned    none: the bank and the recorder are as they were
stopping   the recorder is being stopped
placing    staged tables are renamed into the banks, under the names in the journal
caches     the caches of the touched banks are moved aside, so that the recorder reads all tables when it starts
starting   the recorder is started; it rebuilds the caches
finishing  all tables are listed; what the import left in staging is cleared away
undoing    something failed: tables go back to staging, the recorder is started
done       nothing; the journal is kept as the record of the last import
undone     nothing; likewise
========== ===========================================================================================================
"""

from __future__ import annotations

import dataclasses
import secrets
import typing as t

from ..errors import NodeError
from ..host.base import Host
from ..store import ROOT, make_folder, read_json, write_json

FOLDER = ROOT + "\\journal"
FILE = FOLDER + "\\import.json"
LOCK_FILE = FOLDER + "\\import.lock"
STATES = ("planned", "stopping", "placing", "caches", "starting", "finishing", "undoing", "done", "undone")
ENDED = ("done", "undone")


@dataclasses.dataclass
class Table:
    """One table of the import. `target` is its name in the bank, another one than `name` when that was taken."""

    bank: str
    name: str
    target: str
    present: bool = False  # the bank has the same media already; the staged copy is only cleared away


@dataclasses.dataclass
class Journal:
    host: Host
    id: str
    state: str
    tables: list[Table]
    wrote: list[str] = dataclasses.field(default_factory=list)  # devices that were being recorded before the stop
    began: int | None = None  # of the restart span
    ended: int | None = None
    reason: str = ""

    @classmethod
    def new(cls, host: Host, tables: list[Table]) -> Journal:
        make_folder(host, FOLDER)
        return cls(host, secrets.token_hex(6), "planned", tables)

    @classmethod
    def load(cls, host: Host) -> Journal | None:
        """The journal of the last import, ended or not, None when there never was one."""
        document = read_json(host, FILE)
        if document is None:
            return None
        try:
            if document["state"] not in STATES:
                raise ValueError(f"unknown state {document['state']!r}")
            return cls(host, str(document["id"]), document["state"], [Table(**table) for table in document["tables"]],
                       list(document["wrote"]), document["began"], document["ended"], str(document["reason"]))
        except (KeyError, TypeError, ValueError) as error:
            raise NodeError("file_damaged", f"{FILE} is not an import journal: {error}.",
                            "Check that the recorder runs and that no table lies in staging, then move the file away.") from None

    def save(self) -> None:
        document: dict[str, t.Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "host"}
        document["tables"] = [dataclasses.asdict(table) for table in self.tables]
        write_json(self.host, FILE, document)

    def banks(self) -> list[str]:
        return sorted({table.bank for table in self.tables})


def unfinished(host: Host) -> Journal | None:
    journal = Journal.load(host)
    return None if journal is None or journal.state in ENDED else journal
