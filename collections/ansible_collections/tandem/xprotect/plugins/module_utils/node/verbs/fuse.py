# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``fuse``: the small process beside the guard that ends a guard whose permit has run out.

The guard closes its permit itself; this is for a guard that cannot: stopped, hung, starved of the processor. It knows the
guard's process and the latest deadline, nothing else, and asks nobody. Lines ``<number> <deadline>`` come in on stdin, with
``-`` for "no permit is open"; each is answered with its number once it counts. The first line out, ``0``, says that the
guard's process is known; the guard sends nothing before it, so what arrives can only come from that very process.
"""

from __future__ import annotations

import math
import os
import threading
import typing as t

from ..host.base import Host, HostError, Process

GRACE = 0.3  # seconds past the deadline in which the guard may still close its permit itself
FARTHEST = 120.0  # no permit is given for longer, so a deadline beyond this is a mistake
_LOOK = 0.1
_AGAIN = 0.05  # between attempts to kill
_LONGEST_LINE = 64
_READ_AT_ONCE = 4096


def resident(host: Host, _request: dict, _progress: object) -> dict:
    watch = Watch(host, host.process(os.getppid()), lambda data: _write(1, data))
    threading.Thread(target=watch.read, args=(lambda: os.read(0, _READ_AT_ONCE),), name="stdin", daemon=True).start()
    killed = watch.run()
    if killed:
        from ..guard.log import GuardLog
        GuardLog(host)("the fuse ended the guard: its permit had run out and it had not closed it")
    return {"killed": killed}


class Watch:
    def __init__(self, host: Host, guard: Process, answer: t.Callable[[bytes], None]):
        self._host = host
        self._guard = guard
        self._answer = answer
        self._changed = threading.Condition()
        self._deadline: float | None = None
        self._ended = False

    # -- what the guard says -----------------------------------------------------------------------------------------------
    def read(self, source: t.Callable[[], bytes]) -> None:
        """Take lines until the guard's end of the pipe is closed. What is not a line of the guard is passed over."""
        try:
            self._answer(b"0\n")
            rest = b""
            while data := _read(source):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._take(line)
                if len(rest) > _LONGEST_LINE:
                    rest = b"?"  # whatever follows until the next line break belongs to garbage
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _take(self, line: bytes) -> None:
        parsed = parse(line)
        if parsed is None:
            return
        number, deadline = parsed
        if deadline is not None and deadline > self._host.monotonic() + FARTHEST:
            return
        with self._changed:
            self._deadline = deadline
            self._changed.notify_all()
        self._answer(b"%d\n" % number)

    # -- what happens then -------------------------------------------------------------------------------------------------
    def run(self) -> bool:
        """Until the guard is gone. True when it is gone because of this."""
        looked, waited_for = self._host.monotonic(), None
        with self._changed:
            while not self._ended:
                now = self._host.monotonic()
                left = FARTHEST if self._deadline is None else self._deadline + GRACE - now
                if left <= 0:
                    # A fuse that stood still itself reads first what came in meanwhile, once: it may be a later deadline.
                    if now - looked < GRACE or self._deadline == waited_for:
                        break
                    waited_for = self._deadline
                looked = now
                self._changed.wait(min(max(left, _LOOK / 10), _LOOK if self._deadline is not None else FARTHEST))
            if self._ended:
                return False
        self._kill()
        return True

    def _kill(self) -> None:
        while self._guard.alive() and not self._ended:
            try:
                self._guard.kill()
            except HostError:
                pass  # it may be ending by itself; if not, the next attempt
            with self._changed:
                self._changed.wait(_AGAIN)


def parse(line: bytes) -> tuple[int, float | None] | None:
    """Number and deadline of a line, None for anything else."""
    number, _blank, text = line.partition(b" ")
    if len(line) > _LONGEST_LINE or not (number.isdigit() and number.isascii()):
        return None
    if text == b"-":
        return int(number), None
    try:
        deadline = float(text)
    except ValueError:
        return None
    return (int(number), deadline) if math.isfinite(deadline) else None


def _read(source: t.Callable[[], bytes]) -> bytes:
    try:
        return source()
    except OSError:
        return b""


def _write(number: int, data: bytes) -> None:
    try:
        os.write(number, data)
    except OSError:
        pass  # the guard is gone, which its end of stdin says as well


VERBS = {"fuse": resident}
