# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifests of imported tables, kept as long as the tables are: which files with which SHA-256, and the name here."""

from __future__ import annotations

import os

from ..host.base import Host
from ..store import ROOT, make_folder, read_json, write_json
from . import banks, tables
from .import_journal import Table
from .staging import Staging

FOLDER = ROOT + "\\journal\\manifests"
_ENDING = ".json"


def keep(host: Host, place: Staging, table: Table, identifier: str) -> None:
    """Keep the staged table's manifest under its own name; nothing when an earlier run did so already."""
    state = place.read_state(table.name)
    if state is None:
        return
    make_folder(host, f"{FOLDER}\\{table.bank}")
    write_json(host, _file(table.bank, table.name), {**state, "imported_as": table.target, "import": identifier})


def read(host: Host, bank: str, name: str) -> dict | None:
    """The manifest of an imported table by the name that the partner gave it."""
    document = read_json(host, _file(bank, name))
    return document if isinstance(document, dict) and isinstance(document.get("files"), dict) else None


def tidy(host: Host, found: dict[str, banks.Bank]) -> int:
    """Drop the manifests of tables that the recorder has deleted since; how many."""
    dropped = 0
    for bank in found.values():
        try:
            names = os.listdir(host.path(f"{FOLDER}\\{bank.id}"))
        except FileNotFoundError:
            continue
        for name in names:
            table = name.removesuffix(_ENDING)
            manifest = read(host, bank.id, table) if tables.parse_name(table) else None
            if manifest and not bank.child(str(manifest.get("imported_as"))).exists():
                host.path(_file(bank.id, table)).unlink()
                dropped += 1
    return dropped


def _file(bank: str, name: str) -> str:
    return f"{FOLDER}\\{bank}\\{name}{_ENDING}"
