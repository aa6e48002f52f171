# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of the Tandem port: four bytes of length, most significant first, then one JSON object in UTF-8.

Both ends use the same functions. Every read is bounded in size and in time; the time limit is for the whole frame, so
that a peer that sends one byte now and then cannot hold a thread.
"""

from __future__ import annotations

import json
import time

MAX_FRAME = 1 << 20
CHUNK = 1 << 18


class WireError(Exception):
    """The peer broke the protocol; `code` is sent back where that is still possible."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


class Closed(WireError):
    """The peer ended the connection. `clean` when it did so between two frames."""

    def __init__(self, message: str, clean: bool):
        super().__init__("closed", message)
        self.clean = clean


def encode(message: dict) -> bytes:
    body = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    if len(body) > MAX_FRAME:
        raise WireError("oversized", f"a message of {len(body)} bytes is larger than a frame may be ({MAX_FRAME})")
    return len(body).to_bytes(4, "big") + body


def send(sock, message: dict, timeout: float = 10.0) -> None:
    sock.settimeout(timeout)
    sock.sendall(encode(message))


def receive(sock, timeout: float = 10.0) -> dict:
    """One frame. Raises `Closed`, `WireError` or TimeoutError."""
    deadline = time.monotonic() + timeout
    length = int.from_bytes(receive_exactly(sock, 4, deadline, first=True), "big")
    if length > MAX_FRAME:
        raise WireError("oversized", f"the peer announced a frame of {length} bytes; the limit is {MAX_FRAME}")
    try:
        message = json.loads(receive_exactly(sock, length, deadline))
    except (ValueError, RecursionError) as error:
        raise WireError("bad_frame", f"the peer sent a frame that is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise WireError("bad_frame", "the peer sent a frame that is not a JSON object")
    return message


def receive_exactly(sock, count: int, deadline: float, first: bool = False) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = receive_some(sock, count - len(data), deadline)
        if not chunk:
            raise Closed(f"the peer closed the connection after {len(data)} of {count} bytes", clean=first and not data)
        data += chunk
    return bytes(data)


def receive_some(sock, count: int, deadline: float) -> bytes:
    """Between one and `count` bytes, or nothing at the end of the connection."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the peer took too long")
    sock.settimeout(left)
    return sock.recv(min(count, CHUNK))
