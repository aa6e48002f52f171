#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: media_storage
short_description: Have the folders of a pair's storages on both nodes
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - The Management Server tells a recorder the paths of its storages, so both nodes need the same drives and folders. The module
    creates the folders that are missing and refuses when a drive is missing or has too little room.
  - A machine that cannot become the twin of the recorder is refused here already, with all differences at once.
  - Nothing is ever removed. Storages on network paths are left alone, with a warning.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  folders:
    description:
      - The folders, as Windows paths.
      - Left out, they are those of the recorder's storages and archives at the Management Server; without O(management_server)
        those that the recorder with the pair's id names itself.
    type: list
    elements: str
    default: []
  reserve_bytes:
    description:
      - How many bytes must be free on each of the drives.
      - Below 5 GB of free space a recorder archives or deletes its oldest media.
    type: int
    default: 5368709120
attributes:
  check_mode:
    description: Looks at drives and folders and tells what would be created.
    support: full
  diff_mode:
    description: Lists the folders that are created on each node.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
"""

EXAMPLES = r"""
- name: Have the storages of the pair on both nodes (the pair's definition comes from module_defaults)
  tandem.xprotect.media_storage:

- name: The same without a Management Server
  tandem.xprotect.media_storage:
    folders:
      - D:\MediaDatabase
      - E:\Archive
    reserve_bytes: 21474836480
"""

RETURN = r"""
folders:
  description: The folders that both nodes have.
  returned: success
  type: list
  elements: str
nodes:
  description: Per node whether it C(changed), which folders were C(created), and its C(drives).
  returned: success
  type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import media_storage


def main() -> None:
    run_module(media_storage.ARGUMENT_SPEC, media_storage)


if __name__ == "__main__":
    main()
