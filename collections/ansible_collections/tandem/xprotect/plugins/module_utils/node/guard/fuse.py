# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's side of the fuse: keeps one fuse process alive and tells it each new deadline.

The process (``verbs/fuse.py``) answers every line. One that is killed is replaced at once; one that lives and does not
answer, because it is stopped or hung, counts as missing after a second and is replaced after two. Silence is counted in
rounds of waiting and not by a clock, so that a guard which stood still itself does not take its fuse for dead.
"""

from __future__ import annotations

import math
import threading
import typing as t

from ..host.base import Child, Host, HostError

ROUND = 0.5
_MISSING_ROUNDS = 2
_HUNG_ROUNDS = 4
_START_ROUNDS = 40  # until a new process has to have said that it watches
_UNANSWERED = 50  # lines under way; no more are written, so that a pipe never fills up
_MOST_WORDS = 1000
_PAUSE = 0.5  # before the next attempt when a fuse could not be started


class Fuse:
    def __init__(self, host: Host, log: t.Callable[[str], None]):
        self._host = host
        self._log = log
        self._changed = threading.Condition()
        self._child: Child | None = None  # only once it watches
        self._deadline: float | None = None
        self._sent = self._answered = 0  # numbers of lines
        self._latest: int | None = None  # the first line that carried the current deadline
        self._silent_rounds = 0
        self._restarts = -1  # the first start is none
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- for the guard -----------------------------------------------------------------------------------------------------
    def start(self) -> None:
        self._thread = threading.Thread(target=self._keep, name="fuse", daemon=True)
        self._thread.start()

    def ready(self) -> bool:
        """Whether a fuse process watches and answers."""
        with self._changed:
            return self._watches()

    def wait_ready(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(self._watches, timeout)

    def arm(self, deadline: float) -> None:
        """Have this process ended when it is alive after that moment of `Host.monotonic`. Never waits: a missing fuse is told later."""
        if not math.isfinite(deadline):
            raise ValueError(f"{deadline} is no deadline")
        self._tell(deadline)

    def disarm(self) -> None:
        self._tell(None)

    def wait_told(self, timeout: float) -> bool:
        """Whether a process that watches has the latest deadline within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._watches() and self._latest is not None and self._answered >= self._latest, timeout)

    def describe(self) -> dict:
        with self._changed:
            return {"alive": self._watches(), "restarts": max(0, self._restarts)}

    def stop(self) -> None:
        """End the process. Whoever holds a permit is without a fuse from now on."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)

    def _watches(self) -> bool:
        return self._child is not None and self._silent_rounds < _MISSING_ROUNDS

    def _tell(self, deadline: float | None) -> None:
        with self._changed:
            self._deadline, self._latest = deadline, None
            self._say()

    def _say(self) -> None:
        """Send the current deadline. A failure shows as silence or as the end of the process, which the thread sees."""
        if self._child is None or self._sent - self._answered >= _UNANSWERED:
            return
        text = "-" if self._deadline is None else repr(float(self._deadline))
        try:
            self._child.send(f"{self._sent + 1} {text}\n".encode())
        except OSError:
            return
        self._sent += 1
        self._latest = self._latest or self._sent

    # -- the thread --------------------------------------------------------------------------------------------------------
    def _keep(self) -> None:
        said = ""
        while not self._stop.is_set():
            try:
                said = self._once(said)
            except (HostError, OSError) as error:
                said = self._report(said, f"the fuse could not be started or ended: {error}")
                self._stop.wait(_PAUSE)

    def _once(self, said: str) -> str:
        """Start one process and stay with it until it ends. What was logged about failures last, "" when it worked."""
        child = self._host.start_runtime(["fuse"])
        with self._changed:
            self._restarts += 1
        problem = "it did not start"
        try:
            problem = self._attend(child)
        finally:
            with self._changed:
                worked, self._child = self._child is not None, None
                self._changed.notify_all()
            child.end()
        if self._stop.is_set():
            return ""
        if not worked:
            self._stop.wait(_PAUSE)
            return self._report(said, f"the fuse is started again and again: {problem}")
        self._log(f"the fuse is started again: {problem}")
        return ""

    def _report(self, said: str, text: str) -> str:
        if text != said:
            self._log(text)
        return text

    def _attend(self, child: Child) -> str:
        """Listen to the process until it has to be replaced: why."""
        rest, words, silent = b"", b"", 0
        while not self._stop.is_set():
            data = child.receive(ROUND)
            if data == b"":
                return f"process {child.pid} ended" + (f" and said {(words + rest).decode('utf-8', 'replace')!r}" if words + rest else "")
            *lines, rest = (rest + (data or b"")).split(b"\n")
            answers = [int(line) for line in lines if _is_answer(line)]
            words = (words + b"\n".join(line for line in lines if not _is_answer(line)))[:_MOST_WORDS]
            rest = rest[:_MOST_WORDS]
            silent = 0 if answers else silent + (data is None)
            with self._changed:
                if answers and self._child is None:
                    self._child, self._sent, self._answered, self._latest = child, 0, 0, None
                    self._say()
                elif data is None:
                    self._say()  # also asks whether it is still there
                self._answered = max([self._answered, *(number for number in answers if number <= self._sent)])
                self._silent_rounds = silent
                self._changed.notify_all()
                if silent >= (_HUNG_ROUNDS if self._child else _START_ROUNDS):
                    return f"process {child.pid} does not answer"
        return "the guard ends"


def _is_answer(line: bytes) -> bool:
    """The number of a line. Anything else is what the runtime says about why it ends: kept for the log."""
    return line.isdigit() and len(line) < 20
