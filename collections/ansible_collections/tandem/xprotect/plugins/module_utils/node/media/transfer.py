# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copy the planned tables from the partner into staging: file by file, hashed on the way, resumable after any end.

A file counts as arrived when its SHA-256 equals what the partner read, its bytes are on the disk and the manifest says
so. A table counts as arrived when all its files do, its sizes obey the laws of a closed table, and the partner still
has the same files. Damaged tables are named and left where they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import time
import typing as t

from ..errors import NodeError
from ..guard.client import TandemClient
from ..host.base import Host
from ..numbers import is_whole
from ..settings import NodeSettings
from . import banks, intervals, tables
from .import_journal import unfinished
from .staging import Staging, entry_of, sync_folder

DEFAULT_RESERVE = 5 * 1024 ** 3  # below this the recorder itself begins to delete media (documented)
CALL_SECONDS = 60.0
PROGRESS_SECONDS = 1.0
_LOST_TABLE = ("damaged", "missing", "refused", "changed")
_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_WINDOWS_DISK_FULL = (39, 112)


@dataclasses.dataclass(frozen=True)
class Wanted:
    bank: str
    name: str
    bytes: int

    @property
    def device(self) -> str:
        return self.name[:36].lower()


def parse_plan(plan: t.Any) -> list[Wanted]:
    """The tables of a plan, each checked. Raises `bad_request`."""
    listed = plan.get("tables") if isinstance(plan, dict) else None
    if not isinstance(listed, list):
        raise NodeError("bad_request", "The request has no plan with a list of tables.", "Pass the result of media.plan as plan.")
    result: dict[tuple[str, str], Wanted] = {}
    for table in listed:
        bank, name, size = (table.get(field) for field in ("bank", "name", "bytes")) if isinstance(table, dict) else (None, None, None)
        parts = tables.parse_name(name) if isinstance(name, str) else None
        if not isinstance(bank, str) or not tables.GUID.fullmatch(bank) or parts is None or parts.open or not is_whole(size) or size < 0:
            raise NodeError("bad_request", f"The plan names something that is no closed table: {str(table)[:200]}.",
                            "Pass the result of media.plan as plan.")
        result[bank.upper(), name] = Wanted(bank.upper(), name, size)
    return list(result.values())


