#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: media_coverage_info
short_description: Tell which media each node of a pair holds
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Gives, per device, the spans of time for which each node holds recorded media, the union of both, what each node lacks of
    that union, and the spans in between that neither holds.
  - A node that does not answer is reported. The task fails only when neither node answers.
notes:
  - A span that neither node holds can be an idle one, in which there was no reason to record.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  devices:
    description: Only these devices, by id or by name. Empty for all.
    type: list
    elements: str
    default: []
  tolerance_ms:
    description: Spans that are missing for no longer than this do not count.
    type: int
    default: 1000
  spans:
    description: Whether to return the spans themselves and not the sums and lacks alone.
    type: bool
    default: true
attributes:
  check_mode:
    description: Only reads, with and without check mode.
    support: full
  diff_mode:
    description: Changes nothing, so there is no difference to show.
    support: none
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
seealso:
  - module: tandem.xprotect.media_backfill
"""

EXAMPLES = r"""
- name: Read what the nodes hold (the pair's definition comes from module_defaults)
  tandem.xprotect.media_coverage_info:
    spans: false
  register: held

- name: Show the devices of which a node lacks media
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ item.nodes }}"
  loop: "{{ held.devices }}"
  when: item.nodes.values() | selectattr('lacks') | list | length > 0

- name: Look at one camera
  tandem.xprotect.media_coverage_info:
    devices: [Loading dock]
"""

RETURN = r"""
devices:
  description: The devices, ordered by id. Times are Unix milliseconds.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: Id of the device.
      type: str
    name:
      description: Name of the device, as it stands in the media.
      type: str
    nodes:
      description: Per node its C(spans), their C(seconds), the spans that it C(lacks), and C(lacks_seconds).
      type: dict
    union:
      description: What both together hold.
      returned: when O(spans) is set
      type: list
      elements: list
    union_seconds:
      description: How long that is.
      type: float
    neither:
      description: Spans between the first and the last media that neither node holds.
      type: list
      elements: list
summary:
  description: The sums over all devices.
  returned: success
  type: dict
nodes:
  description: Per node whether it answered, how many tables and bytes it holds, and when Tandem restarted its recorder.
  returned: success
  type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import media_coverage_info


def main() -> None:
    run_module(media_coverage_info.ARGUMENT_SPEC, media_coverage_info)


if __name__ == "__main__":
    main()
