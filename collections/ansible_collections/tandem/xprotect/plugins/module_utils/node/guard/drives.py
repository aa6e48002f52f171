# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the drives are on which the recorder keeps its media: there, with room, and writable.

Whether a drive takes writes is tried only while the recorder does not write as it should, and never inside a bank, where other
programs must not touch anything while the service runs (documented).
"""

from __future__ import annotations

import re
import typing as t

from ..errors import NodeError
from ..host.base import Host, HostError
from ..store import make_folder, write_bytes
from .health_terms import DriveState

PAUSE = 3.0
TRY_PAUSE = 10.0
#: Below this a drive is full, which is another trouble: a write that fails would prove nothing.
ROOM = 250 << 20
#: The folder of `media.staging`; importing that would compile half of the media code.
FOLDER = "TandemStaging"
_PROBE = "write.probe"
_DRIVE = re.compile(r"([A-Za-z]:)\\")


class DriveWatch:
    """One instance, one thread, one look after the other. Network folders have no drive and are not judged."""

    def __init__(self, host: Host, folders: t.Callable[[], list[str]]):
        self._host = host
        self._folders = folders
        self._seen: set[str] = set()  # only a drive that was there once can be gone: others may be of a kind that is not listed
        self._unwritable: set[str] = set()
        self._looked_at: float | None = None
        self._tried_at: float | None = None
        self._states: tuple[DriveState, ...] = ()

    def look(self, now: float, suspicious: bool) -> tuple[DriveState, ...]:
        """`suspicious`: the recorder does not write what it should."""
        if self._looked_at is None or now - self._looked_at >= PAUSE:
            free = {drive.letter.upper(): drive.free_bytes for drive in self._host.drives()}
            self._seen |= set(free)
            letters = sorted({found.group(1).upper() for found in map(_DRIVE.match, self._folders()) if found} & self._seen)
            self._try_writing([letter for letter in letters if free.get(letter, 0) >= ROOM], now, suspicious)
            self._states = tuple(self._state(letter, free.get(letter)) for letter in letters)
            self._looked_at = now
        return self._states

    def _state(self, letter: str, free: int | None) -> DriveState:
        if free is None:
            return DriveState(letter, "gone")
        return DriveState(letter, "read-only" if letter in self._unwritable else "ok", free)

    def _try_writing(self, letters: list[str], now: float, suspicious: bool) -> None:
        self._unwritable &= set(letters)
        if not (suspicious or self._unwritable) or (self._tried_at is not None and now - self._tried_at < TRY_PAUSE):
            return
        self._tried_at = now
        for letter in letters:
            if writable(self._host, letter):
                self._unwritable.discard(letter)
            else:
                self._unwritable.add(letter)


def writable(host: Host, letter: str) -> bool:
    """Write a small file and remove it."""
    folder = f"{letter}\\{FOLDER}"
    try:
        made = make_folder(host, folder)
        try:
            write_bytes(host, f"{folder}\\{_PROBE}", b"Tandem tries whether this drive takes writes.\r\n")
            host.path(f"{folder}\\{_PROBE}").unlink()
        finally:
            if made:
                host.path(folder).rmdir()
    except (NodeError, HostError, OSError):
        return False
    return True
