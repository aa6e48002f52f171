# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's WinRM session against a simulated machine: real processes, real pywinrm, NTLM encryption and basic."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pathlib
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build, _winrm_channel
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, RuntimeMissing, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.runtime_deploy import Archive
from ansible_collections.tandem.xprotect.plugins.module_utils.winrm import NodeSession
from tandem_lab.machine import image
from tandem_lab.machine.settings import MachineSettings, WinRMSettings

USER, PASSWORD = "administrator", "Lab-Secret-1"
DIGEST = "5e" * 32

# A stand-in for the node runtime with the verbs that a session has to cope with.
PROGRAM = r'''
import json, os, sys, time

def say(**event):
    print(json.dumps(event), flush=True)

verb, request = sys.argv[1], json.loads(sys.stdin.buffer.read() or b"{}")
if verb == "echo":
    say(event="result", ok=True, result=request)
elif verb == "slow":
    for number in range(request["steps"]):
        say(event="progress", step="wait", number=number)
        time.sleep(request["pause"])
    say(event="result", ok=True, result={"pid": os.getpid()})
elif verb == "hang":
    say(event="progress", step="hang", pid=os.getpid())
    time.sleep(300)
elif verb == "big":
    say(event="result", ok=True, result={"data": "x" * request["size"]})
elif verb == "flood":
    while True:
        say(event="progress", data="x" * 100000)
elif verb == "refuse":
    say(event="result", ok=False, error={"code": "busy", "message": "held by someone", "next": "wait.", "details": {"owner": "someone"}})
    sys.exit(1)
elif verb == "crash":
    raise MemoryError("no memory")
'''


class Machine:
    """A lab machine that can be switched on and off hard."""

    def __init__(self, folder: pathlib.Path, **winrm):
        subnet = f"127.{random.randint(16, 250)}.{random.randint(0, 255)}"
        self.folder, self.address = folder, f"{subnet}.11"
        drives = {"C:": {"total_bytes": 10**11, "free_bytes": 5 * 10**10}}
        image.create(folder, MachineSettings(f"winrm-{secrets.token_hex(3)}", self.address, f"{subnet}.0/24", {USER: PASSWORD}, drives,
                                             winrm=WinRMSettings(**winrm)))
        self.process = None

    def on(self):
        self.process = subprocess.Popen([sys.executable, "-m", "tandem_lab.machine", "--dir", str(self.folder)], stdin=subprocess.DEVNULL,
                                        stderr=open(self.folder / "kernel.log", "ab"))
        deadline = time.monotonic() + 15
        while not (self.folder / "run.json").exists():
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "kernel.log").read_text()
            time.sleep(0.02)

    def off(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)
            (self.folder / "run.json").unlink(missing_ok=True)

    def session(self, transport="ntlm", on_progress=None, **options) -> NodeSession:
        node = {"name": "a", "address": self.address, "winrm_url": f"http://{self.address}:5985/wsman", "winrm_transport": transport}
        return NodeSession({**node, "username": USER, "password": PASSWORD, **options}, "north", on_progress)

    def put(self, windows_path: str, data: bytes):
        path = self.folder / windows_path.replace(":", "").replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("machine"))
    image.python_archive(machine.folder / "python.zip")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    machine.put(_runtime_build.runtime_path(DIGEST), buffer.getvalue())
    machine.on()
    session = machine.session()
    archive = Archive.load(str(machine.folder / "python.zip"))
    assert session.bootstrap(_runtime_build.PYTHON_FOLDER, archive.sha256, archive.data, "zip")["installed"] is True
    session.close()
    yield machine
    machine.off()


@pytest.fixture(params=["ntlm", "basic"])
def session(machine, request):
    session = machine.session(request.param)
    yield session
    session.close()


def test_a_call_and_its_text(session):
    request = {"text": "Grüße, 世界 \"quoted\" \\ \n", "number": 1.5}
    assert session.call("echo", request, runtime=DIGEST) == request
    assert session.call("echo", runtime=DIGEST) == {}


