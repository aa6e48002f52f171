# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the lab machine share."""

from __future__ import annotations

import pathlib
import socket
import subprocess
import sys
import time
import typing as t

import pytest

from tandem_lab.machine import settings
from tandem_lab.machine.client import MachineClient
from tandem_lab.machine.ctl import MachineControl

USER = "administrator"
PASSWORD = "Pa:ss-w0rd!"
PYTHON = '"C:\\Program Files\\Tandem\\python\\python.exe"'


def wait_for(condition: t.Callable[[], t.Any], what: str, timeout: float = 10.0) -> t.Any:
    """The first true value of `condition`."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Machine:
    """A machine in a folder, and its power switch."""

    def __init__(self, folder: pathlib.Path, machine_settings: settings.MachineSettings):
        self.folder = folder
        self.settings = machine_settings
        self.control = MachineControl(folder)
        self.kernel: subprocess.Popen[bytes] | None = None

    def power_on(self) -> None:
        self.kernel = subprocess.Popen([sys.executable, "-m", "tandem_lab.machine", "--dir", str(self.folder)])
        wait_for(lambda: self.control.running() or self.kernel.poll() is not None, "the machine boots")
        assert self.kernel.poll() is None, "the kernel ended while it booted"

    def power_off(self) -> None:
        """Pull the plug."""
        if self.kernel is not None:
            self.kernel.kill()
            self.kernel.wait()
            self.kernel = None

    @property
    def client(self) -> MachineClient:
        return MachineClient(self.control.running()["socket"])

    @property
    def url(self) -> str:
        return self.control.running()["winrm_url"]

    def host(self, monkeypatch: pytest.MonkeyPatch) -> t.Any:
        """The product's host interface, as if this test ran on the machine."""
        monkeypatch.setenv("TANDEM_LAB_MACHINE", self.control.running()["socket"])
        monkeypatch.setenv("TANDEM_LAB_ROOT", str(self.folder))
        from tandem_lab.machine.host import LabHost
        return LabHost()

    def script(self, name: str, text: str) -> str:
        """Put a Python script on the machine. The command line that runs it."""
        path = self.folder / "C/Tests" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return f"{PYTHON} -I -B -X utf8 C:\\Tests\\{name}.py"

    def service(self, name: str, text: str, start_type: str = "demand", restart_after: float | None = None) -> None:
        """Install a service that runs a script."""
        self.control.call("service.install", name=name, display=name, command=self.script(name, text), start_type=start_type,
                          restart_after=restart_after)

    def state(self, service: str) -> dict[str, t.Any]:
        return self.control.call("service.status", name=service)["service"]

    def file(self, name: str) -> pathlib.Path:
        """A file that scripts can write as `os.environ["TANDEM_LAB_ROOT"] + "/C/Tests/" + name`."""
        return self.folder / "C/Tests" / name


def outside(source: str, target: str, port: int) -> socket.socket:
    """A connection from another computer of the network."""
    return socket.create_connection((target, port), timeout=5, source_address=(source, 0))


def is_cut(sock: socket.socket, timeout: float = 5.0) -> bool:
    """Whether the connection ends (what arrived before is thrown away)."""
    sock.settimeout(timeout)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


def serves(machine: Machine, source: str, port: int) -> bool:
    """Whether another computer gets a byte from this port."""
    try:
        with outside(source, machine.settings.address, port) as sock:
            sock.settimeout(2)
            return bool(sock.recv(1))
    except OSError:
        return False
