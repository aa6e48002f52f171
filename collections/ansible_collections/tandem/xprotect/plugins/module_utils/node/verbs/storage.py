# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``storage.prepare``: the folders for banks, on drives that exist and have room."""

from __future__ import annotations

from ..errors import NodeError
from ..host import paths
from ..host.base import Host
from . import _request as ask


def prepare(host: Host, request: dict, _progress: object) -> dict:
    folders = ask.texts(request, "folders")
    required = ask.number(request, "required_free_bytes", 0, 1 << 60, 0)
    check = ask.flag(request, "check")
    _check_drives(host, folders, required)
    missing = [folder for folder in folders if not _is_folder(host, folder)]
    if not check:
        for folder in missing:
            _create(host, folder)
    return {"changed": bool(missing), "created": missing}


def _check_drives(host: Host, folders: list[str], required: int) -> None:
    drives = {drive.letter.upper(): drive for drive in host.drives()}
    for letter in sorted({paths.split(folder)[0] for folder in folders}):
        drive = drives.get(letter)
        if drive is None:
            raise NodeError("drive_missing", f"This machine has no drive {letter}; it has {', '.join(sorted(drives)) or 'none'}.",
                            "Add the drive, or use the same drive letters on both nodes: storage paths come from the Management Server.",
                            {"drive": letter})
        if drive.free_bytes < required:
            raise NodeError("disk_full", f"Drive {letter} has {drive.free_bytes} bytes free, {required} are required.",
                            "Free space or enlarge the drive.",
                            {"drive": letter, "free_bytes": drive.free_bytes, "required_bytes": required})


def _is_folder(host: Host, folder: str) -> bool:
    path = host.path(folder)
    if path.exists() and not path.is_dir():
        raise NodeError("not_a_folder", f"{folder} exists and is not a folder.", "Move the file away.")
    return path.is_dir()


def _create(host: Host, folder: str) -> None:
    try:
        host.path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NodeError("file_unwritable", f"{folder} cannot be created: {error.strerror or error}.",
                        "Check the drive and its rights.") from None


VERBS = {"storage.prepare": prepare}
