# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shells and their commands: processes with bounded output buffers. Deleting a shell kills what runs in it."""

from __future__ import annotations

import asyncio
import subprocess
import typing as t
import uuid

from ..channel import MachineError
from ..processes import ERROR_FILE_NOT_FOUND, Process, Processes
from ..settings import WinRMSettings
from . import soap

OUTPUT_HIGH = 1024 * 1024
OUTPUT_LOW = 512 * 1024
INPUT_HIGH = 1024 * 1024
CMD_LINE_LIMIT = 8191
LINE_LIMIT = 32767
_DRAIN_SECONDS = 1.0
_REAP_SECONDS = 2.0
_PROTECTED = ("TANDEM_", "LD_", "PYTHON")


class Output(asyncio.Protocol):
    """One output pipe. Reading pauses while the client does not fetch, so a chatty program waits, as on Windows."""

    def __init__(self, changed: t.Callable[[], None]):
        self._changed = changed
        self._data = bytearray()
        self._transport: asyncio.ReadTransport | None = None
        self._paused = False
        self.closed = False

    def connection_made(self, transport: t.Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > OUTPUT_HIGH and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()
        self._changed()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True
        self._changed()

    def take(self, limit: int) -> bytes:
        taken = bytes(self._data[:limit])
        del self._data[:limit]
        if self._paused and len(self._data) < OUTPUT_LOW and self._transport and not self.closed:
            self._paused = False
            self._transport.resume_reading()
        return taken

    def __len__(self) -> int:
        return len(self._data)

    def close(self) -> None:
        if self._transport:
            self._transport.close()


class Input(asyncio.BaseProtocol):
    """The standard input pipe; `drained` is clear while the program is behind."""

    def __init__(self) -> None:
        self.drained = asyncio.Event()
        self.drained.set()
        self.closed = False

    def pause_writing(self) -> None:
        self.drained.clear()

    def resume_writing(self) -> None:
        self.drained.set()

    def connection_lost(self, _exc: Exception | None) -> None:
        self.closed = True
        self.drained.set()


class Command:
    """One command of a shell: a process, or what `cmd.exe` would have said."""

    def __init__(self) -> None:
        self.id = str(uuid.uuid4()).upper()
        self._changed = asyncio.Event()
        self.stdout = Output(self._changed.set)
        self.stderr = Output(self._changed.set)
        self._input: Input | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self.process: Process | None = None
        self.exit_code: int | None = None
        self._sending = asyncio.Lock()

    @classmethod
    async def start(cls, processes: Processes, line: str, environment: dict[str, str], folder: str | None) -> Command:
        self = cls()
        pipe = subprocess.PIPE
        self.process = processes.start(line, stdin=pipe, stdout=pipe, stderr=pipe, environment=environment, folder=folder)
        loop = asyncio.get_running_loop()
        popen = self.process.popen
        await loop.connect_read_pipe(lambda: self.stdout, popen.stdout)
        await loop.connect_read_pipe(lambda: self.stderr, popen.stderr)
        self._input = Input()
        self._stdin, _ = await loop.connect_write_pipe(lambda: t.cast(Input, self._input), popen.stdin)
        self._stdin.set_write_buffer_limits(high=INPUT_HIGH)
        self.process.ended.add_done_callback(lambda future: self._ended(future.result()))
        return self

    @classmethod
    def failed(cls, text: str, code: int) -> Command:
        """A command that ended at once."""
        self = cls()
        self.stderr.data_received(text.encode())
        self.stdout.closed = self.stderr.closed = True
        self._finish(code)
        return self

    def _ended(self, code: int) -> None:
        if self._stdin:
            self._stdin.close()
        if self.stdout.closed and self.stderr.closed:
            self._finish(code)
        else:
            asyncio.get_running_loop().create_task(self._drain(code))

    async def _drain(self, code: int) -> None:
        """Wait for the rest of the output; children that keep the pipes open do not hold the command up for long."""
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while not (self.stdout.closed and self.stderr.closed):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass
        self._finish(code)

    def _finish(self, code: int) -> None:
        self.exit_code = code if code >= 0 else 1  # killed: as TerminateProcess(1)
        self._changed.set()

    async def send(self, data: bytes, end: bool, timeout: float) -> None:
        async with self._sending:
            if self._stdin is None or self._input is None or self._input.closed or self._stdin.is_closing():
                raise soap.Fault(109, "The pipe has been ended.", "w:InternalError")
            try:
                async with asyncio.timeout(timeout):
                    await self._input.drained.wait()
            except TimeoutError as error:
                raise soap.Fault(170, "The requested resource is in use: the program does not read its input.") from error
            if data:
                self._stdin.write(data)
            if end:
                self._stdin.close()

    async def receive(self, timeout: float, limit: int) -> tuple[bytes, bytes, int | None]:
        """Output as soon as there is some; with the exit code when the command is done. Raises the time-out fault."""
        try:
            async with asyncio.timeout(timeout):
                while not (self.stdout or self.stderr) and self.exit_code is None:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise soap.Fault(soap.TIMED_OUT, "The WS-Management service cannot complete the operation within the time specified in "
                             "OperationTimeout.", "w:TimedOut") from error
        errors = self.stderr.take(limit)
        output = self.stdout.take(limit - len(errors))
        finished = self.exit_code is not None and not self.stdout and not self.stderr
        return output, errors, self.exit_code if finished else None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill_tree()
        for stream in (self.stdout, self.stderr, self._stdin):
            if stream is not None:
                stream.close()


class Shell:
    def __init__(self, user: str, environment: dict[str, str], folder: str | None, idle_seconds: float):
        self.id = str(uuid.uuid4()).upper()
        self.user = user
        self.environment = environment
        self.folder = folder
        self.idle_seconds = idle_seconds
        self.used = asyncio.get_running_loop().time()
        self.busy = 0
        self.commands: dict[str, Command] = {}

    def close(self) -> None:
        for command in self.commands.values():
            command.kill()
        self.commands.clear()


class Shells:
    def __init__(self, settings: WinRMSettings, processes: Processes):
        self._settings = settings
        self._processes = processes
        self._shells: dict[str, Shell] = {}
        self._reaper: asyncio.TimerHandle | None = None

    def count(self) -> int:
        return len(self._shells)

    def create(self, user: str, environment: dict[str, str], folder: str | None, idle_seconds: float) -> Shell:
        if sum(shell.user == user for shell in self._shells.values()) >= self._settings.max_shells_per_user:
            raise soap.Fault(soap.TOO_MANY_SHELLS, "The WS-Management service cannot process the request. This user is allowed a maximum "
                             f"number of {self._settings.max_shells_per_user} concurrent shells, which has been exceeded.", "w:QuotaLimit")
        allowed = {name: value for name, value in environment.items() if not name.upper().startswith(_PROTECTED)}
        shell = Shell(user, allowed, folder, idle_seconds)
        self._shells[shell.id] = shell
        if self._reaper is None:
            self._reap()
        return shell

    def get(self, shell_id: str | None, user: str) -> Shell:
        shell = self._shells.get((shell_id or "").upper())
        if shell is None:
            raise soap.Fault(soap.UNKNOWN_SHELL, "The request for the Windows Remote Shell with ShellId "
                             f"{shell_id} failed because the shell was not found on the server.", "w:InvalidSelectors", sender=True)
        if shell.user != user:
            raise soap.Fault(5, "Access is denied.", "w:AccessDenied", sender=True)
        shell.used = asyncio.get_running_loop().time()
        return shell

    async def run(self, shell: Shell, line: str, skip_cmd_shell: bool) -> Command:
        limit = LINE_LIMIT if skip_cmd_shell else CMD_LINE_LIMIT
        if len(shell.commands) >= self._settings.max_processes_per_shell:
            raise soap.Fault(2150859172, "The maximum number of concurrent processes per shell has been exceeded.", "w:QuotaLimit")
        if len(line) > limit:
            if skip_cmd_shell:
                raise soap.Fault(206, "The filename or extension is too long.")
            command = Command.failed("The command line is too long.\r\n", 1)
        else:
            command = await self._start(shell, line, skip_cmd_shell)
        shell.commands[command.id] = command
        return command

    async def _start(self, shell: Shell, line: str, skip_cmd_shell: bool) -> Command:
        try:
            return await Command.start(self._processes, line, shell.environment, shell.folder)
        except MachineError as error:
            if skip_cmd_shell:
                raise soap.Fault(error.code or ERROR_FILE_NOT_FOUND, f"{error.message[0].upper()}{error.message[1:]}") from error
            # No command interpreter exists on the lab machine; this is what cmd.exe says of a program that is not there.
            name = line.split(" ")[0]
            return Command.failed(f"'{name}' is not recognized as an internal or external command,\r\n"
                                  "operable program or batch file.\r\n", 1)

    def command(self, shell: Shell, command_id: str | None) -> Command:
        command = shell.commands.get((command_id or "").upper())
        if command is None:
            raise soap.Fault(soap.UNKNOWN_SHELL, f"The command {command_id} was not found in the shell.", "w:InvalidSelectors", sender=True)
        return command

    def end_command(self, shell: Shell, command_id: str | None) -> None:
        command = shell.commands.pop((command_id or "").upper(), None)
        if command is not None:
            command.kill()

    def delete(self, shell: Shell) -> None:
        self._shells.pop(shell.id, None)
        shell.close()

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        for shell in list(self._shells.values()):
            if not shell.busy and loop.time() - shell.used > shell.idle_seconds:
                self.delete(shell)
        self._reaper = loop.call_later(_REAP_SECONDS, self._reap)

    def close(self) -> None:
        if self._reaper is not None:
            self._reaper.cancel()
        for shell in list(self._shells.values()):
            self.delete(shell)
