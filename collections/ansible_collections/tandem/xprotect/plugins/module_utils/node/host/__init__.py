# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the `Host` of the machine that this process runs on."""

from __future__ import annotations

import os
import sys

from ..errors import NodeError
from .base import Host


def load(verb: str = "") -> Host:
    """On Windows always the real machine; elsewhere the class named in ``TANDEM_NODE_HOST`` (``module:Class``).

    A witness also runs on Linux: where its folder is named (TANDEM_HOME), and for its own verbs in any case.
    """
    if sys.platform == "win32":
        from .windows import WindowsHost
        return WindowsHost()
    named = os.environ.get("TANDEM_NODE_HOST", "")
    if not named and sys.platform == "linux" and (os.environ.get("TANDEM_HOME") or verb.partition(".")[0] == "witness"):
        from .posix import PosixHost
        return PosixHost()
    module_name, _colon, class_name = named.partition(":")
    if not module_name or not class_name:
        raise NodeError("no_host", f"The node runtime cannot work on {sys.platform}: it is made for Windows.",
                        "Run it on a recorder; on Linux it is good for a witness only. A simulated machine names its host class in"
                        " TANDEM_NODE_HOST (module:Class).")
    import importlib
    try:
        host = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError) as error:
        raise NodeError("no_host", f"TANDEM_NODE_HOST names {named!r}, which cannot be loaded: {error}.") from error
    if not isinstance(host, Host):
        raise NodeError("no_host", f"TANDEM_NODE_HOST names {named!r}, which is not a Host.")
    return host
