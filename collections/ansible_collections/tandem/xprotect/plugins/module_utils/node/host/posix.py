# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Linux machine that runs a witness and nothing else: files below TANDEM_HOME, sockets, being a service of systemd.

What only a recorder's machine has (services of Windows, registry, fence, permit, the service address) is refused.

`vm_generation` is "": Linux shows programs no identity that changes when a virtual machine is turned back. What protects instead is
that a voter to which a node shows a vote of its own that it does not remember stops voting (see ``guard/protocol/voter.py``).
"""

from __future__ import annotations

import os
import pathlib
import platform
import signal
import socket
import threading
import time
import typing as t

from ..store import ROOT
from . import paths
from .base import Drive, FenceRules, Host, HostError, ServiceStatus

HOME_VARIABLE = "TANDEM_HOME"
DEFAULT_HOME = "/var/lib/tandem"


class PosixHost(Host):
    def __init__(self) -> None:
        home = pathlib.Path(os.environ.get(HOME_VARIABLE) or DEFAULT_HOME)
        if not home.is_absolute():
            raise HostError(f"{HOME_VARIABLE} is not an absolute path: {home}")
        self._home = home
        self._root = paths.split(ROOT)[1]

    # -- clocks --------------------------------------------------------------------------------------------------------
    def monotonic(self) -> float:
        """CLOCK_BOOTTIME, because CLOCK_MONOTONIC stands still while the machine sleeps."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()

    # -- the machine ---------------------------------------------------------------------------------------------------
    def machine_name(self) -> str:
        return socket.gethostname()

    def os_name(self) -> str:
        return f"{platform.system()} {platform.release()}"

    def time_zone(self) -> str:
        raise _unavailable("a Windows time zone")

    def drives(self) -> list[Drive]:
        raise _unavailable("a drive with a letter")

    def path(self, windows_path: str) -> pathlib.Path:
        """``C:\\ProgramData\\Tandem`` is TANDEM_HOME; there is nothing else."""
        drive, parts = paths.split(windows_path)
        depth = len(self._root)
        if drive != "C:" or [part.casefold() for part in parts[:depth]] != [part.casefold() for part in self._root]:
            raise _unavailable(windows_path)
        return self._home.joinpath(*parts[depth:])

    def replace_file(self, new: pathlib.Path, target: pathlib.Path) -> None:
        try:
            os.replace(new, target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise HostError(f"cannot put {new.name} in the place of {target}: {error.strerror}", error.errno) from None

    def restrict_to_administrators(self, path: pathlib.Path) -> None:
        """Only the account of the service."""
        try:
            os.chmod(path, 0o700 if path.is_dir() else 0o600)
        except OSError as error:
            raise HostError(f"the rights on {path} cannot be restricted: {error.strerror}", error.errno) from None

    def inherit_permissions(self, path: pathlib.Path) -> None:
        raise _unavailable("inherited rights")

    def registry_read(self, key: str, name: str) -> str | None:
        raise _unavailable("the registry")

    def registry_write(self, key: str, name: str, value: str) -> None:
        raise _unavailable("the registry")

    # -- services ------------------------------------------------------------------------------------------------------
    def service(self, name: str) -> ServiceStatus:
        raise _unavailable(f"the Windows service {name}")

    def service_start(self, name: str, timeout: float = 90.0) -> None:
        raise _unavailable(f"the Windows service {name}")

    def service_stop(self, name: str, timeout: float = 90.0) -> None:
        raise _unavailable(f"the Windows service {name}")

    def service_configure(self, name: str, *, start_type: str) -> None:
        raise _unavailable(f"the Windows service {name}")

    def service_install(self, name: str, display: str, command: str, *, start_type: str = "auto",
                        restart_after: float | None = 5.0) -> None:
        raise _unavailable(f"the Windows service {name}")

    def service_remove(self, name: str) -> None:
        raise _unavailable(f"the Windows service {name}")

    def run_service(self, name: str, body: t.Callable[[t.Callable[[float], bool]], None]) -> None:
        """Be a service of systemd (``Type=notify``), or of anything else that ends its processes by SIGTERM."""
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop.set())
        _notify("READY=1")
        try:
            body(stop.wait)
        finally:
            _notify("STOPPING=1")

    # -- network -------------------------------------------------------------------------------------------------------
    def addresses(self) -> dict[str, float | None]:
        raise _unavailable("the list of addresses")

    def hold_address(self, address: str, prefix: int, lifetime: float, interface: str | None = None) -> None:
        raise _unavailable("a service address")

    def drop_address(self, address: str) -> None:
        raise _unavailable("a service address")

    def listen(self, address: str, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # else a restart waits for old connections
            listener.bind((address, port))
            listener.listen(512)
        except OSError as error:
            listener.close()
            raise HostError(f"{address}:{port} cannot be listened on: {error.strerror or error}", error.errno) from None
        return listener

    def accept(self, listener: socket.socket, timeout: float) -> tuple[socket.socket, str] | None:
        listener.settimeout(timeout)
        try:
            connection, peer = listener.accept()
        except TimeoutError:
            return None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, peer[0]

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        connection = socket.create_connection((address, port), timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    # -- fence ---------------------------------------------------------------------------------------------------------
    def fence_rules(self) -> FenceRules | None:
        raise _unavailable("a fence")

    def fence_install(self, rules: FenceRules) -> None:
        raise _unavailable("a fence")

    def fence_remove(self) -> None:
        raise _unavailable("a fence")

    def open_permit(self, rules: FenceRules) -> t.Any:
        raise _unavailable("a permit")

    def permit_open(self) -> bool:
        raise _unavailable("a permit")


def _unavailable(what: str) -> HostError:
    return HostError(f"{what} is not available on a witness")


def _notify(text: str) -> None:
    """Tell systemd, when it started this process and wants to know."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as teller:
        try:
            teller.connect("\0" + address[1:] if address[0] == "@" else address)
            teller.send(text.encode())
        except OSError:
            pass  # nobody listens any more
