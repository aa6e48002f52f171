# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import socket
import ssl
import threading

import pytest

pytest.importorskip("cryptography")

from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError


def test_what_stands_in_it():
    pem, key = certificates.create("north-a", "10.0.0.11")
    found = certificates.read(pem)
    assert (found.common_name, found.addresses, found.names) == ("north-a", ("10.0.0.11",), ("north-a",))
    assert 3649 < found.days_left() < 3654
    assert found.fits("north-a", "10.0.0.11") and not found.fits("north-a", "10.0.0.12") and not found.fits("north-b", "10.0.0.11")
    assert key.startswith("-----BEGIN PRIVATE KEY-----")
    assert certificates.create("north-a", "10.0.0.11")[0] != pem


def test_several_in_one_text():
    first, second = (certificates.create("north-a", "10.0.0.11")[0] for unused in range(2))
    both = certificates.together(first, second, first)
    assert certificates.split(both) == [first, second] and certificates.split("nothing") == []


def test_a_name_that_is_no_dns_name_is_allowed():
    assert certificates.read(certificates.create("node a", "10.0.0.11")[0]).names == ()


def test_what_is_no_certificate():
    with pytest.raises(TandemError):
        certificates.read("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def context(folder: pathlib.Path, side: str, own: tuple[str, str], trusted: str) -> ssl.SSLContext:
    (folder / f"{side}.pem").write_text("".join(own))
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if side == "server" else ssl.PROTOCOL_TLS_CLIENT)
    found.load_cert_chain(folder / f"{side}.pem")
    found.load_verify_locations(cadata=trusted)
    found.verify_mode = ssl.CERT_REQUIRED
    return found


@pytest.mark.parametrize("pinned", [True, False])
def test_pinned_as_the_only_trust_anchor_on_both_sides(tmp_path, pinned):
    a, b, stranger = (certificates.create(name, "127.0.0.1") for name in ("a", "b", "a"))
    server = context(tmp_path, "server", a, b[0])
    client = context(tmp_path, "client", b if pinned else stranger, a[0])
    listener = socket.create_server(("127.0.0.1", 0))
    outcome = []

    def serve():
        connection, _peer = listener.accept()
        try:
            with server.wrap_socket(connection, server_side=True) as secure:
                outcome.append(secure.recv(4))
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(socket.create_connection(listener.getsockname(), timeout=5), server_hostname="127.0.0.1") as secure:
            secure.sendall(b"ping")
            secure.recv(1)
    except OSError:
        pass
    thread.join(10)
    listener.close()
    assert outcome == [b"ping"] if pinned else isinstance(outcome[0], ssl.SSLError)
