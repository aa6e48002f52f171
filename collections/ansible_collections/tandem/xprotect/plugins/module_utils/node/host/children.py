# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process with pipes as its standard input and output: `Child` for any operating system.

Pipes cannot be polled on Windows, so a thread reads the output; the same code runs everywhere and is tested everywhere.
"""

from __future__ import annotations

import os
import queue
import subprocess
import threading
import typing as t

from .base import HostError

_MOST_CHUNKS = 64  # what nobody takes waits in the pipe, and the child with it
_KILL_SECONDS = 5.0


class PipeChild:
    """`release` gives back what the host keeps for the child (on Windows the job object)."""

    def __init__(self, command: list[str], release: t.Callable[[], None] = lambda: None, **options: t.Any):
        try:
            self._process = subprocess.Popen(command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **options)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise HostError(f"{command[0]} could not be started: {error}", getattr(error, "winerror", None)) from None
        self._release = release
        self._input: t.Any = self._process.stdin
        self._output: t.Any = self._process.stdout
        try:
            os.set_blocking(self._input.fileno(), False)
        except (AttributeError, OSError):
            pass  # Windows before Python 3.12: the pipe takes 4 kB; `Fuse` never has that much under way
        self._chunks: queue.Queue[bytes] = queue.Queue(_MOST_CHUNKS)
        self._reader = threading.Thread(target=self._read, name="child output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def process(self) -> subprocess.Popen[bytes]:
        return self._process

    def send(self, data: bytes) -> None:
        try:
            taken = self._input.write(data)
        except ValueError:  # closed by `end`
            taken = None
        if taken != len(data):  # None also when the pipe is full
            raise BrokenPipeError(f"process {self.pid} does not take its input")

    def receive(self, timeout: float) -> bytes | None:
        try:
            data = self._chunks.get(timeout=timeout)
        except queue.Empty:
            return None
        if not data:
            self._put(b"")  # the end stays the end
        return data

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        try:
            self._process.wait(_KILL_SECONDS)
        except subprocess.TimeoutExpired:
            raise HostError(f"process {self.pid} did not end within {_KILL_SECONDS:g} s of being killed") from None
        while self._reader.is_alive():
            try:
                self._chunks.get(timeout=0.05)  # room for a reader that waits for it
            except queue.Empty:
                pass
        self._put(b"")
        for pipe in (self._input, self._output):
            try:
                pipe.close()
            except OSError:
                pass
        self._release()

    def _read(self) -> None:
        try:
            while data := self._output.read(4096):
                self._chunks.put(data)
        except (OSError, ValueError):
            pass
        self._chunks.put(b"")

    def _put(self, data: bytes) -> None:
        try:
            self._chunks.put_nowait(data)
        except queue.Full:
            pass  # there is something to take, and the end behind it
