# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from PIL import Image

from tandem_lab.cameras import config, frames
from tandem_lab.cameras.camera import Session
from tandem_lab.cameras.motion import Motion


# ---- pictures


def test_pictures_are_real_and_of_the_promised_size():
    for number, title in ((1, "Entrance (cam-1)"), (2, "A very long name of a loading dock behind building number nine (cam-2)")):
        for picture in frames.render(title, number):
            frame = frames.stamp(picture, f"cam-{number}", 10**9, 1_800_000_000_000, 0.35)
            assert frames.MIN_BYTES <= len(frame) <= frames.MAX_BYTES
            assert b"\r\n\r\n" not in frame
            image = Image.open(io.BytesIO(frame))
            image.load()
            assert image.size == (320, 240)


def test_the_stamp_comes_back():
    frame = frames.stamp(frames.render("x", 3)[0], "cam-3", 123, 1_800_000_000_123, 0.2)
    assert frame[:4] == b"\xff\xd8\xff\xfe" and frame[6:14] == b"TANDEM1 "
    assert frames.read_stamp(frame) == {"serial": "cam-3", "counter": 123, "time_ms": 1_800_000_000_123, "motion": 0.2}
    assert frames.read_stamp(frames.render("x", 3)[0]) is None


# ---- motion


def test_a_scheduled_event_has_ramps_and_only_strong_frames_count():
    motion = Motion(config.MotionSchedule(every_seconds=12, for_seconds=4, ramp_frames=4), fps=5)
    levels = [motion.level(counter) for counter in range(120)]
    assert levels[5:9] == [0.2, 0.3, 0.4, 0.5]
    assert levels[9:29] == [1.0] * 20
    assert levels[29:33] == [0.5, 0.4, 0.3, 0.2]
    assert set(levels[33:65]) == {0.0}
    assert levels[60:] == levels[:60]
    assert [list(event) for event in motion.events] == [[9, 28], [69, 88]]


def test_asked_motion_rises_stays_and_falls():
    motion = Motion(None, fps=5)
    motion.ask(True)
    rising = [motion.level(counter) for counter in range(7)]
    motion.ask(False)
    falling = [motion.level(counter) for counter in range(7, 14)]
    assert rising == [0.2, 0.3, 0.4, 0.5, 1.0, 1.0, 1.0]
    assert falling == [0.5, 0.4, 0.3, 0.2, 0.0, 0.0, 0.0]
    assert [list(event) for event in motion.events] == [[4, 6]]


# ---- configuration


@pytest.mark.parametrize("bad", [
    [], {}, {"cameras": [{"number": 1}]}, {"cameras": [{"number": 1, "address": "127.1.1.1", "fps": 0}]},
    {"cameras": [{"number": 1, "address": "a"}, {"number": 1, "address": "b"}]},
    {"cameras": [{"number": 1, "address": "a", "queue_seconds": 1}]},
    {"cameras": [{"number": 1, "address": "a", "motion": {"every_seconds": 2, "for_seconds": 2}}]},
    {"cameras": [{"number": 1, "address": "a", "colour": True}]},
])
def test_a_wrong_configuration_is_refused(bad):
    with pytest.raises(config.ConfigError):
        config.parse(bad)


def test_defaults_are_taken_over():
    first, second = config.parse({"defaults": {"fps": 10}, "cameras": [
        {"number": 1, "address": "127.1.1.101"}, {"number": 2, "address": "127.1.1.102", "fps": 2, "motion": True}]})
    assert (first.fps, first.serial, first.motion, second.fps) == (10, "cam-1", None, 2)
    assert second.motion == config.MotionSchedule(12.0, 4.0, 4)


def test_a_slow_session_loses_the_oldest_frames_and_counts_them():
    session = Session("client", 3)
    for number in range(5):
        session.put(bytes([number]))
    assert list(session.queue) == [b"\2", b"\3", b"\4"] and session.dropped == 2


# ---- the process


class CameraProcess:
    def __init__(self, folder, cameras):
        self.subnet = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}"
        entries = [{"number": n, "address": f"{self.subnet}.{100 + n}", **camera} for n, camera in enumerate(cameras, 1)]
        (folder / "cameras.json").write_text(json.dumps({"cameras": entries}))
        command = [sys.executable, "-m", "tandem_lab.cameras", "--config", str(folder / "cameras.json")]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert json.loads(self.process.stdout.readline())["cameras"] == len(cameras)

    def address(self, number):
        return f"{self.subnet}.{100 + number}", 8080

    def get(self, number, path, body=None):
        host, port = self.address(number)
        with urllib.request.urlopen(f"http://{host}:{port}{path}", body, timeout=5) as answer:
            return answer.read()

    def status(self, number):
        return json.loads(self.get(number, "/status"))

    def stop(self):
        self.process.terminate()
        assert self.process.wait(10) == 0
        self.process.stdout.close()


class Video:
    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.sendall(b"GET /video.mjpg HTTP/1.1\r\nHost: camera\r\n\r\n")
        self._file = self.socket.makefile("rb")
        self.head = self._headers()

    def _headers(self):
        lines = []
        while (line := self._file.readline()) not in (b"\r\n", b""):
            lines.append(line.decode().strip())
        return lines

    def frame(self):
        boundary, *headers = self._headers()
        assert boundary == "--tandemframe"
        length = int(dict(line.split(": ") for line in headers)["Content-Length"])
        frame = self._file.read(length)
        assert self._file.read(2) == b"\r\n"
        return frames.read_stamp(frame)

    def close(self):
        self._file.close()
        self.socket.close()


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    process = CameraProcess(tmp_path_factory.mktemp("cameras"), [
        {"fps": 20}, {"fps": 20, "sessions_max": 2}, {"fps": 20, "motion": {"every_seconds": 2, "for_seconds": 0.5}}])
    yield process
    process.stop()


