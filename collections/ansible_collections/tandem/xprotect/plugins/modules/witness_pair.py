#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: witness_pair
short_description: Have a witness know a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - A witness votes only for pairs that it knows, and talks only to machines that show the certificate of a node of one of them. This module
    reads the certificates of both nodes and registers them there.
  - The vote itself begins when the attached node takes the witness into the pair (module M(tandem.xprotect.pair_membership)).
  - A pair that is registered for the first time, or again after it was removed, has to be admitted by both nodes. They do
    that by themselves.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  state:
    description:
      - Whether the witness knows the pair. Take the witness out of the pair (leave out O(witness), run M(tandem.xprotect.pair_membership))
        before it forgets it.
    type: str
    choices: [present, absent]
    default: present
  lease_ttl:
    description:
      - Seconds for which a vote counts, the same as for M(tandem.xprotect.node_guard).
      - While the nodes use a longer one, the witness keeps to that.
    type: float
    default: 8.0
  lease_drift:
    description: Largest relative error of a clock's rate, the same as for M(tandem.xprotect.node_guard).
    type: float
    default: 0.01
attributes:
  check_mode:
    description: Compares what the witness knows with what it should know.
    support: full
  diff_mode:
    description: Tells whether the pair is registered or removed. Certificates are not shown.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
seealso:
  - module: tandem.xprotect.witness
  - module: tandem.xprotect.node_guard
  - module: tandem.xprotect.pair_membership
"""

EXAMPLES = r"""
- name: The witness knows the pair (the definition comes from module_defaults, its option witness names the machine)
  tandem.xprotect.witness_pair:

- name: It forgets the pair
  tandem.xprotect.witness_pair:
    state: absent
"""

RETURN = r"""
running:
  description: Whether the service of the witness answers. Not known in check mode.
  returned: success
  type: bool
state:
  description: How the witness sees the pair, for example V(ok), V(degraded), V(silent) or V(unknown).
  returned: success
  type: str
certificate:
  description: Certificate (PEM) of the witness, which both nodes pin.
  returned: success
  type: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import witness_pair


def main() -> None:
    run_module(witness_pair.ARGUMENT_SPEC, witness_pair)


if __name__ == "__main__":
    main()
