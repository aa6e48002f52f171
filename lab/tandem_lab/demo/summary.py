# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a story: the measured figures, and which promise each of them keeps or breaks."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import typing as t

from .screen import Screen


@dataclasses.dataclass
class Promise:
    text: str
    kept: bool
    evidence: str


class Summary:
    """Figures are only ever put in by what measured them; `write` refuses to leave one of `required` out."""

    def __init__(self, required: t.Sequence[str]) -> None:
        self.required = tuple(required)
        self.figures: dict[str, t.Any] = {}
        self.promises: list[Promise] = []

    def measured(self, name: str, value: t.Any) -> None:
        if name in self.figures:
            raise ValueError(f"{name} was measured already")
        self.figures[name] = value

    def promise(self, text: str, kept: bool, evidence: str) -> None:
        self.promises.append(Promise(text, bool(kept), evidence))

    @property
    def broken(self) -> list[Promise]:
        return [promise for promise in self.promises if not promise.kept]

    def write(self, path: pathlib.Path) -> None:
        missing = [name for name in self.required if name not in self.figures]
        if missing:
            raise ValueError(f"never measured: {', '.join(missing)}")
        document = dict(self.figures, promises=[dataclasses.asdict(promise) for promise in self.promises])
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".new")
        beside.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(beside, path)

    def show(self, screen: Screen, rows: list[tuple[str, str]]) -> None:
        screen.table("Measured in this run", ["figure", "value"], [list(row) for row in rows])
        screen.console.print()
        for promise in self.promises:
            line = f"{promise.text}: {promise.evidence}"
            screen.good(line) if promise.kept else screen.bad(line)
