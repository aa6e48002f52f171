# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows paths on a lab machine: drive `C:` is the folder `C` of the machine, and case does not matter."""

from __future__ import annotations

import os
import pathlib

_FORBIDDEN = frozenset('<>:"|?*') | {chr(code) for code in range(32)}


class PathError(ValueError):
    """The text is not an absolute Windows path."""


class WindowsPaths:
    def __init__(self, root: pathlib.Path | str):
        self.root = pathlib.Path(root)

    def host(self, windows_path: str) -> pathlib.Path:
        """Where an absolute Windows path is on the disk of this computer. What exists wins over the spelling given."""
        drive, parts = parse(windows_path)
        folder = self.root / drive
        exact = folder.joinpath(*parts)
        if os.path.lexists(exact):
            return exact
        if not folder.is_dir():
            return exact
        for index, part in enumerate(parts):
            found = _entry(folder, part)
            if found is None:
                return folder.joinpath(*parts[index:])
            folder = folder / found
        return folder

    def windows(self, host_path: pathlib.Path) -> str:
        """The Windows path of a file of this machine."""
        drive, *parts = host_path.relative_to(self.root).parts
        return f"{drive}:\\" + "\\".join(parts)


def parse(windows_path: str) -> tuple[str, list[str]]:
    """Drive letter and components. Refuses relative paths, `..`, network shares and forbidden characters."""
    text = windows_path.replace("/", "\\").removeprefix("\\\\?\\")
    if len(text) < 3 or text[1:3] != ":\\" or not text[0].isascii() or not text[0].isalpha():
        raise PathError(f"{windows_path!r} is not an absolute Windows path such as C:\\ProgramData\\Tandem")
    parts = [part for part in text[3:].split("\\") if part not in ("", ".")]
    for part in parts:
        if part == "..":
            raise PathError(f"{windows_path!r} contains '..'")
        if _FORBIDDEN.intersection(part) or part[-1] in " .":
            raise PathError(f"{windows_path!r} contains the name {part!r}, which Windows does not allow")
    return text[0].upper(), parts


def _entry(folder: pathlib.Path, name: str) -> str | None:
    if os.path.lexists(folder / name):
        return name
    wanted = name.casefold()
    try:
        with os.scandir(folder) as entries:
            return next((entry.name for entry in entries if entry.name.casefold() == wanted), None)
    except OSError:
        return None
