#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: media_backfill
short_description: Bring the headless node the media that only its partner has
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - Compares what both nodes hold, copies the closed tables that the headless node lacks directly from node to node, imports them into
    its banks, and checks that they are there.
  - Media is only ever imported on a headless node. What the attached node lacks is planned, and reported as waiting for a switchover.
  - Copying goes on where it stopped when a run was interrupted. An import that was cut off is brought to its end.
  - Media is never deleted or overwritten. An open table is not copied. Its rest comes with a later run, and the result says up to which
    time the node is complete.
extends_documentation_fragment:
  - tandem.xprotect.pair
options:
  target:
    description:
      - V(headless) copies to the headless node and imports there.
      - V(attached) only copies to the attached node, for the time after its next switchover. V(both) does both.
    type: str
    choices: [headless, attached, both]
    default: headless
  strategy:
    description:
      - How the recorder is made to read imported tables. V(restart) restarts the recorder of the headless node, while its partner records.
      - V(remount) is for versions of XProtect that read a bank again without a restart (assumption C(bank_remount_reloads_tables)). Nodes
        whose runtime does not have it refuse.
    type: str
    choices: [restart, remount]
    default: restart
  tolerance_ms:
    description: Spans that are missing for no longer than this do not count.
    type: int
    default: 1000
  variance:
    description:
      - What to do with spans that the node lacks although it could record then, for example motion that only its partner found.
      - V(none) leaves them, V(long) fetches those of at least O(variance_min_ms), V(all) fetches all.
    type: str
    choices: [none, long, all]
    default: long
  variance_min_ms:
    description: Length from which a span counts as long.
    type: int
    default: 10000
  restart_span_max_ms:
    description: Restarts by Tandem that were shorter than this are treated as O(include_restarts) says. Longer ones are gaps.
    type: int
    default: 300000
  include_restarts:
    description:
      - Also fetch the short spans in which Tandem itself restarted the recorder of the node, when nothing else is to be fetched.
      - Each import restarts the recorder again, so there is no end to it. They come with the next real import in any case.
    type: bool
    default: false
  accept_not_recorded:
    description: Ids of devices that the partner does not record now, and whose span of the restart may be lost.
    type: list
    elements: str
    default: []
  reserve_bytes:
    description:
      - How many bytes must stay free on a drive that tables are copied to.
      - Below 5 GB of free space a recorder archives or deletes its oldest media.
    type: int
    default: 5368709120
  bytes_per_second:
    description: The fastest that tables are copied. V(0) for no limit.
    type: int
    default: 0
  stage_timeout:
    description: Seconds after which copying is given up. The next run goes on where it stopped.
    type: int
    default: 86400
attributes:
  check_mode:
    description: Makes the plan and returns it, with the number of bytes.
    support: full
  diff_mode:
    description: Lists the tables, at most 200 of them.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
seealso:
  - module: tandem.xprotect.media_coverage_info
"""

EXAMPLES = r"""
- name: Show what the headless node lacks (the pair's definition comes from module_defaults)
  tandem.xprotect.media_backfill:
  check_mode: true
  register: plan

- name: Bring it
  tandem.xprotect.media_backfill:
    variance: all

- name: Copy to both nodes, so that only the import is left after the next switchover
  tandem.xprotect.media_backfill:
    target: both
"""

RETURN = r"""
node:
  description: The headless node.
  returned: success
  type: str
partner:
  description: The attached node.
  returned: success
  type: str
tables:
  description: The tables of the plan. Times are Unix milliseconds.
  returned: success
  type: list
  elements: dict
  contains:
    bank:
      description: Id of the storage.
      type: str
    name:
      description: Name of the table.
      type: str
    device:
      description: Id of the device.
      type: str
    begin:
      description: Begin of its media.
      type: int
    end:
      description: End of its media.
      type: int
    bytes:
      description: Its size.
      type: int
    reason:
      description: V(gap) or V(variance).
      type: str
bytes:
  description: Size of all tables of the plan.
  returned: success
  type: int
staged:
  description:
    - How many tables and bytes were copied, in how many seconds, and which could not be copied.
    - Null when there was nothing to copy.
  returned: success
  type: dict
imported:
  description: The tables that were imported.
  returned: success
  type: list
  elements: dict
restart_span:
  description: Begin and end of the restart of the recorder. Null when there was none.
  returned: success
  type: list
  elements: int
verified:
  description: Whether all of it was found in the banks afterwards. Null when there was nothing to import.
  returned: success
  type: bool
not_closed:
  description: Spans that are only in open tables of the partner. A later run fetches them.
  returned: success
  type: list
  elements: dict
left_restarts:
  description: Spans of restarts by Tandem that were left for the next real import.
  returned: success
  type: list
  elements: dict
skipped:
  description: Tables that the node cannot take, with the reason.
  returned: success
  type: list
  elements: dict
damaged:
  description: Tables of the partner that are damaged.
  returned: success
  type: list
  elements: dict
complete_until:
  description: Time up to which the headless node is complete after this run.
  returned: success
  type: int
held:
  description: What the attached node lacks - C(node), C(tables), C(bytes), C(complete_until), and what was C(staged) there.
  returned: success
  type: dict
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import media_backfill


def main() -> None:
    run_module(media_backfill.ARGUMENT_SPEC, media_backfill)


if __name__ == "__main__":
    main()
