# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service manager, power, and boot order."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import typing as t

import pytest
from machine_helpers import Machine, alive, wait_for

from tandem_lab import subnet
from tandem_lab.machine.channel import MachineError

# A service on the product's host interface; it writes down when it was asked to stop.
SERVICE = """
import os, sys, types
sys.path.insert(0, "{product}")
import tandem_node.host.base
from tandem_lab.machine.host import LabHost

def body(wait):
    while not wait(30.0):
        pass
    with open(os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/stopped", "w") as file:
        file.write("yes")

LabHost().run_service("demo", body)
"""
SLEEPER = """
import time
from tandem_lab.machine.client import MachineClient
MachineClient().call("service.ready")
time.sleep(1000)
"""
CRASHER = """
import os, sys
from tandem_lab.machine.client import MachineClient
with open(os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/starts", "a") as file:
    file.write("x")
MachineClient().call("service.ready")
sys.exit(1)
"""


@pytest.fixture
def service_text(tmp_path: pathlib.Path) -> str:
    """The service, with the product's interface under the name that it has in the node runtime."""
    import ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base as base

    package = tmp_path / "product/tandem_node/host"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "base.py").write_bytes(pathlib.Path(base.__file__).read_bytes())
    return SERVICE.replace("{product}", str(tmp_path / "product"))


def test_a_service_starts_stops_and_is_told_to_stop(machine: Machine, service_text: str) -> None:
    machine.service("demo", service_text)
    assert machine.state("DEMO")["state"] == "stopped"
    machine.control.call("service.start", name="demo")
    running = machine.state("demo")
    assert running["state"] == "running" and alive(running["pid"])
    machine.control.call("service.start", name="demo")
    assert machine.state("demo")["pid"] == running["pid"]
    machine.control.call("service.stop", name="demo")
    assert machine.state("demo")["state"] == "stopped" and machine.file("stopped").read_text() == "yes"
    machine.control.call("service.stop", name="demo")
    assert machine.state("nothing")["state"] == "missing"
    with pytest.raises(MachineError) as caught:
        machine.control.call("service.start", name="nothing")
    assert caught.value.code == 1060


