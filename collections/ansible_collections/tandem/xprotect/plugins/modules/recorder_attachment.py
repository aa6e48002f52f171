#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recorder_attachment
short_description: Attach the wanted node of a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Attaches one node, either by a planned switchover (both nodes alive, the attached one hands over) or by a failover (the attached
    node cannot serve any more).
  - The state is read from both nodes first. When the wanted node is attached already, nothing is done. All reasons against an
    attachment come in one message.
  - The guards of the nodes carry it out by two of three votes (the two nodes and O(witness)), and decide again for themselves. The lease
    alone decides. A silent node's lease is waited for, and what is heard of it before it ran out stops nothing.
  - After the lease ran out, and before an unforced failover, the recorder is asked once more, at the service address and at the silent
    node's own address. Only a recorder that says then that it is attached stops the failover.
  - With O(management_server) the result is measured as an integration sees it. The module waits until the recorder says that it is
    connected and until a client gets a live picture through the service address, and fails when the fingerprint of the pair is not the
    same as before. With a Management Server that is down a failover is completed and says that clients wait for it.
  - Attachment never waits for the work lock. A running sync or backfill stops at its next step by itself.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  mode:
    description:
      - V(switchover) is the planned way. It needs both nodes and a Management Server that answers.
      - V(failover) attaches a node whose partner is down. It also attaches a node when neither is attached. When the partner answers and
        is attached, but its recorder does not run or cannot serve, the partner's guard hands over.
    type: str
    choices: [switchover, failover]
    required: true
  node:
    description:
      - The node that is to be attached.
      - Left out, it is the other one than the attached node. With O(mode=failover) it is the node that still answers.
    type: str
  accept:
    description:
      - Reasons that shall not refuse it, by name. They only ever refuse while the other node can still serve.
      - V(coverage) - the node holds less media than the attached one. V(config_lag) - its configuration is behind. V(health) - its guard
        says that it is in a worse state.
      - That it records nothing, has another version of XProtect or cannot register cannot be accepted.
    type: list
    elements: str
    choices: [coverage, config_lag, health]
    default: []
  force:
    description:
      - A text that says how you know that the other machine is off, for example V(power cable pulled, J. Doe 14:05). It is kept in the
        guard's log.
      - For O(mode=failover) only. The other node is removed from the voters of the pair, so that its lease need not be waited for. It comes
        back only by M(tandem.xprotect.pair_membership).
      - It never overrides a node whose guard answers.
      - With O(fence_agent) the agent has to confirm it.
    type: str
  force_without_witness:
    description:
      - With O(force), do without the witness's vote too, because it cannot be reached either.
      - Unsafe if the other machine boots. It finds the witness, does not hear of this decision, and the two are attached at once. Keep it
        off the network until it was taken back by M(tandem.xprotect.pair_membership).
    type: bool
    default: false
  fence_agent:
    description:
      - A program of yours that switches the silent machine off and confirms that (hypervisor, power switch, management controller). It
        runs on the controller before a promotion after silence, and before a forced one.
      - It is never run against a machine that answers the controller or its partner's guard. Without O(force) it is not run before the
        lease ran out, so that no machine is switched off that is merely cut off from here.
      - If it fails, an unforced failover goes on by the lease alone, with a warning. A forced one is refused.
    type: dict
    suboptions:
      command:
        description:
          - Program and arguments, run without a shell. C({node}), C({address}) and C({pair}) are replaced by the name and the address of
            the machine that is to be off, and by the name of the pair. They are also in the environment as E(TANDEM_NODE),
            E(TANDEM_NODE_ADDRESS) and E(TANDEM_PAIR).
          - Exit code 0 means that the machine is off, confirmed. Any other one means that nothing is known.
          - Either this or O(fence_agent.outcome) has to be given.
        type: list
        elements: str
      timeout:
        description: Seconds after which it is stopped and counts as failed. At most 600.
        type: float
        default: 30.0
      environment:
        description: Variables that are added to its environment. They appear in the output of C(-vvv), so name a file here for a secret.
        type: dict
        default: {}
      outcome:
        description: What became of an agent that was run before, as tasks of the playbook. See C(playbooks/failover.yml).
        type: dict
        suboptions:
          confirmed:
            description: Whether it confirmed that the machine is off.
            type: bool
            required: true
          text:
            description: What it did and said. It is kept in the guard's log.
            type: str
            required: true
  configuration:
    description: Whether a planned switchover compares the configuration of the nodes, see V(config_lag) of O(accept).
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
  permit_wait:
    description: Seconds for which a failover waits until the lease of the silent node has run out. At most 120.
    type: float
    default: 15.0
  serve_wait:
    description: Seconds for which to wait until a client is served. At most 600. Missing it is a warning and no failure.
    type: float
    default: 30.0
