# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`LabHost`: the product's host interface on a lab machine. The node runtime loads it by the variable `TANDEM_NODE_HOST`."""

from __future__ import annotations

import importlib
import os
import pathlib
import select
import signal
import socket
import sys
import typing as t

from . import channel, sockets
from .client import MachineClient, MachineListener, MachinePermit
from .clock import MachineClock
from .paths import PathError, WindowsPaths

_BASES = ("tandem_node.host.base", "ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base")


def _base() -> t.Any:
    """The product's interface: as the node runtime has it, or as the collection has it."""
    for name in _BASES:
        if name in sys.modules:
            return sys.modules[name]
    for name in _BASES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise ImportError(f"LabHost needs the product's host interface: none of {', '.join(_BASES)} can be imported")


base = _base()
PYTHON = "C:\\Program Files\\Tandem\\python\\python.exe"
#: Fault of a drive, as the kernel reports it -> Windows error number and text of whatever is written there.
_DISK_FAULTS = {"full": (112, "there is not enough space on the disk"), "read-only": (19, "the media is write protected"),
                "gone": (21, "the device is not ready")}
_PR_SET_PDEATHSIG = 1


class MachineProcess:
    """A process that this handle means for ever, also when its number is another's."""

    def __init__(self, pid: int):
        self.pid = pid
        try:
            self._fd = os.pidfd_open(pid)
        except OSError as error:
            raise base.HostError(f"there is no process {pid}", 87) from error

    def alive(self) -> bool:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return not poll.poll(0)

    def kill(self) -> None:
        try:
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


