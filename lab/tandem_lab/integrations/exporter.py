# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An exporter: plays a camera from one moment to another through the address that the site names, and counts the frames."""

from __future__ import annotations

import typing as t
from pathlib import Path

from . import frames
from .image_client import pictures
from .vms_client import Site, VmsClient


def play(site: Site | Path, camera_id: str, from_ms: int, to_ms: int) -> dict[str, t.Any]:
    """``counters`` is the set of camera counters seen, ``frames`` how many pictures came, foreign ones included."""
    client = VmsClient(site)
    counters: set[int] = set()
    times: list[int] = []
    with client.image_session(camera_id) as session:
        for picture in pictures(session, from_ms, to_ms):
            times.append(picture.current_ms)
            truth = frames.truth(picture.data)
            if truth:
                counters.add(truth.counter)
    return {
        "counters": counters,
        "frames": len(times),
        "first_ms": times[0] if times else None,
        "last_ms": times[-1] if times else None,
    }
