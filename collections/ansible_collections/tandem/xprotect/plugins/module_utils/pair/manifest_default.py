# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes up the configuration of a recorder on disk, as shipped. An inventory may replace it (option ``manifest``).

The folder and RecorderConfig.xml are seen in public code and vendor tools. Which file holds the configuration that a recorder
got from the Management Server is not publicly known, so that item has no path here: it is to be set for each version of XProtect
(option ``item_paths``). Whether the file works on a second machine is the assumption `local_config_cache_copyable`.
"""

from __future__ import annotations

import typing as t

_FOLDER = "C:\\ProgramData\\Milestone\\XProtect Recording Server\\"
CACHE_ASSUMPTION = "local_config_cache_copyable"

DEFAULT_MANIFEST: tuple[dict[str, t.Any], ...] = (
    {
        "id": "recorder_config",
        "kind": "xml",
        "path": _FOLDER + "RecorderConfig.xml",
        # Values that name something of the one machine: a certificate in its own store, its own registration.
        "preserve": [
            "recorder/ClientRegistrationId",
            "recorder/serverEncryption/@certificateHash",
            "webserver/encryption/@certificateHash",
        ],
        "restart": True,
    },
    {
        "id": "local_configuration_cache",
        "kind": "file",
        "path": None,
        "restart": True,
        "assumption": CACHE_ASSUMPTION,
        "help": "find it on a test node: add a camera to its recorder in the Management Client, look which file below"
                " C:\\ProgramData\\Milestone changes",
    },
)
