# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows paths as text: the same rules on every system that runs the node runtime."""

from __future__ import annotations

import re

from .base import HostError

_ABSOLUTE = re.compile(r"([A-Za-z]):\\(.*)\Z", re.DOTALL)
_FORBIDDEN = re.compile(r'[<>:"|?*\x00-\x1f]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)", re.IGNORECASE)


def split(windows_path: str) -> tuple[str, list[str]]:
    """Drive (``C:``) and parts of an absolute path. Refuses what could lead elsewhere: ``..``, streams, devices, shares."""
    match = _ABSOLUTE.match(windows_path.replace("/", "\\"))
    if match is None:
        raise HostError(f"not an absolute Windows path: {windows_path!r}", 161)
    parts = [part for part in match.group(2).split("\\") if part]
    for part in parts:
        if part in (".", "..") or part != part.rstrip(". ") or _FORBIDDEN.search(part) or _DEVICES.match(part):
            raise HostError(f"not an acceptable Windows path: {windows_path!r}", 123)
    return match.group(1).upper() + ":", parts
