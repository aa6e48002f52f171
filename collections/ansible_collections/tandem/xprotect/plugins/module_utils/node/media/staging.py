# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The staging folder of a volume: where copied tables wait, outside every bank, until they are imported by rename.

``D:\\TandemStaging\\<BANK>\\<table>\\`` holds a table's files, ``<table>.stage.json`` beside it the manifest: which files
the table has, which of them have arrived and with which SHA-256. Nothing outside this folder is ever deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import time
import typing as t

from ..host.base import Host
from ..store import make_folder, read_json, write_json
from . import banks, tables

FOLDER = "TandemStaging"
MOVE_PATIENCE = 5.0


class Staging:
    """The part of a staging folder that belongs to one bank."""

    def __init__(self, host: Host, bank: banks.Bank):
        self.host = host
        self.bank = bank
        self.windows_path = f"{bank.drive}\\{FOLDER}\\{bank.id}"
        self.path = host.path(self.windows_path)

    def make(self) -> None:
        make_folder(self.host, self.windows_path)

    def table(self, name: str) -> pathlib.Path:
        return self.path / name

    def kept_cache(self, identifier: str) -> pathlib.Path:
        return self.path / f"archives_cache.{identifier}.xml"

    def read_state(self, name: str) -> dict | None:
        state = read_json(self.host, self._state_file(name))
        return state if isinstance(state, dict) and isinstance(state.get("files"), dict) else None

    def write_state(self, name: str, state: dict) -> None:
        write_json(self.host, self._state_file(name), state)

    def discard(self, name: str) -> None:
        """Remove a staged copy. The manifest goes first: a folder without one is nothing and is made anew."""
        self.forget(name)
        if self.table(name).exists():
            shutil.rmtree(self.table(name))

    def forget(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.host.path(self._state_file(name)).unlink()

    def complete(self) -> list[str]:
        """The tables that have arrived in full, by name."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.path) if entry.is_dir(follow_symlinks=False))
        except FileNotFoundError:
            return []
        return [name for name in names if tables.parse_name(name) and (self.read_state(name) or {}).get("complete")]

    def _state_file(self, name: str) -> str:
        return f"{self.windows_path}\\{name}.stage.json"


def entry_of(name: str, columns: t.Iterable[t.Sequence[t.Any]]) -> tables.Entry:
    """The cache entry that a manifest's columns describe."""
    return tables.Entry(name, columns=tuple(tables.Column(column[0], column[1], column[2], column[3]) for column in columns))


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def move(source: pathlib.Path, target: pathlib.Path) -> None:
    """Rename a file or folder on its volume, durably. A virus scanner that holds it for a moment is waited for."""
    limit = time.monotonic() + MOVE_PATIENCE
    while True:
        if target.exists():
            raise FileExistsError(f"{target.name} exists already in {target.parent.name}")
        try:
            os.rename(source, target)
            break
        except PermissionError:
            if time.monotonic() >= limit:
                raise
            time.sleep(0.1)
    sync_folder(target.parent)
    sync_folder(source.parent)


def sync_folder(folder: pathlib.Path) -> None:
    """Bring a folder's entries to the disk where the system lets a program ask for it; NTFS journals them itself."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
