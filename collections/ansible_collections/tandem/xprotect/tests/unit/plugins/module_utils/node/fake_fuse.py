# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fuse "process" in a thread of the tests' own process, which runs the code of the real one, for `Host.start_runtime`."""
from __future__ import annotations

import itertools
import queue
import threading
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import Host
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs.fuse import Watch

_numbers = itertools.count(90001)


class FakeGuard:
    """Stands for the guard's process: `killed` is what is done to it."""

    def __init__(self, killed: t.Callable[[], None] = lambda: None):
        self.pid = next(_numbers)
        self.killed = threading.Event()
        self._told = killed

    def alive(self) -> bool:
        return not self.killed.is_set()

    def kill(self) -> None:
        if not self.killed.is_set():
            self.killed.set()
            self._told()


class FakeFuseProcess:
    """`Child`: `frozen` stops it, `end` is a kill. Set `deaf` before the start for one that never says anything."""

    def __init__(self, host: Host, guard: FakeGuard, deaf: bool = False):
        self.pid = next(_numbers)
        self.frozen = threading.Event()
        self.received: list[bytes] = []
        self._ended = threading.Event()
        self._input: queue.Queue[bytes] = queue.Queue()
        self._output: queue.Queue[bytes] = queue.Queue()
        self.watch = Watch(host, guard, self._output.put)
        self._threads = [] if deaf else [threading.Thread(target=self.watch.read, args=(self._next,), daemon=True),
                                         threading.Thread(target=self.watch.run, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _next(self) -> bytes:
        while True:
            data = self._input.get()
            if not self.frozen.is_set() or not data:
                return data

    def send(self, data: bytes) -> None:
        if self._ended.is_set():
            raise BrokenPipeError("the process has ended")
        self.received.append(data)
        self._input.put(data)

    def receive(self, timeout: float) -> bytes | None:
        try:
            return self._output.get(timeout=timeout)
        except queue.Empty:
            return None

    def alive(self) -> bool:
        return not self._ended.is_set()

    def end(self) -> None:
        self._ended.set()
        self._input.put(b"")
        self._output.put(b"")
        for thread in self._threads:
            thread.join(10.0)
