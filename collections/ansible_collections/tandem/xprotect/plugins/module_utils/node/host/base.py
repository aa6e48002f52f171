# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the node runtime may ask of the machine it runs on.

Everything that differs per operating system stands behind this interface, so that all other code of the runtime is
plain Python that runs anywhere. ``windows.py`` implements it for real machines. Paths are always Windows paths
(``C:\\ProgramData\\...``) in the runtime's data and messages; only `Host.path` turns one into something to open.

Every method raises `HostError` with a text that an administrator can act on. Nothing here waits without a limit.
"""

from __future__ import annotations

import abc
import dataclasses
import pathlib
import socket
import time
import typing as t


class HostError(Exception):
    """The machine refused or could not do something. `code` is the Windows error number where there is one."""

    def __init__(self, message: str, code: int | None = None):
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class ServiceStatus:
    """One service as the service manager sees it."""

    name: str
    state: str  # stopped | start_pending | running | stop_pending | paused | missing
    start_type: str  # auto | delayed-auto | demand | disabled | unknown
    pid: int | None = None
    command: str | None = None


@dataclasses.dataclass(frozen=True)
class Drive:
    letter: str  # "C:"
    total_bytes: int
    free_bytes: int


@dataclasses.dataclass(frozen=True)
class FenceRules:
    """What the fence blocks: all traffic to and from the Management Server, and the serving ports inbound.

    Traffic that stays on this machine is never blocked, nor is anything else (cameras, WinRM, the Tandem port).
    """

    management_addresses: tuple[str, ...]
    inbound_ports: tuple[int, ...] = (7563, 9001, 11000)


class Permit(t.Protocol):
    """An open fence. The operating system closes it when the process that holds it ends, however it ends."""

    def close(self) -> None:
        ...


class Process(t.Protocol):
    """One certain process of this machine: a number that is used again later never means another one."""

    @property
    def pid(self) -> int: ...

    def alive(self) -> bool: ...

    def kill(self) -> None:
        """End it at once. It gets no chance to tidy up. No error when it has ended."""


class Child(t.Protocol):
    """A process of this runtime that was started by this one. The operating system ends it together with its parent."""

    @property
    def pid(self) -> int: ...

    def send(self, data: bytes) -> None:
        """Write to its standard input. Raises OSError when it has ended or takes nothing; never waits for it."""

    def receive(self, timeout: float) -> bytes | None:
        """Some of its standard output, None when there was nothing in `timeout` seconds, ``b""`` when it has closed it."""

    def alive(self) -> bool: ...

    def end(self) -> None:
        """Kill it if it lives, and give back what it took. Repeatable."""


class Host(abc.ABC):
    # -- clocks ----------------------------------------------------------------------------------------------------
    def monotonic(self) -> float:
        """Seconds that only grow, also while the machine sleeps; the same for all processes of one machine. Leases live by it."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970 in UTC. It may be set back or forth at any time."""
        return time.time()

    def vm_generation(self) -> str:
        """Changes when this virtual machine was reverted to an earlier state, restored or cloned; "" where nobody tells. Cheap."""
        return ""

    # -- processes -------------------------------------------------------------------------------------------------
    def start_runtime(self, arguments: list[str]) -> Child:
        """Start this same runtime program as a child, with pipes as its standard input and output."""
        raise HostError("this machine starts no child processes of the runtime")

    def process(self, pid: int) -> Process:
        """A handle of the process that has this number now. Raises `HostError` when there is none."""
        raise HostError("this machine gives no handles of processes")

    def run_program(self, command: list[str], timeout: float) -> tuple[int, str]:
        """Run a program (its full path and its arguments) to its end: exit code and the end of its output.

        Raises `HostError` when it is missing, cannot be started, or did not end in time and was ended.
        """
        raise HostError("this machine runs no programs")

    # -- the machine ---------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def machine_name(self) -> str: ...

    @abc.abstractmethod
    def os_name(self) -> str: ...

    @abc.abstractmethod
    def time_zone(self) -> str:
        """The Windows name of the time zone, for example ``Romance Standard Time``."""

    @abc.abstractmethod
    def drives(self) -> list[Drive]: ...

    @abc.abstractmethod
    def path(self, windows_path: str) -> pathlib.Path:
        """The place on this machine of an absolute Windows path. Refuses relative paths and ``..``."""

    @abc.abstractmethod
    def replace_file(self, new: pathlib.Path, target: pathlib.Path) -> None:
        """Put `new` (same volume, already synced) in the place of `target` in one durable step."""

    @abc.abstractmethod
    def restrict_to_administrators(self, path: pathlib.Path) -> None:
        """Only SYSTEM and Administrators may read this file or folder from now on."""

    @abc.abstractmethod
    def inherit_permissions(self, path: pathlib.Path) -> None:
        """This file or folder and all below it have the rights that they inherit here, and none of their own.

        For what was renamed into this place: a rename takes the rights of the old place along.
        """

    @abc.abstractmethod
    def registry_read(self, key: str, name: str) -> str | None:
        """A string value under HKLM (``SOFTWARE\\WOW6432Node\\...``), or None when key or value is missing."""

    @abc.abstractmethod
    def registry_write(self, key: str, name: str, value: str) -> None: ...

    # -- services ------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def service(self, name: str) -> ServiceStatus: ...

    @abc.abstractmethod
    def service_start(self, name: str, timeout: float = 90.0) -> None:
        """Start and wait until running. No error when it runs already."""

    @abc.abstractmethod
    def service_stop(self, name: str, timeout: float = 90.0) -> None:
        """Stop and wait until stopped. No error when it is stopped already."""

    @abc.abstractmethod
    def service_configure(self, name: str, *, start_type: str) -> None: ...

    @abc.abstractmethod
    def service_install(self, name: str, display: str, command: str, *, start_type: str = "auto",
                        restart_after: float | None = 5.0) -> None:
        """Create the service, or change command, start type and crash restart of the one that exists."""

    @abc.abstractmethod
    def service_remove(self, name: str) -> None: ...

    @abc.abstractmethod
    def run_service(self, name: str, body: t.Callable[[t.Callable[[float], bool]], None]) -> None:
        """Be the process of service `name`: report running, call ``body(wait)``, report stopped when it returns.

        ``wait(seconds)`` sleeps for at most that long and is true as soon as the service is asked to stop.
        """

    # -- network -------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def addresses(self) -> dict[str, float | None]:
        """The machine's addresses and how many seconds each still lives (None: for ever)."""

    @abc.abstractmethod
    def hold_address(self, address: str, prefix: int, lifetime: float, interface: str | None = None) -> None:
        """Have `address` for `lifetime` seconds from now and not across a reboot; call again to renew."""

    @abc.abstractmethod
    def drop_address(self, address: str) -> None: ...

    @abc.abstractmethod
    def listen(self, address: str, port: int) -> socket.socket:
        """A listening TCP socket on one of the machine's addresses."""

    @abc.abstractmethod
    def accept(self, listener: socket.socket, timeout: float) -> tuple[socket.socket, str] | None:
        """One connection and its peer's address, or None after `timeout`."""

    @abc.abstractmethod
    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        """A connected TCP socket, from this machine. Raises OSError as the socket module does."""

    # -- fence ---------------------------------------------------------------------------------------------------
    @abc.abstractmethod
    def fence_rules(self) -> FenceRules | None:
        """The rules of the permanent fence on this machine, None when there is none."""

    @abc.abstractmethod
    def fence_install(self, rules: FenceRules) -> None:
        """Make the fence permanent: it stands after a reboot before any service starts. Repeatable."""

    @abc.abstractmethod
    def fence_remove(self) -> None: ...

    @abc.abstractmethod
    def open_permit(self, rules: FenceRules) -> Permit:
        """Open the fence for as long as this process lives and holds the permit. Cuts nothing that is allowed."""

    @abc.abstractmethod
    def permit_open(self) -> bool:
        """Whether any process of this machine holds a permit now."""
