# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of the files in a machine's folder by which a site tells the kernel what is broken."""

NETWORK_FAULTS = "network-faults.json"  # {"version", "rules": [see packets.Rule], "silent": bool}
RECORDER_FAULTS = "recorder-faults.json"  # also the recorder's; the kernel cares for "disk": {"D:": "full" | "read-only" | "gone"}
