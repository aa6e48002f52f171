# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of a running site: each one bites, and is gone when it ends."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from tandem_lab import disks
from tandem_lab.faults import FaultError, standstill
from tandem_lab.integrations.vms_client import http, lab_recorders
from tandem_lab.machine.channel import MachineError
from tandem_lab.machine.clock import MachineClock
from tandem_lab.machine.client import MachineClient
from tandem_lab.site import Site, SiteError
from tandem_lab.site.processes import start_time

pytestmark = pytest.mark.site
A, B, WITNESS = "pair1-a", "pair1-b", "witness-1"
PYTHON = '"C:\\Program Files\\Tandem\\python\\python.exe"'
SILENCE_SECONDS = 0.4

# A stand-in for a Tandem service: it echoes on its port; with the argument "family" it starts a child, as a guard does with its fuse.
ECHO = """
import asyncio, subprocess, sys
from tandem_lab.machine import aio

async def echo(reader, writer):
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()
    writer.close()

async def main():
    if sys.argv[1:] == ["family"]:
        subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1000)", "fuse"])
    await aio.start_server(11443, echo)
    await aio.service_ready()
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    made.create(cameras=2, settings={"table_seconds": 4})
    try:
        made.up(die_with_parent=True)
        for machine in (A, B, WITNESS):
            _install(made, machine)
        yield made
    finally:
        made.down()


def _install(site, machine):
    """The services that faults know by their names."""
    import zipfile
    folder = site.machine_directory(machine) / "C/Program Files/Tandem"
    with zipfile.ZipFile(site.directory / "python-embed.zip") as archive:
        archive.extractall(folder / "python")
    (folder / "python/python.exe").chmod(0o755)
    (folder / "echo.py").write_text(ECHO)
    name, family = ("Tandem Witness", "") if machine == WITNESS else ("Tandem Guard", " family")
    command = f"{PYTHON} -I -B -X utf8 \"C:\\Program Files\\Tandem\\echo.py\"{family}"
    control = site.control(machine)
    control.call("service.install", name=name, display=name, command=command, start_type="auto", restart_after=0.2)
    control.call("service.start", name=name)


@pytest.fixture(autouse=True)
def nothing_is_left(site):
    yield
    site.faults.clear()
    assert site.faults.active() == []


def log(site):
    return [json.loads(line) for line in (site.directory / "faults.jsonl").read_text().splitlines()]


def events(site, machine):
    return [json.loads(line) for line in (site.machine_directory(machine) / "events.jsonl").read_text().splitlines()]


def client(site, machine):
    return MachineClient(site.control(machine).running()["socket"])


def hears(site, machine, other, timeout=SILENCE_SECONDS):
    """Whether a program on `machine` gets an answer from the one on `other`."""
    try:
        with client(site, machine).connect(site.machines()[other]["address"], 11443, timeout) as sock:
            sock.sendall(b"x")
            return sock.recv(1) == b"x"
    except TimeoutError:
        return False


def served(site):
    with contextlib.suppress(OSError):
        return bool(lab_recorders(site.describe())["connected"])
    return None


def winrm(site, machine):
    return http("POST", site.machines()[machine]["winrm_url"], timeout=2).status_code == 401


def pid(site, machine, service="Tandem Guard"):
    return site.control(machine).call("service.status", name=service)["service"]["pid"]


def test_a_partition_cuts_two_and_leaves_the_third(site):
    assert hears(site, A, WITNESS)
    with site.faults.partition(A, WITNESS) as fault:
        assert [entry["id"] for entry in site.faults.active()] == [fault.id]
        assert not hears(site, A, WITNESS)
        assert not hears(site, WITNESS, A)
        assert hears(site, A, B) and hears(site, WITNESS, B)
        assert winrm(site, A) and served(site)
    assert hears(site, A, WITNESS)
    lines = [line for line in log(site) if line["id"] == fault.id]
    assert [(line["event"], line["kind"], line["parties"], line["direction"]) for line in lines] == [
        ("begin", "partition", [A, WITNESS], "both"), ("end", "partition", [A, WITNESS], "both")]
    assert lines[0]["t_ms"] < lines[1]["t_ms"]


def test_a_connection_survives_a_short_partition_of_one_direction(site):
    with client(site, A).connect(site.machines()[B]["address"], 11443, 10) as sock:
        sock.sendall(b"1")
        assert sock.recv(1) == b"1"
        with site.faults.partition(A, B, "to"):
            sock.sendall(b"2")
            sock.settimeout(SILENCE_SECONDS)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        sock.settimeout(10)
        assert sock.recv(1) == b"2"


def test_faults_add_up_and_end_one_by_one(site):
    both, one = site.faults.partition(A, B), site.faults.partition(A, B, "from")
    both.end()
    assert not hears(site, A, B)
    one.end()
    one.end()  # again: nothing happens
    assert hears(site, A, B)


def test_the_management_server_and_the_cameras_obey_rules_too(site):
    with site.faults.partition("clients", "management-server"), pytest.raises(OSError):
        http("GET", site.describe()["management_server"]["http_url"] + "/api/.well-known/uris", timeout=SILENCE_SECONDS)
    assert served(site)
    camera = site.describe()["cameras"][0]["url"].rpartition("/")[0] + "/status"
    with site.faults.partition("clients", "cameras"), pytest.raises(OSError):
        http("GET", camera, timeout=SILENCE_SECONDS)
    assert http("GET", camera, timeout=5).status_code == 200


def test_cameras_that_one_machine_does_not_reach(site):
    address = site.describe()["cameras"][0]["url"].split("/")[2].partition(":")[0]
    with site.faults.cameras_unreachable(B):
        with pytest.raises(TimeoutError):
            client(site, B).connect(address, 8080, SILENCE_SECONDS)
        client(site, A).connect(address, 8080, 5).close()
    client(site, B).connect(address, 8080, 5).close()


def test_loss_is_no_partition(site):
    with site.faults.loss(A, B, 0.2):
        assert hears(site, A, B, timeout=20)
    for share in (0, 1.5):
        with pytest.raises(FaultError, match="share"):
            site.faults.loss(A, B, share)


def test_loss_has_a_direction(site):
    with client(site, A).connect(site.machines()[B]["address"], 11443, 10) as sock:
        with site.faults.loss(A, B, 1, "from"):  # what A sends arrives, the answer does not
            sock.sendall(b"1")
            sock.settimeout(SILENCE_SECONDS)
            with pytest.raises(TimeoutError):
                sock.recv(1)
        sock.settimeout(10)
        assert sock.recv(1) == b"1"
    assert [(line["share"], line["direction"]) for line in log(site)[-2:]] == [(1, "from")] * 2
    with pytest.raises(FaultError, match="not a direction"):
        site.faults.loss(A, B, 0.5, "sideways")


@pytest.mark.parametrize("kind", ["freeze", "pause"])
def test_a_machine_that_stands_does_not_defend_its_service_address(site, kind):
    address = f"{site.describe()['subnet']}.20"

    def has(machine):
        return address in site.control(machine).call("address.list")["addresses"]

    def hold(machine):
        site.control(machine).call("address.hold", address=address, prefix=24, lifetime=600)

    hold(B)
    with pytest.raises(MachineError, match="duplicate"):
        hold(A)
    with getattr(site.faults, kind)(B):
        pass
    assert has(B), "nobody took it meanwhile"
    with getattr(site.faults, kind)(B):
        hold(A)
    assert has(A) and not has(B)
    assert [event["event"] for event in events(site, B) if event.get("address") == address][-1] == "address_duplicate"
    site.control(A).call("address.drop", address=address)


def test_a_frozen_machine_is_silent_and_late(site):
    clock = MachineClock(site.machine_directory(B))
    guard = pid(site, B)
    before = clock.monotonic() - time.monotonic()
    with site.faults.freeze(B):
        assert standstill.stands(guard) and site.faults.stands(B) and not site.faults.stands(A)
        assert not hears(site, A, B)
        with pytest.raises(OSError):
            winrm(site, B)
        assert B not in site.status()["machines"], "a machine that stands is not waited for"
        with pytest.raises(FaultError, match="stands still already"):
            site.faults.pause(B)
        assert not hears(site, A, B), "the refused fault ended nothing"
    assert hears(site, A, B) and winrm(site, B)
    assert clock.monotonic() - time.monotonic() == pytest.approx(before, abs=0.05)
    assert pid(site, B) == guard
    stood = log(site)[-1]
    assert (stood["kind"], stood["event"]) == ("freeze", "end") and stood["seconds"] > SILENCE_SECONDS
    assert [event["event"] for event in events(site, B)][-2:] == ["stands", "goes_on"]


def test_a_paused_machine_does_not_know_that_time_has_passed(site):
    clock = MachineClock(site.machine_directory(B))
    monotonic, wall = clock.monotonic() - time.monotonic(), clock.wall() - time.time()
    with site.faults.clock_drift(B, 1.5), site.faults.pause(B):
        standing = clock.monotonic()
        assert not hears(site, A, B)
        assert clock.monotonic() == standing
    stood = next(line["seconds"] for line in reversed(log(site)) if line["kind"] == "pause" and line["event"] == "end")
    drifted = clock.monotonic() - time.monotonic() - monotonic + stood
    assert 0 <= drifted < 5
    assert clock.wall() - time.time() - wall == pytest.approx(drifted - stood, abs=0.05)
    assert clock.rate() == 1.0


def test_clocks_are_set_and_set_right_again(site):
    clock = MachineClock(site.machine_directory(A))
    wall, monotonic = clock.wall() - time.time(), clock.monotonic() - time.monotonic()
    with site.faults.clock_step(A, -3600):
        assert clock.wall() - time.time() == pytest.approx(wall - 3600, abs=0.05)
        assert clock.monotonic() - time.monotonic() == pytest.approx(monotonic, abs=0.05)
    assert clock.wall() - time.time() == pytest.approx(wall, abs=0.05)
    with pytest.raises(FaultError, match="rate"):
        site.faults.clock_drift(A, 0)


def test_a_silent_death_is_noticed_by_nobody(site):
    with client(site, A).connect(site.machines()[B]["address"], 11443, 5) as sock:
        with site.faults.power_off(B):
            sock.settimeout(SILENCE_SECONDS)
            with pytest.raises(TimeoutError):
                sock.recv(1)
            assert not hears(site, A, B)
            assert not site.powered(B)
            with pytest.raises(FaultError, match="off"):
                site.faults.freeze(B)
        site.wait_for("the guard of the booted machine", lambda: _answers(site, A, B), 20)
    assert "power_cut" in [event["event"] for event in events(site, B)]


def _answers(site, machine, other):
    with contextlib.suppress(OSError):
        return hears(site, machine, other)
    return False


def test_the_power_button_ends_a_standstill(site):
    fault = site.faults.freeze(B)
    site.power_off(B)
    assert site.faults.active() == []
    fault.end()
    site.power_on(B)
    site.wait_for("the guard", lambda: _answers(site, A, B), 20)


def test_one_process_is_killed_or_stands(site):
    for role in ("guard", "fuse"):
        site.wait_for(f"the {role}", lambda role=role: _process(site, A, role), 10)
    fuse, guard = site.faults._process(A, "fuse"), pid(site, A)
    assert site.faults.kill_process(A, "fuse").kind == "kill_process"
    site.wait_for("the end of the fuse", lambda: start_time(fuse) is None, 5)
    assert pid(site, A) == guard
    with site.faults.freeze_process(A, "guard"):
        assert standstill.stands(guard) and not site.faults.stands(A)
        assert not hears(site, B, A)
    assert hears(site, B, A, timeout=5)
    site.faults.kill_process(A, "guard")
    site.wait_for("a new guard", lambda: pid(site, A) not in (None, guard), 10)
    with pytest.raises(FaultError, match="no running witness"):
        site.faults.kill_process(A, "witness")
    with pytest.raises(FaultError, match="is no process"):
        site.faults.kill_process(A, "explorer")


def _process(site, machine, role):
    with contextlib.suppress(FaultError):
        return site.faults._process(machine, role)
    return None


def test_a_reverted_machine_has_forgotten(site):
    state = site.machine_directory(WITNESS) / "C/ProgramData/Tandem/witness"
    state.mkdir(parents=True)
    (state / "epoch").write_text("5")
    snapshot = site.faults.snapshot(WITNESS)
    (state / "epoch").write_text("6")
    clock, before = MachineClock(site.machine_directory(WITNESS)), pid(site, WITNESS, "Tandem Witness")
    generation = clock.generation()
    site.faults.revert(WITNESS, snapshot)
    assert (state / "epoch").read_text() == "5"
    assert clock.generation() not in ("", generation)
    assert pid(site, WITNESS, "Tandem Witness") not in (None, before)
    assert hears(site, A, WITNESS, timeout=5)
    with pytest.raises(FaultError, match="no snapshot"):
        site.faults.revert(A, snapshot)


def test_the_management_server_goes_and_comes(site):
    with site.faults.management_server_down():
        assert served(site) is None
        with pytest.raises(SiteError, match="down already"):
            site.faults.management_server_down()
    site.wait_for("the recorder to be connected", lambda: served(site), 20)


def test_a_broken_disk_is_reported(site):
    def drive():
        return next(drive for drive in site.control(A).call("drives")["drives"] if drive["letter"] == "D:")

    free = drive()["free_bytes"]
    with site.faults.disk(A, "d:", "full"):
        assert (drive()["free_bytes"], drive()["fault"]) == (0, "full")
        assert json.loads((site.machine_directory(A) / "recorder-faults.json").read_text())["disk"] == {"D:": "full"}
    with site.faults.disk(A, "D:", "gone"):
        assert drive()["fault"] == "gone"
    assert (drive()["free_bytes"], drive()["fault"]) == (free, None)
    for bad in (("X:", "full"), ("D:", "slow")):
        with pytest.raises(FaultError, match="has the drives"):
            site.faults.disk(A, *bad)


def test_troubles_of_a_recorder_are_told_to_it(site):
    path = site.machine_directory(A) / "recorder-faults.json"
    with site.faults.recorder(A, "silent:1"), site.faults.recorder(A, "silent:2"):
        assert json.loads(path.read_text())["silent"] == [1, 2]
        with site.faults.recorder(A, "hung"):
            assert json.loads(path.read_text())["hung"] is True
    assert json.loads(path.read_text()) == {"hung": False, "silent": False, "disk": {}, "cameras_unreachable": False}
    with pytest.raises(FaultError, match="no trouble"):
        site.faults.recorder(A, "silent:x")


def cli(site, *arguments):
    return subprocess.run([sys.executable, "-m", "tandem_lab", *arguments, "--dir", str(site.directory)], capture_output=True, text=True,
                          timeout=60)


def test_by_command_line(site):
    begun = cli(site, "fault", "begin", "clock_step", B, "-30")
    assert begun.returncode == 0, begun.stderr
    name = begun.stdout.strip()
    assert [fault["id"] for fault in json.loads(cli(site, "fault", "list", "--json").stdout)] == [name]
    assert cli(site, "fault", "list").stdout == f"{name:5} clock_step             {B} seconds=-30.0\n"
    assert cli(site, "fault", "end", name).returncode == 0
    again = cli(site, "fault", "end", name)
    assert (again.returncode, again.stderr) == (1, f"tandem-lab fault: there is no fault {name} that lasts\n")
    assert cli(site, "fault", "begin", "partition", A, B).returncode == 0
    assert not hears(site, A, B)
    assert cli(site, "fault", "clear").returncode == 0
    assert hears(site, A, B)
    assert "loss wants: ONE TWO SHARE" in cli(site, "fault", "begin", "loss", A).stderr
    assert "is a number" in cli(site, "fault", "begin", "loss", A, B, "much").stderr


def test_the_power_button_of_a_fence_agent(site):
    site.faults.freeze(B)
    assert cli(site, "power", "status", B).returncode == 0
    for _ in range(2):  # off is off
        off = cli(site, "power", "off", B)
        assert (off.returncode, off.stdout) == (0, f"{B} is off.\n"), off.stderr
    assert cli(site, "power", "status", B).returncode == 2
    assert cli(site, "power", "on", B).returncode == 0
    assert cli(site, "power", "status", B).returncode == 0
    assert cli(site, "power", "off", "pair9-x").returncode == 1
    site.wait_for("the guard", lambda: _answers(site, A, B), 20)


def test_the_power_button_finds_the_site_of_the_environment(site, tmp_path):
    def status(named):
        return subprocess.run([sys.executable, "-m", "tandem_lab", "power", "status", B], capture_output=True, text=True, timeout=60,
                              cwd=tmp_path, env={**os.environ, "TANDEM_LAB_SITE": named})

    assert status(str(site.directory / "site.json")).stdout == f"{B} is on.\n"
    for named, folder in ((str(tmp_path / "none" / "site.json"), tmp_path / "none"), ("", tmp_path / "build/lab")):
        answer = status(named)
        assert (answer.returncode, answer.stderr) == (1, f"tandem-lab power: there is no site in {folder}\n")


def test_recording_goes_on_through_all_this(site):
    site.wait_for("recording", lambda: disks.recording(site, A, int(time.time() * 1000) - 2000), 30)


def test_a_site_that_goes_down_leaves_nothing_broken(site):
    """Last: it takes the site down. Also what stands still ends."""
    stopped = site.faults.freeze(B)
    site.faults.clock_drift(A, 1.01)
    site.faults.power_off(WITNESS)
    kernel = site.processes.records()[B].pid
    site.down()
    assert site.faults.active() == [] and start_time(kernel) is None
    assert MachineClock(site.machine_directory(A)).rate() == 1.0
    stopped.end()
    assert not [name for name in os.listdir("/proc") if name.isdigit() and _runs_in(site, name)]
    with pytest.raises(OSError):
        socket.create_connection((site.machines()[A]["address"], 5985), 1).close()


def _runs_in(site, number):
    with contextlib.suppress(OSError), open(f"/proc/{number}/environ", "rb") as file:
        return f"TANDEM_LAB_ROOT={site.directory}".encode() in file.read()
    return False
