# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Tandem port of a running guard: who may talk, what is refused, and streams."""
from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils import certificates
from ansible_collections.tandem.xprotect.plugins.module_utils.node import store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import server, wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.client import TandemClient
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.server import MAX_CONNECTIONS
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.tls import Pinned
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeNode, FakePair, wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.guard_scenes import (
    adopted, only_attached, recording, refusal, start, status, verb)


@pytest.fixture
def pair(tmp_path):
    pair = FakePair(tmp_path)
    yield pair
    pair.close()


# -- who may talk at all -----------------------------------------------------------------------------------------------

def raw_connection(node: FakeNode, client: FakeNode) -> ssl.SSLSocket:
    return Pinned(client.host).client().wrap_socket(socket.create_connection((node.settings.address, node.settings.tandem_port), 3))


def undisturbed(pair: FakePair, opened: float) -> None:
    """Node a is attached, has been all the time, and still hears its partner."""
    only_attached(pair, pair.a)
    assert pair.a.host.at("permit opened") == opened
    asked = status(pair.a)["running_for"]
    wait_until(lambda: status(pair.a)["running_for"] > asked + 1.0 and status(pair.a)["partner"]["heard_ago"] < 1.5, "a hears its partner")


def test_unknown_certificate_is_refused(pair):
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    partner = pair.b.host.path(store.PARTNER_CERTIFICATE).read_text()
    own = pair.b.host.path(store.OWN_CERTIFICATE).read_text(), pair.b.host.path(store.OWN_KEY).read_text()
    pair.b.trust(*certificates.create("pair1-b", pair.b.settings.address), partner)
    with TandemClient(pair.b.host, pair.b.settings) as stranger:
        for op in ("report", "vote.renew", "detach"):
            assert refusal(lambda op=op: stranger.call(op)).code == "partner_unreachable"
    wait_until(lambda: "was refused at the TLS handshake" in pair.a.log(), "the refusal is logged")
    pair.b.trust(*own, partner)
    undisturbed(pair, opened)


def test_client_refuses_a_server_with_another_certificate(pair):
    start(pair)
    pem, _key = certificates.create("pair1-a", pair.a.settings.address)
    own = pair.b.host.path(store.OWN_CERTIFICATE).read_text(), pair.b.host.path(store.OWN_KEY).read_text()
    pair.b.trust(*own, pem)
    with TandemClient(pair.b.host, pair.b.settings) as client:
        assert refusal(lambda: client.call("report")).code == "partner_unreachable"


def test_the_witness_certificate_opens_no_door(pair):
    start(pair)
    pem, key = certificates.create("witness-1", "127.0.0.1")
    pair.a.stop_guard()
    store.write_bytes(pair.a.host, store.WITNESS_CERTIFICATE, pem.encode())
    pair.a.start_guard()
    pair.b.stop_guard()
    pair.b.trust(pem, key, pair.b.host.path(store.PARTNER_CERTIFICATE).read_text())
    with TandemClient(pair.b.host, pair.b.settings) as witness:
        assert refusal(lambda: witness.call("report")).code == "partner_unreachable"
    wait_until(lambda: "its certificate is not one of this pair" in pair.a.log(), "the refusal is logged")


def test_two_certificates_of_the_partner_count_while_it_exchanges_its_own(pair):
    old_b, (pem, key) = pair.b.host.path(store.OWN_CERTIFICATE).read_text(), certificates.create("pair1-b", pair.b.settings.address)
    own_a = pair.a.host.path(store.OWN_CERTIFICATE).read_text(), pair.a.host.path(store.OWN_KEY).read_text()
    pair.a.trust(*own_a, old_b + pem)
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    pair.b.stop_guard()
    pair.b.trust(pem, key, own_a[0])
    pair.b.start_guard()
    wait_until(lambda: recording(pair.b), "b hears a with its new certificate")
    undisturbed(pair, opened)


def test_three_certificates_are_too_many(pair):
    pems = [certificates.create("pair1-b", pair.b.settings.address)[0] for _number in range(3)]
    store.write_bytes(pair.a.host, store.PARTNER_CERTIFICATE, "".join(pems).encode())
    assert refusal(lambda: Pinned(pair.a.host)).code == "tls_invalid"


# -- what is said ------------------------------------------------------------------------------------------------------

def test_local_operations_are_not_for_the_partner(pair):
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    with TandemClient(pair.b.host, pair.b.settings) as partner:
        for op in ("adopt", "take", "release", "detach", "rejoin", "witness", "maintenance"):
            assert refusal(lambda op=op: partner.call(op, successor="pair1-b", force="x")).code == "unknown_op"
    undisturbed(pair, opened)


@pytest.mark.parametrize(("raw", "code"), [
    ((wire.MAX_FRAME + 1).to_bytes(4, "big"), "oversized"), (b"\xff\xff\xff\xff" + b"x" * 100, "oversized"),
    (b"GET / HTTP/1.1\r\n\r\n", "oversized"), (b"\x00\x00\x00\x03{x}", "bad_frame"), (b"\x00\x00\x00\x02[]", "bad_frame"),
])
def test_frames_that_are_none_are_refused(pair, raw, code):
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    with raw_connection(pair.a, pair.b) as sock:
        sock.sendall(raw)
        assert wire.receive(sock)["error"]["code"] == code
        with contextlib.suppress(ConnectionError):
            assert sock.recv(1) == b""
    assert "was refused" in pair.a.log()
    undisturbed(pair, opened)


