# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recording server of this machine: its files, its registry values and what it says about itself.

Paths, registry values and element names: seen in public code of several authors (RecorderConfig.xml under ProgramData,
``VideoOS\\Recorder\\Installation``). The recorder's own words ``AttachState`` and ``ConnectionState`` come from
GetRecorderStatus of RecorderStatusService2 on the media port (documented); that it answers without a token is
assumption `recorder_status_without_token`: a refusal means "unknown", never "detached".
"""

from __future__ import annotations

import dataclasses
import re
import time

from .errors import NodeError
from .host.base import Host, HostError
from .store import read_bytes

CONFIG_FILE = "C:\\ProgramData\\Milestone\\XProtect Recording Server\\RecorderConfig.xml"
INSTALLATION_KEY = "SOFTWARE\\WOW6432Node\\VideoOS\\Recorder\\Installation"
DRIVERS_KEY = "SOFTWARE\\WOW6432Node\\VideoOS\\DeviceDrivers"

#: Public name -> path below the root element of RecorderConfig.xml.
CONFIG_PATHS = {
    "id": "recorder/id", "name": "recorder/displayname", "client_registration_id": "recorder/ClientRegistrationId",
    "version": "version", "server_address": "server/address", "server_port": "server/webapiport",
    "web_server_host": "webserver/host", "web_server_port": "webserver/port",
    "web_server_encrypted": "webserver/encryption/@enabled", "web_api_port": "webapi/port",
    "default_media_folder": "database/database_default/path",
}
DEFAULT_PORT = 7563

_STATUS_PATH = "/RecorderStatusService/RecorderStatusService2.asmx"
_STATUS_NAMESPACE = "http://videoos.net/2/XProtectCSRecorderStatus2"
_MAX_CONFIG = 8 * 1024 * 1024
_MAX_ANSWER = 64 * 1024


@dataclasses.dataclass(frozen=True)
class RecorderState:
    """What the recorder says. Compared for equality: "Detached" contains "attached" (assumption `attach_state_strings`)."""

    attach_state: str
    connection_state: str

    @property
    def attached(self) -> bool:
        return self.attach_state.lower() == "attached" and self.connection_state.lower() == "connected"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What came of one question. `alive`: it answered something, be it a refusal. `refused`: its port is closed."""

    state: RecorderState | None = None
    alive: bool = False
    refused: bool = False


# -- configuration -----------------------------------------------------------------------------------------------------

def read_config(host: Host) -> dict[str, str | None]:
    """The fields of RecorderConfig.xml by their public names. Raises ``config_missing`` or ``config_unreadable``."""
    from . import xmledit  # here, because compiling it costs start time that a hand-over does not have
    document = read_bytes(host, CONFIG_FILE, _MAX_CONFIG)
    if document is None:
        raise NodeError("config_missing", f"{CONFIG_FILE} is missing: no recording server is installed here.",
                        "Install the recording server first.")
    try:
        values = xmledit.read_values(document, list(CONFIG_PATHS.values()))
    except xmledit.XmlError as error:
        raise NodeError("config_unreadable", f"{CONFIG_FILE} cannot be read: {error}.",
                        "Restore the file from a backup or from the partner before the recorder is restarted.") from None
    return {name: _strip(values[path]) for name, path in CONFIG_PATHS.items()}


def media_folders(host: Host, config: dict[str, str | None] | None = None) -> list[str]:
    """The folders that hold banks: the registry's list and the default storage's folder, each once."""
    listed = (host.registry_read(INSTALLATION_KEY, "MediaDBFolder") or "").split(";")
    if config is None:
        try:
            config = read_config(host)
        except NodeError:
            config = {}
    folders: dict[str, str] = {}
    for folder in [*listed, config.get("default_media_folder") or ""]:
        folder = folder.strip().rstrip("\\")
        if folder:
            folders.setdefault(folder.lower(), folder)
    return list(folders.values())


# -- what it says about itself -----------------------------------------------------------------------------------------

class StatusProbe:
    """Asks the local recorder for its state, as often as wanted. Remembers only where and how to ask."""

    def __init__(self, host: Host, address: str, port: int = DEFAULT_PORT, encrypted: bool = False):
        self._host = host
        self._address = address
        self._port = port
        self._encrypted = encrypted

    @classmethod
    def find(cls, host: Host, address: str | None, config: dict[str, str | None] | None = None) -> StatusProbe:
        """`address` is any address of this machine; without one the first that the machine has."""
        if config is None:
            try:
                config = read_config(host)
            except NodeError:
                config = {}
        if address is None:
            address = next((a for a in host.addresses() if a not in ("127.0.0.1", "::1")), "127.0.0.1")
        text = config.get("web_server_port") or ""
        port = int(text) if text.isdigit() and 0 < int(text) < 65536 else DEFAULT_PORT
        return cls(host, address, port, (config.get("web_server_encrypted") or "").lower() == "true")

    def ask(self, timeout: float = 2.0) -> RecorderState | None:
        """The recorder's state, None when it does not say (not running, starting, or it wants a token)."""
        return self.question(timeout).state

    def question(self, timeout: float = 2.0) -> Answer:
        """The same, and whether it answers at all: one that hangs takes the connection and says nothing."""
        deadline = time.monotonic() + timeout
        try:
            sock = self._host.connect(self._address, self._port, timeout)
        except (OSError, HostError) as error:
            return Answer(refused=isinstance(error, ConnectionRefusedError))
        try:
            sock.settimeout(timeout)
            if self._encrypted:
                sock = _wrap(sock)
            sock.sendall(_request(self._address, self._port))
            answer = _receive(sock, deadline)
            return Answer(parse_status(answer), bool(answer))
        except OSError:
            return Answer()
        finally:
            sock.close()


def parse_status(answer: bytes) -> RecorderState | None:
    """The two words out of a SOAP answer; anything else, a fault too, is None."""
    attach, connection = _element(answer, "AttachState"), _element(answer, "ConnectionState")
    return None if attach is None or connection is None else RecorderState(attach, connection)


def _request(address: str, port: int) -> bytes:
    body = ('<?xml version="1.0" encoding="utf-8"?>'
            '<soap:Envelope xmlns:soap="http://schemas.xmlsoap.org/soap/envelope/"><soap:Body>'
            f'<GetRecorderStatus xmlns="{_STATUS_NAMESPACE}" /></soap:Body></soap:Envelope>').encode()
    host = f"[{address}]" if ":" in address else address
    head = (f"POST {_STATUS_PATH} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: text/xml; charset=utf-8\r\n"
            f"SOAPAction: \"{_STATUS_NAMESPACE}/GetRecorderStatus\"\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    return head.encode() + body


def _receive(sock, deadline: float) -> bytes:
    """The answer, until the server closes, the two elements are there, or a limit is reached."""
    data = bytearray()
    while len(data) < _MAX_ANSWER and b"</soap:Envelope>" not in data and b":Envelope>" not in data[-64:]:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        sock.settimeout(left)
        try:
            chunk = sock.recv(8192)
        except TimeoutError:
            break
        if not chunk:
            break
        data += chunk
    return bytes(data)


def _wrap(sock):
    """TLS to this very machine: there is nobody in between, so the certificate need not be judged."""
    import ssl
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock)


def _element(answer: bytes, name: str) -> str | None:
    match = re.search(rb"<(?:\w+:)?" + name.encode() + rb"(?:\s[^>]*)?>\s*([^<]{0,64}?)\s*</", answer)
    return match.group(1).decode("utf-8", "replace") if match else None


def _strip(value: str | None) -> str | None:
    return None if value is None else value.strip()
