# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageServer protocol, client side: one TCP connection per camera, pictures as JPEG (documented protocol, TCP 7563)."""

from __future__ import annotations

import dataclasses
import socket
import time
import typing as t
import urllib.parse
from xml.etree import ElementTree
from xml.sax.saxutils import escape

END = b"\r\n\r\n"
MAX_HEADER = 64 << 10
MAX_PICTURE = 16 << 20
TOKEN_INVALID = "Security token invalid"


class ImageServerError(Exception):
    """The recorder's answer is no answer of this protocol, or it is late."""


class ConnectRefused(Exception):
    """The recorder answered connected=no. `reason` is its own text."""

    def __init__(self, reason: str):
        super().__init__(f"the recorder refused the connection: {reason}")
        self.reason = reason


@dataclasses.dataclass(frozen=True)
class Picture:
    request_id: int
    previous_ms: int
    current_ms: int
    next_ms: int
    content_type: str
    data: bytes


@dataclasses.dataclass(frozen=True)
class Reply:
    """Any XML answer: the texts of its elements by name."""

    name: str
    values: dict[str, str]


def endpoint(web_server_uri: str) -> tuple[str, int]:
    parts = urllib.parse.urlsplit(web_server_uri)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{web_server_uri} is no http address of a recorder")
    return parts.hostname, parts.port or 7563


class ImageSession:
    """A connection to one camera. Every read ends after `timeout` seconds without a byte."""

    def __init__(self, web_server_uri: str, *, timeout: float = 15.0, connect_timeout: float = 3.0):
        self._socket = socket.create_connection(endpoint(web_server_uri), connect_timeout)
        self._socket.settimeout(timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._request_id = 0

    def __enter__(self) -> "ImageSession":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        """End a read that another thread is in."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    # -- requests ------------------------------------------------------------------------------------------------
    def send(self, method: str, fields: str = "") -> int:
        self._request_id += 1
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            f"<methodcall><requestid>{self._request_id}</requestid><methodname>{method}</methodname>{fields}</methodcall>\r\n\r\n"
        )
        self._socket.sendall(text.encode())
        return self._request_id

    def connect(self, camera_id: str, token: str) -> Reply:
        parameters = escape(f"id={camera_id}&connectiontoken={token}")
        self.send(
            "connect",
            f"<username>a</username><password>a</password><cameraid>{camera_id}</cameraid><alwaysstdjpeg>yes</alwaysstdjpeg>"
            f"<connectparam>{parameters}</connectparam>",
        )
        reply = self._reply()
        if reply.values.get("connected") != "yes":
            raise ConnectRefused(reply.values.get("errorreason", "no reason given"))
        return reply

    def start_live(self) -> None:
        self.send("live", "<compressionrate>100</compressionrate>")

    def stop_live(self) -> None:
        """End live; what was already on its way is read and dropped."""
        number = self.send("stop")
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            answer = self.read()
            if isinstance(answer, Reply) and answer.values.get("requestid") == str(number):
                return
        raise ImageServerError("live did not stop")

    def goto(self, time_ms: int) -> Picture:
        self.send("goto", f"<time>{time_ms}</time>")
        return self.picture()

    def step(self, method: str) -> Picture:
        """next, previous, nextsequence, previoussequence, begin or end."""
        self.send(method)
        return self.picture()

    # -- answers -------------------------------------------------------------------------------------------------
    def picture(self) -> Picture:
        answer = self.read()
        if not isinstance(answer, Picture):
            raise ImageServerError(f"expected a picture, got {answer.name}: {answer.values}")
        return answer

    def _reply(self) -> Reply:
        answer = self.read()
        if not isinstance(answer, Reply):
            raise ImageServerError("expected an XML answer, got a picture")
        return answer

    def read(self) -> Picture | Reply:
        """The next answer. Raises EOFError when the recorder has closed, TimeoutError when nothing comes."""
        head = self._until_end()
        if head.startswith(b"<"):
            return self._parse_reply(head)
        return self._read_picture(head)

    @staticmethod
    def _parse_reply(text: bytes) -> Reply:
        try:
            root = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            raise ImageServerError(f"the recorder sent broken XML: {error}") from error
        values = {element.tag: (element.text or "").strip() for element in root.iter() if len(element) == 0}
        return Reply(values.get("methodname", root.tag), values)

    def _read_picture(self, head: bytes) -> Picture:
        lines = head.decode("latin-1").split("\r\n")
        if lines[0] != "ImageResponse":
            raise ImageServerError(f"the recorder sent {lines[0][:60]!r}")
        header = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        try:
            length = int(header["content-length"])
            numbers = [int(header[name]) for name in ("requestid", "prev", "current", "next")]
        except (KeyError, ValueError) as error:
            raise ImageServerError(f"the header of a picture lacks {error}") from error
        if not 0 <= length <= MAX_PICTURE:
            raise ImageServerError(f"a picture of {length} bytes is refused")
        data = self._exactly(length + len(END))
        if data[length:] != END:
            raise ImageServerError("a picture does not end where its header says")
        return Picture(*numbers, header.get("content-type", ""), data[:length])

    # -- bytes ---------------------------------------------------------------------------------------------------
    def _more(self) -> None:
        data = self._socket.recv(256 << 10)
        if not data:
            raise EOFError("the recorder has closed the connection")
        self._buffer += data

    def _until_end(self) -> bytes:
        while (position := self._buffer.find(END)) < 0:
            if len(self._buffer) > MAX_HEADER:
                raise ImageServerError("the header of an answer does not end")
            self._more()
        head = bytes(self._buffer[:position])
        del self._buffer[:position + len(END)]
        return head

    def _exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._more()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def pictures(session: ImageSession, from_ms: int, to_ms: int, *, in_flight: int = 24) -> t.Iterator[Picture]:
    """All recorded pictures of a span, in order. `next` requests are kept in flight, so that no round trip is waited for."""
    picture = session.goto(from_ms)
    for _ in range(in_flight):
        session.send("next")
    while picture.data and picture.current_ms <= to_ms:
        if picture.current_ms >= from_ms:
            yield picture
        following = session.picture()
        # At the newest picture `next` answers the same one again (as seen on real recorders).
        if following.current_ms < picture.current_ms or (following.current_ms == picture.current_ms and following.data == picture.data):
            return
        picture = following
        session.send("next")
