# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service manager of the machine: start types, pending states, crash restart. Names ignore case, as on Windows."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import pathlib
import re
import signal
import typing as t

from .channel import MachineError
from .processes import Process, Processes
from .settings import ServiceSettings
from .storage import Document, EventLog

START_TYPES = ("auto", "delayed-auto", "demand", "disabled")
ERROR_TIMEOUT = 1053
ERROR_DISABLED = 1058
ERROR_MISSING = 1060
ERROR_ENDED = 1067
ERROR_MARKED_FOR_DELETE = 1072
_OUTPUT_CHECK_SECONDS = 5.0


@dataclasses.dataclass
class Service:
    name: str
    display: str
    command: str
    start_type: str
    restart_after: float | None
    state: str = "stopped"
    process: Process | None = None
    stopping: bool = False  # somebody asked it to stop, or it said that it ends on purpose
    restart: asyncio.TimerHandle | None = None
    changed: asyncio.Condition = dataclasses.field(default_factory=asyncio.Condition)

    def document(self) -> dict[str, t.Any]:
        return {"display": self.display, "command": self.command, "start_type": self.start_type, "restart_after": self.restart_after}

    def status(self) -> dict[str, t.Any]:
        return {"name": self.name, "display": self.display, "state": self.state, "start_type": self.start_type,
                "pid": self.process.pid if self.process else None, "command": self.command, "restart_after": self.restart_after}


