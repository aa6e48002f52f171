# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drive with media as the recorder finds it: it may be full, read-only or gone, and come back.

Documented: with less than 250 MB free writing stops, with less than 1 GB the oldest media is deleted. What the lab calls *full* is a
drive on which others take all that is freed, so both hold. The reserve lets a table be finished. How a real recorder meets a
drive that is read-only or gone is not publicly known, except that its storage is then unavailable and the service runs on.
"""

from __future__ import annotations

import errno

FULL, READ_ONLY, GONE = "full", "read-only", "gone"
_ERRORS = {
    FULL: (errno.ENOSPC, "There is not enough space on the disk"),
    READ_ONLY: (errno.EROFS, "The media is write protected"),
    GONE: (errno.ENODEV, "The system cannot find the drive specified"),
}


class Disk:
    def __init__(self) -> None:
        self.state: str | None = None  # None: the drive is well

    @property
    def blocked(self) -> bool:
        """Nothing at all can be written."""
        return self.state in (READ_ONLY, GONE)

    @property
    def reason(self) -> str:
        return _ERRORS[self.state][1] if self.state else ""

    def check_write(self) -> None:
        """Raises OSError when not even small files and ends of tables can be written."""
        if self.blocked:
            self._fail()

    def check_room(self) -> None:
        """Raises OSError when no more media can be written."""
        if self.state:
            self._fail()

    def _fail(self) -> None:
        assert self.state
        raise OSError(*_ERRORS[self.state])
