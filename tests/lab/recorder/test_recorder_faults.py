# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's faults of a recorder: the file that orders them, and what the process then does."""

from __future__ import annotations

import socket
import threading

import pytest
from recorder_rig import wait_for

from tandem_lab.recorder import faults
from tandem_lab.recorder.faults import Faults, FaultsError

# ---- the file


def test_changes_are_merged_and_cleared(tmp_path):
    assert faults.read(tmp_path) == Faults()
    faults.change(tmp_path, hung=True)
    faults.change(tmp_path, disk={"d:": "full", "E:": "gone"})
    faults.change(tmp_path, silent=[3, 1], cameras_unreachable=True)
    now = faults.change(tmp_path, disk={"E:": None})
    assert now == faults.read(tmp_path) == Faults(True, frozenset({1, 3}), {"D:": "full"}, True)
    faults.clear(tmp_path)
    assert faults.read(tmp_path) == Faults()


def test_changes_of_several_at_once_are_all_kept(tmp_path):
    work = [threading.Thread(target=faults.change, args=(tmp_path,), kwargs={"disk": {f"{letter}:": "full"}}) for letter in "DEFGHIJK"]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(faults.read(tmp_path).disk) == 8


@pytest.mark.parametrize("document", [
    [], {"hanged": True}, {"hung": 1}, {"silent": "1"}, {"silent": [0]}, {"disk": ["D:"]}, {"disk": {"D:": "slow"}},
    {"disk": {"D": "full"}}, {"cameras_unreachable": None},
])
def test_nonsense_is_refused(document):
    with pytest.raises(FaultsError):
        faults.parse(document)


def test_cameras_by_their_number():
    some = faults.parse({"silent": [2]})
    assert some.silences("127.9.9.102") and not some.silences("127.9.9.101") and not some.silences("camera.example")
    assert faults.parse({"silent": True}).silences("camera.example") and not faults.parse({"silent": []}).silences("127.9.9.102")


def test_the_watch_tells_changes_and_survives_nonsense(tmp_path):
    watch = faults.Watch(tmp_path)
    assert not watch.changed()
    faults.change(tmp_path, hung=True)
    assert watch.changed() and watch.faults.hung and not watch.changed()
    (tmp_path / faults.FILE_NAME).write_text("{")
    assert not watch.changed() and watch.faults.hung
    (tmp_path / faults.FILE_NAME).unlink()
    assert watch.changed() and watch.faults == Faults()


# ---- the process


def written(rig):
    """All that the media database holds, by size."""
    found = {}
    for path in rig.bank.rglob("*"):
        try:
            found[path] = path.stat().st_size
        except FileNotFoundError:  # a table is being closed
            continue
    return found


def passes(cameras, frames, number=1):
    """Wait until the camera has made that many frames more. The counters before and after."""
    first = cameras.status(number)["last_counter"]
    wait_for("frames", lambda: cameras.status(number)["last_counter"] >= first + frames)
    return first, cameras.status(number)["last_counter"]


def grows(rig, device):
    before = {path: size for path, size in written(rig).items() if device in str(path)}
    wait_for(f"media of {device}", lambda: {p: s for p, s in written(rig).items() if device in str(p)} != before)


def recording_flags(rig):
    return rig.soap("GetCurrentDeviceStatus", service="status").count("<Recording>true</Recording>")


def test_a_hung_recorder_answers_and_writes_nothing_until_it_is_freed(attached, cameras):
    camera = attached.cameras[0]
    faults.change(attached.root, hung=True)
    wait_for("silence", lambda: not answers(attached))
    before = written(attached)
    first, last = passes(cameras, 20)
    assert written(attached) == before and attached.process.poll() is None
    assert not answers(attached)
    faults.clear(attached.root)
    wait_for("an answer", lambda: attached.attach_state() == "Attached")
    wait_for("two sequences", lambda: len(attached.sequences(camera)) == 2)
    counters = attached.counters_played(camera)
    assert set(counters).isdisjoint(range(first + 1, last)) and counters == sorted(set(counters))
    assert "The service did not respond for" in attached.log()
    assert attached.end() == 0
    attached.check_closed_tables()


