# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work lock: one long operation (sync, backfill, provisioning) at a time on a node.

It orders work and nothing else: promotion never asks for it. The holder renews it; a holder that vanished loses it at
the end of its time to live. Times are wall-clock, because the processes that look at the lock share no other clock
across a reboot.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from .errors import NodeError
from .host.base import Host
from .store import LOCK_FILE, ROOT, exclusive, make_folder, read_json, write_json

MIN_TTL, MAX_TTL = 5.0, 86400.0
_MUTEX = LOCK_FILE + ".mutex"


def read(host: Host) -> dict | None:
    """The lock as it stands, None when nobody has it (or its holder's time is over)."""
    lock = _stored(host)
    return None if lock is None or lock["expires_ms"] <= _now() else lock


def acquire(host: Host, owner: str, purpose: str, ttl: float) -> dict:
    """Take the lock, or take it again as the same owner."""
    with _alone(host):
        lock = read(host)
        if lock is not None and lock["owner"] != owner:
            raise _busy(lock)
        since = lock["since_ms"] if lock else _now()
        return _write(host, owner, purpose, since, ttl)


def renew(host: Host, owner: str, ttl: float) -> dict:
    """Keep the lock. A lock that ran out and was taken by nobody is taken again."""
    with _alone(host):
        stored = _stored(host)
        if stored is None or stored["owner"] != owner:
            current = read(host)
            if current is not None:
                raise _busy(current)
            raise NodeError("lock_lost", f"The work lock is no longer held by {owner}.",
                            "Acquire it again and check what was done meanwhile.")
        return _write(host, owner, stored["purpose"], stored["since_ms"], ttl)


def release(host: Host, owner: str) -> bool:
    """Give the lock back; false when this owner does not have it."""
    with _alone(host):
        stored = _stored(host)
        if stored is None or stored["owner"] != owner:
            return False
        write_json(host, LOCK_FILE, None)
        return True


@contextlib.contextmanager
def _alone(host: Host) -> t.Iterator[None]:
    make_folder(host, ROOT)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(exclusive(host, _MUTEX, timeout=5.0))
        except TimeoutError as error:
            raise NodeError("busy", f"The work lock cannot be looked at: {error}.", "Try again.") from None
        yield


def _stored(host: Host) -> dict | None:
    lock = read_json(host, LOCK_FILE)
    if lock is None:
        return None
    if not isinstance(lock, dict) or not isinstance(lock.get("owner"), str) or not isinstance(lock.get("expires_ms"), int):
        raise NodeError("file_damaged", f"{LOCK_FILE} is not a lock.", "Remove the file when no operation runs on this node.")
    return {"owner": lock["owner"], "purpose": str(lock.get("purpose", "")), "since_ms": int(lock.get("since_ms", 0)),
            "expires_ms": lock["expires_ms"]}


def _write(host: Host, owner: str, purpose: str, since_ms: int, ttl: float) -> dict:
    if not MIN_TTL <= ttl <= MAX_TTL:
        raise NodeError("bad_request", f"ttl must be between {MIN_TTL:g} and {MAX_TTL:g} seconds.")
    lock = {"owner": owner, "purpose": purpose, "since_ms": since_ms, "expires_ms": _now() + int(ttl * 1000)}
    write_json(host, LOCK_FILE, lock)
    return lock


def _busy(lock: dict) -> NodeError:
    since, until = _clock(lock["since_ms"]), _clock(lock["expires_ms"])
    return NodeError("busy", f"{lock['owner']} holds the work lock of this node since {since} for: {lock['purpose']}.",
                     f"Wait until it is done; if that process is gone, the lock ends at {until}.", {"lock": lock})


def _clock(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(milliseconds / 1000))


def _now() -> int:
    return time.time_ns() // 1_000_000