def test_wrong_pair_and_wrong_node_are_refused(pair):
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    vote = {"op": "vote.release", "epoch": [1, "pair1-a", pair.a.state_on_disk()["incarnation"]]}
    for fields, code in (({"pair": "pair2", "node": "pair1-b"}, "wrong_pair"), ({"pair": "pair1", "node": "pair1-a"}, "wrong_node"),
                         ({"pair": "pair1", "node": "witness"}, "wrong_node"), ({"pair": "pair1"}, "wrong_node"), ({}, "wrong_pair")):
        with raw_connection(pair.a, pair.b) as sock:
            wire.send(sock, {**vote, **fields})
            assert wire.receive(sock)["error"]["code"] == code
            assert sock.recv(1) == b""
        assert "was refused" in pair.a.log()
    undisturbed(pair, opened)


@pytest.mark.parametrize("fields", [
    {"op": "status"}, {"op": "vote.renew", "header": []}, {"op": "vote.grant", "header": {"incarnation": "x" * 1000}},
    {"op": "vote.grant", "header": {"incarnation": "x"}, "epoch": "1"}, {"op": "vote.steal"}, {"op": None}, {"op": ["status"]}, {"op": {}},
])
def test_malformed_votes_are_refused_and_the_connection_stays(pair, fields):
    adopted(pair)
    opened, before = pair.a.host.at("permit opened"), pair.a.state_on_disk()
    with raw_connection(pair.a, pair.b) as sock:
        wire.send(sock, {"pair": "pair1", "node": "pair1-b", **fields})
        assert wire.receive(sock)["error"]["code"] in ("bad_request", "unknown_op")
        wire.send(sock, {"pair": "pair1", "node": "pair1-b", "op": "report"})
        assert wire.receive(sock)["result"]["state"] == "attached"
    assert pair.a.state_on_disk() == before
    undisturbed(pair, opened)


def test_replayed_votes_of_an_old_epoch_have_no_effect(pair, monkeypatch):
    adopted(pair)
    original, heard = TandemClient.call, []

    def listening(self, op, timeout=5.0, **fields):
        if op.startswith("vote.") and self._settings.node == "pair1-a":
            heard.append((op, fields))
        return original(self, op, timeout, **fields)

    monkeypatch.setattr(TandemClient, "call", listening)
    assert verb(pair.a, "release", successor="pair1-b")["epoch"] == 2
    assert verb(pair.b, "release", successor="pair1-a")["epoch"] == 3
    assert verb(pair.a, "release", successor="pair1-b")["epoch"] == 4
    monkeypatch.setattr(TandemClient, "call", original)
    opened, record = pair.b.host.at("permit opened"), pair.b.state_on_disk()
    assert {op for op, _fields in heard} >= {"vote.release", "vote.grant", "vote.renew"}
    with TandemClient(pair.a.host, pair.a.settings) as replay:
        for op, fields in heard:
            if fields["epoch"][0] < 4:
                assert replay.call(op, **fields)["vote"]["granted"] is False
    assert pair.b.state_on_disk() == record and pair.b.host.at("permit opened") == opened
    only_attached(pair, pair.b)


def test_a_report_of_half_a_megabyte_is_taken(pair):
    """What the partner says of itself is as large as its devices are many; nothing of it is trusted."""
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    with TandemClient(pair.b.host, pair.b.settings) as partner:
        assert partner.call("report", padding="x" * 500_000)["state"] == "attached"
    undisturbed(pair, opened)


def test_a_flood_of_connections_is_turned_away_and_the_partner_goes_on(pair):
    adopted(pair)
    opened = pair.a.host.at("permit opened")
    with contextlib.ExitStack() as stack:
        for _number in range(MAX_CONNECTIONS + 20):
            stack.enter_context(socket.create_connection((pair.a.settings.address, pair.a.settings.tandem_port), 3))
        wait_until(lambda: "was turned away" in pair.a.log(), "the flood is noticed")
        assert pair.a.host.permit_open() and pair.a.resident.guard.heard_partner(), "kept connections go on"
    undisturbed(pair, opened)


def test_connections_that_say_nothing_do_not_keep_their_place(pair, monkeypatch):
    monkeypatch.setattr(server, "HANDSHAKE_TIMEOUT", 0.5)
    start(pair)
    with contextlib.ExitStack() as stack:
        for _number in range(MAX_CONNECTIONS):
            stack.enter_context(socket.create_connection((pair.a.settings.address, pair.a.settings.tandem_port), 3))
        wait_until(lambda: answers(pair.a), "there is room again")


def answers(node: FakeNode) -> bool:
    try:
        return bool(status(node))
    except NodeError:
        return False


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
        assert partner.call("report")["node"] == "pair1-a", "a new connection is made"


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
