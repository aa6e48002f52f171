# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the machine's registry below HKEY_LOCAL_MACHINE that matters: string values, names that ignore case."""

from __future__ import annotations

from .channel import MachineError
from .storage import Document

MAX_VALUE = 64 * 1024


class Registry:
    def __init__(self, document: Document):
        self._document = document

    def read(self, key: str, name: str) -> str | None:
        values = self._document.value.get(self._stored_key(key), {})
        stored = _find(values, name)
        return values[stored] if stored is not None else None

    async def write(self, key: str, name: str, value: str) -> None:
        if not isinstance(value, str) or len(value) > MAX_VALUE:
            raise MachineError(f"the registry takes strings of at most {MAX_VALUE} characters", 87)
        values = self._document.value.setdefault(self._stored_key(key), {})
        stored = _find(values, name) or name
        if values.get(stored) != value:
            values[stored] = value
            await self._document.save()

    def _stored_key(self, key: str) -> str:
        """The key as it is stored: other spellings of the same key mean the same."""
        clean = "\\".join(part for part in key.replace("/", "\\").split("\\") if part)
        for root in ("HKLM\\", "HKEY_LOCAL_MACHINE\\"):
            if clean.upper().startswith(root):
                clean = clean[len(root):]
        if not clean:
            raise MachineError(f"{key!r} is not a registry key", 87)
        return _find(self._document.value, clean) or clean


def _find(names: dict[str, object], wanted: str) -> str | None:
    if wanted in names:
        return wanted
    folded = wanted.casefold()
    return next((name for name in names if name.casefold() == folded), None)
