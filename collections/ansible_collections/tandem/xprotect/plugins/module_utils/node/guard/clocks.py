# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far this machine's clock is off: against the partner's by round trip, against the Management Server's by its HTTP Date.

Only for reports and health: no lease depends on anybody's time of day. Times here are Unix seconds, `now` is monotonic.
"""

from __future__ import annotations

import email.utils
import re
import time
import typing as t

from ..host.base import Host, HostError
from .health_terms import FRESH, ClockView, Standing

#: A Management Server's time counts for so long; it is asked again well before.
KEPT = 120.0
ASK_PAUSE = 30.0
#: A clock that moved by more than this between two looks was set, and does not merely run fast or slow.
STEP = 0.5
_MAX_HEAD = 16 * 1024
_MAX_ROUND_TRIP = 5.0
_DATE = re.compile(rb"\r\nDate:[ \t]*([^\r\n]{10,64})\r\n", re.IGNORECASE)

Sample = tuple[float, float, float]  # seconds ahead, possible error, when (monotonic)


def measure(sent: float, received: float, theirs: float, error: float) -> tuple[float, float] | None:
    """Seconds that this clock is ahead and the possible error; None when it was set meanwhile or the answer took too long."""
    if not 0 <= received - sent <= _MAX_ROUND_TRIP:
        return None
    return (sent + received) / 2 - theirs, (received - sent) / 2 + error


class StepWatch:
    """Was this machine's clock set since the last look? Sees the difference of its two clocks."""

    def __init__(self) -> None:
        self._difference: float | None = None

    def stepped(self, difference: float) -> bool:
        before, self._difference = self._difference, difference
        return before is not None and abs(difference - before) > STEP


class Clocks:
    """The last measurements. Each is replaced as a whole, so that any thread may read."""

    def __init__(self) -> None:
        self._partner: Sample | None = None
        self._management: Sample | None = None

    def forget(self) -> None:
        self._partner = self._management = None

    def partner_answered(self, sent: float, received: float, theirs: float, now: float) -> None:
        self._partner = _sample(measure(sent, received, theirs, 0.1), now)

    def management_answered(self, sent: float, received: float, theirs: float, now: float) -> None:
        # The header has whole seconds: it was at most one second later.
        self._management = _sample(measure(sent, received, theirs + 0.5, 0.5), now) or self._management

    def management_offset(self, now: float) -> float | None:
        """What this machine measured itself; said to the partner, which may be fenced off from the Management Server."""
        return _beyond(self._management, now, KEPT)

    def view(self, partner: Standing | None, now: float) -> ClockView:
        management, own = self.management_offset(now), _beyond(self._partner, now, FRESH)
        if management is not None or partner is None or partner.clock_offset is None or own is None:
            return ClockView(management, own)
        return ClockView(own + partner.clock_offset, own, by_partner=True)


def _sample(measured: tuple[float, float] | None, now: float) -> Sample | None:
    return None if measured is None else (*measured, now)


def _beyond(sample: Sample | None, now: float, kept: float) -> float | None:
    """The measured difference less its possible error; 0 when the error may explain it."""
    if sample is None or now - sample[2] > kept:
        return None
    ahead, error, _at = sample
    return max(0.0, abs(ahead) - error) * (1 if ahead > 0 else -1)


def ask_date(host: Host, address: str, port: int, timeout: float = 2.0) -> tuple[float, float, float] | None:
    """Ask a web server for its time: when it was asked and had answered by this machine's clock, and what it said."""
    deadline = time.monotonic() + timeout
    try:
        sock = host.connect(address, port, timeout)
    except (OSError, HostError):
        return None
    try:
        name = f"[{address}]" if ":" in address else address
        sock.settimeout(timeout)
        sent = host.wall()
        sock.sendall(f"HEAD / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
        head = _receive(sock, deadline)
        received = host.wall()
    except OSError:
        return None
    finally:
        sock.close()
    found = parse_date(head)
    return None if found is None else (sent, received, found)


def parse_date(head: bytes) -> float | None:
    match = _DATE.search(head) if head.startswith(b"HTTP/") else None
    if match is None:
        return None
    try:
        return email.utils.parsedate_to_datetime(match.group(1).decode("ascii", "replace")).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _receive(sock: t.Any, deadline: float) -> bytes:
    """The head of the answer, or as much of it as comes in time."""
    data = bytearray()
    while b"\r\n\r\n" not in data and len(data) < _MAX_HEAD:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sock.settimeout(left)
        chunk = sock.recv(4096)
        if not chunk:
            break
        data += chunk
    return bytes(data)
