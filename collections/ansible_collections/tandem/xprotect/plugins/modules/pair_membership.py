#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: pair_membership
short_description: Have the right voters in a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - A pair has up to three voters, its two nodes and the witness. Two of three decide who may be attached.
  - A forced failover removes the other node from the voters. It stays removed, and can be neither attached nor heard, until it is taken
    back with O(rejoin).
  - The witness gets a vote when O(witness) is given, and loses it when it is not.
  - The attached node makes the change, by the votes of those who have one. Nobody's attachment changes.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  rejoin:
    description:
      - Name of the node that is to be taken back. Its guard has to answer and to be headless, and its fence has to stand.
      - A node that has its vote is left as it is.
      - Left out, only the witness is looked at.
    type: str
attributes:
  check_mode:
    description: Tells who would get a vote or lose it.
    support: full
  diff_mode:
    description: Shows the voters before and after.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
seealso:
  - module: tandem.xprotect.recorder_attachment
  - module: tandem.xprotect.node_guard
"""

EXAMPLES = r"""
- name: Take a machine back that was declared to be off (the pair's definition comes from module_defaults)
  tandem.xprotect.pair_membership:
    rejoin: north-a

- name: Show who votes, and have the witness vote if it is to
  tandem.xprotect.pair_membership:
  register: membership
"""

RETURN = r"""
attached:
  description: The attached node, which knows who votes.
  returned: success
  type: str
voters:
  description: Who has a vote, the nodes by name and the literal word V(witness). In check mode as they would be.
  returned: success
  type: list
  elements: str
removed:
  description: Nodes of the pair that have no vote.
  returned: success
  type: list
  elements: str
changes:
  description: By voter V(joins) or V(leaves). Empty when nothing had to be done.
  returned: success
  type: dict
membership:
  description: The membership as the attached node has it, with its C(number), which grows at each change.
  returned: success
  type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import pair_membership


def main() -> None:
    run_module(pair_membership.ARGUMENT_SPEC, pair_membership)


if __name__ == "__main__":
    main()
