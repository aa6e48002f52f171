# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The truth in a lab camera's picture: a JPEG comment ``TANDEM1 {"serial": ..., "counter": ..., "time_ms": ...}``."""

from __future__ import annotations

import dataclasses
import json
import struct

MARK = b"TANDEM1 "
COMMENT, START_OF_SCAN, END = 0xFE, 0xDA, 0xD9


@dataclasses.dataclass(frozen=True)
class Truth:
    serial: str
    counter: int
    time_ms: int
    motion: float


def truth(jpeg: bytes) -> Truth | None:
    """What the camera wrote into this picture; None when it is no picture of a lab camera."""
    if jpeg[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 4 <= len(jpeg) and jpeg[position] == 0xFF and jpeg[position + 1] not in (START_OF_SCAN, END):
        marker, length = struct.unpack_from(">BH", jpeg, position + 1)
        if length < 2:
            return None
        content = jpeg[position + 4:position + 2 + length]
        if marker == COMMENT and content.startswith(MARK):
            return _parse(content[len(MARK):])
        position += 2 + length
    return None


def _parse(text: bytes) -> Truth | None:
    try:
        value = json.loads(text.rstrip(b"\0"))
        return Truth(str(value["serial"]), int(value["counter"]), int(value["time_ms"]), float(value["motion"]))
    except (ValueError, KeyError, TypeError):
        return None
