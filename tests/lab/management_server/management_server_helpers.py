# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Management Server in this process, on its own loopback address, and recorders that speak only its uplink."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import time
import uuid
from xml.etree import ElementTree

import requests

from tandem_lab.management_server.config import Account, ServerConfig
from tandem_lab.management_server.server import ManagementServer
from tandem_lab.site import layout, model_builder

NS = "http://videoos.net/2/XProtectCSServerCommand"


def wait_until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


class RunningServer:
    """The server in a thread of its own; `client` calls go over real sockets."""

    def __init__(self, folder, *, settings=None, plan=None, subnet=None, pairs=1):
        self.subnet = subnet or f"127.{random.randrange(16, 250)}.{random.randrange(1, 255)}"
        self.plan = plan or layout.plan(self.subnet, cameras=4, pairs=pairs)
        self.pair = self.plan.pairs[0]
        model = folder / "model.json"
        if not model.exists():
            model.write_text(json.dumps(model_builder.build(self.plan)), encoding="utf-8")
        self.config = ServerConfig(
            address=self.plan.server_address, name=self.plan.server_name, version=layout.VERSION, model=model, state=folder / "state",
            basic_user=Account(self.plan.basic_user, self.plan.basic_password),
            windows_user=Account(self.plan.windows_user, self.plan.windows_password), settings=settings or {},
        )
        self.url = self.config.http_url
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = ManagementServer(self.config)
        self._run(self.server.start())

    def _run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def stop(self):
        self._run(self.server.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def hold(self, seconds):
        """Let the server do nothing for a while; what happens meanwhile it finds all at once."""
        self._loop.call_soon_threadsafe(time.sleep, seconds)

    # -- clients -------------------------------------------------------------------------------------------------
    def access_token(self):
        form = {"grant_type": "password", "client_id": "GrantValidatorClient", "username": self.plan.basic_user,
                "password": self.plan.basic_password}
        return requests.post(f"{self.url}/API/IDP/connect/token", data=form, timeout=5).json()["access_token"]

    def rest(self, method, path, token=None, **arguments):
        headers = {"Authorization": f"Bearer {token or self.access_token()}"}
        return requests.request(method, f"{self.url}/api/rest/v1/{path}", headers=headers, timeout=5, **arguments)

    def get(self, path):
        answer = self.rest("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def soap(self, body, path="/ManagementServer/ServerCommandService.svc", auth=None, **arguments):
        envelope = f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{body}</s:Body></s:Envelope>'
        headers = {"Content-Type": "text/xml; charset=utf-8", **arguments.pop("headers", {})}
        auth = auth if auth is not None else (self.plan.basic_user, self.plan.basic_password)
        return requests.post(self.url + path, data=envelope.encode(), headers=headers, auth=auth or None, timeout=5, **arguments)

    def recorders(self):
        return requests.get(f"{self.url}/lab/recorders", timeout=5).json()


class FakeRecorder:
    """Introduces itself, answers pings in order, keeps every message with the moment it arrived."""

    def __init__(self, running, recorder_id=None, *, instance=None, host=None, source=None, silent=False, delay=0.0):
        self.instance = instance or str(uuid.uuid4())
        self.silent = silent
        self.delay = delay
        self.messages = []
        self.ended = threading.Event()
        self._socket = socket.create_connection((running.config.address, 9000), 5, (source, 0) if source else None)
        self.send({"type": "hello", "recorder_id": recorder_id or running.pair.recorder_id, "instance": self.instance,
                   "client_registration_id": running.pair.nodes[0].client_registration_id, "name": "Recorder 1",
                   "host": host or running.pair.service_address, "port": 7563, "version": "25.1.1804.0",
                   "time_zone": "Romance Standard Time"})
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def send(self, message):
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _read(self):
        try:
            with self._socket.makefile("rb") as lines:
                for line in lines:
                    time.sleep(self.delay)
                    message = json.loads(line)
                    self.messages.append(message)
                    if message["type"] == "ping" and not self.silent:
                        self.send({"type": "pong"})
        except OSError:
            pass
        self.ended.set()

    def of_type(self, kind):
        return [message for message in self.messages if message["type"] == kind]

    def wait(self, kind, count=1):
        wait_until(lambda: len(self.of_type(kind)) >= count)
        return self.of_type(kind)[count - 1]

    def close(self):
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._thread.join(5)
        self._socket.close()


def login_body(instance=None, current=""):
    return f'<Login xmlns="{NS}"><instanceId>{instance or uuid.uuid4()}</instanceId><currentToken>{current}</currentToken></Login>'


def token_of(answer):
    assert answer.status_code == 200, answer.text
    return ElementTree.fromstring(answer.content).find(f".//{{{NS}}}Token").text
