#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pair_info
short_description: Tell the state of a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Asks both nodes and tells who is attached and who is headless, with which epoch, whether both record, what media each
    of them lacks, whether their configuration is equal, and what needs somebody.
  - Works with one node down. That node is reported as unreachable, with the reason. The task fails only when neither node
    answers, or when both say that they are attached.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  coverage:
    description: Also compare the media that the nodes hold. Module M(tandem.xprotect.media_coverage_info) gives the details.
    type: bool
    default: true
  configuration:
    description: Also compare the files of the replication manifest.
    type: bool
    default: true
  fingerprint:
    description: Also read the fingerprint of the pair, when O(management_server) is given.
    type: bool
    default: true
  manifest:
    description: The replication manifest in place of the shipped one, see M(tandem.xprotect.recorder_config).
    type: list
    elements: dict
  item_paths:
    description: Paths of items of the manifest on this version of XProtect, by item id.
    type: dict
    default: {}
  tolerance_ms:
    description: Spans that are missing for no longer than this do not count.
    type: int
    default: 1000
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
  - module: tandem.xprotect.node_info
  - module: tandem.xprotect.media_coverage_info
"""

EXAMPLES = r"""
- name: Read the state of the pair (its definition comes from module_defaults)
  tandem.xprotect.pair_info:
  register: state

- name: Show it
  ansible.builtin.debug:
    var: state.report

- name: Go on only with a healthy pair
  ansible.builtin.assert:
    that: not state.problems
    fail_msg: "{{ state.problems | join('; ') }}"
"""

RETURN = r"""
attached:
  description: Name of the attached node, null when no node that answers is attached.
  returned: success
  type: str
headless:
  description: Name of the headless node, null when it does not answer or nobody is attached.
  returned: success
  type: str
epoch:
  description: Number of the current attachment, null before the pair was adopted.
  returned: success
  type: int
guarded:
  description: Whether the attached node serves under a guard. False before M(tandem.xprotect.node_guard) adopted it.
  returned: success
  type: bool
nodes:
  description: The two nodes, in the order of the option.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the node.
      type: str
    state:
      description: One of V(attached), V(headless), V(serving) (attached without a guard), V(unguarded) and V(unreachable).
      type: str
    reachable:
      description: Whether the node gave facts.
      type: bool
    error:
      description: Why it did not.
      type: str
    recorder_service:
      description: State of the Recording Server service.
      type: str
    writing:
      description: Number of devices that it writes media of now.
      type: int
    fence_installed:
      description: Whether the permanent fence stands.
      type: bool
    permit_open:
      description: Whether the fence is open for this node.
      type: bool
    voting:
      description: Whether its guard votes. False after its state was lost or turned back, until the others readmitted it.
      type: bool
    lease:
      description:
        - C(ttl) and C(margin) of the lease, C(deadline_in) (seconds for which an attached node may stay so) and C(free_in) (seconds for
          which its vote is promised, 0 when it is free, null when only a release frees it).
      type: dict
    voters:
      description: By voter when it was C(heard_ago), when it C(acknowledged_ago) a renewal, and whether it is C(voting).
      type: dict
    health:
      description: C(score) from 0 to 100, C(causes) with C(code), C(message) and C(devices), and whether the node is C(serving_fit).
      type: dict
    maintenance:
      description: Until when (C(until_ms)) and for which C(reason) planned maintenance is in force. Null when none is.
      type: dict
    fuse:
      description: Whether the process that ends a hung guard is C(alive), and how often it was restarted (C(restarts)).
      type: dict
    promotion:
      description: V(playbook) or V(automatic).
      type: str
    registration:
      description: The C(mode), V(once) or V(each_time), and the C(error) of the last registration, null when it went well.
      type: dict
    fence_agent:
      description: What came of the guard's own fence agent when it ran last, null when it never did.
      type: raw
voting:
  description: Who votes in the pair, by the word of the attached node.
  returned: success
  type: dict
  contains:
    membership:
      description: Number of the membership, which grows at each change.
      type: int
    voters:
      description: Those with a vote, the nodes by name and the literal word V(witness).
      type: list
      elements: str
    removed:
      description: Nodes that were removed by a forced failover, see M(tandem.xprotect.pair_membership).
      type: list
      elements: str
    witness:
      description: Whether the witness has a vote (C(voter)) and when it was heard last (C(heard_ago)). Null for a pair without one.
      type: dict
clock_offset_seconds:
  description: How far the clock of the second node is ahead of that of the first.
  returned: success
  type: float
coverage:
  description: Seconds of media of both together, and what each node lacks of it.
  returned: when O(coverage) is set
  type: dict
configuration:
  description:
    - Which items of the replication manifest are equal on both nodes, with their hashes.
    - An item that has no path is listed with the C(note) that it was not compared.
  returned: when O(configuration) is set
  type: dict
fingerprint:
  description: Hash of the identity that integrations see, and how much it covers.
  returned: when O(fingerprint) is set and O(management_server) is given
  type: dict
problems:
  description: Everything that needs somebody, most serious first. Empty for a healthy pair.
  returned: success
  type: list
  elements: str
report:
  description: All of it as lines of at most 80 columns, for people.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import pair_info


def main() -> None:
    run_module(pair_info.ARGUMENT_SPEC, pair_info)


if __name__ == "__main__":
    main()
