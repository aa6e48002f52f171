# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run cameras and recorders as processes, without a lab machine, and talk to them as clients do."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
import urllib.request
import uuid
from pathlib import Path

from recorder_clients import TOKEN, ImageClient, soap, unix_ms

from tandem_lab.recorder.media import caches, layout, repair


def wait_for(what: str, condition: t.Callable[[], t.Any], seconds: float = 20.0) -> t.Any:
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.05)


def free_subnet() -> str:
    """A 127.X.Y that nobody else uses: its holder listens on .1:4000 for as long as the test process lives."""
    for _ in range(100):
        subnet = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}"
        holder = socket.socket()
        try:
            holder.bind((f"{subnet}.1", 4000))
            holder.listen()
        except OSError:
            holder.close()
            continue
        _HOLDERS.append(holder)
        return subnet
    raise AssertionError("no free subnet")


_HOLDERS: list[socket.socket] = []


class Cameras:
    """The camera process of a test; camera numbers count from 1."""

    def __init__(self, folder: Path, subnet: str, cameras: list[dict[str, t.Any]]) -> None:
        self.subnet = subnet
        entries = [{"number": n, "address": f"{subnet}.{100 + n}", **camera} for n, camera in enumerate(cameras, 1)]
        config = folder / "cameras.json"
        config.write_text(json.dumps({"cameras": entries}))
        command = [sys.executable, "-m", "tandem_lab.cameras", "--config", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert json.loads(self.process.stdout.readline())["ready"]

    def url(self, number: int) -> str:
        return f"http://{self.subnet}.{100 + number}:8080/video.mjpg"

    def status(self, number: int) -> dict[str, t.Any]:
        with urllib.request.urlopen(f"http://{self.subnet}.{100 + number}:8080/status", timeout=5) as answer:
            return json.loads(answer.read())

    def motion(self, number: int, active: bool) -> None:
        body = json.dumps({"active": active}).encode()
        urllib.request.urlopen(f"http://{self.subnet}.{100 + number}:8080/motion", body, timeout=5).read()

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()


class FakeManagementServer:
    """The uplink's other end: welcomes recorders, pings them, sends what a test wants."""

    def __init__(self, address: str, configuration: dict[str, t.Any]) -> None:
        self.configuration = configuration
        self.hellos: list[dict[str, t.Any]] = []
        self.statuses: list[dict[str, t.Any]] = []
        self._links: list[socket.socket] = []
        self._server = socket.create_server((address, 9000))
        self._open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(link,), daemon=True).start()

    def _serve(self, link: socket.socket) -> None:
        try:
            lines = link.makefile("rb")
            self.hellos.append(json.loads(lines.readline()))
            tokens = [{"token": TOKEN, "expires_ms": int(time.time() * 1000) + 3_600_000}]
            self._send(link, {"type": "welcome", "configuration": self.configuration, "tokens": tokens})
            self._links.append(link)
            threading.Thread(target=self._ping, args=(link,), daemon=True).start()
            for line in lines:
                message = json.loads(line)
                if message["type"] == "status":
                    self.statuses.append(message)
        except (OSError, ValueError):
            pass

    def _ping(self, link: socket.socket) -> None:
        while self._open and link.fileno() >= 0:
            try:
                self._send(link, {"type": "ping"})
            except OSError:
                return
            time.sleep(0.5)

    @staticmethod
    def _send(link: socket.socket, message: dict[str, t.Any]) -> None:
        link.sendall(json.dumps(message).encode() + b"\n")

    def say(self, message: dict[str, t.Any]) -> None:
        for link in self._links:
            try:
                self._send(link, message)
            except OSError:
                pass

    def configure(self, configuration: dict[str, t.Any]) -> None:
        self.configuration = configuration
        self.say({"type": "configuration", "configuration": configuration})

    def stop(self) -> None:
        if not self._open:
            return
        self._open = False
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts, which would keep the port taken
        self._server.close()
        for link in self._links:
            try:
                link.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            link.close()


