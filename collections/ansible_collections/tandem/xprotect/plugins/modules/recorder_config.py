#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recorder_config
short_description: Bring the configuration of the headless node up to date
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - A replication manifest lists the files that make up a recorder's configuration. They are read on the attached node, compared
    with the headless one, and written there in one step each, with a backup in a numbered history on that node.
  - An XML item keeps the node's own values at the paths of its C(preserve) list. A file that is empty or truncated on the attached
    node is refused before anything is written.
  - The recorder of the headless node is restarted when an item that needs it changed, and only while the attached node records.
  - When a node does not answer, the task succeeds unchanged and says so. A schedule can so run on while a machine is serviced.
notes:
  - Which file holds the configuration that a recorder got from the Management Server is not publicly known, nor whether it works on a
    second machine (assumption C(local_config_cache_copyable)). Its path has to be given (O(item_paths), item
    C(local_configuration_cache)) with either strategy, and nothing is done without it. It can be found on a test node - add a camera
    to its recorder and look which file below C(C:\ProgramData\Milestone) changes.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  strategy:
    description:
      - V(copy) copies all items of the manifest.
      - V(turn) does not copy the recorder's local configuration cache. When it differs, the headless node is attached for a moment by a
        planned switchover, fetches the configuration from the Management Server itself, and hands back. Clients reconnect twice.
      - A turn is refused unless the headless node records every device that the attached one does.
      - Only a node without any configuration is excepted, as long as the attached node records on. It gets its first configuration by a
        turn, and serves for a moment without old recordings then.
    type: str
    choices: [copy, turn]
    default: copy
  manifest:
    description:
      - The replication manifest in place of the shipped one, a list of items.
      - Keys of an item are C(id), C(kind) (V(file) or V(xml)), C(path), C(preserve) (paths below the root element of an XML item whose
        values stay the node's own, such as V(webserver/encryption/@certificateHash)), C(restart) (default V(true)), C(optional) (the file
        may be missing on the attached node), C(assumption) and C(help) (how the path of an item whose C(path) is null can be found).
    type: list
    elements: dict
  item_paths:
    description: Paths of items on this version of XProtect, by item id.
    type: dict
    default: {}
  restart:
    description:
      - Whether the recorder of the headless node may be restarted or, when it stands still, started.
      - Its service is then also set to start by itself after a reboot. The machine gets its former start type back with its own
        identity (M(tandem.xprotect.recorder_identity)).
    type: bool
    default: true
  author:
    description: Who makes the change, for the history on the node. Left out, it is the user and the machine of the controller.
    type: str
  turn_wait:
    description: Seconds for which a turn waits until the node has fetched its configuration.
    type: float
    default: 60.0
  turn_accept:
    description:
      - When a turn counts as done. In any case when the files are equal to those of the other node.
      - V(settled) also takes files that are there and do not change for three seconds after the node was attached, because files of two
        machines need not be equal. Both nodes' hashes are then written down, and count as equal until one of them changes.
      - V(equal) takes nothing else than equal files.
    type: str
    choices: [equal, settled]
    default: settled
  serve_wait:
    description: Seconds for which each switchover of a turn waits until a client is served.
    type: float
    default: 30.0
attributes:
  check_mode:
    description: Compares and tells what would be written. No switchover is made.
    support: full
  diff_mode:
    description: Shows the changed places of each item. Values of secrets are masked.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
seealso:
  - module: tandem.xprotect.recorder_identity
  - module: tandem.xprotect.pair_info
"""

EXAMPLES = r"""
- name: Show how far the headless node is behind (the pair's definition comes from module_defaults)
  tandem.xprotect.recorder_config:
  check_mode: true
  diff: true

- name: Bring it up to date
  tandem.xprotect.recorder_config:
    author: nightly sync

- name: The same on a site whose local configuration cache cannot be copied, in a maintenance window
  tandem.xprotect.recorder_config:
    strategy: turn
    item_paths:
      local_configuration_cache: C:\ProgramData\Milestone\XProtect Recording Server\Configuration.cache
"""

RETURN = r"""
source:
  description: The attached node. Null when a node did not answer.
  returned: success
  type: str
target:
  description: The headless node. Null when a node did not answer.
  returned: success
  type: str
skipped_reason:
  description: V(partner_down) when a node did not answer and nothing was done.
  returned: when nothing was done
  type: str
items:
  description: The items of the manifest, each with C(id), C(path) and whether it differed (C(changed)).
  returned: success
  type: list
  elements: dict
restarted:
  description: Whether the recorder of the headless node was restarted.
  returned: success
  type: bool
recorder_started:
  description: Whether the recorder of the headless node was stopped and has been started.
  returned: success
  type: bool
recorder_start_type_changed:
  description: Whether the recorder service of the headless node was (check mode - would be) set to start by itself after a reboot.
  returned: success
  type: bool
version:
  description: Number of this change in the history on the node.
  returned: success
  type: int
turn:
  description: How the turn went, with both switchovers and their steps. Null without a turn.
  returned: success
  type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import recorder_config


def main() -> None:
    run_module(recorder_config.ARGUMENT_SPEC, recorder_config)


if __name__ == "__main__":
    main()
