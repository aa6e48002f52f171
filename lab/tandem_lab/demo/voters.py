# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has voted for an attachment, and what the witness noticed: read from the voters' disks, nobody is asked."""

from __future__ import annotations

import datetime
import json
import re
import typing as t

from ..site import Site

DATA = "C/ProgramData/Tandem"
SILENCE = re.compile(r"^(?P<day>\S+) (?P<clock>\S+)Z event \d+ node_silent: .*?(?P<node>\S+) is silent for", re.MULTILINE)


class Votes(t.NamedTuple):
    """The highest epoch on any disk, its holder, and the machines whose voters have given it their vote."""

    epoch: int
    holder: str
    machines: list[str]

    def __str__(self) -> str:
        return f"epoch {self.epoch} of {self.holder} by {', '.join(self.machines)}"


def votes(site: Site) -> Votes:
    description = site.describe()
    pair = description["pairs"][0]
    records = {node["name"]: _record(site, node["name"], "guard/state.json") for node in pair["nodes"]}
    witness = description["witness"]["name"]
    records[witness] = _record(site, witness, f"witness/votes/{pair['name']}.json")
    epochs = {machine: tuple(record["epoch"]) for machine, record in records.items() if record}
    highest = max(epochs.values())
    return Votes(highest[0], highest[1], sorted(machine for machine, epoch in epochs.items() if epoch == highest))


def noticed_silence(site: Site, node: str, since_ms: int) -> int | None:
    """When (unix ms) the witness told for the first time since then that it hears nothing of a node."""
    log = site.machine_directory(site.describe()["witness"]["name"]) / DATA / "witness/witness.log"
    for match in SILENCE.finditer(log.read_text(encoding="utf-8", errors="replace")):
        told = datetime.datetime.fromisoformat(f"{match['day']}T{match['clock']}+00:00").timestamp() * 1000
        if match["node"] == node and told >= since_ms:
            return int(told)
    return None


def _record(site: Site, machine: str, file: str) -> dict | None:
    """A voter's durable record. It is replaced by a rename, so it is whole at any moment."""
    path = site.machine_directory(machine) / DATA / file
    if not path.exists():
        return None
    document = json.loads(path.read_bytes())
    return document.get("record", document)
