# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clocks of a machine: standing, going wrong, being set."""

from __future__ import annotations

import pathlib
import threading
import time
import typing as t

import pytest
from machine_helpers import Machine, wait_for

from tandem_lab import subnet
from tandem_lab.machine import clock as module
from tandem_lab.machine.clock import MachineClock


class Time:
    """This computer's clocks, in the test's hand."""

    def __init__(self) -> None:
        self.now = 5000.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Time:
    hand = Time()
    monkeypatch.setattr(module.time, "monotonic", lambda: hand.now)
    monkeypatch.setattr(module.time, "time", lambda: 1_700_000_000.0 + hand.now)
    return hand


def test_without_a_file_the_clocks_are_those_of_the_computer(tmp_path: pathlib.Path, real: Time) -> None:
    clock = MachineClock(tmp_path)
    assert (clock.monotonic(), clock.wall(), clock.generation(), clock.rate()) == (5000.0, 1_700_005_000.0, "", 1.0)


def test_a_boot_begins_the_monotonic_clock_anew_and_keeps_the_wall_clock(tmp_path: pathlib.Path, real: Time) -> None:
    clock = MachineClock(tmp_path)
    clock.boot()
    first, generation = clock.monotonic(), clock.generation()
    clock.step(60)
    real.pass_(10)
    assert clock.monotonic() == pytest.approx(first + 10)
    clock.boot()
    assert clock.monotonic() != pytest.approx(first + 10)
    assert clock.wall() == pytest.approx(1_700_005_070)
    assert clock.generation() == generation and len(generation) == 32


def test_a_step_moves_the_wall_clock_alone(tmp_path: pathlib.Path, real: Time) -> None:
    clock = MachineClock(tmp_path)
    clock.step(-3600)
    assert (clock.monotonic(), clock.wall()) == (5000.0, 1_700_001_400.0)


def test_a_clock_goes_wrong_and_stands_without_a_jump(tmp_path: pathlib.Path, real: Time) -> None:
    clock, reader = MachineClock(tmp_path), MachineClock(tmp_path)
    clock.set_rate(1.5)
    real.pass_(10)
    assert reader.monotonic() == pytest.approx(5015)
    clock.set_rate(0)
    real.pass_(100)
    assert (reader.monotonic(), reader.wall()) == pytest.approx((5015, 1_700_005_015))
    clock.set_rate(1)
    real.pass_(5)
    assert (reader.monotonic(), reader.wall()) == pytest.approx((5020, 1_700_005_020))
    with pytest.raises(ValueError, match="backwards"):
        clock.set_rate(-1)


def test_a_new_generation_is_seen_by_who_reads_already(tmp_path: pathlib.Path) -> None:
    clock, reader = MachineClock(tmp_path), MachineClock(tmp_path)
    assert clock.new_generation() == reader.generation() != clock.new_generation() == reader.generation()


def test_a_reader_never_sees_half_a_line(tmp_path: pathlib.Path) -> None:
    clock, reader = MachineClock(tmp_path), MachineClock(tmp_path)
    clock.set_rate(1)
    done = threading.Event()

    def write() -> None:
        for _ in range(500):
            clock.step(1000)
            clock.step(-1000)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = []
    while not done.is_set():
        seen.append(reader.wall() - time.time())
    thread.join()
    assert all(abs(off) < 1 or abs(off - 1000) < 1 for off in seen)


def test_a_file_that_is_none_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "clock").write_bytes(b"x" * 52)
    with pytest.raises(OSError, match="not a clock file"):
        MachineClock(tmp_path).wall()


def test_the_kernel_lives_by_the_machines_clock(machine: Machine, network: subnet.Subnet) -> None:
    clock = MachineClock(machine.folder)
    assert clock.generation()
    service_address = network.address(10)
    machine.control.call("address.hold", address=service_address, prefix=24, lifetime=60)
    clock.set_rate(0)

    def left() -> t.Any:
        return machine.control.call("address.list")["addresses"].get(service_address)

    standing = left()
    assert left() == standing
    clock.set_rate(1000)
    wait_for(lambda: left() is None, "a minute of the machine's clock has passed")