def test_much_data_both_ways(session):
    data = {"data": "".join(random.choices("abcdef\u00e9", k=3_000_000))}
    assert session.call("echo", data, runtime=DIGEST) == data
    assert len(session.call("big", {"size": 12_000_000}, runtime=DIGEST)["data"]) == 12_000_000


def test_progress_streams(session):
    times = []
    session.call("slow", {"steps": 4, "pause": 0.3}, runtime=DIGEST,
                 on_progress=lambda event: times.append((event["number"], time.monotonic())))
    assert [number for number, _when in times] == [0, 1, 2, 3]
    assert times[3][1] - times[0][1] > 0.5, "the lines came together at the end"


def test_silence_longer_than_a_receive(session, monkeypatch):
    monkeypatch.setattr(_winrm_channel, "RECEIVE_SECONDS", 1.0)
    assert session.call("slow", {"steps": 1, "pause": 2.5}, runtime=DIGEST)["pid"]


def test_a_refusal(session):
    with pytest.raises(VerbError) as caught:
        session.call("refuse", runtime=DIGEST)
    assert str(caught.value) == "pair north, node a: held by someone. Next: wait." and caught.value.details == {"owner": "someone"}


def test_a_crash_shows_its_last_line(session):
    with pytest.raises(TandemError) as caught:
        session.call("crash", runtime=DIGEST)
    assert caught.value.code == "no_answer" and "MemoryError: no memory" in str(caught.value)


def test_a_timeout_ends_the_process(session):
    pids = []
    began = time.monotonic()
    with pytest.raises(TandemError) as caught:
        session.call("hang", on_progress=lambda event: pids.append(event["pid"]), timeout=1.5, runtime=DIGEST)
    assert caught.value.code == "timeout" and time.monotonic() - began < 8
    assert_gone(pids[0])
    assert session.call("echo", {"still": "usable"}, runtime=DIGEST) == {"still": "usable"}


def test_too_much_output_ends_the_process(session, monkeypatch):
    monkeypatch.setattr(_winrm_channel, "OUTPUT_LIMIT", 1_000_000)
    with pytest.raises(TandemError) as caught:
        session.call("flood", runtime=DIGEST)
    assert caught.value.code == "output_too_large"


def assert_gone(pid: int):
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} still runs")


def test_closing_ends_what_another_thread_left_running(machine):
    session, seen, failures = machine.session(), threading.Event(), []

    def hang():
        try:
            session.call("hang", on_progress=lambda event: (pids.append(event["pid"]), seen.set()), timeout=2.0, runtime=DIGEST)
        except TandemError as error:
            failures.append(error)

    pids: list[int] = []
    thread = threading.Thread(target=hang)
    thread.start()
    assert seen.wait(10)
    session.close()
    thread.join(15)
    assert not thread.is_alive() and failures[0].code == "timeout"
    assert_gone(pids[0])


def test_a_verb_in_the_progress_of_another(session):
    inner = []
    session.call("slow", {"steps": 2, "pause": 0.05}, runtime=DIGEST,
                 on_progress=lambda event: inner.append(session.call("echo", {"n": event["number"]}, runtime=DIGEST)))
    assert inner == [{"n": 0}, {"n": 1}]


def test_missing_program_and_missing_runtime_are_told_apart(session):
    with pytest.raises(RuntimeMissing) as caught:
        session.run("C:\\Program Files\\Nothing\\x.exe", [])
    assert caught.value.code == "program_missing"
    with pytest.raises(RuntimeMissing) as caught:
        session.call("facts", {"padding": "x" * 400_000}, runtime="00" * 32)
    assert caught.value.code == "runtime_missing"