def test_a_hang_outlives_a_restart_and_the_service_is_up(rigs, servers, cameras):
    rig = rigs()
    servers(rig.configuration([rig.camera(cameras.url(1))]))
    faults.change(rig.root, hung=True)
    rig.start()  # it waits for the word that the service is ready
    wait_for("silence", lambda: not answers(rig))
    faults.clear(rig.root)
    wait_for("recording", lambda: rig.attach_state() == "Attached" and rig.open_tables())


def answers(rig):
    """Whether the recorder answers within half a second; connecting always works."""
    with socket.create_connection((rig.address, 9001), 5) as peer:
        peer.settimeout(0.5)
        peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            return bool(peer.recv(1))
        except TimeoutError:
            return False


def test_a_silent_camera_is_reported_as_recording_and_writes_nothing(attached, cameras):
    quiet, other = attached.cameras
    faults.change(attached.root, silent=[1])
    wait_for("the end of the sequence", lambda: sequence_end_stands(attached, quiet, cameras))
    (before,) = attached.sequences(quiet)
    played = len(attached.counters_played(quiet))
    passes(cameras, 25)
    assert attached.sequences(quiet) == [before] and len(attached.counters_played(quiet)) == played
    assert recording_flags(attached) == 2 and attached.attach_state() == "Attached"
    grows(attached, other["id"])
    assert not [path for path in attached.open_tables() if path.name.startswith(quiet["id"])]  # split in time, and no new one began
    live = attached.client(quiet)
    live.send("live")
    assert live.read()
    live.close()
    faults.clear(attached.root)
    wait_for("a new sequence", lambda: len(attached.sequences(quiet)) == 2)
    assert len(attached.sequences(other)) == 1


def sequence_end_stands(rig, camera, cameras):
    before = rig.sequences(camera)
    passes(cameras, 3)
    return rig.sequences(camera) == before


def test_all_cameras_silent_from_the_start(rigs, servers, cameras):
    rig = rigs()
    entries = [rig.camera(cameras.url(1)), rig.camera(cameras.url(2))]
    servers(rig.configuration(entries))
    faults.change(rig.root, silent=True)
    rig.start()
    wait_for("its word that it records", lambda: rig.attach_state() == "Attached" and recording_flags(rig) == 2)
    assert rig.open_tables() == rig.closed_tables() == []


def test_cameras_out_of_reach_are_lost_and_found(attached, cameras):
    camera = attached.cameras[0]
    faults.change(attached.root, cameras_unreachable=True)
    wait_for("the loss", lambda: attached.log().count("Device communication error") == 2)
    status = attached.soap("GetCurrentDeviceStatus", service="status")
    assert status.count("<ErrorNoConnection>true") == 2 and attached.attach_state() == "Attached"
    assert recording_flags(attached) == 0
    first, last = passes(cameras, 15)
    faults.clear(attached.root)
    wait_for("the return", lambda: len(attached.sequences(camera)) == 2)
    assert set(attached.counters_played(camera)).isdisjoint(range(first + 1, last))


@pytest.mark.parametrize("state", ["full", "read-only", "gone"])
def test_a_broken_disk_stops_recording_and_not_the_service(attached, cameras, state):
    camera = attached.cameras[0]

    def storage():
        return attached.soap("GetRecordingStorageStatus", service="status")

    assert "<Available>true" in storage()
    faults.change(attached.root, disk={"D:": state})
    wait_for("the error", lambda: attached.soap("GetCurrentDeviceStatus", service="status").count("<ErrorWritingGop>true") == 2)
    assert f"<Available>{'true' if state == 'full' else 'false'}" in storage() and "<FreeSpaceInBytes>0<" in storage()
    assert attached.attach_state() == "Attached" and recording_flags(attached) == 0
    live = attached.client(camera)
    live.send("live")
    assert live.read()
    live.close()
    first, last = passes(cameras, 10)
    faults.clear(attached.root)
    wait_for("recording", lambda: len(attached.sequences(camera)) == 2 and recording_flags(attached) == 2)
    counters = attached.counters_played(camera)
    assert set(counters).isdisjoint(range(first + 1, last)) and counters == sorted(set(counters))
    assert "<ErrorWritingGop>true" not in attached.soap("GetCurrentDeviceStatus", service="status")
    assert attached.end() == 0
    attached.check_closed_tables()
    assert "the media database cannot be written" in attached.log()
