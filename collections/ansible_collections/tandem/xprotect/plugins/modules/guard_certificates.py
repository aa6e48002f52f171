#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: guard_certificates
short_description: Give the guards of a pair new certificates
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Makes new certificates for the guards of both nodes and exchanges them one after the other. Nobody shows a new certificate before those
    who have to accept it run with the old and the new one.
  - The guard of an attached node is never restarted, so attachment moves to the other node for a moment and back. Recorders are not
    touched.
  - With O(witness) and a connection to it, the witness is told both certificates before, and the new ones alone afterwards.
  - The certificate of the witness that O(witness) gives is pinned on both nodes in the same pass. When it is to be exchanged itself, let
    O(witness.certificate) hold the old and the new one, run this, exchange it at the witness, and run this again with the new one alone.
  - After a failure run M(tandem.xprotect.node_guard), which brings in line what the nodes accept, and this again.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  within_days:
    description:
      - Do it only when a certificate ends within so many days.
      - Left out, it is done in any case.
    type: int
  serve_wait:
    description: Seconds for which to wait until a client is served after a switchover. Missing it is a warning and no failure.
    type: float
    default: 30.0
attributes:
  check_mode:
    description: Tells whether it would be done, with the certificates of now.
    support: full
  diff_mode:
    description: Lists the nodes that get a new certificate. Certificates are not shown.
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
  - module: tandem.xprotect.node_guard
"""

EXAMPLES = r"""
- name: New certificates now (the pair's definition comes from module_defaults)
  tandem.xprotect.guard_certificates:

- name: New certificates in the last year of the old ones
  tandem.xprotect.guard_certificates:
    within_days: 365
"""

RETURN = r"""
nodes:
  description: The certificates that the nodes have afterwards, by node.
  returned: success
  type: dict
  contains:
    certificate:
      description: The certificate (PEM). It is not secret.
      type: str
    sha256:
      description: SHA-256 of it.
      type: str
    not_after:
      description: The day on which it ends.
      type: str
    days_left:
      description: How many days that is from now.
      type: int
attached:
  description: The node that was attached before, and is afterwards.
  returned: success
  type: str
switchovers:
  description: How often attachment moved meanwhile.
  returned: success
  type: int
pending:
  description: Nodes whose guards go on accepting the old certificate too until they start anew.
  returned: success
  type: list
  elements: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import guard_certificates


def main() -> None:
    run_module(guard_certificates.ARGUMENT_SPEC, guard_certificates)


if __name__ == "__main__":
    main()
