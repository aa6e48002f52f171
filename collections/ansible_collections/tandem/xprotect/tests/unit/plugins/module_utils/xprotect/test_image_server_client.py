# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ImageServer client against a scripted socket: shapes as documented, and everything a server may do wrong."""

from __future__ import annotations

import re
import socket
import threading
import time

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.image_server import Frame, ImageServerClient

JPEG = b"\xff\xd8" + b"picture\r\n\r\nwith the mark inside" + b"\xff\xd9"
CONNECTED = ('<?xml version="1.0" encoding="UTF-8"?><methodresponse><requestid>1</requestid><methodname>connect</methodname>'
             '<connected>yes</connected><errorreason>Success</errorreason></methodresponse>\r\n\r\n').encode()
LIVEPACKAGE = (b'<?xml version="1.0" encoding="utf-8"?><livepackage><status><statustime>1</statustime>'
               b'<statusitem id="5" value="0" /></status>'
               b"</livepackage>\r\n\r\n")


def image(request: int, current: int, data: bytes = JPEG, kind: str = "image/jpeg") -> bytes:
    return (f"ImageResponse\r\nRequestId: {request}\r\nPrev: {current - 500}\r\nCurrent: {current}\r\nNext: {current + 500}\r\n"
            f"Content-length: {len(data)}\r\nContent-type: {kind}\r\n\r\n").encode() + data + b"\r\n\r\n"


class Server:
    """`script(method, request_id, text) -> bytes or None (close)`."""

    def __init__(self, script, piece: int = 0):
        self._script, self._piece = script, piece
        self.asked: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        connection, _peer = self._listener.accept()
        buffer = b""
        with connection:
            while True:
                data = connection.recv(65536)
                if not data:
                    return
                buffer += data
                while b"\r\n\r\n" in buffer:
                    text, _mark, buffer = buffer.partition(b"\r\n\r\n")
                    self.asked.append(text.decode())
                    method = re.search(rb"<methodname>(\w+)<", text)[1].decode()
                    reply = self._script(method, int(re.search(rb"<requestid>(\d+)<", text)[1]), text.decode())
                    if reply is None:
                        return
                    size = self._piece or len(reply) or 1
                    for start in range(0, len(reply), size):
                        connection.sendall(reply[start:start + size])

    def client(self, **options) -> ImageServerClient:
        return ImageServerClient("127.0.0.1", "cam-guid", "TOKEN#1&2", port=self.port, **{"timeout": 2.0, "pair": "north", **options})


def well_behaved(method, number, text):
    if method == "connect":
        return CONNECTED
    if method == "live":
        return LIVEPACKAGE + image(number, 1000) + image(number, 1200) + LIVEPACKAGE
    if method == "stop":
        return image(number - 1, 1400) + LIVEPACKAGE
    return image(number, int(re.search(r"<time>(\d+)<", text)[1]) - 5 if method == "goto" else 6000)


@pytest.mark.parametrize("piece", [0, 1, 7])
def test_live_then_playback(piece):
    server = Server(well_behaved, piece)
    with server.client() as client:
        live = client.live_frame()
        assert live == Frame(500, 1000, 1500, "image/jpeg", JPEG) and live.jpeg() == JPEG
        assert client.goto(5000).current == 4995
        assert client.next().current == 6000
    assert "<connectparam>id=cam-guid&amp;connectiontoken=TOKEN#1&amp;2</connectparam>" in server.asked[0]
    assert all("\n" not in text for text in server.asked)


def test_a_generic_byte_data_packet_is_unwrapped():
    packet = b"\x00\x10" + b"\x00" * 30 + JPEG
    assert Frame(0, 0, 0, "application/x-genericbytedata-octet-stream", packet).jpeg() == JPEG
    assert Frame(0, 0, 0, "", b"\x00" * 50).jpeg() == b"\x00" * 50


def test_an_empty_database():
    server = Server(lambda method, number, text: CONNECTED if method == "connect" else (
        f"ImageResponse\r\nRequestId: {number}\r\nPrev: 0\r\nCurrent: 0\r\nNext: 0\r\nContent-length: 0\r\n\r\n\r\n\r\n".encode()))
    with server.client() as client:
        assert client.goto(1).empty


def test_a_refusal():
    reply = CONNECTED.replace(b">yes<", b">no<").replace(b"Success", b"Security token invalid")
    with pytest.raises(TandemError) as caught:
        Server(lambda method, number, text: reply).client().connect()
    assert caught.value.code == "refused" and caught.value.details == {"reason": "Security token invalid"}
    assert str(caught.value).startswith("pair north: ") and "TOKEN" not in str(caught.value)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NodeUnreachable):
        ImageServerClient("127.0.0.1", "c", "t", port=port).connect()


@pytest.mark.parametrize("reply, code, text", [
    (None, "lost", "closed the connection"),
    (b"", "timeout", "no complete answer within 0"),
    (b"HTTP/1.1 200 OK\r\n\r\n", "lost", "does not speak the ImageServer protocol"),
    (b"<a>\r\n\r\n", "lost", "not XML"),
    (b"x" * 300_000, "lost", "without an end"),
    (image(2, 5).replace(b"Content-length: ", b"Content-length: 9999999"), "lost", "announced a picture of 9999999"),
    (image(2, 5).replace(b"Content-length: ", b"X: "), "lost", "of unknown bytes"),
    (image(2, 5)[:-4] + b"????", "lost", "did not end"),
    (image(2, 5)[:-20], "timeout", "no complete answer"),
])
def test_bad_answers(reply, code, text):
    server = Server(lambda method, number, request: CONNECTED if method == "connect" else reply)
    with server.client(timeout=0.4) as client, pytest.raises(TandemError) as caught:
        client.goto(5)
    assert caught.value.code == code and text in str(caught.value)
    with pytest.raises(TandemError):
        client.next()


def test_status_messages_do_not_keep_a_dead_live_alive():
    """A camera that gives no picture: the recorder's status messages go on, the wait for a picture ends."""
    def script(method, number, text):
        if method == "connect":
            return CONNECTED
        time.sleep(0.05)
        return LIVEPACKAGE * 3

    began = time.monotonic()
    with Server(script).client(timeout=0.5) as client, pytest.raises(TandemError) as caught:
        client.live_frame()
    assert caught.value.code == "timeout" and time.monotonic() - began < 3
