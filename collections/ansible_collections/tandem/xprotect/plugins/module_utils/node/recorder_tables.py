# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices the recorder is writing now, seen from outside: open tables whose files change.

An open table is a folder in a bank that is named by the device's GUID alone; a closed one has an origin and a time
behind it (documented for the recorder's banks). Live block files may be created at full size, so growth is a change of
size or of time in any file of the table. The view is cheap enough for one look a second: whole banks, which can hold
tens of thousands of closed tables, are listed seldom, open tables each time.
"""

from __future__ import annotations

import os
import re
import time
import typing as t

from .host.base import Host, HostError

_GUID = r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_BANK = re.compile(_GUID + r"\Z")
_TABLE = re.compile(rf"({_GUID})(?:_.*)?\Z")

#: A device counts as being written for so long after its files last changed.
WRITING_WINDOW = 5.0
#: At the first look there is nothing to compare with: files younger than this count as changed.
FRESH = 3.0
_MAX_FILES = 4096


class TableWatch:
    """Looks at the banks below the media folders. One instance, one thread, one look after the other."""

    def __init__(self, host: Host, folders: t.Callable[[], list[str]], clock: t.Callable[[], float] = time.monotonic):
        self._host = host
        self._folders = folders
        self._clock = clock
        self._open: dict[str, str] = {}  # folder of an open table -> device
        self._prints: dict[str, tuple] = {}
        self._changed: dict[str, float] = {}  # device -> when its files were last seen to change
        self._known: set[str] = set()
        self._scanned_at: float | None = None
        self._scan_cost = 0.0
        self.error: str | None = None

    @property
    def devices(self) -> int:
        """Devices with an open table."""
        return len(set(self._open.values()))

    @property
    def known(self) -> int:
        """Devices that have any table here, open or closed."""
        return len(self._known)

    @property
    def known_devices(self) -> frozenset[str]:
        return frozenset(self._known)

    def changes(self) -> dict[str, float]:
        """When the files of each device were last seen to change, by the recorder's process of now."""
        return dict(self._changed)

    @property
    def last_change(self) -> float | None:
        return max(self._changed.values(), default=None)

    def writing(self) -> int:
        since = self._clock() - WRITING_WINDOW
        return sum(1 for at in self._changed.values() if at >= since)

    def forget_changes(self) -> None:
        """The recorder is another process now: what its predecessor wrote proves nothing."""
        self._changed.clear()

    def look(self) -> None:
        vanished = self._look_at_open()
        if self._scan_due(vanished):
            self._scan()

    # -- inside --------------------------------------------------------------------------------------------------------
    def _look_at_open(self) -> bool:
        vanished = False
        for folder, device in list(self._open.items()):
            print_, newest = _fingerprint(folder)
            if print_ is None:
                self._open.pop(folder)
                self._prints.pop(folder, None)
                vanished = True
                continue
            before = self._prints.get(folder)
            fresh = before is None and time.time() - newest < FRESH
            if fresh or (before is not None and before != print_):
                self._changed[device] = self._clock()
            self._prints[folder] = print_
        return vanished

    def _scan_due(self, vanished: bool) -> bool:
        if self._scanned_at is None:
            return True
        urgent = vanished or not self._open or self.error is not None
        pause = max(0.5 if urgent else 5.0, (10 if urgent else 50) * self._scan_cost)
        return self._clock() - self._scanned_at >= pause

    def _scan(self) -> None:
        started = self._clock()
        found: dict[str, str] = {}
        known: set[str] = set()
        banks, failures = 0, []
        try:
            roots = self._folders()
        except (OSError, HostError) as error:
            roots, failures = [], [str(error)]
        for root in roots:
            try:
                banks += _scan_root(str(self._host.path(root)), found, known)
            except (OSError, HostError) as error:
                failures.append(str(error))
        # A listed folder that was never used may be missing; it counts only when no other folder has banks.
        self.error = failures[0] if failures and not banks else None
        self._scanned_at = self._clock()
        self._scan_cost = self._scanned_at - started
        if self.error is None:
            new = [folder for folder in found if folder not in self._open]
            self._open, self._known = found, known
            self._prints = {folder: print_ for folder, print_ in self._prints.items() if folder in found}
            if new:
                self._look_at_open()


def _scan_root(root: str, found: dict[str, str], known: set[str]) -> int:
    """All banks of one media folder, and how many there are. A missing folder is an error, not an empty one."""
    with os.scandir(root) as banks:
        names = [bank.path for bank in banks if _BANK.match(bank.name) and bank.is_dir()]
    for bank in names:
        with os.scandir(bank) as tables:
            for table in tables:
                match = _TABLE.match(table.name)
                if match is None:
                    continue
                device = match.group(1).lower()
                known.add(device)
                if len(table.name) == len(device) and table.is_dir():
                    found[table.path] = device
    return len(names)


def _fingerprint(folder: str) -> tuple[tuple | None, float]:
    """Sizes and times of the files of a table, and the newest time. None when the table is gone."""
    seen: list[tuple[str, int, int]] = []
    newest = 0.0
    try:
        with os.scandir(folder) as entries:
            columns = [entry.path for entry in entries if entry.is_dir()]
        for column in columns:
            with os.scandir(column) as files:
                for file in files:
                    if len(seen) >= _MAX_FILES:
                        break
                    # Not entry.stat(): on Windows that is the folder's copy, which lags behind for open files.
                    status = os.stat(file.path)
                    seen.append((file.path, status.st_size, status.st_mtime_ns))
                    newest = max(newest, status.st_mtime)
    except OSError:
        if not os.path.isdir(folder):
            return None, 0.0
        # A file came or went while we looked: that is a change too.
        return (time.monotonic_ns(),), time.time()
    return tuple(sorted(seen)), newest
