# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines of a site as they are before Tandem comes.

Of each pair one serves and the other has a recorder that never connected; the witness's machine has no recorder at all.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ..machine import image
from ..machine.settings import MachineSettings
from .layout import TIME_ZONE, VERSION, Layout, NodePlan, PairPlan, WitnessPlan

# Two recorders never find motion in exactly the same frames: each machine has a threshold of its own.
MOTION_THRESHOLDS = (0.25, 0.4)


def create_pair(layout: Layout, pair: PairPlan, folder: Path, settings: Path) -> None:
    for index, node in enumerate(pair.nodes):
        serves = index == 0
        image.create(
            folder / node.name,
            _settings(layout, node, image.DRIVES, settings=str(settings), lab={"motion_threshold": MOTION_THRESHOLDS[index]}),
            _recorder(layout, node, pair.service_address if serves else node.address),
            recorder_start_type="auto" if serves else "demand",
            static_addresses={pair.service_address: 24} if serves else {},
        )


def create_witness(layout: Layout, folder: Path) -> None:
    image.create(folder / layout.witness.name, _settings(layout, layout.witness, {"C:": image.DRIVES["C:"]}))


def _settings(layout: Layout, plan: NodePlan | WitnessPlan, drives: dict[str, dict[str, int]], **values: t.Any) -> MachineSettings:
    return MachineSettings(
        name=plan.name,
        address=plan.address,
        subnet=f"{layout.subnet}.0/24",
        users={plan.username: plan.password},
        drives=drives,
        time_zone=TIME_ZONE,
        **values,
    )


def _recorder(layout: Layout, node: NodePlan, host: str) -> image.RecorderValues:
    return image.RecorderValues(
        recorder_id=node.recorder_id,
        name=node.recorder_name,
        host=host,
        server_address=layout.server_address,
        server_url=layout.http_url,
        client_registration_id=node.client_registration_id,
        version=VERSION,
    )
