# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Tandem port of a running guard: who may talk, what is refused, and streams."""
from __future__ import annotations

import socket
import ssl

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.client import TandemClient
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.tls import Pinned
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeNode, FakePair, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.guard_scenes import adopted, refusal, start, status, verb


@pytest.fixture
def pair(tmp_path):
    pair = FakePair(tmp_path)
    yield pair
    pair.close()


# -- who may talk at all -----------------------------------------------------------------------------------------------

def raw_connection(node: FakeNode, client: FakeNode) -> ssl.SSLSocket:
    return Pinned(client.host).client().wrap_socket(socket.create_connection((node.settings.address, node.settings.tandem_port), 3))


def test_unknown_certificate_is_refused(pair):
    start(pair)
    pem, key = certificates.create("pair1-b", pair.b.settings.address)
    pair.b.stop_guard()
    pair.b.trust(pem, key, pair.b.host.path(store.PARTNER_CERTIFICATE).read_text())
    with TandemClient(pair.b.host, pair.b.settings) as stranger:
        assert refusal(lambda: stranger.call("status")).code == "partner_unreachable"
    wait_until(lambda: "was refused at the TLS handshake" in pair.a.log(), "the refusal is logged")


def test_client_refuses_a_server_with_another_certificate(pair):
    start(pair)
    pem, _key = certificates.create("pair1-a", pair.a.settings.address)
    own = pair.b.host.path(store.OWN_CERTIFICATE).read_text(), pair.b.host.path(store.OWN_KEY).read_text()
    pair.b.trust(*own, pem)
    with TandemClient(pair.b.host, pair.b.settings) as client:
        assert refusal(lambda: client.call("status")).code == "partner_unreachable"


def test_local_operations_are_not_for_the_partner(pair):
    adopted(pair)
    with TandemClient(pair.b.host, pair.b.settings) as partner:
        for op in ("adopt", "release", "detach"):
            assert refusal(lambda op=op: partner.call(op)).code == "unknown_op"
    assert status(pair.a)["state"] == "attached"


def test_oversized_frame_is_refused(pair):
    start(pair)
    with raw_connection(pair.a, pair.b) as sock:
        sock.sendall((wire.MAX_FRAME + 1).to_bytes(4, "big"))
        assert wire.receive(sock)["error"]["code"] == "oversized"
        assert sock.recv(1) == b""
    assert "was refused" in pair.a.log()


def test_wrong_pair_and_wrong_node_are_refused(pair):
    start(pair)
    for fields, code in (({"pair": "pair2", "node": "pair1-b"}, "wrong_pair"), ({"pair": "pair1", "node": "pair1-a"}, "wrong_node")):
        with raw_connection(pair.a, pair.b) as sock:
            wire.send(sock, {"op": "status", **fields})
            assert wire.receive(sock)["error"]["code"] == code
            assert sock.recv(1) == b""


def test_guard_that_is_not_there_is_named(pair):
    error = refusal(lambda: verb(pair.a, "status"))
    assert error.code == "guard_down" and "pair1-a" in error.message and "Tandem Guard" in error.next


def test_only_one_guard_a_machine(pair, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import service
    pair.a.start_guard()
    original = service.exclusive
    monkeypatch.setattr(service, "exclusive", lambda host, path, timeout: original(host, path, 0.1))
    assert refusal(lambda: service.Resident(pair.a.host, pair.a.settings).run(lambda seconds: True)).code == "guard_runs"


# -- streams -----------------------------------------------------------------------------------------------------------

@pytest.fixture
def streams(pair, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import remote

    def read_stream(host, settings, message):
        kind = message.get("kind")
        if kind == "refused":
            raise NodeError("gone", "the table is gone")
        pieces = [bytes([number]) * 100_000 for number in range(5)]
        return (500_000 if kind != "short" else 500_001), iter(pieces)

    monkeypatch.setattr(remote, "read_stream", read_stream)
    monkeypatch.setitem(remote.OPS, "tables", lambda host, settings, message: {"asked": message["what"], "by": host.name})
    start(pair)
    return pair


def test_stream_arrives_with_its_hash_and_the_connection_stays_usable(streams):
    with TandemClient(streams.b.host, streams.b.settings) as partner:
        for _round in range(2):
            header, pieces, trailer = partner.read("media.read", kind="whole")
            assert header["length"] == 500_000
            assert b"".join(pieces) == b"".join(bytes([number]) * 100_000 for number in range(5))
            assert len(trailer()["sha256"]) == 64
        assert refusal(lambda: partner.read("media.read", kind="refused")).code == "gone"
        assert partner.call("tables", what="x") == {"asked": "x", "by": "pair1-a"}


def test_stream_that_ends_early_is_an_error_and_an_unread_one_costs_the_connection(streams):
    with TandemClient(streams.b.host, streams.b.settings) as partner:
        _header, pieces, _trailer = partner.read("media.read", kind="short")
        assert refusal(lambda: list(pieces)).code == "partner_unreachable"
        _header, pieces, trailer = partner.read("media.read", kind="whole")
        next(pieces)
        assert refusal(trailer).code == "protocol"
        pieces.close()
        assert partner.call("status")["node"] == "pair1-a", "a new connection is made"


def test_damaged_stream_is_noticed(streams, monkeypatch):
    original = wire.receive_some

    def damaged(sock, count, deadline):
        data = original(sock, count, deadline)
        return b"\xff" + data[1:] if count == 500_000 else data

    monkeypatch.setattr(wire, "receive_some", damaged)
    with TandemClient(streams.b.host, streams.b.settings) as partner:
        _header, pieces, trailer = partner.read("media.read", kind="whole")
        assert sum(map(len, pieces)) == 500_000
        assert refusal(trailer).code == "damaged"
