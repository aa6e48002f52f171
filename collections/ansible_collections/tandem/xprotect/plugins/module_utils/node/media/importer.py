# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring staged tables into the banks: stop the recorder, rename, move the caches aside, start, wait until all are listed.

Only on the headless node and only while the partner records. Every step is in the journal before it begins and can be
done again, so that a run after a crash goes on or goes back; media is renamed and never deleted or overwritten. That
the recorder lists tables that it finds without a cache is assumption `bank_cache_rebuilt_when_missing`, that it accepts
its partner's tables is `foreign_closed_table_accepted`.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .. import gates, ledger
from ..errors import NodeError
from ..host.base import Host, HostError
from ..settings import NodeSettings
from ..store import exclusive, make_folder
from . import banks, coverage, import_journal, manifests, tables
from .import_journal import Journal, Table
from .staging import Staging, entry_of, move, sha256

PURPOSE = "importing media"
POLL_SECONDS = 0.1


class ImportFailed(Exception):
    """The import cannot go on; what was done is taken back."""


class Importer:
    """`hook` is called before and after every durable action with its name; tests use it to end the program there."""

    def __init__(self, host: Host, settings: NodeSettings, progress: t.Callable[..., None], *, rebuild_timeout: float = 600.0,
                 writing_timeout: float = 60.0, partner_timeout: float = 30.0, accept: t.Iterable[str] = (),
                 hook: t.Callable[[str], None] = lambda name: None):
        self.host = host
        self.settings = settings
        self.progress = progress
        self.rebuild_timeout = rebuild_timeout
        self.writing_timeout = writing_timeout
        self.partner_timeout = partner_timeout
        self.accept = {device.lower() for device in accept}
        self.hook = hook
        self.banks: dict[str, banks.Bank] = {}
        self.rejected: list[dict] = []
        self.journal: Journal

    def run(self) -> dict[str, t.Any]:
        """Complete an import that was interrupted, then import what is staged. Raises when something was taken back."""
        make_folder(self.host, import_journal.FOLDER)
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(exclusive(self.host, import_journal.LOCK_FILE, timeout=1.0))
            except TimeoutError:
                raise NodeError("busy", f"Another import runs on node {self.settings.node}.", "Wait until it has ended.") from None
            self.banks = banks.by_id(self.host)
            results = []
            for journal in (import_journal.unfinished(self.host), None):
                journal = journal or (self._plan() if not results or self._staged() else None)
                if journal is not None:
                    self.journal = journal
                    results.append(self._go())
            manifests.tidy(self.host, self.banks)
        return {"changed": any(result["changed"] for result in results), "rejected": self.rejected,
                "imported": [table for result in results for table in result["imported"]],
                "present": [table for result in results for table in result["present"]],
                "restart_span": next((result["restart_span"] for result in reversed(results) if result["restart_span"]), None)}

    def _do(self, name: str, action: t.Callable[[], t.Any]) -> None:
        self.hook(f"before {name}")
        action()
        self.hook(f"after {name}")

    def _enter(self, state: str) -> None:
        self.journal.state = state
        self._do(f"journal {state}", self.journal.save)
        self.progress("import", state=state)

    # -- deciding ------------------------------------------------------------------------------------------------------
    def _plan(self) -> Journal | None:
        """What is to be imported now, None when nothing is. Refuses where the import must not run at all."""
        found = self._staged()
        if not found:
            return None
        gates.require_headless(self.host, self.settings, PURPOSE)
        if self.host.service(self.settings.recorder_service).state != "running":
            raise NodeError("recorder_not_running", f"The recorder of node {self.settings.node} of pair {self.settings.pair} does not run.",
                            "Start it once, so that it repairs what it may have left open, then import.")
        chosen: list[Table] = []
        for bank, name in found:
            reason = self._verify_staged(Staging(self.host, bank), name)
            if reason:
                self.rejected.append({"bank": bank.id, "name": name, "reason": reason})
                continue
            chosen.append(self._name(bank, name, {table.target for table in chosen if table.bank == bank.id}, compare=True))
        if not chosen:
            raise NodeError("damaged", f"No staged table on node {self.settings.node} is as it arrived: {self.rejected[0]['reason']}.",
                            "Stage again; the damaged copies are fetched anew.", {"rejected": self.rejected})
        return Journal.new(self.host, chosen)

    def _staged(self) -> list[tuple[banks.Bank, str]]:
        return [(bank, name) for bank in self.banks.values() for name in Staging(self.host, bank).complete()]

    def _verify_staged(self, place: Staging, name: str) -> str | None:
        """Why a staged table must not be imported; its copy is then fetched anew by the next staging."""
        state = place.read_state(name) or {"files": {}}
        folder = place.table(name)
        try:
            files = tables.list_files(folder)
            tables.check_laws(files, entry_of(name, state["columns"]))
            for file in files:
                if sha256(folder.joinpath(*file.path.split("/"))) != state["files"].get(file.path, {}).get("sha256"):
                    raise tables.DamagedTable(f"{file.path} is not what arrived (SHA-256 differs)")
            if len(files) != len(state["files"]):
                raise tables.DamagedTable("a file is missing")
        except (OSError, KeyError, TypeError, tables.DamagedTable) as error:
            place.discard(name)
            return str(error)
        return None

    def _name(self, bank: banks.Bank, name: str, taken: set[str], compare: bool) -> Table:
        """The name under which the bank gets the table: its own, or the next second that is free."""
        target = name
        while target in taken or bank.child(target).exists():
            if compare and target not in taken and self._same(Staging(self.host, bank), name, bank, target):
                return Table(bank.id, name, target, present=True)
            target = tables.next_name(target)
        return Table(bank.id, name, target)

    def _same(self, place: Staging, name: str, bank: banks.Bank, target: str) -> bool:
        state = place.read_state(name) or {"files": {}}
        try:
            there = {file.path: file.size for file in tables.list_files(bank.child(target))}
            if there != {path: file["size"] for path, file in state["files"].items()}:
                return False
            return all(sha256(bank.child(target).joinpath(*path.split("/"))) == file["sha256"] for path, file in state["files"].items())
        except (OSError, tables.DamagedTable):
            return False

    # -- the way through -----------------------------------------------------------------------------------------------
    def _go(self) -> dict[str, t.Any]:
        journal = self.journal
        if journal.state == "undoing":
            self._undo()
        if journal.state == "planned" and all(table.present for table in journal.tables) and not self._unlisted():
            return self._finish(restarted=False)
        before_start = journal.state in ("planned", "stopping", "placing", "caches")
        if before_start:
            self._pass_gates()
        try:
            if before_start:
                self._stop()
                self._place()
                self._caches()
            if journal.state == "starting":
                self._start()
        except (ImportFailed, HostError, OSError, NodeError) as error:
            journal.reason = str(error) or type(error).__name__
            with contextlib.suppress(NodeError):  # a disk that takes no journal must not keep the recorder stopped
                self._enter("undoing")
            self._undo()
        return self._finish(restarted=True)

    def _pass_gates(self) -> None:
        """The last look before nothing is recorded here: headless, and the partner writes what this node writes."""
        running = self.host.service(self.settings.recorder_service).state == "running"
        try:
            gates.require_headless(self.host, self.settings, PURPOSE)
            if running:
                self.journal.wrote = sorted(gates.wait_until_partner_records(
                    self.host, self.settings, lambda: set(coverage.writing(self.host, ledger.now_ms())) - self.accept, PURPOSE,
                    self.partner_timeout))
                gates.require_headless(self.host, self.settings, PURPOSE)
        except NodeError:
            if not running and self.journal.state != "planned":
                self.host.service_start(self.settings.recorder_service)  # an earlier run was ended between stop and start
            raise
        if running or self.journal.began is None:
            self.journal.began = ledger.now_ms()

    def _stop(self) -> None:
        named = self.journal.state in ("placing", "caches")
        self._enter(self.journal.state if named else "stopping")
        self._do("stop", lambda: self.host.service_stop(self.settings.recorder_service))
        if not named:
            self._choose_names()
            self._enter("placing")

    def _choose_names(self) -> None:
        """The recorder closed its tables when it stopped, and a new one may have a name that was free before."""
        taken: dict[str, set[str]] = {}
        for table in self.journal.tables:
            if not table.present:
                fresh = self._name(self._bank(table), table.name, taken.setdefault(table.bank, set()), compare=False)
                table.target = fresh.target
                taken[table.bank].add(fresh.target)

    def _place(self) -> None:
        if self.journal.state != "placing":
            return
        for table in self.journal.tables:
            if not table.present:
                self._place_table(table, self._bank(table))
        self._enter("caches")

    def _place_table(self, table: Table, bank: banks.Bank) -> None:
        source = Staging(self.host, bank).table(table.name)
        if source.exists():
            if bank.child(table.target).exists():
                table.target = self._name(bank, table.name, {other.target for other in self.journal.tables}, compare=False).target
                self._do("journal new name", self.journal.save)
            self._do(f"move {table.name}", lambda: move(source, bank.child(table.target)))
        elif not bank.child(table.target).exists():
            raise ImportFailed(f"table {table.name} is neither in staging nor in the bank any more")
        # Also of a table that an earlier run moved: it may have ended before this.
        self._do(f"rights of {table.name}", lambda: self.host.inherit_permissions(bank.child(table.target)))

    def _caches(self) -> None:
        for bank_id in self.journal.banks():
            bank = self.banks[bank_id]
            place = Staging(self.host, bank)
            cache, kept = bank.child(banks.ARCHIVES_CACHE), place.kept_cache(self.journal.id)
            unlisted = bool(self._unlisted_in(bank))
            moved = any(table.bank == bank_id and not table.present for table in self.journal.tables)
            if not cache.exists() or not (unlisted or (moved and not kept.exists())):
                continue
            if kept.exists():
                kept.unlink()  # of an earlier run; the recorder has rebuilt its cache since, but without all tables
            place.make()
            self._do(f"move cache of {bank_id}", lambda cache=cache, kept=kept: move(cache, kept))
        self._enter("starting")

    def _start(self) -> None:
        started = ledger.now_ms()
        self._do("start", lambda: self.host.service_start(self.settings.recorder_service))
        limit = time.monotonic() + self.rebuild_timeout
        while missing := self._not_yet_listed():
            if time.monotonic() >= limit:
                raise ImportFailed(f"the recorder has not listed all {len(self.journal.tables)} tables within "
                                   f"{self.rebuild_timeout:g} s (first: {missing[0]})")
            time.sleep(POLL_SECONDS)
        self._wait_until_writing(started)
        self.journal.ended = ledger.now_ms()
        self._enter("finishing")

    def _not_yet_listed(self) -> list[str]:
        try:
            return self._unlisted()
        except NodeError as error:  # the recorder is writing the cache
            return [error.message]

    def _wait_until_writing(self, since: int) -> None:
        """Until media is written again; not for ever, because a camera may have gone meanwhile."""
        limit = time.monotonic() + self.writing_timeout
        wanted = set(self.journal.wrote)
        while wanted and time.monotonic() < limit:
            if any(last > since for device, last in coverage.writing(self.host, ledger.now_ms()).items() if device in wanted):
                return
            time.sleep(POLL_SECONDS)

    def _finish(self, restarted: bool) -> dict[str, t.Any]:
        journal = self.journal
        span = None
        if restarted:
            span = [journal.began or 0, journal.ended or journal.began or 0]
            self._do("ledger", lambda: ledger.record(self.host, f"import-{journal.id}", "import", span[0], span[1]))
        for table in journal.tables:
            place = Staging(self.host, self._bank(table))
            self._do(f"keep manifest of {table.name}", lambda place=place, table=table: manifests.keep(self.host, place, table, journal.id))
            self._do(f"clear {table.name}", lambda place=place, table=table: place.discard(table.name))
        for bank_id in journal.banks():
            place = Staging(self.host, self.banks[bank_id])
            if place.kept_cache(journal.id).exists():
                self._do(f"keep cache of {bank_id}", lambda place=place: os.replace(place.kept_cache(journal.id),
                                                                                    place.kept_cache("previous")))
        self._enter("done")
        imported = [_described(table) for table in journal.tables if not table.present]
        return {"changed": restarted, "imported": imported, "present": [_described(table) for table in journal.tables if table.present],
                "restart_span": span, "rejected": self.rejected}

    # -- the way back --------------------------------------------------------------------------------------------------
    def _undo(self) -> t.NoReturn:
        """Tables back to staging, the recorder started. Ends in an error either way."""
        journal, problem = self.journal, None
        try:
            self._take_back()
        except (HostError, OSError, NodeError) as error:
            problem = error
        try:
            self._do("undo start", lambda: self.host.service_start(self.settings.recorder_service))
        except HostError as error:
            problem = problem or error
        if problem is not None:
            raise NodeError("import_stuck", f"The import on node {self.settings.node} of pair {self.settings.pair} failed "
                            f"({journal.reason}) and could not be taken back completely: {problem}.",
                            "Correct this and run the import again: it goes on taking back.") from problem
        journal.ended = ledger.now_ms()
        if journal.began is not None:
            self._do("undo ledger", lambda: ledger.record(self.host, f"import-{journal.id}", "import", journal.began, journal.ended))
        self._enter("undone")
        raise NodeError("import_failed", f"The import on node {self.settings.node} of pair {self.settings.pair} failed and was taken back: "
                        f"{journal.reason}.", "The tables wait in staging. Look at the recorder's log, then import again.",
                        {"restart_span": [journal.began, journal.ended]})

    def _take_back(self) -> None:
        service = self.settings.recorder_service
        if any(self._moved(table) for table in self.journal.tables):
            if self.host.service(service).state != "stopped":
                gates.require_headless(self.host, self.settings, "taking an import back")
                self._do("undo stop", lambda: self.host.service_stop(service))
            for table in self.journal.tables:
                if self._moved(table):
                    bank = self._bank(table)
                    self._do(f"undo move {table.name}", lambda bank=bank, table=table: move(
                        bank.child(table.target), Staging(self.host, bank).table(table.name)))
        for bank_id in self.journal.banks():
            self._undo_cache(self.banks[bank_id])

    def _moved(self, table: Table) -> bool:
        bank = self._bank(table)
        return not table.present and not Staging(self.host, bank).table(table.name).exists() and bank.child(table.target).exists()

    def _undo_cache(self, bank: banks.Bank) -> None:
        """The kept cache goes back only where it is still true: without a newer one, and with no table closed since."""
        kept, cache = Staging(self.host, bank).kept_cache(self.journal.id), bank.child(banks.ARCHIVES_CACHE)
        if not kept.exists():
            return
        known = set(banks.read_cache(kept) or {}) | set(banks.read_cache(bank.child(banks.LIVE_CACHE)) or {})
        closed = {entry.name for entry in os.scandir(bank.path) if (parts := tables.parse_name(entry.name)) and not parts.open}
        if cache.exists() or closed - known:
            self._do(f"undo drop cache of {bank.id}", lambda: os.replace(kept, Staging(self.host, bank).kept_cache("previous")))
        else:
            self._do(f"undo move cache of {bank.id}", lambda: move(kept, cache))

    # -- looking -------------------------------------------------------------------------------------------------------
    def _unlisted(self) -> list[str]:
        return [name for bank_id in self.journal.banks() for name in self._unlisted_in(self.banks[bank_id])]

    def _unlisted_in(self, bank: banks.Bank) -> list[str]:
        listed = banks.read_cache(bank.child(banks.ARCHIVES_CACHE)) or {}
        return [table.target for table in self.journal.tables if table.bank == bank.id and table.target not in listed]

    def _bank(self, table: Table) -> banks.Bank:
        bank = self.banks.get(table.bank)
        if bank is None:
            raise NodeError("bank_missing", f"Bank {table.bank} of an unfinished import is not on node {self.settings.node}.",
                            "Bring its drive back, then run the import again.")
        return bank


def _described(table: Table) -> dict[str, str]:
    return {"bank": table.bank, "name": table.name, "imported_as": table.target}
