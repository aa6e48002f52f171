#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: recorder_maintenance
short_description: Begin or end planned maintenance of a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Tells the guards of both nodes that somebody works on the pair. Until it ends no guard hands over by itself because a node's health is
    worse, and the witness reports the pair as being in maintenance.
  - That includes the takeover from a silent node under C(promotion=automatic). Resuming goes on, as do lease, fence and playbooks. It is no work lock.
  - It ends by itself after O(seconds).
  - A node that does not answer is a warning. The task fails when no guard answers.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  state:
    description: Whether maintenance is in force.
    type: str
    choices: [begun, ended]
    default: begun
  seconds:
    description:
      - After how long it ends by itself, from one minute to a week.
      - Maintenance that ends at about that time already (a tenth of it, at least a minute) is left as it is.
    type: int
    default: 3600
  reason:
    description: Who works on what. It is shown to everybody who looks at the pair. Needed with O(state=begun).
    type: str
attributes:
  check_mode:
    description: Tells which node would be told.
    support: full
  diff_mode:
    description: Lists the nodes that are told.
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
  - module: tandem.xprotect.pair_info
"""

EXAMPLES = r"""
- name: Two hours for Windows updates (the pair's definition comes from module_defaults)
  tandem.xprotect.recorder_maintenance:
    seconds: 7200
    reason: Windows updates, J. Doe

- name: Done
  tandem.xprotect.recorder_maintenance:
    state: ended
"""

RETURN = r"""
nodes:
  description: The nodes by name.
  returned: success
  type: dict
  contains:
    reachable:
      description: Whether its guard answered.
      type: bool
    changed:
      description: Whether it was (check mode - would be) told.
      type: bool
    until_ms:
      description: Until when maintenance was in force before, in milliseconds since 1970 by the node's clock. Null when it was not.
      type: int
    reason:
      description: The reason that was given for it.
      type: str
    error:
      description: Why its guard did not answer.
      type: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import recorder_maintenance


def main() -> None:
    run_module(recorder_maintenance.ARGUMENT_SPEC, recorder_maintenance, **recorder_maintenance.CONSTRAINTS)


if __name__ == "__main__":
    main()
