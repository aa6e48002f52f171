# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this copy of the node runtime is."""

from __future__ import annotations

import itertools
import os
import sys

from .host.base import Host, HostError

VERSION = "0.1.0"
FOLDER = "C:\\Program Files\\Tandem\\runtime"
MOST_OTHERS = 256


def archive() -> str | None:
    """The .pyz that this process was started from, None when it runs from source files."""
    started = sys.argv[0] if sys.argv else ""
    return started if started.endswith(".pyz") and os.path.isfile(started) else None


def sha256() -> str | None:
    path = archive()
    if path is None:
        return None
    import hashlib
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe() -> dict:
    return {"version": VERSION, "sha256": sha256(), "python": "%d.%d.%d" % sys.version_info[:3]}


def others(host: Host) -> list[str]:
    """The other versions that lie beside this one, as Windows paths of their .pyz; only those among the first `MOST_OTHERS` entries."""
    path = archive()
    own = os.path.basename(os.path.dirname(path)).casefold() if path else ""
    try:
        with os.scandir(host.path(FOLDER)) as entries:
            names = [entry.name for entry in itertools.islice(entries, MOST_OTHERS)
                     if entry.name.casefold() != own and os.path.isfile(os.path.join(entry.path, "node.pyz"))]
    except (OSError, HostError):
        return []  # no such folder: nothing was deployed here
    return [f"{FOLDER}\\{name}\\node.pyz" for name in sorted(names)]