class Stager:
    def __init__(self, host: Host, settings: NodeSettings, progress: t.Callable[..., None], *,
                 reserve: int = DEFAULT_RESERVE, rate: float | None = None):
        self.host = host
        self.settings = settings
        self.progress = progress
        self.reserve = reserve
        self.rate = rate  # bytes per second, None for no limit
        self.failed: list[dict] = []
        journal = unfinished(host)  # its tables have left staging in part, and are not fetched a second time
        self._importing = {(table.bank, table.name) for table in journal.tables} if journal else set()
        self._done = self._total = 0
        self._reported = 0.0
        self._started = time.monotonic()
        self._copied = 0

    def run(self, wanted: list[Wanted]) -> dict[str, t.Any]:
        places = self._places(wanted)
        self._total = sum(table.bytes for table in wanted)
        self._check_space(wanted, places)
        staged = 0
        with contextlib.closing(TandemClient(self.host, self.settings, peer="partner")) as partner:
            for table in wanted:
                before = self._done
                try:
                    self._table(partner, places[table.bank], table)
                    staged += 1
                except NodeError as error:
                    if error.code not in _LOST_TABLE:
                        raise
                    self.failed.append({"bank": table.bank, "name": table.name, "code": error.code, "reason": error.message})
                self._done = before + table.bytes
                self._report(table.name, always=True)
        return {"tables": staged, "bytes": self._copied, "seconds": round(time.monotonic() - self._started, 3), "failed": self.failed}

    # -- space ---------------------------------------------------------------------------------------------------------
    def _places(self, wanted: list[Wanted]) -> dict[str, Staging]:
        known = banks.by_id(self.host)
        absent = sorted({table.bank for table in wanted} - set(known))
        if absent:
            raise NodeError("bank_missing", f"Node {self.settings.node} of pair {self.settings.pair} has no bank {', '.join(absent)}.",
                            "Let the recorder of this node create its storages first, then make a new plan.")
        return {bank: Staging(self.host, known[bank]) for bank in {table.bank for table in wanted}}

    def _check_space(self, wanted: list[Wanted], places: dict[str, Staging]) -> None:
        needed: dict[str, int] = {}
        for table in wanted:
            place = places[table.bank]
            needed[place.bank.drive] = needed.get(place.bank.drive, 0) + max(0, table.bytes - self._present(place, table.name))
        free = {drive.letter.upper(): drive.free_bytes for drive in self.host.drives()}
        for drive, size in needed.items():
            if size and free.get(drive, 0) - size < self.reserve:
                raise NodeError("disk_full", f"Drive {drive} of node {self.settings.node} has {free.get(drive, 0)} bytes free; "
                                f"{size} are to be copied and {self.reserve} must stay free.",
                                "Make room on the drive, or stage fewer tables.",
                                {"drive": drive, "needed": size, "free": free.get(drive, 0), "reserve": self.reserve})

    def _present(self, place: Staging, name: str) -> int:
        state = place.read_state(name) or {"files": {}}
        return sum(file["size"] for file in state["files"].values() if file.get("sha256"))

    # -- one table -----------------------------------------------------------------------------------------------------
    def _table(self, partner: TandemClient, place: Staging, table: Wanted) -> None:
        state = place.read_state(table.name)
        if state and state.get("complete") and (self._all_there(place, table.name, state) or (table.bank, table.name) in self._importing):
            return
        manifest = self._manifest(partner, table)
        files = {path: {"size": size, "mtime_ns": mtime_ns} for path, size, mtime_ns in manifest["files"]}
        if state and {path: (file["size"], file["mtime_ns"]) for path, file in state["files"].items()} == {
                path: (file["size"], file["mtime_ns"]) for path, file in files.items()}:
            files = state["files"]
        else:
            place.discard(table.name)
        state = {"complete": False, "bank": table.bank, "name": table.name, "from": self.settings.partner.name, "files": files,
                 **{field: manifest[field] for field in ("device", "begin", "end", "spans", "columns")}}
        self._check_space([table], {table.bank: place})  # the recorder writes meanwhile
        try:
            self._files(partner, place, table, state)
        except OSError as error:
            raise self._disk_error(error, place, table) from error
        if self._manifest(partner, table)["files"] != manifest["files"]:
            raise NodeError("changed", f"Table {table.name} changed on {self.settings.partner.name} while it was copied.", "Run again.")
        place.write_state(table.name, {**state, "complete": True})

    def _manifest(self, partner: TandemClient, table: Wanted) -> dict:
        """The partner's manifest, checked as everything that comes from another machine."""
        manifest = partner.call("manifest", CALL_SECONDS, bank=table.bank, table=table.name)
        try:
            files = manifest["files"]
            names = {path.lower() for path, size, mtime_ns in files if tables.valid_file(path) and is_whole(size)
                     and is_whole(mtime_ns) and 0 <= size <= tables.MAX_FILE_BYTES and mtime_ns >= 0}
            if len(names) != len(files) or len(files) > tables.MAX_FILES:
                raise ValueError("a file's name or size is not possible")
            tables.check_laws([(path, size) for path, size, unused in files], entry_of(table.name, manifest["columns"]))
            intervals.valid([[manifest["begin"], manifest["end"]], *manifest["spans"]])
            if manifest["device"] != table.device:
                raise ValueError("it belongs to another device")
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, tables.DamagedTable) as error:
            raise NodeError("damaged", f"What {self.settings.partner.name} says about table {table.name} is not acceptable: {error}.",
                            "The table is not copied.") from error
        return manifest

    def _files(self, partner: TandemClient, place: Staging, table: Wanted, state: dict) -> None:
        place.make()
        folder = place.table(table.name)
        folder.mkdir(exist_ok=True)
        place.write_state(table.name, state)
        for path, file in state["files"].items():
            target = folder.joinpath(*path.split("/"))
            if file.get("sha256") and target.is_file() and target.stat().st_size == file["size"]:
                self._count(file["size"], table.name, copied=False)
                continue
            target.parent.mkdir(exist_ok=True)
            file["sha256"] = self._file(partner, table, path, file, target)
            place.write_state(table.name, state)
        copied = {(file.path, file.size) for file in tables.list_files(folder)}
        if copied != {(path, file["size"]) for path, file in state["files"].items()}:
            place.discard(table.name)
            raise NodeError("changed", f"The copy of table {table.name} does not have the files it should have.", "Run again.")

    def _file(self, partner: TandemClient, table: Wanted, path: str, file: dict, target) -> str:
        part = target.with_name(target.name + ".part")
        header, pieces, trailer = partner.read("media.read", CALL_SECONDS, bank=table.bank, table=table.name, file=path)
        if header.get("length") != file["size"]:
            partner.close()
            raise NodeError("changed", f"{path} of table {table.name} has another size on {self.settings.partner.name} than before.",
                            "Run again.")
        digest = hashlib.sha256()
        with open(part, "wb") as stream:
            for piece in pieces:
                digest.update(piece)
                stream.write(piece)
                self._count(len(piece), table.name)
            if trailer().get("sha256") != digest.hexdigest():
                raise NodeError("damaged", f"{path} of table {table.name} arrived with another SHA-256 than it was read with.",
                                "Run again; it goes on where it stopped.")
            stream.flush()
            os.fsync(stream.fileno())
        os.utime(part, ns=(file["mtime_ns"], file["mtime_ns"]))
        os.replace(part, target)
        sync_folder(target.parent)
        return digest.hexdigest()

    def _all_there(self, place: Staging, name: str, state: dict) -> bool:
        try:
            there = {(file.path, file.size) for file in tables.list_files(place.table(name))}
        except (OSError, tables.DamagedTable):
            return False
        return there == {(path, file["size"]) for path, file in state["files"].items()}

    # -- progress, limits, errors --------------------------------------------------------------------------------------
    def _count(self, size: int, table: str, copied: bool = True) -> None:
        self._done += size
        if copied:
            self._copied += size
            ahead = self._copied / self.rate - (time.monotonic() - self._started) if self.rate else 0.0
            if ahead > 0:
                time.sleep(min(ahead, 5.0))
        self._report(table)

    def _report(self, table: str, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._reported >= PROGRESS_SECONDS:
            self._reported = now
            self.progress("stage", done_bytes=min(self._done, self._total), total_bytes=self._total, table=table)

    def _disk_error(self, error: OSError, place: Staging, table: Wanted) -> Exception:
        if error.errno in _DISK_FULL or getattr(error, "winerror", None) in _WINDOWS_DISK_FULL:
            return NodeError("disk_full", f"Drive {place.bank.drive} of node {self.settings.node} is full "
                             f"while table {table.name} is copied.",
                             "Make room on the drive and run again; what has arrived is kept.", {"drive": place.bank.drive})
        return NodeError("staging_failed", f"Table {table.name} cannot be written to {place.windows_path}: {error}.",
                         "Check the drive and the rights on the folder, then run again; what has arrived is kept.")
