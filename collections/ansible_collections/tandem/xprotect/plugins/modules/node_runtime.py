#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_runtime
short_description: Bring Python and the Tandem runtime onto the nodes of a pair
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Everything that Tandem does on a recorder is done by its node runtime, one file that this collection builds from its own
    sources, on a private Python below C(C:\Program Files\Tandem). Neither touches another Python or the machine's environment.
  - The module asks the runtime of exactly this version whether it is there. Only when it is not, a short PowerShell script
    brings what is missing, checks its SHA-256 and puts it in place in one step.
  - Versions of the runtime lie side by side. Older ones are reported and not removed, since a running guard uses the file that
    it was started from.
notes:
  - An existing Python folder of Tandem is never replaced. Python is brought only to machines without it.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  python_archive:
    description:
      - File on the controller with the I(Windows embeddable package (64-bit)) of Python 3.11 or later, a zip archive.
      - Needed as long as a node has no Python of Tandem.
    type: path
  node:
    description:
      - Work on this node only, for example after one machine was replaced while the other is off.
    type: str
attributes:
  check_mode:
    description: Looks at the nodes and tells what would be brought. Nothing is sent to them but the question.
    support: full
  diff_mode:
    description: Tells per node what is present and missing, before and after.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - requests
seealso:
  - module: tandem.xprotect.node_info
"""

EXAMPLES = r"""
- name: Bring the runtime onto both nodes of the pair
  tandem.xprotect.node_runtime:
    pair: north
    recorder_id: 0a0b0c0d-0000-4000-8000-000000000001
    service_address:
      address: 10.0.0.10
    nodes:
      - name: north-a
        address: 10.0.0.11
        username: tandem@example.com
        password: "{{ vault_node_password }}"
      - name: north-b
        address: 10.0.0.12
        username: tandem@example.com
        password: "{{ vault_node_password }}"
    python_archive: files/python-3.13.1-embed-amd64.zip

- name: The same with the pair's definition from module_defaults, for a machine that was replaced
  tandem.xprotect.node_runtime:
    node: north-b
    python_archive: files/python-3.13.1-embed-amd64.zip
"""

RETURN = r"""
runtime_sha256:
  description: SHA-256 of the runtime of this version of the collection. Its first 16 digits name its folder.
  returned: success
  type: str
runtime_path:
  description: Where that runtime lies on the nodes.
  returned: success
  type: str
  sample: C:\Program Files\Tandem\runtime\0123456789abcdef\node.pyz
nodes:
  description: Per node what was found and done.
  returned: success
  type: dict
  contains:
    changed:
      description: Whether something was brought onto this node, in check mode whether it would be.
      type: bool
    before:
      description: What was there, each of C(python) and C(runtime) as C(present), C(missing) or C(damaged).
      type: dict
    after:
      description: What is there now.
      type: dict
    python:
      description: Version of Python on the node. Unknown before it was brought.
      type: str
    version:
      description: Version of the runtime on the node.
      type: str
    older_runtimes:
      description: Paths of other versions of the runtime that the node still knows.
      type: list
      elements: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import node_runtime


def main() -> None:
    run_module(node_runtime.ARGUMENT_SPEC, node_runtime)


if __name__ == "__main__":
    main()
