# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node runtime as a file on the controller, to be copied to a witness on Linux by Ansible's own means."""

from __future__ import annotations

DOCUMENTATION = r"""
name: node_runtime
short_description: Path of the node runtime as one file
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Builds the node runtime of this version of the collection (the same bytes on every controller) below Ansible's temporary folder on the
    controller and returns the path.
options: {}
"""

EXAMPLES = r"""
- name: Bring the runtime onto a witness on Linux
  ansible.builtin.copy:
    src: "{{ lookup('tandem.xprotect.node_runtime') }}"
    dest: /opt/tandem/node.pyz
    mode: "0644"
"""

RETURN = r"""
_raw:
  description: Path of the file on the controller.
  type: list
  elements: path
"""

import os
import typing as t

from ansible import constants
from ansible.plugins.lookup import LookupBase

from ..module_utils import _runtime_build


class LookupModule(LookupBase):
    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[str]:
        path = os.path.join(constants.DEFAULT_LOCAL_TMP, f"tandem-node-{_runtime_build.sha256()[:16]}.pyz")
        if not os.path.exists(path):
            beside = f"{path}.{os.getpid()}"  # several hosts may ask at once
            with open(beside, "wb") as file:
                file.write(_runtime_build.build())
            os.replace(beside, path)
        return [path]
