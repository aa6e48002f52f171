# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real machine: `Host` on Windows. Everything here is thin; the work is in ``windows_*`` by subject.

Never run on Windows by its authors (see ``windows_api``): use the ``selftest`` verb on a real machine before relying on it.
"""

from __future__ import annotations

import os
import pathlib
import socket
import typing as t

from . import paths
from .base import Child, Drive, FenceRules, Host, HostError, Process, ServiceStatus

_CURRENT_VERSION = "SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion"
_TIME_ZONE = "SYSTEM\\CurrentControlSet\\Control\\TimeZoneInformation"


class WindowsHost(Host):
    # -- clocks --------------------------------------------------------------------------------------------------------
    def monotonic(self) -> float:
        from . import windows_clock
        return windows_clock.monotonic()

    def vm_generation(self) -> str:
        from . import windows_clock
        return windows_clock.vm_generation()

    # -- processes -----------------------------------------------------------------------------------------------------
    def start_runtime(self, arguments: list[str]) -> Child:
        from . import windows_processes
        return windows_processes.start_runtime(arguments)

    def process(self, pid: int) -> Process:
        from . import windows_processes
        return windows_processes.WindowsProcess(pid)

    def run_program(self, command: list[str], timeout: float) -> tuple[int, str]:
        from . import programs, windows_processes
        return programs.run(command, timeout, creationflags=windows_processes.CREATE_NO_WINDOW)

    # -- the machine ---------------------------------------------------------------------------------------------------
    def machine_name(self) -> str:
        return os.environ.get("COMPUTERNAME") or socket.gethostname()

    def os_name(self) -> str:
        name = self.registry_read(_CURRENT_VERSION, "ProductName") or "Windows"
        build = self.registry_read(_CURRENT_VERSION, "CurrentBuild")
        return f"{name} ({build})" if build else name

    def time_zone(self) -> str:
        name = self.registry_read(_TIME_ZONE, "TimeZoneKeyName")
        if not name:
            raise HostError("the machine's time zone has no name in the registry")
        return name.partition("\x00")[0]  # the value is known to carry garbage behind the text

    def drives(self) -> list[Drive]:
        from . import windows_files
        return windows_files.drives()

    def path(self, windows_path: str) -> pathlib.Path:
        drive, parts = paths.split(windows_path)
        return pathlib.Path(drive + "\\", *parts)

    def replace_file(self, new: pathlib.Path, target: pathlib.Path) -> None:
        from . import windows_files
        windows_files.replace(new, target)

    def restrict_to_administrators(self, path: pathlib.Path) -> None:
        from . import windows_files
        windows_files.restrict(path)

    def inherit_permissions(self, path: pathlib.Path) -> None:
        from . import windows_files
        windows_files.inherit(path)

    def registry_read(self, key: str, name: str) -> str | None:
        from . import windows_registry
        return windows_registry.read(key, name)

    def registry_write(self, key: str, name: str, value: str) -> None:
        from . import windows_registry
        windows_registry.write(key, name, value)

    # -- services ------------------------------------------------------------------------------------------------------
    def service(self, name: str) -> ServiceStatus:
        from . import windows_services
        return windows_services.query(name)

    def service_start(self, name: str, timeout: float = 90.0) -> None:
        from . import windows_services
        windows_services.start(name, timeout)

    def service_stop(self, name: str, timeout: float = 90.0) -> None:
        from . import windows_services
        windows_services.stop(name, timeout)

    def service_configure(self, name: str, *, start_type: str) -> None:
        from . import windows_services
        windows_services.configure(name, start_type)

    def service_install(self, name: str, display: str, command: str, *, start_type: str = "auto",
                        restart_after: float | None = 5.0) -> None:
        from . import windows_services
        windows_services.install(name, display, command, start_type, restart_after)

    def service_remove(self, name: str) -> None:
        from . import windows_services
        windows_services.remove(name)

    def run_service(self, name: str, body: t.Callable[[t.Callable[[float], bool]], None]) -> None:
        from . import windows_dispatch
        windows_dispatch.Dispatcher(name, body).run()

    # -- network -------------------------------------------------------------------------------------------------------
    def addresses(self) -> dict[str, float | None]:
        from . import windows_addresses
        return windows_addresses.addresses()

    def hold_address(self, address: str, prefix: int, lifetime: float, interface: str | None = None) -> None:
        from . import windows_addresses
        windows_addresses.hold(address, prefix, lifetime, interface)

    def drop_address(self, address: str) -> None:
        from . import windows_addresses
        windows_addresses.drop(address)

    def listen(self, address: str, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            # Nobody else may listen on the same port beside us, which Windows would allow otherwise.
            listener.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_EXCLUSIVEADDRUSE", -5), 1)
            listener.bind((address, port))
            listener.listen(64)
        except OSError as error:
            listener.close()
            raise HostError(f"{address}:{port} cannot be listened on: {error}", getattr(error, "winerror", None)) from None
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
        from . import windows_fence
        return windows_fence.rules()

    def fence_install(self, rules: FenceRules) -> None:
        from . import windows_fence
        windows_fence.install(rules)

    def fence_remove(self) -> None:
        from . import windows_fence
        windows_fence.remove()

    def open_permit(self, rules: FenceRules) -> t.Any:
        """The permit opens everything that Tandem's sublayer blocks, so the rules make no difference here."""
        from . import windows_fence
        return windows_fence.WindowsPermit()

    def permit_open(self) -> bool:
        from . import windows_fence
        return windows_fence.permit_open()
