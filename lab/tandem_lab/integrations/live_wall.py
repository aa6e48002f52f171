# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A live wall: one live picture per camera, for ever, through the recorder address that it read once at its start.

``python -m tandem_lab.integrations.live_wall --site site.json --out wall.jsonl`` runs until SIGTERM. Each received frame
becomes a line ``{"camera", "counter", "time_ms", "received_ms"}``, so that interruptions can be measured afterwards.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import threading
import time
import typing as t
from pathlib import Path

import requests

from . import frames
from .image_client import TOKEN_INVALID, ConnectRefused, ImageServerError, ImageSession, Picture
from .vms_client import Site, VmsClient, VmsError

SILENCE_SECONDS = 2.0
RETRY_SECONDS = 0.2
CONNECT_SECONDS = 1.0
Row = dict[str, t.Any]


class Wall:
    def __init__(self, site: Site | Path, out: Path):
        self._client = VmsClient(site)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._login = threading.Lock()
        self._token = self._client.login()
        cameras = [camera["id"] for camera in self._client.list("cameras")]
        self._addresses = {camera: self._client.address_of(camera) for camera in cameras}
        self._file = out.open("a", encoding="utf-8")
        self._threads = [threading.Thread(target=self._watch, args=(camera,), name=camera, daemon=True) for camera in cameras]
        self._sessions: dict[str, ImageSession] = {}
        self._last_report: dict[str, str] = {}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for session in list(self._sessions.values()):
            session.abort()
        for thread in self._threads:
            thread.join(SILENCE_SECONDS + CONNECT_SECONDS)
        with self._lock:
            self._file.close()

    # -- one camera ----------------------------------------------------------------------------------------------
    def _watch(self, camera: str) -> None:
        while not self._stop.is_set():
            token = self._token
            try:
                self._show(camera, token)
            except ConnectRefused as refusal:
                self._report(camera, refusal)
                if refusal.reason == TOKEN_INVALID:
                    self._renew(token)
            except (OSError, EOFError, ImageServerError) as error:
                self._report(camera, error)
            self._stop.wait(RETRY_SECONDS)

    def _show(self, camera: str, token: str) -> None:
        with ImageSession(self._addresses[camera], timeout=SILENCE_SECONDS, connect_timeout=CONNECT_SECONDS) as session:
            self._sessions[camera] = session
            session.connect(camera, token)
            session.start_live()
            while not self._stop.is_set():
                answer = session.read()
                if isinstance(answer, Picture) and answer.data:
                    self._write(camera, answer)

    def _renew(self, refused: str) -> None:
        """Log in again, once for all cameras that were refused with the same token."""
        with self._login:
            if self._token == refused:
                try:
                    self._token = self._client.login()
                except (requests.RequestException, VmsError) as error:
                    self._report("login", error)

    def _write(self, camera: str, picture: Picture) -> None:
        received = int(time.time() * 1000)
        truth = frames.truth(picture.data)
        if truth is None:
            self._report(camera, ImageServerError("a picture without a camera's mark"))
            return
        line = json.dumps({"camera": camera, "counter": truth.counter, "time_ms": truth.time_ms, "received_ms": received})
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")
                self._file.flush()

    def _report(self, camera: str, error: Exception) -> None:
        """One line per kind of trouble and camera, not one per attempt."""
        text = f"{type(error).__name__}: {error}"
        if self._last_report.get(camera) != text and not self._stop.is_set():
            self._last_report[camera] = text
            print(f"{time.time():.3f} {camera} {text}", file=sys.stderr, flush=True)


# -- what was seen -----------------------------------------------------------------------------------------------
def rows(path: Path) -> t.Iterator[Row]:
    """All whole lines that the wall has written so far."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield json.loads(line)


def frame_interval_ms(seen: list[Row]) -> float:
    """The time between two frames of a camera, by its own clock and counters."""
    steps = [
        (after["time_ms"] - before["time_ms"]) / (after["counter"] - before["counter"])
        for before, after in zip(seen, seen[1:]) if after["counter"] > before["counter"]
    ]
    return statistics.median(steps) if steps else 0.0


def interruptions(path: Path, from_ms: int, to_ms: int) -> dict[str, float]:
    """Per camera the longest pause, in seconds, that lies at least partly in the span: time between frames less one interval.

    The span's ends count as well: a camera that shows nothing any more is interrupted until `to_ms`.
    """
    by_camera: dict[str, list[Row]] = {}
    for row in rows(path):
        by_camera.setdefault(row["camera"], []).append(row)
    return {camera: _longest_pause(seen, from_ms, to_ms) / 1000 for camera, seen in by_camera.items()}


def _longest_pause(seen: list[Row], from_ms: int, to_ms: int) -> float:
    seen = sorted(seen, key=lambda row: row["received_ms"])
    times = [row["received_ms"] for row in seen]
    edges = ([from_ms] if times[0] > from_ms else []) + times + ([to_ms] if times[-1] < to_ms else [])
    pauses = [after - before for before, after in zip(edges, edges[1:]) if before < to_ms and after > from_ms]
    return max(0.0, max(pauses, default=0.0) - frame_interval_ms(seen))


def main() -> int:
    parser = argparse.ArgumentParser(prog="tandem_lab.integrations.live_wall", description=__doc__.partition("\n")[0])
    parser.add_argument("--site", type=Path, required=True, help="the site.json of a raised site")
    parser.add_argument("--out", type=Path, required=True, help="the file to add frames to, one JSON object a line")
    arguments = parser.parse_args()
    done = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: done.set())
    wall = Wall(arguments.site, arguments.out)
    wall.start()
    done.wait()
    wall.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
