# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registering this machine's recorder at the Management Server when it is attached: registration mode ``each_time``.

Whether two machines may share one registration is not known (assumption `client_registration_shareable`); where they may not, the
last one that registered counts. The program is the vendor's Server Configurator; its options and exit codes are documented or seen in
public code. It wants an administrator of the VMS and no plain network logon (assumption `server_configurator_needs_batch_logon`): a
scheduled task with stored credentials can stand in its place. The way through a task was never run by its authors.
"""

from __future__ import annotations

import dataclasses
import re
import time
import typing as t

from ..errors import NodeError
from ..host.base import Host, HostError
from .decisions import YES, Verdict

ONCE, EACH_TIME = "once", "each_time"
PROGRAM = "C:\\Program Files\\Milestone\\Server Configurator\\ServerConfigurator.exe"
COMMAND = (PROGRAM, "/register", "/quiet")
TIMEOUT = 60.0
PAUSE = 1.0

SUCCESS = (0, 200000)
_MEANINGS = {-1: "unknown error", -2: "invalid arguments", -3: "invalid value of an argument", -4: "another instance is running",
             100: "not authorised at the Management Server", 10000: "a service would not stop", 20000: "a service would not restart",
             100000: "the identity provider refused", 300000: "the identity provider refused"}
#: Tried again while there is time: the Management Server may not be reachable in the moment after the fence has opened.
_PASSING = (-1, -4)

_TASKS = "C:\\Windows\\System32\\Tasks"  # where Windows keeps the definition of each task, under its name
_POWERSHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
_TASK_NAME = re.compile(r"[\w .()-]{1,100}(\\[\w .()-]{1,100}){0,4}\Z")
_NEXT = "Correct the pair's definition in the inventory and run the role that configures the guards."


@dataclasses.dataclass(frozen=True)
class Registration:
    """``registration`` and ``register`` of node.json."""

    mode: str = ONCE
    command: tuple[str, ...] = COMMAND
    timeout: float = TIMEOUT
    task: str | None = None  # a scheduled task that registers, in the place of `command`

    @property
    def wanted(self) -> bool:
        return self.mode == EACH_TIME

    @property
    def unattended(self) -> bool:
        """Can it be done without anybody's login? Then promotion may be automatic."""
        return not self.wanted or self.task is not None

    @property
    def file(self) -> str:
        """What must be on the machine."""
        return f"{_TASKS}\\{self.task}" if self.task else self.command[0]

    @classmethod
    def parse(cls, mode: t.Any, document: t.Any = None) -> Registration:
        """`document`: ``{"command": [...], "task": "Folder\\Name", "timeout": seconds}``, all of it optional, or null."""
        fields = {} if document is None else document
        problems = [] if mode in (ONCE, EACH_TIME) else [f"registration must be {ONCE} or {EACH_TIME}"]
        if not isinstance(fields, dict) or not set(fields) <= {"command", "task", "timeout"}:
            raise _invalid([*problems, "register must be an object with command, task and timeout"])
        command, task, timeout = fields.get("command"), fields.get("task"), fields.get("timeout", TIMEOUT)
        if command is not None and not _is_command(command):
            problems.append("register.command must be a list of 1 to 32 texts that begins with the full path of a program")
        if task is not None and not (isinstance(task, str) and _TASK_NAME.match(task)):
            problems.append("register.task must be the name of a scheduled task, with its folder if it has one")
        if command is not None and task is not None:
            problems.append("register takes command or task, not both")
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 1 <= timeout <= 600:
            problems.append("register.timeout must be a number from 1 to 600")
        if problems:
            raise _invalid(problems)
        return cls(mode, tuple(command or COMMAND), float(timeout), task)


def can_register(host: Host, registration: Registration) -> Verdict:
    """Is what registers on this machine? Cheap; asked before each promotion."""
    if not registration.wanted:
        return YES
    try:
        found = host.path(registration.file).is_file()
    except (HostError, OSError):
        found = False
    if found:
        return YES
    what = f"the scheduled task {registration.task} does not exist" if registration.task else f"{registration.file} is missing"
    return Verdict(False, "cannot_register", f"it must be registered at the Management Server each time it is attached, and {what}",
                   "Install the vendor's Server Configurator, or give the command or the task that registers this machine.")


