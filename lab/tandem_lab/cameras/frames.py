# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pictures: real JPEGs, rendered once at start, with a comment segment put into each frame.

The comment (COM segment right after the start marker) reads
``TANDEM1 {"serial":"cam-1","counter":123,"time_ms":1700000000000,"motion":0.0}``.
"""

from __future__ import annotations

import io
import json
import random
import re

from PIL import Image, ImageDraw

SIZE = (320, 240)
MIN_BYTES, MAX_BYTES = 5 * 1024, 12 * 1024
VARIANTS = 6
PREFIX = b"TANDEM1 "
_COMMENT = re.compile(rb"^\xff\xd8\xff\xfe(..)TANDEM1 ", re.DOTALL)


def _draw(seed: int, title: str, step: int) -> Image.Image:
    chance = random.Random(seed)
    image = Image.new("RGB", SIZE)
    draw = ImageDraw.Draw(image)
    base = tuple(chance.randrange(40, 120) for _ in range(3))
    for y in range(0, SIZE[1], 4):
        shade = y // 4
        draw.rectangle((0, y, SIZE[0], y + 3), fill=tuple(min(255, part + shade) for part in base))
    for _ in range(60):
        x, y, w, h = chance.randrange(320), chance.randrange(240), chance.randrange(4, 50), chance.randrange(4, 40)
        draw.rectangle((x, y, x + w, y + h), outline=tuple(chance.randrange(256) for _ in range(3)))
    left = 20 + step * (SIZE[0] - 80) // VARIANTS
    draw.ellipse((left, 150, left + 40, 190), fill=(230, 230, 90))
    draw.rectangle((0, 0, SIZE[0], 14), fill=(0, 0, 0))
    draw.text((4, 1), title, fill=(255, 255, 255))
    return image


def _encode(image: Image.Image) -> bytes | None:
    for quality in (60, 45, 75, 30, 85):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        data = buffer.getvalue()
        # Some public clients search the payload for an empty line, so it must not hold one.
        if MIN_BYTES <= len(data) <= MAX_BYTES - 512 and b"\r\n\r\n" not in data:
            return data
    return None


def render(title: str, number: int) -> list[bytes]:
    """A few pictures of one camera that differ in the place of a moving spot."""
    pictures: list[bytes] = []
    seed = number * 1000
    while len(pictures) < VARIANTS:
        data = _encode(_draw(seed, title, len(pictures)))
        if data is not None:
            pictures.append(data)
        else:
            seed += 1
            if seed > number * 1000 + 200:
                raise RuntimeError(f"no picture of {title!r} came out between {MIN_BYTES} and {MAX_BYTES} bytes")
    return pictures


def stamp(picture: bytes, serial: str, counter: int, time_ms: int, motion: float) -> bytes:
    """The picture with its comment segment."""
    text = PREFIX + json.dumps(
        {"serial": serial, "counter": counter, "time_ms": time_ms, "motion": motion}, separators=(",", ":")
    ).encode()
    return b"\xff\xd8\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + picture[2:]


def read_stamp(frame: bytes) -> dict | None:
    """What `stamp` wrote, or None for a picture without it."""
    match = _COMMENT.match(frame[:16])
    if not match:
        return None
    length = int.from_bytes(match.group(1), "big")
    return json.loads(frame[6 + len(PREFIX) : 4 + length])
