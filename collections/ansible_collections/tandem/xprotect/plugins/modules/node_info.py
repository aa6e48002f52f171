#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Tell what the nodes of a pair say about themselves
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Asks both nodes at the same time for facts about the machine, its recorder, and Tandem on it (runtime, guard, fence, lock).
  - A node that does not answer is reported with its error. The task fails only when no node answers.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  node:
    description: Ask this node only.
    type: str
  selftest:
    description:
      - Also run the runtime's self-test, which calls every function that reads something from Windows and tells which of them
        work on this machine. It changes nothing.
    type: bool
    default: false
attributes:
  check_mode:
    description: Only reads, with and without check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
seealso:
  - module: tandem.xprotect.node_runtime
"""

EXAMPLES = r"""
- name: Look at both machines of the pair (its definition comes from module_defaults)
  tandem.xprotect.node_info:
  register: found

- name: Show the state of the recorder service on each node
  ansible.builtin.debug:
    msg: "{{ item.key }}: {{ item.value.facts.recorder.service.state | default(item.value.error) }}"
  loop: "{{ found.nodes | dict2items }}"

- name: Check that the runtime works with this version of Windows
  tandem.xprotect.node_info:
    node: north-b
    selftest: true
"""

RETURN = r"""
nodes:
  description: Per node what it said.
  returned: success
  type: dict
  contains:
    reachable:
      description: Whether WinRM of the machine answered.
      type: bool
    runtime_installed:
      description: Whether this version of the node runtime is there. Unknown (null) when that could not be asked.
      type: bool
    error:
      description: Why there are no facts, with what to do next.
      type: str
    error_code:
      description: The same in one word, for example C(unreachable), C(wrong_password) or C(program_missing).
      type: str
    facts:
      description: What the runtime found.
      type: dict
      contains:
        runtime:
          description: Version and SHA-256 of the runtime, version of Python.
          type: dict
        machine:
          description: Name, operating system, time zone, clock, drives and addresses.
          type: dict
        recorder:
          description: Service, version, ids, addresses, media folders and status of the recorder.
          type: dict
        tandem:
          description: The node's configuration by Tandem, null before it was configured.
          type: dict
        guard:
          description: The guard's service and what the guard says.
          type: dict
        fence:
          description: Whether the fence is installed and what it blocks.
          type: dict
        lock:
          description: Who works on this node now, null when nobody does.
          type: dict
    selftest:
      description: Result of the self-test, item by item.
      returned: when O(selftest) is set
      type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_info


def main() -> None:
    run_module(node_info.ARGUMENT_SPEC, node_info)


if __name__ == "__main__":
    main()
