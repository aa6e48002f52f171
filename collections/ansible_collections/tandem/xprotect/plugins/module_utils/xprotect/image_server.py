# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of the ImageServer protocol (recorder port 7563): is a client served, and what is recorded at a time.

Documented (vendor samples) and seen in public code. Pictures are asked for as JPEG, one an answer. Not for viewing: it proves
that a recorder serves, and reads single frames.
"""

from __future__ import annotations

import dataclasses
import socket
import ssl
import time
import typing as t
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

from ..errors import NodeUnreachable, TandemError
from ._client import find, parse_xml

END = b"\r\n\r\n"
TEXT_LIMIT = 256 * 1024
IMAGE_LIMIT = 32 * 1024 * 1024
CLIENT_ID = "a"  # user name and password must be there and are not looked at when a token is given


@dataclasses.dataclass(frozen=True)
class Frame:
    """One picture. Times are unix milliseconds on the recorder's clock; 0 when there is none."""

    previous: int
    current: int
    next: int
    content_type: str
    data: bytes

    @property
    def empty(self) -> bool:
        return not self.data

    def jpeg(self) -> bytes:
        """The picture without the 32-byte header of a generic byte data packet, when it has one."""
        if self.data[:2] == b"\xff\xd8" or len(self.data) < 34:
            return self.data
        return self.data[32:] if self.data[0:2] == b"\x00\x10" and self.data[32:34] == b"\xff\xd8" else self.data


