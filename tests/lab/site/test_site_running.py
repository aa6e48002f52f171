# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole site: Management Server, cameras, two machines, and clients that know only the documented interfaces."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tandem_lab import disks
from tandem_lab.integrations import exporter, live_wall, psim
from tandem_lab.integrations.image_client import ConnectRefused
from tandem_lab.integrations.vms_client import STATUS, VmsClient, VmsError, lab_recorders, local
from tandem_lab.site import ProcessError, Site, SiteError

pytestmark = pytest.mark.site
A, B, WITNESS = "pair1-a", "pair1-b", "witness-1"


def now():
    return int(time.time() * 1000)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    made = Site(tmp_path_factory.mktemp("site"))
    made.create(cameras=4, settings={"table_seconds": 4})
    try:
        made.up(die_with_parent=True)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def description(site):
    return site.describe()


@pytest.fixture(scope="module")
def client(description):
    return VmsClient(description)


def cli(site, *arguments):
    return subprocess.run([sys.executable, "-m", "tandem_lab", *arguments, "--dir", str(site.directory)], capture_output=True, text=True,
                          timeout=60)


def test_node_a_is_connected_and_nobody_else(site, description):
    pair = description["pairs"][0]
    state = site.status()
    assert all(state["processes"].values())
    assert [entry["recorder_id"] for entry in state["recorders"]["connected"]] == [pair["recorder_id"]]
    assert state["recorders"]["duplicates"] == 0
    assert state["recorders"]["connected"][0]["source"] == pair["nodes"][0]["address"]
    services = {name: {service["name"]: service["state"] for service in machine["services"]} for name, machine in state["machines"].items()}
    assert services == {A: {disks.RECORDER_SERVICE: "running"}, B: {disks.RECORDER_SERVICE: "stopped"}, WITNESS: {}}


def test_the_connection_of_the_recorder_changed_no_reference(client, description):
    recorder = client.get(f"recordingServers/{description['pairs'][0]['recorder_id']}")
    assert recorder["webServerUri"] == description["pairs"][0]["service_url"]
    assert (recorder["version"], recorder["timeZoneName"]) == ("25.1.1804.0", "Romance Standard Time")


def test_recorder_state_without_a_token(client, description):
    result = client.recorder_soap(description["pairs"][0]["service_url"], STATUS, "GetRecorderStatus", token=False)
    assert {local(child): child.text for child in result} == {"AttachState": "Attached", "ConnectionState": "Connected"}


def test_a_wrong_token_is_refused(client, description):
    camera = description["cameras"][0]["id"]
    with pytest.raises(VmsError, match="Token invalid"):
        client.recorder_soap(description["pairs"][0]["service_url"], STATUS, "GetCurrentDeviceStatus",
                             f"<token>TOKEN#x</token><deviceIds><guid>{camera}</guid></deviceIds>", token=False)
    stranger = VmsClient(description)
    stranger._token = ("TOKEN#x", time.monotonic() + 1000)
    stranger._addresses = {camera: client.address_of(camera)}
    with pytest.raises(ConnectRefused, match="Security token invalid"):
        stranger.image_session(camera)


def test_every_recorded_frame_can_be_played(site, description):
    camera = description["cameras"][0]["id"]
    begin = now()
    site.wait_for("three seconds of recording", lambda: now() > begin + 4000)
    played = exporter.play(description, camera, begin, begin + 3000)
    counters = sorted(played["counters"])
    assert counters == list(range(counters[0], counters[0] + len(counters)))
    assert played["frames"] == len(counters) and 14 <= len(counters) <= 16


def test_sequences_cover_the_recording(client, description):
    sequences = client.sequences(description["cameras"][0]["id"], now() - 2000, now())
    assert sequences and sequences[-1].end_ms > now() - 2500
    assert client.sequences(description["cameras"][0]["id"], 0, 1000) == []


def test_manual_recording_is_heard_by_the_attached_recorder(site, client, description):
    camera = next(camera["id"] for camera in description["cameras"] if camera["recording_mode"] == "manual")
    began = now()
    assert exporter.play(description, camera, 0, began)["frames"] == 0
    client.start_manual_recording(camera)
    try:
        uri = client.address_of(camera)
        site.wait_for("the camera to be recorded", lambda: client.device_status(uri, [camera])[camera]["Recording"], timeout=10)
        site.wait_for("recorded frames", lambda: exporter.play(description, camera, began, now())["frames"] >= 5, timeout=10)
    finally:
        client.stop_manual_recording(camera)
    site.wait_for("the end of the recording", lambda: not client.device_status(uri, [camera])[camera]["Recording"], timeout=10)


def test_a_change_reaches_the_recorders_disk(site, client, description):
    camera = description["cameras"][1]["id"]
    client.patch(f"cameras/{camera}", {"prebufferSeconds": 7})
    site.wait_for("the setting in the local copy", lambda: disks.cached_camera(site, A, camera)["prebufferSeconds"] == 7, timeout=10)
    client.patch(f"cameras/{camera}", {"prebufferSeconds": 3})


