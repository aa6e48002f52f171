# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`LabHost`: the product's host interface on a lab machine."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host import base
from machine_helpers import Machine, alive, wait_for

from tandem_lab import subnet
from tandem_lab.machine import clock, image


@pytest.fixture
def host(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> t.Any:
    return machine.host(monkeypatch)


def test_it_is_the_products_interface_and_leaves_nothing_out(host: t.Any) -> None:
    assert isinstance(host, base.Host)
    assert not type(host).__abstractmethods__


def test_facts(host: t.Any, machine: Machine) -> None:
    assert (host.machine_name(), host.time_zone()) == ("machine-11", "Romance Standard Time")
    assert "simulated" in host.os_name()
    assert host.drives() == [base.Drive("C:", **image.DRIVES["C:"]), base.Drive("D:", **image.DRIVES["D:"])]
    machine.control.set_free_bytes("d:", 5)
    assert host.drives()[1].free_bytes == 5
    machine.control.set_free_bytes("D:", None)
    assert host.drives()[1].free_bytes == image.DRIVES["D:"]["free_bytes"]


def test_files(host: t.Any, machine: Machine) -> None:
    folder = host.path("C:\\programdata\\Tandem")
    assert folder == machine.folder / "C/ProgramData/Tandem"
    folder.mkdir()
    target, new = folder / "state.json", folder / "state.json.new"
    target.write_text("old")
    new.write_text("new")
    host.restrict_to_administrators(new)
    host.replace_file(new, target)
    assert target.read_text() == "new" and not new.exists()
    assert target.stat().st_mode & 0o077 == 0
    with pytest.raises(base.HostError, match="C:.ProgramData.Tandem.state.json"):
        host.replace_file(new, target)
    for text in ("state.json", "C:\\a\\..\\b", "/etc"):
        with pytest.raises(base.HostError):
            host.path(text)


def test_a_broken_disk_refuses_tandems_own_files(host: t.Any, machine: Machine) -> None:
    target = host.path("C:\\ProgramData\\state.json")
    new = target.with_name("state.json.new")
    for fault, code in (("full", 112), ("read-only", 19), ("gone", 21)):
        (machine.folder / "recorder-faults.json").write_text(json.dumps({"disk": {"C:": fault}}))
        machine.client.call("faults.reload")
        new.write_text(fault)
        with pytest.raises(base.HostError) as caught:
            host.replace_file(new, target)
        assert caught.value.code == code and not target.exists()
        assert [drive.letter for drive in host.drives()] == (["D:"] if fault == "gone" else ["C:", "D:"])
        assert fault != "full" or host.drives()[0].free_bytes == 0
    (machine.folder / "recorder-faults.json").unlink()
    machine.client.call("faults.reload")
    host.replace_file(new, target)
    assert target.read_text() == "gone"


def test_clocks_are_the_machines(host: t.Any, machine: Machine) -> None:
    site = clock.MachineClock(machine.folder)
    before = host.monotonic(), host.wall()
    site.step(3600.0)
    assert host.wall() - before[1] >= 3600.0 and host.monotonic() - before[0] < 3600.0
    site.set_rate(0.0)
    standing = host.monotonic()
    assert host.monotonic() == standing and host.wall() == host.wall()
    site.set_rate(1.0)
    wait_for(lambda: host.monotonic() > standing, "the clock goes on")
    first = host.vm_generation()
    assert site.new_generation() != first and host.vm_generation() not in ("", first)


def test_a_handle_means_one_process(host: t.Any, machine: Machine) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as program:
        handle = host.process(program.pid)
        assert handle.pid == program.pid and handle.alive()
        handle.kill()
        assert program.wait(60) == -signal.SIGKILL
        assert not handle.alive()
        handle.kill()
    with pytest.raises(base.HostError, match="no process"):
        host.process(program.pid)
    with pytest.raises(base.HostError, match="runtime archive"):
        host.start_runtime(["fuse"])


GUARD = """
import os, sys, time
sys.argv[0] = os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/node.pyz"
sys.path.insert(0, sys.argv[0])
from tandem_node.guard.fuse import Fuse
from tandem_node.host.base import FenceRules
from tandem_lab.machine.host import LabHost
host = LabHost()
def body(wait):
    fuse = Fuse(host, print)
    fuse.start()
    fuse.arm(host.monotonic() + 60.0)
    assert fuse.wait_told(60.0)
    permit = host.open_permit(FenceRules(()))
    with open(os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/pids.new", "w") as file:
        file.write(f"{os.getpid()} {fuse._child.pid}")
    os.replace(file.name, file.name[:-4])
    while not wait(0.1):
        if os.path.exists(os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/arm"):
            fuse.arm(host.monotonic() + 0.5)
    permit.close()
    fuse.stop()
host.run_service("Tandem Guard", body)
"""


@pytest.fixture
def guarded(host: t.Any, machine: Machine) -> tuple[int, int]:
    """A service with an open permit and a fuse. Numbers of its process and of its fuse's."""
    host.service_install("Tandem Guard", "Tandem Guard", machine.script("guard", GUARD), start_type="demand", restart_after=None)
    machine.file("node.pyz").write_bytes(_runtime_build.build())
    host.service_start("Tandem Guard")
    wait_for(machine.file("pids").exists, "the guard has a permit", 60)
    service, fuse = map(int, machine.file("pids").read_text().split())
    assert alive(fuse) and os.getpgid(fuse) == service and host.permit_open()
    assert pathlib.Path(f"/proc/{fuse}/cmdline").read_bytes().split(b"\0")[-2] == b"fuse"
    return service, fuse


def test_a_stopped_guard_loses_its_permit_by_the_fuse(host: t.Any, machine: Machine, guarded: tuple[int, int]) -> None:
    machine.file("arm").touch()
    os.kill(guarded[0], signal.SIGSTOP)
    # It was renewed for a minute before, or for half a second if it saw the file in time.
    clock.MachineClock(machine.folder).set_rate(100.0)
    wait_for(lambda: not host.permit_open(), "the permit is closed", 60)
    wait_for(lambda: host.service("Tandem Guard").state == "stopped", "the service has ended", 60)
    wait_for(lambda: not alive(guarded[1]), "the fuse has ended", 60)


@pytest.mark.parametrize("end", ["kill", "power cut", "stop"])
def test_the_fuse_ends_with_the_guard(host: t.Any, machine: Machine, guarded: tuple[int, int], end: str) -> None:
    os.kill(guarded[1], signal.SIGSTOP)  # it cannot end by itself
    if end == "kill":
        os.kill(guarded[0], signal.SIGKILL)
    elif end == "power cut":
        machine.power_off()
    else:
        host.service_stop("Tandem Guard")
    wait_for(lambda: not alive(guarded[1]), "the fuse has ended", 60)


def test_registry(host: t.Any, machine: Machine) -> None:
    key = "SOFTWARE\\WOW6432Node\\VideoOS\\Recorder\\Installation"
    assert host.registry_read(key, "RecorderIDOnMachine") is None
    host.registry_write(key, "RecorderIDOnMachine", "é-1")
    assert host.registry_read("hklm\\software\\wow6432node\\videoos\\recorder\\installation", "RECORDERIDONMACHINE") == "é-1"
    machine.power_off()
    machine.power_on()
    os.environ["TANDEM_LAB_MACHINE"] = machine.control.running()["socket"]
    assert type(host)().registry_read(key, "RecorderIDOnMachine") == "é-1"


def test_services(host: t.Any, machine: Machine) -> None:
    command = machine.script("sleeper", "import time\nfrom tandem_lab.machine.client import MachineClient\n"
                                        "MachineClient().call('service.ready')\ntime.sleep(1000)\n")
    host.service_install("Tandem Guard", "Tandem Guard", command, start_type="demand", restart_after=2.0)
    assert host.service("tandem guard") == base.ServiceStatus("Tandem Guard", "stopped", "demand", None, command)
    host.service_start("Tandem Guard")
    status = host.service("Tandem Guard")
    assert status.state == "running" and status.pid
    host.service_configure("Tandem Guard", start_type="disabled")
    assert host.service("Tandem Guard").start_type == "disabled"
    host.service_stop("Tandem Guard")
    host.service_remove("Tandem Guard")
    assert host.service("Tandem Guard") == base.ServiceStatus("Tandem Guard", "missing", "unknown")
    with pytest.raises(base.HostError) as caught:
        host.service_start("Tandem Guard")
    assert caught.value.code == 1060


def test_addresses_and_fence(host: t.Any, network: subnet.Subnet, machine: Machine) -> None:
    rules = base.FenceRules((network.address(2),), (7563, 9001))
    assert host.fence_rules() is None and not host.permit_open()
    host.fence_install(rules)
    host.fence_install(rules)
    assert host.fence_rules() == rules
    permit = host.open_permit(rules)
    assert host.permit_open()
    with pytest.raises(ConnectionRefusedError):  # allowed, and nobody is there
        host.connect(network.address(2), 9000, 2)
    permit.close()
    assert not host.permit_open()
    with pytest.raises(TimeoutError):
        host.connect(network.address(2), 9000, 2)
    host.hold_address(network.address(10), 24, 30.0)
    assert host.addresses()[machine.settings.address] is None
    assert 25 < host.addresses()[network.address(10)] <= 30
    host.drop_address(network.address(10))
    host.drop_address(network.address(10))
    assert list(host.addresses()) == [machine.settings.address]
    host.fence_remove()
    assert host.fence_rules() is None


def test_outside_a_machine_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from tandem_lab.machine.host import LabHost
    monkeypatch.delenv("TANDEM_LAB_ROOT", raising=False)
    with pytest.raises(base.HostError, match="does not run on a lab machine"):
        LabHost()
