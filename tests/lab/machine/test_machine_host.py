# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`LabHost`: the product's host interface on a lab machine."""

from __future__ import annotations

import os
import typing as t

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host import base
from machine_helpers import Machine

from tandem_lab import subnet
from tandem_lab.machine import image


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
    assert not _becomes_open(host)
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


def _becomes_open(host: t.Any) -> bool:
    """Closing is seen by the kernel a moment later."""
    for _ in range(1000):
        if not host.permit_open():
            return False
    return True


def test_outside_a_machine_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from tandem_lab.machine.host import LabHost
    monkeypatch.delenv("TANDEM_LAB_ROOT", raising=False)
    with pytest.raises(base.HostError, match="does not run on a lab machine"):
        LabHost()
