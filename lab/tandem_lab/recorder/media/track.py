# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The writing side of one device: recording sequences go on over table splits without losing a frame."""

from __future__ import annotations

import typing as t

from .writer import TableWriter

if t.TYPE_CHECKING:
    from .bank import Bank


class Track:
    """`begin`, `append`... and `end` write one recording sequence; tables come and go underneath.

    At a split the running sequence of the old table ends at the very millisecond at which that of the new one begins, so that
    both read as one.
    """

    def __init__(self, device: str, description: str, bank: Bank) -> None:
        self.device = device
        self.description = description
        self.bank = bank
        self.writer: TableWriter | None = None
        self.recording = False
        self.moving = False
        self.last_time = 0
        self._sequence_begin = 0
        self._motion_begin = 0

    def begin(self, time: int) -> None:
        """A recording sequence begins with the frame of this time."""
        if not self.recording:
            self.recording = True
            self._sequence_begin = time

    def append(self, time: int, payload: bytes) -> None:
        self.bank.disk.check_room()
        writer = self.writer
        if writer is None:
            writer = self.writer = self.bank.open_table(self, time)
            self._sequence_begin = min(self._sequence_begin, time)
        began = not writer.sequences.running
        if began:
            writer.sequences.begin(self._sequence_begin)
        try:
            writer.append(time, payload)
        except OSError:
            if began:
                writer.sequences.withdraw()
            raise
        self.last_time = time
        if self.moving and not writer.motion.running:
            writer.motion.begin(max(self._motion_begin, self._sequence_begin))
        if self.moving:
            writer.motion.extend(time)

    def end(self) -> None:
        """The recording sequence ends with the last frame that was appended."""
        self.recording = False
        if self.writer is not None:
            self.writer.sequences.end(self.last_time)
            if self.writer.motion.running:
                self.writer.motion.end(self.last_time)

    def motion(self, time: int, active: bool) -> None:
        """Movement begins or ends at this time; it is kept only while something is recorded."""
        if active and not self.moving:
            self._motion_begin = time
        elif not active and self.moving and self.writer is not None and self.writer.motion.running:
            self.writer.motion.end(self.last_time)
        self.moving = active

    def abandon(self) -> TableWriter | None:
        """The disk has gone or takes nothing more: the open table stays as it is there, to be repaired when it can be."""
        writer, self.writer = self.writer, None
        self.recording = False
        if writer is not None:
            writer.abandon()
        return writer

    def flush(self) -> None:
        if self.writer is not None:
            self.writer.flush()

    def age_ms(self, now: int) -> int:
        """How long ago the open table got its first frame; -1 without an open table."""
        return -1 if self.writer is None else now - self.writer.table.begin

    def carry_over(self, now: int) -> int:
        """The millisecond at which the open table ends and a running sequence goes on in the next."""
        moment = max(now, self.last_time + 1) if self.recording else self.last_time
        self._sequence_begin = self._motion_begin = moment
        return moment