def test_a_restart_of_the_recorder_alone(site):
    starts = disks.recorder_starts(site, A)
    booted = site.control(A).running()["booted_ms"]
    site.restart_recorder(A)
    again = now()
    assert disks.recorder_starts(site, A) == starts + 1
    assert site.control(A).running()["booted_ms"] == booted
    site.wait_for("recording", lambda: disks.recording(site, A, again))
    with pytest.raises(SiteError, match="no machine pair9-x"):
        site.restart_recorder("pair9-x")


def test_a_power_cut_takes_everything_and_booting_brings_it_back(site, description, tmp_path):
    before = psim.snapshot(description)
    wall = live_wall.Wall(description, tmp_path / "wall.jsonl")
    wall.start()

    def on_the_wall(since):
        return {row["camera"] for row in live_wall.rows(tmp_path / "wall.jsonl") if row["received_ms"] >= since}

    everyone = {camera["id"] for camera in description["cameras"]}
    try:
        site.wait_for("every camera on the wall", lambda: on_the_wall(0) == everyone)
        processes = site.control(A).status()["processes"]
        site.power_off(A)
        cut = now()
        assert processes
        site.wait_for("the end of the machine's processes", lambda: not any(_exists(pid) for pid in processes), timeout=5)
        site.wait_for("the end of the connection", lambda: lab_recorders(description)["connected"] == [], timeout=5)
        assert site.status()["processes"][A] is False
        with pytest.raises(SiteError, match="off already"):
            site.power_off(A)
        site.power_on(A)
        booted = now()
        site.wait_for("every camera on the wall again", lambda: on_the_wall(booted) == everyone)
        pauses = live_wall.interruptions(tmp_path / "wall.jsonl", cut, now())
        assert all((booted - cut) / 1000 - 1 < pause < 30 for pause in pauses.values()) and set(pauses) == everyone
    finally:
        wall.stop()
    assert psim.compare(before, psim.snapshot(description)) == []
    assert lab_recorders(description)["duplicates"] == 0
    site.wait_for("recording", lambda: disks.recording(site, A, now() - 2000))


def _exists(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_disk_space_is_a_switch(site):
    def free():
        return next(drive["free_bytes"] for drive in site.control(B).status()["drives"] if drive["letter"] == "D:")

    normal = free()
    with site.free_bytes(B, "D:", 1000):
        assert free() == 1000
    assert free() == normal


def test_command_line_on_a_running_site(site):
    up = cli(site, "up")
    assert up.returncode == 0 and "is up" in up.stdout, up.stderr
    state = json.loads(cli(site, "status", "--json").stdout)
    assert all(state["processes"].values())
    assert f"{A} " in cli(site, "status").stdout
    assert cli(site, "wait", "--recording", A).returncode == 0
    off = cli(site, "power-off", B)
    assert off.returncode == 0, off.stderr
    again = cli(site, "power-off", B)
    assert (again.returncode, again.stderr) == (1, "tandem-lab power-off: pair1-b is off already\n")
    assert cli(site, "power-on", B).returncode == 0
    assert "no machine pair9-x" in cli(site, "power-on", "pair9-x").stderr


def test_a_site_that_cannot_serve_says_why_and_leaves_nothing_behind(tmp_path):
    site = Site(tmp_path / "site")
    site.create(cameras=1)
    config = site.machine_directory(A) / "C/ProgramData/Milestone/XProtect Recording Server/RecorderConfig.xml"
    config.write_bytes(config.read_bytes()[:500])
    with pytest.raises(TimeoutError, match="recorder of pair1 is not connected") as caught:
        site.up(die_with_parent=True, timeout=3)
    assert "pair1-a.log" in str(caught.value) and "machines/pair1-a/logs" in str(caught.value)
    assert site.processes.records() == {}


def test_a_fenced_pair_boots_without_waiting_for_it_to_serve(tmp_path):
    site = Site(tmp_path / "site")
    site.create(cameras=1)
    server = f"{site.describe()['subnet']}.2"
    try:
        site.up(die_with_parent=True)
        media = disks.closed_tables(site, A)
        for machine in (A, B):
            site.control(machine).call("fence.install", rules={"management_addresses": [server], "inbound_ports": [7563, 9001]})
        site.down()
        assert site.processes.records() == {}
        site.up(die_with_parent=True)
        assert site.status()["recorders"]["connected"] == []
        site.wait_for("recording", lambda: disks.recording(site, A, now() - 2000), timeout=10)
        assert not disks.vanished({A: media}, {A: disks.closed_tables(site, A)})
    finally:
        site.down()


def test_a_taken_network_is_refused(tmp_path):
    from tandem_lab import subnet
    site = Site(tmp_path / "site")
    site.create(cameras=1)
    with subnet.claim(f"{site.describe()['subnet']}.0/24"):
        with pytest.raises((ProcessError, OSError), match="is not free"):
            site.up(die_with_parent=True)
    assert site.processes.records() == {}


def test_commands_without_a_site(tmp_path):
    site = Site(tmp_path / "none")
    answer = cli(site, "status")
    assert answer.returncode == 1 and "there is no site" in answer.stderr or "No such file" in answer.stderr
