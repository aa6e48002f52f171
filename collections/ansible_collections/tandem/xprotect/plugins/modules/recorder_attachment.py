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
  - The guards of the nodes carry it out, and decide again for themselves. A failover is refused while the old node answers and serves,
    and waits until its permit has certainly ended.
  - With O(management_server) the result is measured as an integration sees it. The module waits until the recorder says that it is
    connected and until a client gets a live picture through the service address, and fails when the fingerprint of the pair is not the
    same as before.
  - Attachment never waits for the work lock. A running sync or backfill stops at its next step by itself.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  mode:
    description:
      - V(switchover) is the planned way. It needs both nodes and a Management Server that answers.
      - V(failover) attaches a node whose partner is down. It also attaches a node when neither is attached.
    type: str
    choices: [switchover, failover]
    required: true
  node:
    description:
      - The node that is to be attached.
      - Left out, it is the other one than the attached node. With O(mode=failover) it is the node that still answers.
    type: str
  force:
    description:
      - A text that says how you know that the other machine is off, for example V(power cable pulled, J. Doe 14:05). It is kept in the
        guard's log.
      - For O(mode=failover) only. It makes waiting for the other node's permit unnecessary. It never overrides a node that answers and
        says that it is attached.
    type: str
  permit_wait:
    description: Seconds for which a failover waits until the permit of the silent node has certainly ended. At most 120.
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

- name: Attach the node that is left, without waiting for the permit of the other one
  tandem.xprotect.recorder_attachment:
    mode: failover
    force: host north-a is powered off, seen at the hypervisor by J. Doe at 14:05
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
        For example V(permit_wait), V(epoch), V(permit), V(address), V(recorder_attached), V(connection_seen), V(first_client_served).
      type: str
    seconds:
      description: How long it took.
      type: float
seconds:
  description: How long all of it took, up to the first client served.
  returned: success
  type: float
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