def register(host: Host, recorder_service: str, registration: Registration, log: t.Callable[[str], None],
             still_wanted: t.Callable[[], bool] = lambda: True, sleep: t.Callable[[float], object] = time.sleep) -> dict:
    """Register this machine's recorder: the step for the report. Raises ``cannot_register``.

    It takes seconds and needs the open fence; nobody's lock may be held. The program may stop the recorder's service: a service
    that ran before runs afterwards, whatever came of it.
    """
    started = time.monotonic()
    ran = _running(host, recorder_service)
    try:
        code, attempts = _attempts(host, registration, started + registration.timeout, still_wanted, sleep)
    finally:
        restarted = ran and _bring_back(host, recorder_service, log)
    return {"step": "registration", "seconds": round(time.monotonic() - started, 4), "exit_code": code, "attempts": attempts,
            "recorder_started": restarted}


def _attempts(host: Host, registration: Registration, deadline: float, still_wanted: t.Callable[[], bool],
              sleep: t.Callable[[float], object]) -> tuple[int, int]:
    command = _task_command(registration.task) if registration.task else list(registration.command)
    attempts = 0
    while True:
        attempts += 1
        try:
            code, output = host.run_program(command, max(1.0, deadline - time.monotonic()))
        except HostError as error:
            raise _failed(registration, str(error), None, "") from None
        if code in SUCCESS:
            return code, attempts
        if code not in _PASSING or time.monotonic() + PAUSE >= deadline or not still_wanted():
            meaning = f" ({_MEANINGS[code]})" if code in _MEANINGS else ""
            raise _failed(registration, f"{registration.task or command[0]} ended with {code}{meaning}", code, output)
        sleep(PAUSE)


def _failed(registration: Registration, what: str, code: int | None, output: str) -> NodeError:
    said = f": {' '.join(output.split())[-300:]}" if output else ""
    return NodeError("cannot_register", f"This machine's recorder could not be registered at the Management Server: {what}{said}.",
                     "Run the Server Configurator on this machine and look at its log. The account must be an administrator of the VMS.",
                     {"exit_code": code, "program": registration.task or registration.command[0]})


def _running(host: Host, service: str) -> bool:
    try:
        return host.service(service).state in ("running", "start_pending")
    except HostError:
        return True  # not known: bringing back what runs does no harm


def _bring_back(host: Host, service: str, log: t.Callable[[str], None]) -> bool:
    """Was the recorder's service stopped by the registration, and does it run again?"""
    try:
        if host.service(service).state not in ("stopped", "stop_pending"):
            return False
        log("the registration stopped the recorder: starting it again")
        host.service_start(service)
        return True
    except HostError as error:
        log(f"the recorder could not be started again after the registration: {error}")
        return False


def _task_command(task: str) -> list[str]:
    """Start the task, wait for it and end with its result. Its name has no quotes (`Registration.parse`)."""
    folder, _backslash, name = task.rpartition("\\")
    which = f"-TaskPath '\\{folder}{chr(92) if folder else ''}' -TaskName '{name}'"
    script = (f"$ErrorActionPreference='Stop'; $before=(Get-ScheduledTaskInfo {which}).LastRunTime; Start-ScheduledTask {which}; "
              f"do {{ Start-Sleep -Milliseconds 200; $task=Get-ScheduledTask {which}; $info=Get-ScheduledTaskInfo {which} }} "
              "while ($task.State -in 'Queued','Running' -or $info.LastRunTime -eq $before); "
              "$code=[int64]$info.LastTaskResult; if ($code -gt 2147483647) { $code-=4294967296 }; exit [int]$code")
    return [_POWERSHELL, "-NoProfile", "-NonInteractive", "-Command", script]


def _is_command(value: t.Any) -> bool:
    return (isinstance(value, list) and 1 <= len(value) <= 32 and all(isinstance(part, str) and 0 < len(part) <= 1000 for part in value)
            and value[0][1:3] == ":\\")


def _invalid(problems: list[str]) -> NodeError:
    return NodeError("node_config_invalid", f"The registration in node.json is not usable: {'; '.join(problems)}.", _NEXT,
                     {"problems": problems})
