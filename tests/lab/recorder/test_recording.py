# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recorders as processes: what they record, and what is left after a stop, a crash, an import."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import time

from recorder_rig import Cameras, wait_for

from tandem_lab.machine.clock import MachineClock

MOTION = "53cb5e33-2183-44bd-9491-8364d2457480"


def run_of(counters):
    return list(range(counters[0], counters[-1] + 1))


def newest(rig, camera):
    """The counter of the newest recorded picture; -1 when nobody is served just now."""
    client = rig.client(camera)
    try:
        return client.image("end").counter if client.connected else -1
    finally:
        client.close()


def recorded_until(rig, camera, counter):
    """Wait until the recorder's newest picture of a camera is at least this one."""
    client = rig.client(camera)
    wait_for(f"counter {counter}", lambda: client.image("end").counter >= counter)
    client.close()


def test_every_frame_is_played_exactly_once_over_many_tables(attached, cameras):
    wait_for("four closed tables a camera", lambda: len(attached.closed_tables()) >= 8)
    for number, camera in enumerate(attached.cameras, 1):
        last = cameras.status(number)["last_counter"]
        recorded_until(attached, camera, last)
        counters = attached.counters_played(camera)
        assert counters == run_of(counters) and counters[-1] >= last
        client = attached.client(camera)
        played = client.play_all()
        client.close()
        (sequence,) = attached.sequences(camera)
        assert sequence[0] == played[0][0] and abs(sequence[1] - played[-1][0]) < 2000
    assert attached.end() == 0
    attached.check_closed_tables()
    assert attached.open_tables() == []


def test_a_start_takes_less_than_the_promised_time(rigs, cameras):
    rig = rigs()
    rig.put_cache(rig.configuration([rig.camera(cameras.url(1))]))
    assert min(rig.start() for _ in range(3) if rig.process is None or rig.end() is not None) < 0.7


def test_a_headless_start_records_from_the_local_copy(rigs, cameras):
    rig = rigs()
    camera = rig.camera(cameras.url(1))
    rig.put_cache(rig.configuration([camera]))
    rig.start()
    wait_for("a closed table", rig.closed_tables)
    assert rig.attach_state() == "Detached"
    assert not rig.client(camera).connected
    assert rig.end() == 0
    rig.check_closed_tables()


def test_a_killed_recorder_loses_at_most_the_frame_in_flight(rigs, servers, cameras):
    rig = rigs(settings={"table_seconds": 60})
    entries = [rig.camera(cameras.url(1)), rig.camera(cameras.url(2))]
    server = servers(rig.configuration(entries))
    rig.start()
    for number, camera in enumerate(entries, 1):
        wait_for("the camera", lambda: rig.attach_state() == "Attached" and rig.client(camera).connected)
        recorded_until(rig, camera, cameras.status(number)["last_counter"] + 15)
    rig.kill()
    at_kill = [cameras.status(number)["last_counter"] for number in (1, 2)]
    assert len(rig.open_tables()) == 2 and rig.closed_tables() == []
    server.stop()
    again = servers(rig.configuration(entries))
    rig.start()
    at_start = [cameras.status(number)["last_counter"] for number in (1, 2)]
    assert len(rig.closed_tables()) == 2  # repaired and closed before the service is ready
    wait_for("the Management Server", lambda: again.hellos and rig.attach_state() == "Attached")
    for number, camera in enumerate(entries):
        recorded_until(rig, camera, at_start[number] + 5)
        counters = rig.counters_played(camera)
        before = [counter for counter in counters if counter <= at_kill[number]]
        # one frame may have been in flight, one more may have been made between the kill and the question
        assert before == run_of(before) and at_kill[number] - before[-1] <= 2
        after = counters[len(before) :]
        assert after == run_of(after)
        assert len(rig.sequences(camera)) == 2
    assert rig.end() == 0
    rig.check_closed_tables()


