# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients of the recorder that know nothing of its code: SOAP and ImageServer, strict about every byte."""

from __future__ import annotations

import base64
import datetime
import re
import socket
import typing as t
import urllib.error
import urllib.request

from tandem_lab.cameras import frames

TOKEN = "TOKEN#11111111-2222-4333-8444-555555555555#lab-ms//ServerConnector#"
END = b"\r\n\r\n"


def unix_ms(text: str) -> int:
    moment = datetime.datetime.fromisoformat(text[:19] + "+00:00")
    return int(moment.timestamp()) * 1000 + int(text[20:23])


def soap(address: str, operation: str, inner: str = "", *, token: str | None = TOKEN, service: str = "command") -> str:
    """The reply's text; also that of a fault."""
    path, namespace = {
        "command": ("/RecorderCommandService/RecorderCommandService.asmx", "http://videoos.net/2/XProtectCSRecorderCommand"),
        "status": ("/RecorderStatusService/RecorderStatusService2.asmx", "http://videoos.net/2/XProtectCSRecorderStatus2"),
    }[service]
    first = f"<token>{token}</token>" if token is not None else ""
    body = (f'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><{operation} xmlns="{namespace}">{first}{inner}'
            f"</{operation}></s:Body></s:Envelope>").encode()
    headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{namespace}/{operation}"'}
    request = urllib.request.Request(f"http://{address}:7563{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        assert error.code == 500
        return error.read().decode()


class Image(t.NamedTuple):
    request_id: int
    previous: int
    current: int
    next: int
    kind: str
    data: bytes

    @property
    def counter(self) -> int:
        if not self.data:
            return -1  # the answer of an empty database
        stamp = frames.read_stamp(self.data if self.data[:2] == b"\xff\xd8" else self.data[32:])
        assert stamp is not None
        return stamp["counter"]


class ImageClient:
    """An ImageServer client of its own: it knows nothing of the recorder's code."""

    def __init__(self, address: str, device: str, *, token: str = TOKEN, jpeg: bool = True, multipart: bool = False) -> None:
        self.socket = socket.create_connection((address, 7563), timeout=10)
        self._file = self.socket.makefile("rb")
        self._id = 0
        capabilities = "<clientcapabilities><privacymask>no</privacymask><multipartdata>yes</multipartdata></clientcapabilities>"
        self.send("connect", f"<username>a</username><password>a</password><cameraid>{device}</cameraid>"
                  f"<alwaysstdjpeg>{'yes' if jpeg else 'no'}</alwaysstdjpeg>"
                  f"<connectparam>id={device}&amp;connectiontoken={token}</connectparam>{capabilities if multipart else ''}")
        self.welcome = self.read_xml()

    @property
    def connected(self) -> bool:
        return "<connected>yes</connected>" in self.welcome

    def send(self, method: str, inner: str = "") -> int:
        self._id += 1
        self.socket.sendall(f'<?xml version="1.0" encoding="UTF-8"?><methodcall><requestid>{self._id}</requestid>'
                            f"<methodname>{method}</methodname>{inner}</methodcall>\r\n\r\n".encode())
        return self._id

    def _lines(self) -> list[str]:
        lines = []
        while (line := self._file.readline()) not in (b"\r\n", b""):
            lines.append(line.decode().rstrip("\r\n"))
        return lines

    def read_xml(self) -> str:
        return "".join(self._lines())

    def read(self) -> Image | str:
        """The next reply: an image, or the text of an XML document."""
        lines = self._lines()
        if not lines:
            raise EOFError("the recorder closed the connection")
        if lines[0].startswith("<"):
            return "".join(lines)
        assert lines[0] == "ImageResponse", lines
        head = dict(line.split(": ", 1) for line in lines[1:])
        kind = head.get("Content-type", "")
        if kind.startswith("multipart/related; boundary=b0;"):
            data = self._read_part()
        else:
            data = self._file.read(int(head["Content-length"]))
            assert self._file.read(4) == END
        return Image(int(head["RequestId"]), int(head["Prev"]), int(head["Current"]), int(head["Next"]), kind, data)

    def _read_part(self) -> bytes:
        assert self._file.readline() == b"--b0\r\n"
        head = dict(line.split(": ", 1) for line in self._lines())
        data = self._file.read(int(head["Content-length"]))
        assert self._file.read(2 + len(b"--b0--\r\n\r\n")) == b"\r\n--b0--\r\n\r\n"
        return data

    def image(self, method: str, inner: str = "") -> Image:
        number = self.send(method, inner)
        answer = self.read()
        assert isinstance(answer, Image) and answer.request_id == number, answer
        return answer

    def goto(self, time_ms: int) -> Image:
        return self.image("goto", f"<time>{time_ms}</time>")

    def play_all(self, in_flight: int = 5) -> list[tuple[int, int]]:
        """(time, counter) of every picture from the first to the newest, with pipelined requests."""
        first = self.goto(0)
        played = [(first.current, first.counter)]
        for _ in range(in_flight):
            self.send("next")
        while True:
            answer = self.read()
            assert isinstance(answer, Image)
            if answer.current == played[-1][0]:
                for _ in range(in_flight - 1):
                    self.read()
                return played
            assert answer.previous == played[-1][0] and answer.current > played[-1][0]
            played.append((answer.current, answer.counter))
            self.send("next")

    def close(self) -> None:
        self._file.close()
        self.socket.close()


def decode_picture(answer: str) -> dict[str, t.Any] | None:
    found = re.search("<Data>(.*?)</Data>", answer)
    return frames.read_stamp(base64.b64decode(found.group(1))) if found else None