class ImageServerClient:
    """One socket for one camera."""

    def __init__(self, address: str, camera_id: str, token: str, *, port: int = 7563, tls: ssl.SSLContext | None = None,
                 timeout: float = 15.0, connect_timeout: float = 5.0, pair: str | None = None):
        self.address, self.port, self.camera_id = address, port, camera_id
        self._token, self._tls, self._pair = token, tls, pair
        self._timeout, self._connect_timeout = timeout, connect_timeout
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._request = 0  # number of the last request, and of the one that the last picture answered
        self._answered = 0
        self._deadline = 0.0

    # -- what a client does ----------------------------------------------------------------------------------------
    def connect(self) -> None:
        """Open the socket and log in to the camera. A refusal has the code ``refused`` and the server's reason."""
        try:
            self._socket = socket.create_connection((self.address, self.port), timeout=self._connect_timeout)
            if self._tls is not None:
                self._socket = self._tls.wrap_socket(self._socket, server_hostname=self.address)
        except OSError as error:
            self.close()
            raise NodeUnreachable(f"the recorder at {self.address}:{self.port} cannot be reached: {error.strerror or error}", self._pair,
                                  next_step="check which node is attached and that it has the service address.",
                                  code="unreachable") from None
        parameter = f"id={self.camera_id}&connectiontoken={self._token}"
        answer = self._ask_text("connect", f"<username>{CLIENT_ID}</username><password>{CLIENT_ID}</password>"
                                f"<cameraid>{escape(self.camera_id)}</cameraid><alwaysstdjpeg>yes</alwaysstdjpeg>"
                                f"<connectparam>{escape(parameter)}</connectparam>")
        if _text(answer, "connected").casefold() != "yes":
            reason = _text(answer, "errorreason") or "no reason"
            self.close()
            raise TandemError(f"the recorder at {self.address}:{self.port} refused the client: {reason}", self._pair,
                              next_step="log in again for a new token, and check that the recorder is attached.", code="refused",
                              details={"reason": reason})

    def live_frame(self) -> Frame:
        """The first live picture; live is ended again."""
        self._send("live", "<compressionrate>100</compressionrate>")
        while True:
            kind, found = self._read()
            if kind == "image" and not found.empty:
                break
        self._send("stop", "")
        return found

    def goto(self, time_ms: int) -> Frame:
        """The picture at or before a time."""
        return self._ask_frame("goto", f"<time>{int(time_ms)}</time>")

    def next(self) -> Frame:
        return self._ask_frame("next", "")

    def close(self) -> None:
        connection, self._socket = self._socket, None
        self._buffer = b""
        if connection is not None:
            connection.close()

    def __enter__(self) -> t.Self:
        self.connect()
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    # -- messages --------------------------------------------------------------------------------------------------
    def _send(self, method: str, body: str) -> None:
        self._request += 1
        text = (f'<?xml version="1.0" encoding="UTF-8"?><methodcall><requestid>{self._request}</requestid>'
                f"<methodname>{method}</methodname>{body}</methodcall>")
        self._deadline = time.monotonic() + self._timeout
        try:
            self._connected().settimeout(self._timeout)
            self._connected().sendall(text.encode() + END)
        except OSError as error:
            raise self._lost(str(error.strerror or error)) from None

    def _ask_text(self, method: str, body: str) -> ET.Element:
        self._send(method, body)
        while True:
            kind, found = self._read()
            if kind == "text" and _text(found, "methodname").casefold() == method:
                return found

    def _ask_frame(self, method: str, body: str) -> Frame:
        self._send(method, body)
        while True:  # what is left of a live that was just stopped comes first, and carries another request's number
            kind, found = self._read()
            if kind == "image" and self._answered == self._request:
                return found

    def _read(self) -> tuple[str, t.Any]:
        """One message of the server: ("text", root element) or ("image", Frame)."""
        first = self._take_until(END, TEXT_LIMIT)
        if first.lstrip().startswith(b"<"):
            root = parse_xml(first.strip())
            if root is None:
                raise self._lost("it sent a text that is not XML")
            return "text", root
        if not first.startswith(b"ImageResponse"):
            raise self._lost(f"it does not speak the ImageServer protocol ({first[:40]!r})")
        headers = dict(_header(line) for line in first.decode("latin-1").split("\r\n")[1:])
        length = headers.get("content-length", "")
        if not length.isdigit() or int(length) > IMAGE_LIMIT:
            raise self._lost(f"it announced a picture of {length or 'unknown'} bytes")
        data = self._take(int(length))
        if self._take(len(END)) != END:
            raise self._lost("a picture did not end where it said")
        self._answered = _number(headers.get("requestid"))
        times = (_number(headers.get(name)) for name in ("prev", "current", "next"))
        return "image", Frame(*times, headers.get("content-type", ""), data)

    def _take_until(self, mark: bytes, limit: int) -> bytes:
        while mark not in self._buffer:
            if len(self._buffer) > limit:
                raise self._lost(f"it sent more than {limit} bytes without an end")
            self._fill()
        found, _mark, self._buffer = self._buffer.partition(mark)
        return found

    def _take(self, count: int) -> bytes:
        pieces, missing = [self._buffer[:count]], count - len(self._buffer[:count])
        self._buffer = self._buffer[count:]
        while missing > 0:
            self._fill()
            piece, self._buffer = self._buffer[:missing], self._buffer[missing:]
            pieces.append(piece)
            missing -= len(piece)
        return b"".join(pieces)

    def _fill(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._lost(f"no complete answer within {self._timeout:.0f} s", "timeout")
        try:
            self._connected().settimeout(left)
            data = self._connected().recv(262144)
        except TimeoutError:
            raise self._lost(f"no complete answer within {self._timeout:.0f} s", "timeout") from None
        except OSError as error:
            raise self._lost(str(error.strerror or error)) from None
        if not data:
            raise self._lost("it closed the connection")
        self._buffer += data

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise self._lost("there is no connection")
        return self._socket

    def _lost(self, reason: str, code: str = "lost") -> TandemError:
        self.close()
        return TandemError(f"the recorder at {self.address}:{self.port} stopped answering this client: {reason}", self._pair,
                           next_step="connect again; a hand-over may just have happened.", code=code)


def _text(element: ET.Element | None, name: str) -> str:
    found = find(element, name)
    return (found.text or "").strip() if found is not None else ""


def _header(line: str) -> tuple[str, str]:
    name, _colon, value = line.partition(":")
    return name.strip().casefold(), value.strip()


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() else 0
