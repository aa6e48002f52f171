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
  permit_ttl:
    description:
      - Seconds after which the fence closes by itself when the guard does not renew its permit, from 4 to 60.
      - A failover after a silent death of the attached node has to wait for so long, and one second more.
    type: float
    default: 8.0
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
"""

RETURN = r"""
adopted:
  description: Name of the node that was (check mode - would be) taken over, null when there was none to take over.
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