class Rig:
    """One machine folder with a recorder in it."""

    def __init__(self, folder: Path, address: str, *, server: str | None = None, settings: dict[str, t.Any] | None = None,
                 motion_threshold: float = 0.25, time_zone: str = "UTC") -> None:
        self.root = folder
        self.address = address
        self.recorder_id = str(uuid.uuid4())
        self.storage_id = str(uuid.uuid4())
        self.process: subprocess.Popen[str] | None = None
        self.data = folder / "C/ProgramData/Milestone/XProtect Recording Server"
        self.data.mkdir(parents=True)
        (folder / "D").mkdir()
        (folder / "settings.json").write_text(json.dumps({"table_seconds": 1, **(settings or {})}))
        machine = {"name": "m1", "address": address, "time_zone": time_zone, "settings": str(folder / "settings.json"),
                   "recorder": {"motion_threshold": motion_threshold}}
        (folder / "machine.json").write_text(json.dumps(machine))
        self.write_recorder_config(server or "127.0.0.1")

    @property
    def bank(self) -> Path:
        return self.root / "D/MediaDatabase" / self.storage_id.upper()

    def write_recorder_config(self, server: str) -> None:
        text = f"""<?xml version="1.0" encoding="utf-8"?>\r
<recorderconfig>\r
  <version>25.1.1804.0</version>\r
  <recorder><id>{self.recorder_id.upper()}</id><displayname>REC-A</displayname>
    <ClientRegistrationId>{uuid.uuid4()}</ClientRegistrationId></recorder>\r
  <server><address>{server}</address><webapiport>9000</webapiport></server>\r
  <webapi><port>9001</port></webapi>\r
  <database><database_default><name>Local default</name><path>D:\\MediaDatabase</path></database_default></database>\r
  <webserver><host>{self.address}</host><port>7563</port></webserver>\r
</recorderconfig>\r
"""
        (self.data / "RecorderConfig.xml").write_bytes(text.encode())

    def storage(self, **changes: t.Any) -> dict[str, t.Any]:
        return {"id": self.storage_id, "name": "Local default", "disk_path": "D:\\MediaDatabase", "retain_minutes": 60,
                "max_size_mb": 1000, "is_default": True, **changes}

    def camera(self, url: str, mode: str = "always", **changes: t.Any) -> dict[str, t.Any]:
        return {"id": str(uuid.uuid4()), "name": "Entrance", "hardware_id": str(uuid.uuid4()), "enabled": True, "url": url,
                "recording_enabled": True, "recording_mode": mode, "prebuffer_seconds": 3, "recording_storage_id": self.storage_id,
                **changes}

    def configuration(self, cameras: list[dict[str, t.Any]], version: int = 1, **storage: t.Any) -> dict[str, t.Any]:
        return {"version": version, "recorder": {"id": self.recorder_id, "name": "REC-A"}, "storages": [self.storage(**storage)],
                "hardware": [{"id": c["hardware_id"], "name": "hw", "address": c["url"]} for c in cameras], "cameras": cameras}

    def put_cache(self, configuration: dict[str, t.Any]) -> None:
        (self.data / "ConfigurationCache.json").write_text(json.dumps(configuration))

    # ---- process

    def start(self) -> float:
        """Start and wait until it says that it is ready; returns the seconds that took."""
        began = time.monotonic()
        environment = {**os.environ, "TANDEM_LAB_ROOT": str(self.root)}
        for name in ("TANDEM_LAB_MACHINE", "TZ"):
            environment.pop(name, None)
        self.process = subprocess.Popen([sys.executable, "-m", "tandem_lab.recorder"], env=environment, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line == "ready\n", self.process.stderr.read()
        return time.monotonic() - began

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(number)
        code = process.wait(10)
        error = process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        assert "Traceback" not in error, error
        return code

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def log(self) -> str:
        return (self.data / "Logs/RecorderEngine.log").read_text(encoding="utf-8")

    # ---- disk

    def closed_tables(self, device: str | None = None) -> list[Path]:
        if not self.bank.exists():
            return []
        return sorted(p for p in self.bank.iterdir() if layout.CLOSED_NAME.match(p.name) and (not device or p.name.startswith(device)))

    def open_tables(self) -> list[Path]:
        return sorted(p for p in self.bank.iterdir() if layout.OPEN_NAME.match(p.name))

    def archives(self) -> dict[str, caches.TableEntry]:
        return {entry.name: entry for entry in caches.read(self.bank / caches.ARCHIVES)}

    def check_closed_tables(self) -> None:
        """Every closed table keeps the size laws, and the cache says of it what its files say."""
        archives = self.archives()
        assert sorted(archives) == [path.name for path in self.closed_tables()]
        for path in self.closed_tables():
            assert repair.inspect(path) == archives[path.name]

    # ---- clients

    def client(self, camera: dict[str, t.Any] | str, **options: t.Any) -> ImageClient:
        device = camera if isinstance(camera, str) else camera["id"]
        return ImageClient(self.address, device, **options)

    def soap(self, operation: str, inner: str = "", *, token: str | None = TOKEN, service: str = "command") -> str:
        return soap(self.address, operation, inner, token=token, service=service)

    def sequences(self, camera: dict[str, t.Any], kind: str = "f9c62604-d0c5-4050-ae25-72de51639b14") -> list[tuple[int, int]]:
        answer = self.soap("SequencesGet", f"<deviceId>{camera['id']}</deviceId><sequenceType>{kind}</sequenceType>"
                           "<minTime>2000-01-01T00:00:00Z</minTime><maxTime>2100-01-01T00:00:00Z</maxTime><maxCount>1000</maxCount>")
        pairs = re.findall(r"<TimeBegin>(.+?)</TimeBegin>.*?<TimeEnd>(.+?)</TimeEnd>", answer)
        return [(unix_ms(begin), unix_ms(end)) for begin, end in pairs]

    def attach_state(self) -> str:
        found = re.search("<AttachState>(.*?)</AttachState>", self.soap("GetRecorderStatus", token=None, service="status"))
        return found.group(1) if found else ""

    def counters_played(self, camera: dict[str, t.Any]) -> list[int]:
        client = self.client(camera)
        try:
            return [counter for _, counter in client.play_all()]
        finally:
            client.close()
