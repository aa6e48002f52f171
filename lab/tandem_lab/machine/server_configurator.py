# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `ServerConfigurator.exe` of a lab machine: registers its recorder at the Management Server.

    ServerConfigurator.exe /register /quiet [/managementserveraddress=http://MS] [/authaddress=http://MS] [/overridelocalmanagementserver]
    ServerConfigurator.exe /listcertificategroups

Options, exit codes and the marks in its log are documented by the vendor's tools or seen in public code. What it says to the
Management Server is the lab's own, and it neither changes addresses nor handles certificates. Anybody on the machine may run it: the
real one needs an administrator of the VMS and no plain network logon (assumption `server_configurator_needs_batch_logon`).

Linux passes on the lowest byte of an exit code only: 255 stands for -1, and so on. `windows_code` turns it back.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import pathlib
import socket
import sys
import time
import typing as t
import urllib.parse
from xml.etree import ElementTree

from ..recorder import machine, recorder_config
from . import channel, launchers
from .client import MachineClient
from .paths import WindowsPaths

EXE = "C:\\Program Files\\Milestone\\Server Configurator\\ServerConfigurator.exe"
LOG_FOLDER = "C:\\ProgramData\\Milestone\\Server Configurator\\Logs"
SUCCESS, UNKNOWN, BAD_ARGUMENTS, BAD_VALUE, RUNNING, NOT_AUTHORISED = 0, -1, -2, -3, -4, 100
CODES = (SUCCESS, UNKNOWN, BAD_ARGUMENTS, BAD_VALUE, RUNNING, NOT_AUTHORISED)
GROUPS = {"Server certificate": "84430eb7-847c-422d-aa00-7915cd0d7a65",
          "Streaming media certificate": "549df21d-047c-456b-958e-99e65dd8b3ec"}
CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 150.0
MAX_ANSWER = 64 * 1024
MAX_LOG = 1024 * 1024


class Failure(Exception):
    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def install(folder: pathlib.Path) -> None:
    """Put the program on the disk of the machine in this folder."""
    launchers.write(folder / "C" / EXE[3:].replace("\\", "/"), launchers.bare("tandem_lab.machine.server_configurator"))


def windows_code(status: int) -> int:
    """The exit code that the program meant, from what Linux says of it."""
    return next((code for code in CODES if code & 0xFF == status), status)


def main() -> int:
    program = ServerConfigurator(pathlib.Path(os.environ[channel.ROOT_ENVIRONMENT]))
    program.log(f"Arguments: {' '.join(sys.argv[1:])}")
    try:
        program.run(sys.argv[1:])
        code = SUCCESS
    except Failure as failure:
        code = failure.code
        program.log(f"Error: {failure}")
        print(f"ServerConfigurator.exe: {failure}", file=sys.stderr)
    program.log(f"Exit code: {code}")
    return code & 0xFF


class ServerConfigurator:
    def __init__(self, root: pathlib.Path) -> None:
        self._paths = WindowsPaths(root)
        folder = self._paths.host(LOG_FOLDER)
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "ServerConfigurator.log"

    def log(self, text: str) -> None:
        if self._log.exists() and self._log.stat().st_size > MAX_LOG:
            os.replace(self._log, self._log.with_name("ServerConfigurator.1.log"))
        with self._log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(text.split())}\n")

    def run(self, arguments: list[str]) -> None:
        options = _options(arguments)
        if set(options) == {"listcertificategroups"}:
            for name, group in GROUPS.items():
                print(f"Found '{name}' group with ID = {group}")
            return
        if not {"register", "quiet"} <= set(options):
            raise Failure(BAD_ARGUMENTS, "the lab's program knows /register with /quiet, and /listcertificategroups")
        with self._log.open("a", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Failure(RUNNING, "another Server Configurator is running") from error
            self._register(options.get("managementserveraddress") or options.get("authaddress"))

    def _register(self, address: str | None) -> None:
        values, server = self._recorder()
        if address is not None and _host(address) != values.server_address:
            raise Failure(BAD_VALUE, f"this machine's Management Server is {values.server_address}; the lab's program changes no address")
        document = {"recorder_id": values.recorder_id, "client_registration_id": values.client_registration_id}
        try:
            status, answer = self._post(server, json.dumps(document).encode())
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise Failure(UNKNOWN, f"the Management Server {server[0]}:{server[1]} cannot be asked: {reason}") from error
        if status != 200:
            self.log(f"RegisterClient {values.client_registration_id} Status = Error")
            raise Failure(NOT_AUTHORISED if status in (401, 403) else UNKNOWN, f"the Management Server answers {status}: {answer[:300]}")
        self.log(f"RegisterClient {values.client_registration_id} Status = Success")
        self.log("Registration done with result = Success")

    def _recorder(self) -> tuple[recorder_config.RecorderConfig, tuple[str, int]]:
        """The recorder of this machine, and where its Management Server is asked."""
        path = self._paths.host(f"{machine.DATA_FOLDER}\\{recorder_config.FILE_NAME}")
        try:
            values = recorder_config.read(path)
            text = ElementTree.parse(path).getroot().findtext("server/authorizationserveraddress") or ""
            url = urllib.parse.urlsplit(text.strip())
            return values, (url.hostname or values.server_address, url.port or 80)
        except (recorder_config.RecorderConfigError, ElementTree.ParseError, OSError, ValueError) as error:
            raise Failure(UNKNOWN, f"there is no recorder on this machine that can be registered: {error}") from error

    def _post(self, server: tuple[str, int], body: bytes) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*server, timeout=ANSWER_SECONDS)
        connection.sock = self._connect(server)
        try:
            connection.request("POST", "/lab/register", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(MAX_ANSWER).decode("utf-8", "replace")
        finally:
            connection.close()

    def _connect(self, server: tuple[str, int]) -> t.Any:
        """Through the machine's network, and so through its fence; without a kernel plainly from the machine's address."""
        if os.environ.get(channel.ENVIRONMENT):
            sock: socket.socket = MachineClient().connect(*server, CONNECT_SECONDS)
        else:
            sock = socket.create_connection(server, CONNECT_SECONDS, (machine.load(self._paths.root).address, 0))
        sock.settimeout(ANSWER_SECONDS)
        return sock


def _host(address: str) -> str | None:
    """Only the host of the address counts, as documented."""
    return urllib.parse.urlsplit(address if "//" in address else f"//{address}").hostname


def _options(arguments: list[str]) -> dict[str, str | None]:
    known = {"register", "quiet", "managementserveraddress", "authaddress", "overridelocalmanagementserver", "listcertificategroups"}
    options: dict[str, str | None] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not name.startswith("/") or name[1:].lower() not in known:
            raise Failure(BAD_ARGUMENTS, f"unknown argument {argument[:100]!r}")
        options[name[1:].lower()] = value if equals else None
    return options


if __name__ == "__main__":
    sys.exit(main())