attributes:
  check_mode:
    description: Reads the state, decides and tells. Refuses as a real run does, as far as the controller can see it.
    support: full
  diff_mode:
    description: Shows the attached node before and after.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
seealso:
  - module: tandem.xprotect.pair_info
  - module: tandem.xprotect.pair_membership
"""

EXAMPLES = r"""
- name: Switch over to the other node (the pair's definition comes from module_defaults)
  tandem.xprotect.recorder_attachment:
    mode: switchover

- name: Have this node attached, whichever it is now
  tandem.xprotect.recorder_attachment:
    mode: switchover
    node: north-a

- name: Attach the node that is left
  tandem.xprotect.recorder_attachment:
    mode: failover

- name: Attach the node that is left, without waiting for the lease of the other one
  tandem.xprotect.recorder_attachment:
    mode: failover
    force: host north-a is powered off, seen at the hypervisor by J. Doe at 14:05

- name: Have the silent machine switched off first
  tandem.xprotect.recorder_attachment:
    mode: failover
    fence_agent:
      command: [/usr/local/bin/power-off-confirmed, "{node}"]
      timeout: 20

- name: Hand over although the other node lacks media
  tandem.xprotect.recorder_attachment:
    mode: switchover
    accept: [coverage]
"""

RETURN = r"""
attached:
  description: The node that is (check mode - would be) attached.
  returned: success
  type: str
previously_attached:
  description: The node that was attached before, null when nobody was or it did not answer.
  returned: success
  type: str
epoch:
  description: Number of the attachment.
  returned: success
  type: int
epoch_before:
  description: Highest number that the nodes knew before.
  returned: success
  type: int
steps:
  description: The steps and how long each took. Empty when nothing was done.
  returned: success
  type: list
  elements: dict
  contains:
    step:
      description: >-
        For example V(permit_wait), V(votes), V(permit), V(address), V(registration), V(recorder_attached), V(connection_seen),
        V(first_client_served).
      type: str
    seconds:
      description: How long it took.
      type: float
seconds:
  description: How long all of it took, up to the first client served.
  returned: success
  type: float
accepted:
  description: What would have refused it, had it not been accepted by name.
  returned: success
  type: list
  elements: str
fence:
  description: What the fence agent did, null when none was run.
  returned: success
  type: dict
  contains:
    confirmed:
      description: Whether the machine is off, confirmed.
      type: bool
    text:
      description: What it said.
      type: str
    seconds:
      description: How long it took.
      type: float
silent:
  description:
    - In check mode of a failover, the machine that a fence agent may switch off - its C(node), and in how many C(seconds) it has been
      silent for long enough (0 - it has). Null when there is none.
  returned: success
  type: dict
fingerprint:
  description: Hash of the identity C(before) and C(after), and whether they are C(equal). Null without O(management_server).
  returned: success
  type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import recorder_attachment


def main() -> None:
    run_module(recorder_attachment.ARGUMENT_SPEC, recorder_attachment)


if __name__ == "__main__":
    main()
