# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clocks of a lab machine and its generation, in a file of 52 bytes that every process of the machine reads.

A clock is a straight line over this computer's monotonic clock: where it stood at a certain moment, and its rate (1: right, 1.01: fast,
0: stands still). Each change begins a new line where the old one is now, so that a machine's monotonic clock never jumps; only at a boot
it begins anew, somewhere else, so that nobody can keep one of its values over a boot or mistake another machine's for its own. The
generation is what a hypervisor changes at a revert.

`clock` in the machine's folder, native byte order: four doubles (moment of this computer's monotonic clock, the machine's monotonic
clock and its wall clock then, rate), 16 bytes of generation, CRC-32 of all that. It is overwritten in place and never replaced, so that a
reader keeps one descriptor for ever; the sum tells a reader that it met a writer halfway. Without the file the clocks are this computer's.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import secrets
import struct
import time
import typing as t
import zlib

FILE = "clock"
_LINE = struct.Struct("=4d16s")
_SUM = struct.Struct("=L")
_ATTEMPTS = 1000
_NO_GENERATION = bytes(16)


@dataclasses.dataclass(frozen=True)
class Line:
    """At `since` of this computer's monotonic clock the machine's clocks showed `monotonic` and `wall`."""

    since: float
    monotonic: float
    wall: float
    rate: float = 1.0
    generation: bytes = _NO_GENERATION

    def at(self, real: float) -> Line:
        """The same line, told from another moment."""
        passed = (real - self.since) * self.rate
        return dataclasses.replace(self, since=real, monotonic=self.monotonic + passed, wall=self.wall + passed)

    def pack(self) -> bytes:
        data = _LINE.pack(self.since, self.monotonic, self.wall, self.rate, self.generation)
        return data + _SUM.pack(zlib.crc32(data))


class MachineClock:
    """Reads, and for the kernel's boot and the site's faults also writes, the clock file in a machine's folder."""

    def __init__(self, folder: pathlib.Path | str):
        self.path = pathlib.Path(folder) / FILE
        self._fd: int | None = None

    # -- reading -------------------------------------------------------------------------------------------------
    def monotonic(self) -> float:
        line = self._line()
        return time.monotonic() if line is None else line.at(time.monotonic()).monotonic

    def wall(self) -> float:
        line = self._line()
        return time.time() if line is None else line.at(time.monotonic()).wall

    def generation(self) -> str:
        line = self._line()
        return "" if line is None or line.generation == _NO_GENERATION else line.generation.hex()

    def rate(self) -> float:
        line = self._line()
        return 1.0 if line is None else line.rate

    def _line(self) -> Line | None:
        if self._fd is None:
            try:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                return None
        for _ in range(_ATTEMPTS):
            data = os.pread(self._fd, _LINE.size + _SUM.size, 0)
            if data[_LINE.size:] == _SUM.pack(zlib.crc32(data[:_LINE.size])):
                return Line(*_LINE.unpack_from(data))
            time.sleep(0)  # a writer is at it
        raise OSError(f"{self.path} is not a clock file")

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    # -- writing -------------------------------------------------------------------------------------------------
    def boot(self) -> None:
        """The monotonic clock begins anew; the wall clock went on meanwhile. A machine without a generation gets one."""
        with self._changing() as now:
            generation = now.generation if now.generation != _NO_GENERATION else secrets.token_bytes(16)
            begin = 100.0 + secrets.randbelow(1_000_000) / 100
            self._write(dataclasses.replace(now, monotonic=begin, rate=now.rate or 1.0, generation=generation))

    def step(self, seconds: float) -> None:
        """Set the wall clock forth or back. The monotonic clock does not notice."""
        with self._changing() as now:
            self._write(dataclasses.replace(now, wall=now.wall + seconds))

    def set_rate(self, rate: float) -> None:
        """How fast both clocks go from now on; 0: they stand."""
        if rate < 0:
            raise ValueError("a clock cannot go backwards")
        with self._changing() as now:
            self._write(dataclasses.replace(now, rate=rate))

    def new_generation(self) -> str:
        generation = secrets.token_bytes(16)
        with self._changing() as now:
            self._write(dataclasses.replace(now, generation=generation))
        return generation.hex()

    @contextlib.contextmanager
    def _changing(self) -> t.Iterator[Line]:
        """What the clocks show now, and no other writer until the new line is written."""
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            real, line = time.monotonic(), self._line()
            if line is not None and line.since > real:  # of before a restart of this computer: only the wall clock's rate is left
                line = dataclasses.replace(line, since=real, monotonic=real, wall=time.time())
            yield Line(real, real, time.time()) if line is None else line.at(real)
        finally:
            os.close(folder)

    def _write(self, line: Line) -> None:
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(fd, line.pack(), 0)
        finally:
            os.close(fd)
