# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers that came from somewhere else."""

from __future__ import annotations

import typing as t


def is_whole(value: t.Any) -> bool:
    """An integer. Python counts true and false among them; in JSON they are something else."""
    return isinstance(value, int) and not isinstance(value, bool)
