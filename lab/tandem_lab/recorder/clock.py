# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wall clock of the machine that this process runs on. The lab can set it wrong; then media, logs and tokens follow it."""

from __future__ import annotations

from pathlib import Path

from ..machine.clock import MachineClock

_machine = MachineClock("/nonexistent")  # then it is this computer's


def use(root: Path) -> None:
    """The recorder of this process runs on the machine in this folder."""
    global _machine
    _machine = MachineClock(root)


def now() -> float:
    return _machine.wall()


def now_ms() -> int:
    return int(now() * 1000)
