# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A lab machine for each test that asks for one, on a network of its own."""

from __future__ import annotations

import pathlib
import signal
import typing as t
import zipfile

import pytest
from machine_helpers import PASSWORD, USER, Machine

from tandem_lab import subnet
from tandem_lab.machine import image, settings


@pytest.fixture
def network() -> t.Iterator[subnet.Subnet]:
    with subnet.claim() as claimed:
        yield claimed


@pytest.fixture
def make_machine(tmp_path: pathlib.Path, network: subnet.Subnet) -> t.Iterator[t.Callable[..., Machine]]:
    made: list[Machine] = []

    def make(last: int = 11, python: bool = True, **values: t.Any) -> Machine:
        machine_settings = settings.from_document({
            "name": f"machine-{last}", "address": network.address(last), "subnet": network.network, "users": {USER: PASSWORD},
            "drives": image.DRIVES, "time_zone": "Romance Standard Time", "blocked_connect_seconds": 0.2, **values})
        folder = tmp_path / machine_settings.name
        image.create(folder, machine_settings)
        if python:
            image.python_archive(tmp_path / "python-embed.zip")
            with zipfile.ZipFile(tmp_path / "python-embed.zip") as archive:
                archive.extractall(folder / "C/Program Files/Tandem/python")
            (folder / "C/Program Files/Tandem/python/python.exe").chmod(0o755)
        machine = Machine(folder, machine_settings)
        made.append(machine)
        return machine

    yield make
    for machine in made:
        if machine.kernel is not None:
            machine.kernel.send_signal(signal.SIGCONT)
        machine.power_off()


@pytest.fixture
def machine(make_machine: t.Callable[..., Machine]) -> Machine:
    made = make_machine()
    made.power_on()
    return made