def test_a_recorder_that_is_killed_again_and_again(rigs, servers, cameras):
    rig = rigs()
    camera = rig.camera(cameras.url(1))
    servers(rig.configuration([camera]))
    runs = 5
    for run in range(runs):
        rig.start()
        wait_for("the connection", lambda: rig.attach_state() == "Attached" and rig.client(camera).connected)
        recorded_until(rig, camera, cameras.status(1)["last_counter"] + 4 + 3 * run)
        rig.kill()
    rig.start()
    wait_for("the connection", lambda: rig.attach_state() == "Attached")
    recorded_until(rig, camera, cameras.status(1)["last_counter"] + 3)
    counters = rig.counters_played(camera)
    assert counters == sorted(set(counters))
    assert sum(after != before + 1 for before, after in zip(counters, counters[1:])) <= runs
    assert len(rig.sequences(camera)) == runs + 1
    assert rig.end() == 0
    rig.check_closed_tables()


def test_a_frozen_recorder_catches_up(attached, cameras):
    camera = attached.cameras[0]
    attached.process.send_signal(signal.SIGSTOP)
    frozen_at = cameras.status(1)["last_counter"]
    wait_for("frames that it does not take", lambda: cameras.status(1)["last_counter"] > frozen_at + 20)
    attached.process.send_signal(signal.SIGCONT)
    wait_for("all frames", lambda: attached.attach_state() == "Attached" and newest(attached, camera) > frozen_at + 30)
    counters = attached.counters_played(camera)
    assert counters == run_of(counters) and counters[0] <= frozen_at


def test_closed_tables_carry_the_machines_local_time(rigs, cameras):
    rig = rigs(time_zone="Tokyo Standard Time")
    rig.put_cache(rig.configuration([rig.camera(cameras.url(1))]))
    rig.start()
    name = wait_for("a closed table", rig.closed_tables)[0].name
    local = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=9))).replace(tzinfo=None)
    assert abs(datetime.datetime.strptime(name[-19:], "%Y-%m-%d_%H-%M-%S") - local) < datetime.timedelta(seconds=30)


