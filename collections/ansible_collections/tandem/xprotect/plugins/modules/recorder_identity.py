#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recorder_identity
short_description: Give the twin of a pair the recorder's identity, or its own back
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - The node whose recorder has O(recorder_id) is the source, the other one its twin. The twin takes over the id, the name, the
    addresses and the ports that integrations and the Management Server know. Everything else in its files stays as it is, byte
    for byte, and its own identity is kept on that node.
  - Refuses with all differences at once when the machine cannot be a twin (XProtect version, device pack, time zone, drive
    letters of the storages, clock, missing service).
  - The identity is only written behind a fence, to a node that is headless. Its recorder is stopped for that. That of a new twin
    stays stopped until M(tandem.xprotect.recorder_config) has brought the configuration.
notes:
  - Each machine keeps its own registration at the identity provider, because it is not publicly known whether two may share one
    (assumption C(client_registration_shareable)).
  - Run M(tandem.xprotect.node_guard) before, and M(tandem.xprotect.recorder_config) after.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  state:
    description:
      - V(cloned) gives the twin the pair's identity.
      - V(own) gives a headless node the identity back that it was installed with, and its recorder service the start type that it had.
        It is then no longer a twin.
    type: str
    choices: [cloned, own]
    default: cloned
attributes:
  check_mode:
    description: Compares and tells what would be taken over. Refuses as a real run does.
    support: full
  diff_mode:
    description: Shows each value before and after.
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
- name: Show what the twin would take over (the pair's definition comes from module_defaults)
  tandem.xprotect.recorder_identity:
  check_mode: true
  diff: true

- name: Give the twin the pair's identity
  tandem.xprotect.recorder_identity:

- name: Give the headless node its own identity back
  tandem.xprotect.recorder_identity:
    state: own
"""

RETURN = r"""
node:
  description: The node that was (check mode - would be) changed. Null when O(state=own) had nothing to do.
  returned: success
  type: str
source:
  description: The node that the identity comes from.
  returned: success
  type: str
changes:
  description: The values that differed.
  returned: when O(state=cloned)
  type: list
  elements: dict
  contains:
    field:
      description: Path in RecorderConfig.xml, or name of a registry value.
      type: str
    before:
      description: The twin's value.
      type: str
    after:
      description: The source's value.
      type: str
recorder_started:
  description: Whether the recorder of the node was started again, which is so when the node was a twin already.
  returned: success
  type: bool
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import recorder_identity


def main() -> None:
    run_module(recorder_identity.ARGUMENT_SPEC, recorder_identity)


if __name__ == "__main__":
    main()
