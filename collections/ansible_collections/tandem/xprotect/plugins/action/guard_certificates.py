# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the operation of the module of the same name on the controller."""

from __future__ import annotations

from ..module_utils.operations import guard_certificates
from ..plugin_utils.action import OperationAction


class ActionModule(OperationAction):
    OPERATION = guard_certificates