def test_media_and_log_follow_the_machines_clock(attached, cameras):
    camera = attached.cameras[0]
    (begin, _), = attached.sequences(camera)
    assert abs(begin / 1000 - time.time()) < 60
    MachineClock(attached.root).step(1200)
    wait_for("media of the new time", lambda: attached.sequences(camera)[-1][1] / 1000 > time.time() + 1000)
    MachineClock(attached.root).step(-2400)
    first = cameras.status(1)["last_counter"]
    recorded_until(attached, camera, first + 20)
    client = attached.client(camera)
    played = client.play_all()
    client.close()
    times, counters = [time_ms for time_ms, _ in played], [counter for _, counter in played]
    assert counters == run_of(counters) and times == sorted(set(times))  # a clock that is set back costs no frame either
    assert attached.end() == 0
    stopped = next(line for line in attached.log().splitlines() if "Recording Server stopped" in line)
    moment = datetime.datetime.strptime(stopped[:19], "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
    assert abs(moment.timestamp() + 1200 - time.time()) < 60


def test_tables_of_the_partner_are_imported(rigs, servers, cameras):
    """Two recorders, one camera: one is down for a while, then gets the partner's closed tables."""
    own, partner = rigs(), rigs()
    partner.storage_id, partner.recorder_id = own.storage_id, own.recorder_id
    partner.write_recorder_config(partner.address)
    camera = own.camera(cameras.url(1))
    configuration = own.configuration([camera])
    own.put_cache(configuration)
    partner.put_cache(configuration)
    partner.start()
    own.start()
    wait_for("a closed table of its own", lambda: own.closed_tables())
    own.end()
    down_from = cameras.status(1)["last_counter"]
    count = len(partner.closed_tables())
    wait_for("tables over the gap", lambda: len(partner.closed_tables()) >= count + 3)
    servers(configuration)
    own.start()
    wait_for("the Management Server", lambda: own.attach_state() == "Attached")
    down_to = cameras.status(1)["last_counter"]
    recorded_until(own, camera, down_to + 30)
    partner.end()
    assert set(own.counters_played(camera)).isdisjoint(range(down_from + 5, down_to - 5))
    own.end()
    for table in partner.closed_tables():
        name = table.name
        while (own.bank / name).exists():  # both closed one in the same second: the import takes the next free name
            name = f"{name[:-2]}{int(name[-2:]) + 1:02d}"
        shutil.copytree(table, own.bank / name)

    own.start()  # the cache is still there: what it does not name is not read
    wait_for("the Management Server", lambda: own.attach_state() == "Attached")
    assert set(own.counters_played(camera)).isdisjoint(range(down_from + 5, down_to - 5))
    assert len(own.sequences(camera)) >= 2
    own.end()
    (own.bank / "archives_cache.xml").rename(own.root / "archives_cache.xml.away")

    own.start()
    wait_for("the Management Server", lambda: own.attach_state() == "Attached")
    wait_for("the rebuilt cache", lambda: (own.bank / "archives_cache.xml").exists())
    assert set(own.archives()) >= {table.name for table in own.closed_tables()} - set(os.listdir(partner.bank))
    client = own.client(camera)
    played = client.play_all()
    client.close()
    counters = sorted(counter for _, counter in played)
    gap = range(down_from - 5, down_to + 5)
    assert len(set(counters)) == len(counters) and set(gap) <= set(counters)
    assert own.end() == 0
    own.check_closed_tables()


def test_a_motion_camera_is_recorded_around_motion_only(rigs, servers, cameras):
    rig = rigs()
    camera = rig.camera(cameras.url(3), "motion")
    servers(rig.configuration([camera]))
    rig.start()
    started = cameras.status(3)["last_counter"]

    def whole_event():
        return next(((b, e) for b, e in cameras.status(3)["motion"] if b > started + 15 and e is not None
                     and cameras.status(3)["last_counter"] > e + 20), None)

    begin, end = wait_for("a whole event", whole_event)
    counters = [counter for counter in rig.counters_played(camera) if begin - 30 < counter < end + 20]
    # ramps of 4 weak frames (0.2, 0.3, 0.4, 0.5; the threshold is 0.25), then a second of 10 frames on each side
    assert counters == run_of(counters)
    assert abs(counters[0] - (begin - 3 - 10)) <= 2 and abs(counters[-1] - (end + 3 + 10)) <= 2
    assert len(rig.sequences(camera)) == len(rig.sequences(camera, MOTION)) >= 1


def test_motion_on_request(rigs, servers, cameras):
    rig = rigs()
    camera = rig.camera(cameras.url(4), "motion")
    servers(rig.configuration([camera]))
    rig.start()
    status = lambda: rig.soap("GetCurrentDeviceStatus", service="status")  # noqa: E731
    wait_for("the camera", lambda: rig.attach_state() == "Attached" and "<Error>false" in status())
    assert rig.sequences(camera) == []
    cameras.motion(4, True)
    wait_for("recording", lambda: "<Recording>true" in status())
    cameras.motion(4, False)
    wait_for("its end", lambda: "<Recording>false" in status())
    assert len(rig.sequences(camera)) == 1


def test_manual_recording_starts_and_stops(rigs, servers, cameras):
    rig = rigs()
    camera = rig.camera(cameras.url(1), "manual")
    servers(rig.configuration([camera]))
    rig.start()
    wait_for("the camera", lambda: rig.attach_state() == "Attached" and "<Time>" in rig.soap(
        "JPEGGetLive", f"<deviceId>{camera['id']}</deviceId><maxWidth>1</maxWidth><maxHeight>1</maxHeight>"))
    devices = f"<deviceIds><guid>{camera['id']}</guid></deviceIds>"
    assert rig.sequences(camera) == []
    first = cameras.status(1)["last_counter"]
    assert "<ResultCode>0</ResultCode><Message>Success</Message>" in rig.soap("StartManualRecording", devices)
    assert "<IsManualRecording>true</IsManualRecording>" in rig.soap("IsManualRecording", devices)
    wait_for("frames", lambda: cameras.status(1)["last_counter"] > first + 30)
    last = cameras.status(1)["last_counter"]
    assert "Success" in rig.soap("StopManualRecording", devices)
    assert "<IsManualRecording>false</IsManualRecording>" in rig.soap("IsManualRecording", devices)
    wait_for("more frames", lambda: cameras.status(1)["last_counter"] > last + 15)
    counters = rig.counters_played(camera)
    assert counters == run_of(counters)
    assert 0 < counters[0] - first <= 4 and abs(counters[-1] - last) <= 3


def test_old_tables_are_deleted(rigs, cameras):
    rig = rigs(settings={"table_seconds": 1})
    rig.put_cache(rig.configuration([rig.camera(cameras.url(1))], retain_minutes=0.1))
    rig.start()
    first = wait_for("a closed table", rig.closed_tables)[0]
    wait_for("its deletion", lambda: not first.exists(), 30)
    rig.end()
    rig.check_closed_tables()
    assert rig.closed_tables()


def test_a_new_configuration_is_applied_live_and_loses_no_frame(attached, cameras):
    steady, other = attached.cameras
    third = attached.camera(cameras.url(3), name="Third")
    for version in range(2, 8):
        renamed = {**steady, "name": f"Entrance {version}", "prebufferSeconds": version}
        attached.cameras = [renamed, third] if version % 2 else [renamed, other]
        attached.server.configure(attached.configuration(attached.cameras, version))
        wait_for("the copy", lambda: json.loads((attached.data / "ConfigurationCache.json").read_text())["version"] == version)
    text = (attached.data / "ConfigurationCache.json").read_text()
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    wait_for("the new camera's recording", lambda: attached.sequences(third))
    recorded_until(attached, steady, cameras.status(1)["last_counter"] + 5)
    counters = attached.counters_played(steady)
    assert counters == run_of(counters)
    assert not attached.client(other).connected
    assert attached.end() == 0
    attached.check_closed_tables()


def test_a_wrong_configuration_changes_nothing(attached):
    before = (attached.data / "ConfigurationCache.json").read_bytes()
    broken = attached.configuration(attached.cameras, 99)
    broken["cameras"] = [{**attached.cameras[0], "recording_mode": "sometimes"}]
    attached.server.configure(broken)
    wait_for("the complaint", lambda: "configuration that cannot be used" in attached.log())
    assert (attached.data / "ConfigurationCache.json").read_bytes() == before
    assert all(attached.client(camera).connected for camera in attached.cameras)


def test_the_copy_of_another_recorder_is_not_used(rigs, cameras):
    rig = rigs()
    foreign = rig.configuration([rig.camera(cameras.url(1))])
    foreign["recorder"]["id"] = rig.storage_id
    rig.put_cache(foreign)
    rig.start()
    assert f"it belongs to the recorder {rig.storage_id}" in rig.log() and not rig.bank.exists()


def test_a_camera_that_is_taken_away_ends_its_viewers(attached):
    watching, playing = attached.client(attached.cameras[0]), attached.client(attached.cameras[0])
    watching.send("live")
    assert watching.read() and playing.goto(0).data
    attached.server.configure(attached.configuration(attached.cameras[1:], 2))
    wait_for("the end of live", lambda: ends(watching))
    playing.send("next")
    assert "Unknown device" in str(playing.read())


def ends(client):
    try:
        client.read()
        return False
    except EOFError:
        return True


def test_a_camera_that_is_away_comes_back(rigs, servers, cameras, tmp_path, subnet):
    rig = rigs()
    address = f"{subnet}.180"
    rig.put_cache(rig.configuration([rig.camera(f"http://{address}:8080/video.mjpg")]))
    rig.start()
    mine = Cameras(tmp_path, subnet, [{"fps": 10, "address": address}])
    wait_for("recording", lambda: rig.bank.exists() and rig.open_tables())
    mine.stop()
    wait_for("the complaint", lambda: "Device communication error" in rig.log())
    again = Cameras(tmp_path, subnet, [{"fps": 10, "address": address}])
    wait_for("the camera's return", lambda: rig.log().count("Device communication established") == 2)
    again.stop()


def test_the_uplink_says_who_is_there_and_comes_back(attached, servers):
    hello = attached.server.hellos[0]
    assert hello["recorder_id"] == attached.recorder_id and hello["host"] == attached.address and hello["port"] == 7563
    assert hello["name"] == "REC-A" and hello["version"] == "25.1.1804.0" and hello["time_zone"] == "UTC"
    wait_for("its status", lambda: attached.server.statuses)
    attached.server.stop()
    wait_for("the loss", lambda: attached.attach_state() == "Detached")
    again = servers(attached.configuration(attached.cameras))
    wait_for("the return", lambda: attached.attach_state() == "Attached")
    assert again.hellos[0]["instance"] == hello["instance"]
    assert len(attached.sequences(attached.cameras[0])) == 1  # recording went on


def test_no_return_to_the_management_server_when_the_lab_is_told_so(rigs, servers, cameras):
    rig = rigs(settings={"assumptions": {"reconnects_when_management_server_reachable_again": False}})
    configuration = rig.configuration([rig.camera(cameras.url(1))])
    first = servers(configuration)
    rig.start()
    wait_for("the connection", lambda: rig.attach_state() == "Attached")
    first.stop()
    wait_for("the loss", lambda: rig.attach_state() == "Detached")
    second = servers(configuration)
    wait_for("a closed table", rig.closed_tables)
    assert second.hellos == []
    rig.end()
    rig.start()
    wait_for("the connection after a restart", lambda: second.hellos)


def test_no_start_without_management_server_when_the_lab_is_told_so(rigs, cameras):
    rig = rigs(settings={"assumptions": {"recorder_starts_without_management_server": False}})
    rig.put_cache(rig.configuration([rig.camera(cameras.url(1))]))
    rig.start()
    assert "does not start from its local configuration" in rig.log() and not rig.bank.exists()


def run_to_its_end(rig):
    environment = {**os.environ, "TANDEM_LAB_ROOT": str(rig.root)}
    return subprocess.run([sys.executable, "-m", "tandem_lab.recorder"], env=environment, capture_output=True, text=True, timeout=20)


def test_a_truncated_recorder_config_ends_the_service_with_a_reason(rigs):
    rig = rigs()
    path = rig.data / "RecorderConfig.xml"
    whole = path.read_bytes()
    for part, reason in ((whole[:300], "is not a whole XML document"), (b"", "is not a whole XML document"),
                         (whole.replace(rig.recorder_id.upper().encode(), b"no-guid"), "recorder/id is not a GUID"),
                         (whole.replace(b"<address>", b"<adress>").replace(b"</address>", b"</adress>"), "server/address is missing"),
                         (whole.replace(b"7563", b"99999"), "webserver/port is not a port")):
        path.write_bytes(part)
        ended = run_to_its_end(rig)
        assert ended.returncode == 1 and "Traceback" not in ended.stderr
        assert reason in rig.log() and "RecorderConfig.xml and start it again" in rig.log()
    path.unlink()
    assert run_to_its_end(rig).returncode == 1 and "cannot be read: No such file" in rig.log()


def test_a_damaged_local_copy_is_not_used_but_replaced(rigs, servers, cameras):
    rig = rigs()
    (rig.data / "ConfigurationCache.json").write_text("{")
    rig.start()
    assert "The local configuration cannot be used" in rig.log()
    servers(rig.configuration([rig.camera(cameras.url(1))]))
    wait_for("recording", lambda: rig.bank.exists() and rig.open_tables())
    assert json.loads((rig.data / "ConfigurationCache.json").read_text())["version"] == 1