def wait_for(what, condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_counters_grow_by_one_on_a_fixed_grid(cameras):
    video = Video(cameras.address(1))
    assert video.head[0] == "HTTP/1.1 200 OK"
    stamps = [video.frame() for _ in range(30)]
    video.close()
    first_ms = cameras.status(1)["frame_times"]["first_ms"]
    first = stamps[0]["counter"]
    assert [stamp["counter"] for stamp in stamps] == list(range(first, first + 30))
    assert [stamp["time_ms"] for stamp in stamps] == [first_ms + 50 * counter for counter in range(first, first + 30)]
    assert {stamp["serial"] for stamp in stamps} == {"cam-1"} and {stamp["motion"] for stamp in stamps} == {0.0}


def test_a_client_that_stalls_for_a_while_loses_nothing(cameras):
    video = Video(cameras.address(1))
    first = video.frame()["counter"]
    wait_for("frames to pile up", lambda: cameras.status(1)["last_counter"] > first + 60)
    counters = [video.frame()["counter"] for _ in range(70)]
    video.close()
    assert counters == list(range(first + 1, first + 71))
    assert cameras.status(1)["frames_dropped"] == 0


def test_frames_that_come_late_are_caught_up(cameras):
    video = Video(cameras.address(1))
    video.frame()
    cameras.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)  # ten frames do not happen meanwhile
    cameras.process.send_signal(signal.SIGCONT)
    stamps = [video.frame() for _ in range(30)]
    video.close()
    first = stamps[0]["counter"]
    assert [stamp["counter"] for stamp in stamps] == list(range(first, first + 30))
    assert abs(stamps[-1]["time_ms"] - time.time() * 1000) < 1000


def test_sessions_are_listed_and_limited(cameras):
    first, second = Video(cameras.address(2)), Video(cameras.address(2))
    wait_for("two sessions", lambda: len(cameras.status(2)["sessions"]) == 2)
    sources = {session["source"] for session in cameras.status(2)["sessions"]}
    assert sources == {"%s:%d" % video.socket.getsockname() for video in (first, second)}
    (host,) = {source.rpartition(":")[0] for source in sources}
    before = cameras.status(2)["sessions_by_source"][host]
    assert before["now"] == before["peak"] == 2 and before["total"] >= 2
    refused = cameras.status(2)["sessions_refused"]
    third = Video(cameras.address(2))
    assert third.head[0].startswith("HTTP/1.1 503")
    third.close()
    first.close()
    wait_for("the end of a session", lambda: len(cameras.status(2)["sessions"]) == 1)
    assert cameras.status(2)["sessions_peak"] == 2 and cameras.status(2)["sessions_max"] == 2
    assert cameras.status(2)["sessions_by_source"] == {host: {**before, "now": 1}}
    assert cameras.status(2)["sessions_refused"] == refused + 1
    second.close()


def test_motion_by_schedule_and_by_request(cameras):
    wait_for("a whole event", lambda: any(end is not None for _, end in cameras.status(3)["motion"]))
    begin, end = next(event for event in cameras.status(3)["motion"] if event[1] is not None)
    assert end - begin + 1 == 10
    assert json.loads(cameras.get(1, "/motion", b'{"active": true}')) == {"active": True}
    wait_for("asked motion", lambda: cameras.status(1)["motion"] and cameras.status(1)["motion"][-1][1] is None)
    cameras.get(1, "/motion", b'{"active": false}')
    wait_for("its end", lambda: cameras.status(1)["motion"][-1][1] is not None)


def test_snapshot_is_the_newest_frame(cameras):
    stamp = frames.read_stamp(cameras.get(1, "/snapshot.jpg"))
    assert abs(stamp["counter"] - cameras.status(1)["last_counter"]) <= 5


@pytest.mark.parametrize("body", [b"", b"no", b'{"active": 1}', b"[true]"])
def test_a_wrong_motion_request_is_refused(cameras, body):
    with pytest.raises(urllib.error.HTTPError) as refusal:
        cameras.get(1, "/motion", body)
    assert refusal.value.code in (400, 404)


@pytest.mark.parametrize("garbage", [b"\0" * 200_000, b"GET\r\n\r\n", b"POST /motion HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n"])
def test_garbage_is_answered_or_cut_and_others_go_on(cameras, garbage):
    with socket.create_connection(cameras.address(1), timeout=5) as client:
        try:
            client.sendall(garbage)
            while client.recv(4096):
                pass
        except OSError:
            pass
    assert cameras.status(1)["serial"] == "cam-1"


def test_a_wrong_configuration_ends_the_process_with_a_reason(tmp_path):
    (tmp_path / "c.json").write_text('{"cameras": [{"number": 1}]}')
    command = [sys.executable, "-m", "tandem_lab.cameras", "--config", str(tmp_path / "c.json")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert process.returncode == 1 and "camera is not described properly" in process.stderr