class LabHost(base.Host):
    def __init__(self) -> None:
        root = os.environ.get(channel.ROOT_ENVIRONMENT)
        if not root:
            raise base.HostError(f"this process does not run on a lab machine: {channel.ROOT_ENVIRONMENT} is not set")
        self._paths = WindowsPaths(root)
        self._kernel = MachineClient()
        self._clock = MachineClock(root)
        self._machine: dict[str, t.Any] | None = None

    def _call(self, op: str, timeout: float = 30.0, **parameters: t.Any) -> dict[str, t.Any]:
        try:
            return self._kernel.call(op, timeout=timeout, **parameters)
        except OSError as error:
            raise base.HostError(str(error), getattr(error, "code", None)) from error

    # -- clocks --------------------------------------------------------------------------------------------------
    def monotonic(self) -> float:
        return self._clock.monotonic()

    def wall(self) -> float:
        return self._clock.wall()

    def vm_generation(self) -> str:
        return self._clock.generation()

    # -- processes -----------------------------------------------------------------------------------------------
    def start_runtime(self, arguments: list[str]) -> t.Any:
        """Through the machine's own python.exe, in the session of this process: what kills a service's tree kills it as well."""
        archive = sys.argv[0] if sys.argv else ""
        if not archive.endswith(".pyz"):
            raise base.HostError("this process does not run from a runtime archive, so that it could start another one")
        children = importlib.import_module(base.__name__.rpartition(".")[0] + ".children")
        command = [str(self.path(PYTHON)), "-I", "-B", "-X", "utf8", self._paths.windows(pathlib.Path(archive)), *arguments]
        return children.PipeChild(command, preexec_fn=_dying_with_parent())

    def process(self, pid: int) -> MachineProcess:
        return MachineProcess(pid)

    def run_program(self, command: list[str], timeout: float) -> tuple[int, str]:
        """Linux passes on the lowest byte of an exit code only: 255 stands for -1, and so on."""
        programs = importlib.import_module(base.__name__.rpartition(".")[0] + ".programs")
        code, output = programs.run([str(self.path(command[0])), *command[1:]], timeout)
        return (code - 256 if code > 199 else code), output

    # -- the machine ---------------------------------------------------------------------------------------------
    def _about(self) -> dict[str, t.Any]:
        if self._machine is None:
            self._machine = self._call("machine")["machine"]
        return self._machine

    def machine_name(self) -> str:
        return self._about()["name"]

    def os_name(self) -> str:
        return self._about()["os"]

    def time_zone(self) -> str:
        return self._about()["time_zone"]

    def drives(self) -> list[t.Any]:
        """The drives that are there. One with a fault keeps its place here unless it is gone."""
        return [base.Drive(drive["letter"], drive["total_bytes"], drive["free_bytes"])
                for drive in self._call("drives")["drives"] if drive.get("fault") != "gone"]

    def path(self, windows_path: str) -> pathlib.Path:
        try:
            return self._paths.host(windows_path)
        except PathError as error:
            raise base.HostError(str(error), 161) from error

    def replace_file(self, new: pathlib.Path, target: pathlib.Path) -> None:
        self._refuse_on_faulty_disk(target)
        try:
            os.replace(new, target)
            folder = os.open(target.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise base.HostError(f"cannot put {new.name} in the place of {self._paths.windows(target)}: {error.strerror}") from error

    def _refuse_on_faulty_disk(self, path: pathlib.Path) -> None:
        """A fault of the drive, as the kernel reports it: simulated here, where every durable write of the product ends."""
        letter = self._paths.windows(path)[:2]
        drive = next((drive for drive in self._call("drives")["drives"] if drive["letter"] == letter), {"fault": "gone"})
        fault = "full" if drive.get("free_bytes") == 0 else drive.get("fault")
        if fault in _DISK_FAULTS:
            code, text = _DISK_FAULTS[fault]
            raise base.HostError(f"cannot write {self._paths.windows(path)}: {text}", code)

    def restrict_to_administrators(self, path: pathlib.Path) -> None:
        try:
            os.chmod(path, 0o700 if path.is_dir() else 0o600)
        except OSError as error:
            raise base.HostError(f"cannot restrict {self._paths.windows(path)}: {error.strerror}") from error

    def inherit_permissions(self, path: pathlib.Path) -> None:
        """Nothing to do: lab machines have one account, and what `restrict_to_administrators` sets no process here is held off by."""
        if not path.exists():
            raise base.HostError(f"{self._paths.windows(path)} does not exist", 2)

    def registry_read(self, key: str, name: str) -> str | None:
        return self._call("registry.read", key=key, name=name)["value"]

    def registry_write(self, key: str, name: str, value: str) -> None:
        self._call("registry.write", key=key, name=name, value=value)

    # -- services ------------------------------------------------------------------------------------------------
    def service(self, name: str) -> t.Any:
        status = self._call("service.status", name=name)["service"]
        return base.ServiceStatus(name=status["name"], state=status["state"], start_type=status["start_type"], pid=status["pid"],
                                  command=status["command"])

    def service_start(self, name: str, timeout: float = 90.0) -> None:
        self._call("service.start", timeout, name=name)

    def service_stop(self, name: str, timeout: float = 90.0) -> None:
        self._call("service.stop", timeout, name=name)

    def service_configure(self, name: str, *, start_type: str) -> None:
        self._call("service.configure", name=name, start_type=start_type)

    def service_install(self, name: str, display: str, command: str, *, start_type: str = "auto",
                        restart_after: float | None = 5.0) -> None:
        self._call("service.install", name=name, display=display, command=command, start_type=start_type, restart_after=restart_after)

    def service_remove(self, name: str) -> None:
        self._call("service.remove", name=name)

    def run_service(self, name: str, body: t.Callable[[t.Callable[[float], bool]], None]) -> None:
        # A byte in this pipe means "stop". It is never read, so every later wait is true at once, in any thread.
        reader, writer = os.pipe()
        os.set_blocking(writer, False)

        def stop(_number: int, _frame: t.Any) -> None:
            try:
                os.write(writer, b"s")
            except BlockingIOError:
                pass

        def wait(seconds: float) -> bool:
            poll = select.poll()
            poll.register(reader, select.POLLIN)
            return bool(poll.poll(max(0.0, seconds) * 1000.0))

        signal.signal(signal.SIGTERM, stop)
        answer = self._call("service.ready")
        if answer["name"].casefold() != name.casefold():
            raise base.HostError(f"this process was started as the service {answer['name']!r}, not {name!r}")
        body(wait)
        self._call("service.stopped")

    # -- network -------------------------------------------------------------------------------------------------
    def addresses(self) -> dict[str, float | None]:
        return self._call("address.list")["addresses"]

    def hold_address(self, address: str, prefix: int, lifetime: float, interface: str | None = None) -> None:
        self._call("address.hold", address=address, prefix=prefix, lifetime=lifetime)

    def drop_address(self, address: str) -> None:
        self._call("address.drop", address=address)

    def listen(self, address: str, port: int) -> socket.socket:
        try:
            return self._kernel.listen(port, address)
        except OSError as error:
            raise base.HostError(str(error), getattr(error, "code", None)) from error

    def accept(self, listener: socket.socket, timeout: float) -> tuple[socket.socket, str] | None:
        if not isinstance(listener, MachineListener):
            raise base.HostError("this listener was not made by listen()")
        sockets.teach_tls()
        try:
            return listener.accept_connection(timeout)
        except OSError as error:
            raise base.HostError(str(error)) from error

    def connect(self, address: str, port: int, timeout: float) -> socket.socket:
        sockets.teach_tls()
        return self._kernel.connect(address, port, timeout)

    # -- fence ---------------------------------------------------------------------------------------------------
    def fence_rules(self) -> t.Any:
        rules = self._call("fence.get")["rules"]
        if rules is None:
            return None
        return base.FenceRules(tuple(rules["management_addresses"]), tuple(rules["inbound_ports"]))

    def fence_install(self, rules: t.Any) -> None:
        self._call("fence.install", rules={"management_addresses": list(rules.management_addresses),
                                           "inbound_ports": list(rules.inbound_ports)})

    def fence_remove(self) -> None:
        self._call("fence.remove")

    def open_permit(self, rules: t.Any) -> MachinePermit:
        try:
            return self._kernel.open_permit()
        except OSError as error:
            raise base.HostError(str(error), getattr(error, "code", None)) from error

    def permit_open(self) -> bool:
        return bool(self._call("permit.status")["permits"])


def _dying_with_parent() -> t.Callable[[], object]:
    """The lab's job object: the child ends with the thread that started it, however that one ends."""
    import ctypes
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