def test_a_service_is_pending_until_it_reports(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(service={"start_seconds": 0.5})
    machine.power_on()
    machine.service("silent", "import time\ntime.sleep(1000)\n")
    starter = subprocess.Popen([sys.executable, "-m", "tandem_lab.machine.ctl", "--dir", str(machine.folder), "call", "service.start",
                                json.dumps({"name": "silent"})], stderr=subprocess.PIPE)
    wait_for(lambda: machine.state("silent")["state"] == "start_pending", "the start is pending")
    assert starter.wait(10) == 1 and b"did not report" in starter.stderr.read()
    starter.stderr.close()
    assert machine.state("silent") == {**machine.state("silent"), "state": "stopped", "pid": None}


def test_a_service_that_ends_while_it_starts_is_an_error(machine: Machine) -> None:
    machine.service("broken", "raise SystemExit('no configuration')\n")
    with pytest.raises(MachineError, match="ended while it started") as caught:
        machine.control.call("service.start", name="broken")
    assert caught.value.code == 1067
    assert "no configuration" in (machine.folder / "logs/broken.log").read_text()


def test_crashed_services_restart_and_stopped_ones_do_not(machine: Machine) -> None:
    machine.service("sleeper", SLEEPER, restart_after=0.1)
    machine.control.call("service.start", name="sleeper")
    first = machine.state("sleeper")["pid"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: machine.state("sleeper")["pid"] not in (None, first) and machine.state("sleeper")["state"] == "running", "it restarts")
    machine.control.call("service.stop", name="sleeper")
    time.sleep(0.4)
    assert machine.state("sleeper")["state"] == "stopped"
    machine.service("crasher", CRASHER, restart_after=0.1)
    machine.control.call("service.configure", name="crasher", start_type="demand")
    try:
        machine.control.call("service.start", name="crasher")
    except MachineError:
        pass  # it was gone again before the start was seen
    wait_for(lambda: len(machine.file("starts").read_text()) >= 3, "it restarts again and again")


def test_start_types(machine: Machine) -> None:
    machine.service("sleeper", SLEEPER, start_type="disabled")
    with pytest.raises(MachineError, match="disabled") as caught:
        machine.control.call("service.start", name="sleeper")
    assert caught.value.code == 1058
    with pytest.raises(MachineError, match="start type"):
        machine.control.call("service.configure", name="sleeper", start_type="sometimes")
    machine.control.call("service.configure", name="sleeper", start_type="auto")
    machine.control.call("service.start", name="sleeper")
    with pytest.raises(MachineError, match="stop it before"):
        machine.control.call("service.remove", name="sleeper")
    machine.control.call("service.stop", name="sleeper")
    machine.control.call("service.remove", name="sleeper")
    machine.control.call("service.remove", name="sleeper")
    assert machine.state("sleeper")["state"] == "missing"


def test_a_service_that_does_not_stop_is_killed(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(service={"stop_seconds": 0.3})
    machine.power_on()
    machine.service("sleeper", SLEEPER, restart_after=0.1)
    machine.control.call("service.start", name="sleeper")
    pid = machine.state("sleeper")["pid"]
    os.kill(pid, signal.SIGSTOP)
    machine.control.call("service.stop", name="sleeper")
    assert not alive(pid) and machine.state("sleeper")["state"] == "stopped"


def test_only_the_service_itself_can_report(machine: Machine) -> None:
    with pytest.raises(MachineError, match="was not started as a service"):
        machine.client.call("service.ready")


def test_services_restart_at_boot_by_their_start_type(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(service={"delayed_start_seconds": 0.2})
    machine.power_on()
    for start_type in ("auto", "delayed-auto", "demand"):
        machine.service(start_type, SLEEPER, start_type=start_type)
    assert {machine.state(name)["state"] for name in ("auto", "delayed-auto", "demand")} == {"stopped"}
    machine.power_off()
    machine.power_on()
    for name in ("auto", "delayed-auto"):
        wait_for(lambda name=name: machine.state(name)["state"] == "running", f"{name} starts")
    assert machine.state("demand")["state"] == "stopped"


def test_a_power_cut_leaves_no_process(machine: Machine, network: subnet.Subnet) -> None:
    machine.service("sleeper", SLEEPER)
    machine.control.call("service.start", name="sleeper")
    pid = machine.state("sleeper")["pid"]
    os.kill(pid, signal.SIGSTOP)  # even a frozen one
    machine.power_off()
    wait_for(lambda: not alive(pid), "the service ends with its machine")
    assert machine.control.running() is None
    with pytest.raises(MachineError, match="is off"):
        machine.control.status()
    machine.power_on()


def test_a_shutdown_stops_services_in_good_order(machine: Machine, service_text: str) -> None:
    machine.service("demo", service_text)
    machine.control.call("service.start", name="demo")
    machine.kernel.terminate()
    assert machine.kernel.wait(10) == 0
    assert machine.file("stopped").read_text() == "yes"
    assert machine.control.running() is None


def test_a_machine_runs_once(machine: Machine) -> None:
    second = subprocess.run([sys.executable, "-m", "tandem_lab.machine", "--dir", str(machine.folder)], capture_output=True, timeout=20)
    assert second.returncode == 1 and b"runs already" in second.stderr
    assert machine.control.running() is not None


def test_the_fence_stands_at_boot_before_any_service(machine: Machine, network: subnet.Subnet) -> None:
    """A service that starts with the machine connects at once, again and again, to where it must not."""
    machine.service("eager", f"""
import os, time
from tandem_lab.machine.client import MachineClient
client = MachineClient()
lines = open(os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/attempts", "a")
for _ in range(3):
    try:
        client.connect("{network.address(2)}", 9000, 5).close()
        lines.write("connected\\n")
    except OSError as error:
        lines.write(type(error).__name__ + "\\n")
lines.close()
client.call("service.ready")
time.sleep(1000)
""", start_type="auto")
    machine.control.call("fence.install", rules={"management_addresses": [network.address(2)], "inbound_ports": [7563]})
    import socket
    with socket.create_server((network.address(2), 9000)):
        machine.power_off()
        machine.power_on()
        wait_for(lambda: machine.state("eager")["state"] == "running", "the service runs")
        assert machine.file("attempts").read_text() == "TimeoutError\n" * 3
        machine.control.call("fence.remove")
        machine.client.connect(network.address(2), 9000, 5).close()


def test_the_events_tell_the_story(machine: Machine) -> None:
    machine.service("sleeper", SLEEPER)
    machine.control.call("service.start", name="sleeper")
    events = [json.loads(line) for line in (machine.folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events][:3] == ["boot", "address_added", "booted"]
    assert [event["state"] for event in events if event["event"] == "service_state"] == ["start_pending", "running"]
    sleeper = machine.state("sleeper")["pid"]
    machine.control.call("service.stop", name="sleeper")
    machine.client.open_permit().close()

    def log() -> list[dict[str, t.Any]]:
        return [json.loads(line) for line in (machine.folder / "events.jsonl").read_text().splitlines()]

    wait_for(lambda: any(event["event"] == "permit_closed" for event in log()), "the permit closes")
    kinds = {event["event"]: event for event in log()}
    assert kinds["process_started"]["pid"] == kinds["process_ended"]["pid"] == sleeper
    assert kinds["permit_opened"]["permit"] == kinds["permit_closed"]["permit"]
    times = [event["t_ms"] for event in log()]
    assert times == sorted(times)