def test_bootstrap_of_a_file(session):
    target = f"C:\\Program Files\\Tandem\\some {secrets.token_hex(4)}\\o'file.bin"
    data = random.randbytes(700_000)
    digest = hashlib.sha256(data).hexdigest()
    assert session.bootstrap(target, digest, b"", "file") == {"installed": False, "present": ""}
    assert session.bootstrap(target, digest, data, "file") == {"installed": True, "present": digest}
    assert session.bootstrap(target, digest, data, "file") == {"installed": False, "present": digest}
    with pytest.raises(TandemError) as caught:
        session.bootstrap(target, "00" * 32, data, "file")
    assert "has the SHA-256" in str(caught.value) and caught.value.code == "bootstrap_failed"


@pytest.mark.parametrize("transport", ["ntlm", "basic"])
@pytest.mark.parametrize("wrong", [{"password": "not-it-at-all"}, {"username": "nobody"}])
def test_wrong_credentials(machine, transport, wrong):
    session = machine.session(transport, **wrong)
    with pytest.raises(TandemError) as caught:
        session.call("echo", runtime=DIGEST)
    session.close()
    text = str(caught.value)
    assert caught.value.code == "wrong_password" and "Next: check user name and password" in text
    assert PASSWORD not in text and "not-it-at-all" not in text


def test_ntlm_messages_are_encrypted(machine):
    """The password and the data must not be readable on the wire: a listener in between sees neither."""
    import socket

    seen, stop = bytearray(), threading.Event()
    listener = socket.create_server((machine.address, 0))
    listener.settimeout(0.2)

    def pump(source, target):
        while data := source.recv(65536):
            seen.extend(data)
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)

    def serve():
        while not stop.is_set():
            try:
                client, _peer = listener.accept()
            except TimeoutError:
                continue
            server = socket.create_connection((machine.address, 5985))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    session = machine.session("ntlm", winrm_url=f"http://{machine.address}:{listener.getsockname()[1]}/wsman")
    assert session.call("echo", {"marker": "visible-marker"}, runtime=DIGEST) == {"marker": "visible-marker"}
    session.close()
    stop.set()
    assert len(seen) > 5000 and b"HTTP-SPNEGO-session-encrypted" in seen
    for text in (b"visible-marker", b"CommandLine", PASSWORD.encode(), b"eyJtYXJrZXIi"):
        assert text not in seen


def test_power_off_reboot_and_quota(tmp_path):
    """A machine that dies under a call, comes back, and has room for few shells."""
    machine = Machine(tmp_path / "machine", max_shells_per_user=2)
    image.python_archive(tmp_path / "python.zip")
    with zipfile.ZipFile(tmp_path / "node.pyz", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    machine.put(_runtime_build.runtime_path(DIGEST), (tmp_path / "node.pyz").read_bytes())
    machine.on()
    sessions = [machine.session() for _number in range(3)]
    try:
        archive = Archive.load(str(tmp_path / "python.zip"))
        sessions[0].bootstrap(_runtime_build.PYTHON_FOLDER, archive.sha256, archive.data, "zip")
        sessions[1].call("echo", runtime=DIGEST)
        with pytest.raises(TandemError) as caught:
            sessions[2].call("echo", runtime=DIGEST)
        assert caught.value.code == "quota"
        sessions[1].close()
        assert sessions[2].call("echo", {"room": 1}, runtime=DIGEST) == {"room": 1}

        began = time.monotonic()
        with pytest.raises(NodeUnreachable) as caught:
            sessions[0].call("hang", on_progress=lambda event: machine.process.send_signal(signal.SIGKILL), runtime=DIGEST)
        assert "verb hang was started, and then" in str(caught.value) and time.monotonic() - began < 20
        with pytest.raises(NodeUnreachable):
            sessions[2].call("echo", runtime=DIGEST)

        machine.off()
        machine.on()
        assert sessions[0].call("echo", {"back": 1}, runtime=DIGEST) == {"back": 1}, "the shell of before is gone, a new one is opened"
        assert json.loads((machine.folder / "run.json").read_text())["pid"] == machine.process.pid
    finally:
        machine.off()
        began = time.monotonic()
        for session in sessions:
            session.close()
        assert time.monotonic() - began < 5
