# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbered history of the recorder's configuration on this node: what Tandem changed, when, for whom, from what to what.

``history\\<n>\\meta.json`` describes version n; ``before\\<item>`` and ``after\\<item>`` hold the files. A version exists in
full before the first file is changed: its folder gets its number by a rename.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import time

from .errors import NodeError
from .host.base import Host
from .store import ROOT, make_folder, read_bytes, read_json, write_bytes, write_json

FOLDER = ROOT + "\\history"
KEEP = 50
MAX_ITEM_BYTES = 8 * 1024 * 1024
APPLYING, APPLIED, UNDONE, INTERRUPTED = "applying", "applied", "undone", "interrupted"

_ITEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")


@dataclasses.dataclass(frozen=True)
class Change:
    """One file: its content before (None: it did not exist) and after."""

    id: str
    path: str
    before: bytes | None
    after: bytes
    restart: bool = False


def check_id(identifier: object) -> str:
    if not isinstance(identifier, str) or not _ITEM.match(identifier) or identifier.endswith("."):
        raise NodeError("bad_request", f"{str(identifier)[:64]!r} cannot be the id of an item.",
                        "Use letters, digits, underscore, hyphen and dot, at most 64.")
    return identifier


def begin(host: Host, author: str, changes: list[Change]) -> int:
    """Write the version down, with everything that is needed to go back. Returns its number."""
    make_folder(host, FOLDER)
    versions = numbers(host)
    for number in versions[-1:]:
        meta = read(host, number)
        if meta["state"] == APPLYING:  # its run was ended in the middle; each of its files is the old one or the new one
            write_json(host, f"{FOLDER}\\{number}\\meta.json", {**meta, "state": INTERRUPTED})
    number = versions[-1] + 1 if versions else 1
    building = f"{FOLDER}\\{number}.new"
    shutil.rmtree(host.path(building), ignore_errors=True)
    for name in ("before", "after"):
        make_folder(host, f"{building}\\{name}")
    for change in changes:
        write_bytes(host, f"{building}\\after\\{change.id}", change.after)
        if change.before is not None:
            write_bytes(host, f"{building}\\before\\{change.id}", change.before)
    write_json(host, f"{building}\\meta.json", {
        "version": number, "author": author, "created_ms": time.time_ns() // 1_000_000, "state": APPLYING,
        "items": [{"id": change.id, "path": change.path, "restart": change.restart, "before_sha256": _sha256(change.before),
                   "after_sha256": _sha256(change.after)} for change in changes]})
    host.path(building).rename(host.path(f"{FOLDER}\\{number}"))
    return number


def finish(host: Host, number: int, state: str) -> None:
    write_json(host, f"{FOLDER}\\{number}\\meta.json", {**read(host, number), "state": state})
    for old in numbers(host)[:-KEEP]:
        shutil.rmtree(host.path(f"{FOLDER}\\{old}"), ignore_errors=True)


def numbers(host: Host) -> list[int]:
    """The versions that exist, oldest first."""
    folder = host.path(FOLDER)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(name) for name in names if re.fullmatch(r"[1-9]\d{0,8}", name))


def read(host: Host, number: int) -> dict:
    """What is written about a version. Raises `no_version`."""
    meta = read_json(host, f"{FOLDER}\\{number}\\meta.json")
    if not isinstance(meta, dict) or not isinstance(meta.get("items"), list):
        raise NodeError("no_version", f"There is no version {number} of the configuration on this node.",
                        "Ask config.history for the versions that exist.")
    return meta


def changes(host: Host, number: int) -> list[Change]:
    """The changes of a version, with their files. Raises `file_damaged` when a backup is not what was saved."""
    result = []
    for item in read(host, number)["items"]:
        before = read_bytes(host, f"{FOLDER}\\{number}\\before\\{check_id(item['id'])}", MAX_ITEM_BYTES)
        after = read_bytes(host, f"{FOLDER}\\{number}\\after\\{item['id']}", MAX_ITEM_BYTES)
        if _sha256(before) != item["before_sha256"] or after is None or _sha256(after) != item["after_sha256"]:
            raise NodeError("file_damaged", f"The backup of {item['path']} in version {number} is not what was saved.",
                            "Use another version.")
        result.append(Change(item["id"], item["path"], before, after, bool(item["restart"])))
    return result


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
