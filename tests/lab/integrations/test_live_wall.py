# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wall comes back by itself, and interruptions are measured rightly."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest
from management_server_helpers import wait_until

from tandem_lab.integrations import live_wall


@pytest.fixture
def wall(site, image_server, tmp_path):
    made = live_wall.Wall(site, tmp_path / "wall.jsonl")
    made.start()
    made.file = tmp_path / "wall.jsonl"
    wait_until(lambda: seen_since(made.file, 0) == set(image_server.cameras))
    yield made
    made.stop()


def now():
    return int(time.time() * 1000)


def seen_since(file, since):
    return {row["camera"] for row in live_wall.rows(file) if row["received_ms"] >= since}


def test_every_camera_is_shown(wall, site):
    rows = list(live_wall.rows(wall.file))
    assert set(rows[0]) == {"camera", "counter", "time_ms", "received_ms"}
    for camera in site["cameras"]:
        counters = [row["counter"] for row in rows if row["camera"] == camera["id"]]
        assert counters == list(range(counters[0], counters[0] + len(counters)))


def test_it_comes_back_after_a_cut(wall, image_server):
    begin = now()
    image_server.cut()
    time.sleep(0.5)  # the length of the outage
    image_server.listen()
    back = now()
    wait_until(lambda: seen_since(wall.file, back) == set(image_server.cameras))
    pauses = live_wall.interruptions(wall.file, begin, now())
    assert set(pauses) == set(image_server.cameras)
    assert all(0.4 < pause < 2 for pause in pauses.values())


def test_it_comes_back_after_silence(wall, image_server):
    connects = len(image_server.connects)
    image_server.frozen = True
    wait_until(lambda: len(image_server.connects) >= connects + 4, timeout=6)
    image_server.frozen = False
    back = now()
    wait_until(lambda: seen_since(wall.file, back) == set(image_server.cameras))


def test_it_logs_in_again_when_its_token_is_refused(wall, server, image_server):
    old = image_server.connects[0][1]
    image_server.refuse = lambda token: "Security token invalid" if token == old else None
    image_server.cut()
    image_server.listen()
    back = now()
    wait_until(lambda: seen_since(wall.file, back) == set(image_server.cameras))
    assert len(server.server.tokens.all_live()) == 2, "four cameras, one new login"


def test_it_keeps_the_address_that_it_read_first(wall, server, image_server):
    server.server.model.change("recordingServers", server.pair.recorder_id, {"webServerUri": "http://127.0.0.9:7563/"}, configuration=False)
    image_server.cut()
    image_server.listen()
    back = now()
    wait_until(lambda: seen_since(wall.file, back) == set(image_server.cameras))


def test_as_a_process(site, image_server, tmp_path):
    (tmp_path / "site.json").write_text(json.dumps(site))
    out = tmp_path / "out.jsonl"
    process = subprocess.Popen([sys.executable, "-m", "tandem_lab.integrations.live_wall", "--site", str(tmp_path / "site.json"),
                                "--out", str(out)])
    try:
        wait_until(lambda: seen_since(out, 0) == set(image_server.cameras), timeout=10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    finally:
        process.kill()
        process.wait(5)


def write(path, received, *, camera="a"):
    with path.open("a") as file:
        for n, at in received:
            file.write(json.dumps({"camera": camera, "counter": n, "time_ms": 1000 + 200 * n, "received_ms": at}) + "\n")


@pytest.mark.parametrize(("span", "expected"), [
    ((1000, 9000), 1.8),     # frames 5..13 did not come
    ((1000, 1800), 0.0),     # before the pause
    ((2100, 2200), 1.8),     # inside the pause
    ((1000, 2000), 1.8),     # the pause begins in the span
    ((5000, 9000), 3.8),     # nothing any more after 5000: interrupted until the end of the span
    ((0, 1500), 0.8),        # nothing yet before 1000
])
def test_interruptions(tmp_path, span, expected):
    path = tmp_path / "wall.jsonl"
    write(path, [(n, 1000 + 200 * n) for n in range(5)] + [(n, 1000 + 200 * n) for n in range(14, 21)])
    if span[1] != 9000 or span[0] != 5000:
        write(path, [(n, 1000 + 200 * n) for n in range(21, 60)])
    assert live_wall.interruptions(path, *span) == {"a": pytest.approx(expected)}


def test_interruptions_of_each_camera(tmp_path):
    path = tmp_path / "wall.jsonl"
    write(path, [(n, 1000 + 200 * n) for n in range(30)])
    write(path, [(n, 1000 + 200 * n) for n in range(30) if not 10 <= n < 15], camera="b")
    with path.open("a") as file:
        file.write('{"camera": "a", "cou')  # the wall is still writing this line
    assert live_wall.interruptions(path, 1500, 6000) == {"a": 0.0, "b": pytest.approx(1.0)}
