# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that are too long or never end are refused, whatever the server claims."""

from __future__ import annotations

import socket
import threading
import time

import pytest
import requests

from ansible_collections.tandem.xprotect.plugins.module_utils import _http
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect._client import HttpClient, find, items, parse_xml, plain


def serve_once(payload: list[bytes], pause: float = 0.0) -> int:
    """A server for one connection that writes the pieces with a pause between them; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        connection, _peer = listener.accept()
        listener.close()
        with connection:
            connection.recv(65536)
            for piece in payload:
                try:
                    connection.sendall(piece)
                except OSError:
                    return
                time.sleep(pause)

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()[1]


def test_an_answer_as_long_as_the_limit_is_read_whole(http_fake):
    fake = http_fake(lambda request: (200, {}, b"x" * 1000))
    assert HttpClient(fake.url, size_limit=1000).send("GET", "/").body == b"x" * 1000


@pytest.mark.parametrize("head", [b"Content-Length: 3000\r\n\r\n" + b"x" * 3000,
                                  b"Transfer-Encoding: chunked\r\n\r\n" + b"7d0\r\n" + b"x" * 2000 + b"\r\n0\r\n\r\n",
                                  b"\r\n" + b"x" * 3000])
def test_a_longer_answer_is_refused(head):
    port = serve_once([b"HTTP/1.1 200 OK\r\n" + head])
    with pytest.raises(TandemError) as caught:
        HttpClient(f"http://127.0.0.1:{port}", "north", size_limit=1000).send("GET", "/")
    assert "more than 1000 bytes" in str(caught.value) and caught.value.code == "protocol"


def test_an_answer_that_trickles_is_given_up(monkeypatch):
    port = serve_once([b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n", *[b"x"] * 500], 0.02)
    adapter = _http.BoundedAdapter(1.0, 0.5)
    monkeypatch.setattr(_http, "bounded_body", lambda response, limit, seconds, real=_http.bounded_body: real(response, limit, 0.3))
    session = requests.Session()
    session.mount("http://", adapter)
    began = time.monotonic()
    with pytest.raises(_http.AnswerTooSlow):
        session.get(f"http://127.0.0.1:{port}/")
    assert time.monotonic() - began < 3


def test_silence_is_a_timeout():
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, pytest.raises(TandemError) as caught:
        HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}", read_timeout=0.2).send("GET", "/")
    assert caught.value.code == "timeout"


def test_nobody_there_is_unreachable():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NodeUnreachable) as caught:
        HttpClient(f"http://127.0.0.1:{port}", "north", node="a").send("GET", "/")
    assert str(caught.value).startswith(f"pair north, node a: http://127.0.0.1:{port} cannot be reached: Connection refused. Next:")


def test_a_name_that_does_not_exist_is_told():
    with pytest.raises(NodeUnreachable) as caught:
        HttpClient("http://no-such-host.invalid:1").send("GET", "/")
    assert "cannot be reached" in caught.value.message and "object at 0x" not in caught.value.message


def test_redirects_are_not_followed(http_fake):
    fake = http_fake(lambda request: (302, {"Location": "http://127.0.0.1:1/"}, b""))
    assert HttpClient(fake.url).send("GET", "/").status == 302


def test_xml_without_namespaces():
    root = parse_xml(b'<a:r xmlns:a="u"><x>1</x><x>2</x><y><z> t </z></y></a:r>')
    assert plain(root) == {"x": ["1", "2"], "y": {"z": "t"}}
    assert find(root, "z").text.strip() == "t"
    assert items(plain(root), "x") == ["1", "2"] and items(plain(root)["y"], "z") == ["t"] and items("", "q") == []


@pytest.mark.parametrize("text", [b"", b"no xml", b"<a>", b'<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>'])
def test_what_is_not_xml(text):
    assert parse_xml(text) is None