class Services:
    def __init__(self, document: Document, processes: Processes, settings: ServiceSettings, logs: pathlib.Path, events: EventLog):
        self._document = document
        self._processes = processes
        self._settings = settings
        self._logs = logs
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._services: dict[str, Service] = {}
        for name, values in document.value.items():
            self._services[name.casefold()] = Service(name=name, **values)

    # -- questions -----------------------------------------------------------------------------------------------
    def get(self, name: str) -> Service:
        service = self._services.get(name.casefold())
        if service is None:
            raise MachineError(f"the service {name!r} does not exist on this machine", ERROR_MISSING)
        return service

    def status(self, name: str) -> dict[str, t.Any]:
        service = self._services.get(name.casefold())
        if service is None:
            return {"name": name, "state": "missing", "start_type": "unknown", "pid": None, "command": None}
        return service.status()

    def list(self) -> list[dict[str, t.Any]]:
        return [service.status() for service in self._services.values()]

    # -- definitions ---------------------------------------------------------------------------------------------
    async def install(self, name: str, display: str, command: str, start_type: str, restart_after: float | None) -> bool:
        """Create or change a service. True when something changed."""
        _check_start_type(start_type)
        service = self._services.get(name.casefold())
        before = service.document() if service else None
        if service is None:
            service = self._services[name.casefold()] = Service(name, display, command, start_type, restart_after)
        service.display, service.command, service.start_type, service.restart_after = display, command, start_type, restart_after
        if before == service.document():
            return False
        self._events.add("service_installed" if before is None else "service_changed", service=service.name, **service.document())
        await self._save()
        return True

    async def configure(self, name: str, start_type: str) -> None:
        service = self.get(name)
        await self.install(service.name, service.display, service.command, start_type, service.restart_after)

    async def remove(self, name: str) -> None:
        """Delete a stopped service. No error when it does not exist."""
        service = self._services.get(name.casefold())
        if service is None:
            return
        if service.state != "stopped":
            raise MachineError(f"the service {service.name!r} is {service.state}; stop it before it is removed", ERROR_MARKED_FOR_DELETE)
        _cancel_restart(service)
        del self._services[name.casefold()]
        self._events.add("service_removed", service=service.name)
        await self._save()

    async def _save(self) -> None:
        await self._document.save({service.name: service.document() for service in self._services.values()})

    # -- running -------------------------------------------------------------------------------------------------
    def boot(self) -> None:
        """Start the automatic services, in the order in which they were created; the delayed ones later."""
        for service in self._services.values():
            if service.start_type == "auto":
                self._start_unattended(service)
            elif service.start_type == "delayed-auto":
                self._loop.call_later(self._settings.delayed_start_seconds, self._start_unattended, service)
        self._loop.call_later(_OUTPUT_CHECK_SECONDS, self._trim_outputs)

    def _start_unattended(self, service: Service) -> None:
        service.restart = None
        if not self._closing and self._services.get(service.name.casefold()) is service and service.state == "stopped":
            self._run(self._try_start(service))

    async def _try_start(self, service: Service) -> None:
        try:
            await self.start(service.name)
        except MachineError as error:
            self._events.add("service_start_failed", service=service.name, error=str(error))

    def _run(self, work: t.Coroutine[t.Any, t.Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def start(self, name: str) -> None:
        """Start and wait until it runs. No error when it runs."""
        service = self.get(name)
        if service.state == "stop_pending":
            await self._wait(service, ("stopped",), self._settings.stop_seconds + 5.0)
        if service.state == "stopped":
            self._spawn(service)
        if await self._wait(service, ("running", "stopped"), self._settings.start_seconds) == "start_pending":
            assert service.process is not None
            service.stopping = True
            service.process.kill_tree()
            await self._wait(service, ("stopped",), 5.0)
            raise MachineError(f"the service {service.name!r} did not report in {self._settings.start_seconds:g} s that it runs",
                               ERROR_TIMEOUT)
        if service.state != "running":
            raise MachineError(f"the service {service.name!r} ended while it started; its output is in {self._output(service).name}",
                               ERROR_ENDED)

    def _spawn(self, service: Service) -> None:
        _cancel_restart(service)
        if service.start_type == "disabled":
            raise MachineError(f"the service {service.name!r} is disabled", ERROR_DISABLED)
        output = os.open(self._output(service), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            service.process = self._processes.start(service.command, stdout=output, stderr=output)
        finally:
            os.close(output)
        service.stopping = False
        self._set_state(service, "start_pending")
        service.process.ended.add_done_callback(lambda future: self._ended(service, future.result()))

    def ready(self, pid: int) -> str:
        """The process of a service reports that it runs."""
        service = self._by_pid(pid)
        if service.state == "start_pending":
            self._set_state(service, "running")
        return service.name

    def stopped(self, pid: int) -> None:
        """The process of a service reports that it ends on purpose."""
        service = self._by_pid(pid)
        service.stopping = True
        self._set_state(service, "stop_pending")

    def _by_pid(self, pid: int) -> Service:
        for service in self._services.values():
            if service.process is not None and service.process.pid == pid:
                return service
        raise MachineError(f"process {pid} was not started as a service", 1063)

    async def stop(self, name: str) -> None:
        """Stop and wait until it is stopped. No error when it is."""
        service = self.get(name)
        _cancel_restart(service)
        process = service.process
        if process is None:
            return
        if not service.stopping:
            service.stopping = True
            self._set_state(service, "stop_pending")
            process.signal(signal.SIGTERM)
        if await self._wait(service, ("stopped",), self._settings.stop_seconds) != "stopped":
            self._events.add("service_killed", service=service.name, pid=process.pid)
            process.kill_tree()
            await self._wait(service, ("stopped",), 5.0)

    def _ended(self, service: Service, code: int) -> None:
        assert service.process is not None
        service.process.kill_tree()
        service.process = None
        crashed = not service.stopping and code != 0
        self._set_state(service, "stopped", exit_code=code, crashed=crashed)
        if crashed and service.restart_after is not None and not self._closing:
            service.restart = self._loop.call_later(max(0.1, service.restart_after), self._start_unattended, service)

    def _set_state(self, service: Service, state: str, **details: t.Any) -> None:
        if service.state == state:
            return
        service.state = state
        pid = service.process.pid if service.process else None
        self._events.add("service_state", service=service.name, state=state, pid=pid, **details)
        self._run(_announce(service))

    async def _wait(self, service: Service, states: tuple[str, ...], timeout: float) -> str:
        try:
            async with asyncio.timeout(timeout), service.changed:
                await service.changed.wait_for(lambda: service.state in states)
        except TimeoutError:
            pass
        return service.state

    async def close(self) -> None:
        """Stop everything, as a machine does that is shut down in good order."""
        self._closing = True
        await asyncio.gather(*(self.stop(service.name) for service in list(self._services.values())))

    # -- output --------------------------------------------------------------------------------------------------
    def _output(self, service: Service) -> pathlib.Path:
        return self._logs / (re.sub(r"[^A-Za-z0-9._-]+", "-", service.name) + ".log")

    def _trim_outputs(self) -> None:
        for service in self._services.values():
            try:
                if self._output(service).stat().st_size > self._settings.output_bytes:
                    os.truncate(self._output(service), 0)  # the service appends, so it goes on at the start
            except OSError:
                pass
        self._loop.call_later(_OUTPUT_CHECK_SECONDS, self._trim_outputs)


async def _announce(service: Service) -> None:
    async with service.changed:
        service.changed.notify_all()


def _cancel_restart(service: Service) -> None:
    if service.restart is not None:
        service.restart.cancel()
        service.restart = None


def _check_start_type(start_type: str) -> None:
    if start_type not in START_TYPES:
        raise MachineError(f"{start_type!r} is not a start type; known are {', '.join(START_TYPES)}", 87)
