# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Breaking a simulated site on purpose, and mending it: network, machines, clocks, processes, disks, recorders."""

from .faults import Fault, Faults
from .journal import FaultError

__all__ = ["Fault", "FaultError", "Faults"]
