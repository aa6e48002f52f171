#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_guard
short_description: Set up guard and fence on both nodes of a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - The fence keeps a node away from the Management Server and from clients. The guard, a small service on each node, opens it
    for the node that is attached, and the two guards agree which one that is.
  - Certificates for their connection are made on the controller once, one for each node. Each node pins its partner's. The
    private keys go to the nodes and are kept nowhere else.
  - A node that serves clients now is only taken over with O(adopt). Its guard opens the permit before the fence stands, so that
    no client is cut off. Every other node is fenced first.
  - With O(witness) both nodes also pin the certificate of the witness, and the witness gets a vote once it knows the pair
    (M(tandem.xprotect.witness_pair) registers it there).
  - The guard of an attached node is never restarted. New settings or a new runtime wait there until the node is headless.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  adopt:
    description:
      - Take over the node that serves clients now. Needed once for each pair, and harmless ever after.
      - Without it the module refuses to fence a node that serves.
    type: bool
    default: false
  management_addresses:
    description:
      - IPv4 addresses (or names that the controller can resolve) of the Management Server. The fence blocks them.
      - Left out, they are those of O(management_server.url) and of the server that the recorder itself is configured for.
    type: list
    elements: str
    default: []
  lease_ttl:
    description:
      - Seconds for which two of the three voters promise an attached node that nobody else is attached, from 4 to 60. It renews every
        second, and the fence closes by itself when it cannot.
      - A failover after a silent death of the attached node has to wait for so long at most.
    type: float
    default: 8.0
  lease_drift:
    description: How much the clocks of two machines may differ in speed, as a share from 0 to 0.05. It makes the lease's margin.
    type: float
    default: 0.01
  promotion:
    description:
      - V(playbook) - after a silent death somebody (or something) has to run M(tandem.xprotect.recorder_attachment).
      - V(automatic) - the guard that is left takes over by itself, by the same votes. It needs O(witness).
      - In both cases the last holder resumes by itself after a restart, when nobody took over meanwhile.
    type: str
    choices: [playbook, automatic]
    default: playbook
  registration:
    description:
      - Whether a machine keeps its registration at the Management Server while its twin is attached (assumption
        C(client_registration_shareable)). V(once) - it does. V(each_time) - it registers anew at each attachment.
      - V(each_time) is refused together with O(promotion=automatic), because registering needs an administrator's logon, unless
        O(register.task) names a task that has one.
    type: str
    choices: [once, each_time]
    default: once
  register:
    description: How a machine registers with O(registration=each_time). The default is the vendor's Server Configurator.
    type: dict
    suboptions:
      command:
        description: Program (full path) and arguments on the node.
        type: list
        elements: str
      task:
        description: Name of a scheduled task on the nodes that registers with stored credentials, in the place of O(register.command).
        type: str
      timeout:
        description: Seconds that it may take.
        type: float
        default: 60.0
  health:
    description:
      - Figures of the guards' judgement about the recorders, where they differ from the built-in ones, for example C(stand), C(better_by),
        C(better_for) and C(between). The guard checks them and names the ones that it knows.
    type: dict
  guard_fence_agent:
    description:
      - A program on the nodes that switches the other machine off, for O(promotion=automatic). The guard runs it before it takes over after
        silence.
      - The agent that the controller runs is an option of M(tandem.xprotect.recorder_attachment).
    type: dict
    suboptions:
      command:
        description:
          - Program on the node and its arguments. C({node}), C({address}) and C({pair}) are replaced, see
            M(tandem.xprotect.recorder_attachment).
          - Exit code 0 means that the machine is off, confirmed.
        type: list
        elements: str
        required: true
      timeout:
        description: Seconds after which it counts as failed, from 1 to 300.
        type: float
        default: 30.0
attributes:
  check_mode:
    description: Compares files, service, fence and attachment with what they should be and changes none of them.
    support: full
  diff_mode:
    description: Lists what is changed on each node. Keys and certificates are not shown.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
  - cryptography
seealso:
  - module: tandem.xprotect.node_runtime
  - module: tandem.xprotect.recorder_attachment
  - module: tandem.xprotect.pair_membership
"""

EXAMPLES = r"""
- name: Set up the guards of a new pair and take over the recorder that serves (the definition comes from module_defaults)
  tandem.xprotect.node_guard:
    adopt: true

- name: The same with the addresses of a Management Server cluster
  tandem.xprotect.node_guard:
    adopt: true
    management_addresses:
      - 10.0.0.2
      - 10.0.0.3

- name: Let the guards act by themselves, after their own fence agent
  tandem.xprotect.node_guard:
    promotion: automatic
    guard_fence_agent:
      command: ['C:\Program Files\PowerSwitch\off.exe', --outlet, "{node}"]
"""

RETURN = r"""
adopted:
  description: Name of the node that was (check mode - would be) taken over, null when there was none to take over.
  returned: success
  type: str
witness:
  description: V(joins) or V(leaves) when the witness got (check mode - would get) a vote or lost it, null when that stayed as it was.
  returned: success
  type: str
nodes:
  description: Per node what was done.
  returned: success
  type: dict
  contains:
    changed:
      description: Whether something was (check mode - would be) changed on this node.
      type: bool
    items:
      description: What was changed, for example V(node.json), V(service), V(fence) or V(attachment).
      type: list
      elements: str
    guard_pending:
      description: Whether something waits until this node is headless.
      type: bool
    certificate:
      description: The node's certificate (PEM), as the witness has to know it. It is not secret.
      type: str
    certificate_sha256:
      description: SHA-256 of the node's certificate.
      type: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_guard


def main() -> None:
    run_module(node_guard.ARGUMENT_SPEC, node_guard)


if __name__ == "__main__":
    main()
