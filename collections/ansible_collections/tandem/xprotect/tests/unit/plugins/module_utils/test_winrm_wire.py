# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pywinrm against servers that refuse: each failure has its own words, code and next step."""

from __future__ import annotations

import pathlib
import socket
import ssl
import threading

import pytest

pytest.importorskip("winrm")

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, RuntimeMissing, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.winrm import NodeSession

FAULT = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Receiver</s:Value>'
         '<s:Subcode><s:Value>{subcode}</s:Value></s:Subcode></s:Code><s:Reason><s:Text>{reason}</s:Text></s:Reason><s:Detail>'
         '<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{code}"/></s:Detail></s:Fault></s:Body>'
         "</s:Envelope>")


def fault(code, subcode="w:InternalError", reason="The service said no."):
    return 500, {"Content-Type": "application/soap+xml"}, FAULT.format(code=code, subcode=subcode, reason=reason).encode()


def failure(url: str, **options) -> TandemError:
    node = {"name": "a", "address": "127.0.0.1", "winrm_url": url, "winrm_transport": "basic", "username": "tandem", "password": "geheim",
            "connect_timeout": 1, **options}
    session = NodeSession(node, "north")
    with pytest.raises(TandemError) as caught:
        session.run("C:\\x.exe", [])
    session.close()
    text = str(caught.value)
    assert text.startswith("pair north, node a: ") and "Next: " in text and "geheim" not in text
    return caught.value


@pytest.mark.parametrize("reply, code, text", [
    ((401, {"WWW-Authenticate": "Basic"}, b""), "wrong_password", "refused the login of tandem (basic)"),
    ((404, {}, b"nothing here"), "http", "answered HTTP 404. Next: correct winrm_url"),
    ((413, {}, b""), "http", "MaxEnvelopeSizekb"),
    ((503, {}, b""), "http", "overloaded"),
    (fault(5), "access_denied", "Administrators"),
    (fault(2150858778), "fault", "The service said no. (fault 2150858778)"),
    (fault(2150859173, "w:QuotaLimit"), "quota", "MaxShellsPerUser"),
    (fault(2150858793), "timeout", "not finished after 20 s"),
    ((200, {}, b"hello"), "protocol", "failed"),
    ((200, {}, b"<a/>"), "protocol", "failed"),
    ((200, {}, b"x" * 5_000_000), "protocol", "more than 4194304 bytes"),
])
def test_each_failure_has_its_words(http_fake, reply, code, text):
    found = failure(http_fake(lambda request: reply).url + "/wsman")
    assert found.code == code and text in str(found)


def test_basic_credentials_are_sent_once_per_message(http_fake):
    fake = http_fake(lambda request: (401, {}, b""))
    failure(fake.url)
    assert [request.headers["authorization"] for request in fake.requests] == ["Basic dGFuZGVtOmdlaGVpbQ=="]


def test_a_missing_program_by_pywinrm(http_fake):
    def answer(request):
        if b"transfer/Create" in request.body:
            return 200, {}, b'<r><s Name="ShellId">11111111-1111-1111-1111-111111111111</s></r>'
        return fault(2147942402)

    assert isinstance(failure(http_fake(answer).url), RuntimeMissing)


def test_ntlm_at_a_listener_that_does_not_know_it(http_fake):
    found = failure(http_fake(lambda request: (401, {"WWW-Authenticate": "Basic"}, b"")).url, winrm_transport="ntlm")
    assert found.code == "wrong_password" and "(ntlm)" in str(found)


def test_an_answer_that_breaks_off(http_fake):
    assert failure(http_fake(lambda request: None).url).code == "unreachable"


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    found = failure(f"http://127.0.0.1:{port}/wsman")
    assert isinstance(found, NodeUnreachable) and "Connection refused" in str(found)


def test_a_machine_that_swallows_packets_is_given_up_after_the_connect_timeout():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = []
    try:
        for _number in range(4):  # fill the accept queue: further connections get no answer at all
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        found = failure(f"http://127.0.0.1:{listener.getsockname()[1]}/wsman")
    finally:
        for item in (*waiting, listener):
            item.close()
    assert found.code == "unreachable"


@pytest.fixture
def tls_port(tmp_path: pathlib.Path):
    pytest.importorskip("cryptography")
    pem, key = certificates.create("someone-else", "127.0.0.2")
    (tmp_path / "both.pem").write_text(pem + key)
    (tmp_path / "ca.pem").write_text(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "both.pem")
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        try:
            while True:
                connection, _peer = listener.accept()
                try:
                    context.wrap_socket(connection, server_side=True).close()
                except OSError:
                    connection.close()
        except OSError:
            pass

    threading.Thread(target=run, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


def test_an_unknown_certificate(tls_port):
    found = failure(f"https://127.0.0.1:{tls_port}/wsman")
    assert found.code == "certificate" and "self-signed certificate" in str(found) and "ca_file" in str(found)


def test_a_known_certificate_of_another_machine(tls_port, tmp_path):
    found = failure(f"https://127.0.0.1:{tls_port}/wsman", ca_file=str(tmp_path / "ca.pem"))
    assert found.code == "certificate" and "127.0.0.1" in str(found)


def test_a_client_certificate_is_shown(tmp_path):
    """Transport certificate: the TLS handshake carries it, and the header says so."""
    pytest.importorskip("cryptography")
    listener_pem, listener_key = certificates.create("listener", "127.0.0.1")
    user_pem, user_key = certificates.create("tandem", "127.0.0.3")
    for name, text in {"listener": listener_pem + listener_key, "ca": listener_pem, "user": user_pem, "key": user_key}.items():
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "listener")
    context.load_verify_locations(cadata=user_pem)
    context.verify_mode = ssl.CERT_REQUIRED
    listener, seen = socket.create_server(("127.0.0.1", 0)), []

    def run():
        with context.wrap_socket(listener.accept()[0], server_side=True) as connection:
            seen.append(connection.getpeercert()["subject"][0][0][1])
            data = b""
            while b"</env:Envelope>" not in data:
                data += connection.recv(65536)
            seen.append(data)
            status, _headers, body = fault(5)
            connection.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)

    thread = threading.Thread(target=run)
    thread.start()
    found = failure(f"https://127.0.0.1:{listener.getsockname()[1]}/wsman", winrm_transport="certificate", username=None, password=None,
                    ca_file=str(tmp_path / "ca"), certificate_pem=str(tmp_path / "user"), certificate_key_pem=str(tmp_path / "key"))
    thread.join(10)
    listener.close()
    assert found.code == "access_denied" and seen[0] == "tandem"
    assert b"Authorization: http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual" in seen[1]


@pytest.mark.parametrize("options, path", [
    ({"ca_file": "/no/such/file.pem"}, "/no/such/file.pem"),
    ({"winrm_transport": "certificate", "certificate_pem": "/no/cert.pem", "certificate_key_pem": "/no/key.pem"}, "/no/cert.pem"),
])
def test_a_missing_file(options, path):
    node = {"name": "a", "address": "127.0.0.1", "winrm_transport": "basic", "username": "u", "password": "geheim", **options}
    with pytest.raises(TandemError) as caught:
        NodeSession(node, "north")
    assert caught.value.code == "configuration" and path in str(caught.value)
