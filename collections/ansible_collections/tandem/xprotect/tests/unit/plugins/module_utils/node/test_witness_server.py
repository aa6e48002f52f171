# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness's port: who may ask, what is durable when it is answered, and what hostile peers get."""
from __future__ import annotations

import json
import socket
import ssl
import threading
import time

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.protocol.voter import GRANT, RELEASE, RENEW
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import witness as verbs
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import port as ports
from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import server
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import wait_until
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.witness_scenes import (
    TestWitness, document, identity)


@pytest.fixture
def witness(tmp_path, monkeypatch):
    witness = TestWitness(tmp_path / "home", monkeypatch)
    witness.start()
    yield witness
    witness.stop()


# -- votes -------------------------------------------------------------------------------------------------------------

def test_a_new_pair_is_admitted_by_its_nodes_and_gets_a_vote(witness):
    a, b = witness.admitted()
    assert a.vote(GRANT, a.epoch(1))["granted"]
    assert witness.votes()["epoch"] == a.epoch(1).to_document(), "on the disk before it was answered"
    refused = b.vote(GRANT, b.epoch(2))
    assert not refused["granted"] and refused["code"] == "lease_not_free" and refused["wait"] > 0


def test_renewals_are_not_written(witness):
    a, _b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    file = witness.folder / "witness" / "votes" / "pair1.json"
    before = file.stat().st_ino
    for _count in range(5):
        assert a.vote(RENEW, a.epoch(1), granted=True)["granted"]
    assert file.stat().st_ino == before


def test_a_release_frees_the_vote_for_the_successor(witness):
    a, b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    assert a.vote(RELEASE, a.epoch(1), successor=b.name)["granted"]
    assert witness.votes()["released"] and b.vote(GRANT, b.epoch(2))["granted"]


def test_what_cannot_be_stored_is_not_granted(witness):
    a, b = witness.admitted()
    witness.host.disk_fails = True
    answer = a.ask(GRANT, a.epoch(1))
    assert not answer["ok"] and answer["error"]["code"] == "file_unwritable"
    witness.host.disk_fails = False
    assert witness.votes()["epoch"][0] == 0 and b.vote(GRANT, b.epoch(1))["granted"]


def test_a_restarted_witness_renews_at_once_and_abstains_from_new_epochs(witness):
    a, b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    a.vote(RELEASE, a.epoch(1))
    b.vote(GRANT, b.epoch(2))
    witness.stop()
    witness.start()
    a.ask()
    b.ask()
    assert b.vote(RENEW, b.epoch(2), granted=True, holding=True)["granted"]
    assert a.vote(GRANT, a.epoch(3))["code"] == "lease_not_free"


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"pair": "pair1"}', None])
def test_a_lost_or_damaged_record_does_not_vote_until_both_nodes_have_admitted_it(witness, damage):
    a, b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    old = witness.votes()["incarnation"]
    witness.stop()
    file = witness.folder / "witness" / "votes" / "pair1.json"
    file.unlink() if damage is None else file.write_bytes(damage)
    witness.start()
    assert witness.votes()["incarnation"] != old
    a.ask()
    assert not a.vote(RENEW, a.epoch(1), granted=True)["granted"]


def test_a_machine_that_was_turned_back_stops_voting(witness):
    witness.stop()
    witness.host.generation = "one"
    witness.start()
    a, _b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    witness.host.generation = "two"
    assert a.vote(RENEW, a.epoch(1), granted=True)["code"] == "not_voting"
    assert witness.votes()["generation"] == "two"


def test_an_answer_that_never_arrived_is_no_proof(witness):
    """A message is answered by a vote only when it shows that the witness's answers reach its sender: a copy does not."""
    a, _b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    old = a.message(RENEW, a.epoch(1), granted=True)
    wait_until(lambda: a.send(old)["result"]["vote"]["code"] == "echo", "the copy is too old")
    assert a.vote(RENEW, a.epoch(1), granted=True)["code"] in ("", "echo")


def test_an_old_epoch_is_refused(witness):
    a, b = witness.admitted()
    a.vote(GRANT, a.epoch(5))
    a.vote(RELEASE, a.epoch(5))
    for number in (1, 4, 5):
        assert b.vote(GRANT, b.epoch(number))["code"] == "higher_epoch"
    assert b.vote(GRANT, a.epoch(6))["code"] == "not_yours"


def test_a_longer_ttl_of_a_node_binds_the_witness(witness):
    a, _b = witness.admitted()
    a.report = {**a.report, "lease": {"ttl": 20.0}}
    a.vote(GRANT, a.epoch(1))
    assert witness.resident.book.entries["pair1"].voter.timing.ttl == 20.0
    a.report = {**a.report, "lease": {"ttl": 4.0}}
    a.ask()
    assert witness.resident.book.entries["pair1"].voter.timing.ttl == 4.0


def test_many_pairs_vote_at_once(witness):
    nodes = [witness.admitted(f"pair{number}")[0] for number in range(1, 9)]
    granted = []
    threads = [threading.Thread(target=lambda node=node: granted.append(node.vote(GRANT, node.epoch(1))["granted"])) for node in nodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert granted == [True] * 8


# -- strangers ---------------------------------------------------------------------------------------------------------

def test_an_unknown_certificate_is_refused_and_logged(witness):
    a, _b = witness.register()
    with pytest.raises((ssl.SSLError, OSError, wire.WireError)):
        sock = a.connect(identity("somebody else"))
        wire.send(sock, a.message())
        wire.receive(sock)
    wait_until(lambda: "was refused at the TLS handshake" in witness.log(), "the refusal is logged")


def test_a_node_of_another_pair_is_refused(witness):
    a, _b = witness.register()
    other, _c = witness.register("pair2")
    assert other.send({**other.message(), "pair": "pair1", "node": "pair1-a"})["error"]["code"] == "wrong_pair"
    assert a.ask()["ok"]
    wait_until(lambda: "This certificate belongs to pair pair2" in witness.log(), "the refusal is logged")


def test_a_node_speaks_for_itself_only(witness):
    a, _b = witness.register()
    assert a.send({**a.message(), "node": "pair1-b"})["error"]["code"] == "wrong_node"


@pytest.mark.parametrize(("data", "code"), [((server.MAX_FRAME + 1).to_bytes(4, "big"), "oversized"),
                                            ((3).to_bytes(4, "big") + b"{{{", "bad_frame"), ((2).to_bytes(4, "big") + b"[]", "bad_frame")])
def test_what_is_no_message_ends_the_connection(witness, data, code):
    a, _b = witness.register()
    with a.connect() as sock:
        sock.sendall(data)
        assert wire.receive(sock)["error"]["code"] == code
        assert sock.recv(1) == b""
    wait_until(lambda: "was refused: the peer" in witness.log(), "the refusal is logged")


@pytest.mark.parametrize("fields", [{"op": "take"}, {"op": "vote.grant"}, {"header": None}, {"header": {"incarnation": 7}},
                                    {"op": "vote.grant", "epoch": [1, 2, 3]}, {"op": "reload"}, {"report": [1, 2]}])
def test_malformed_messages_change_nothing(witness, fields):
    a, _b = witness.admitted()
    before = witness.votes()
    answer = a.send({**a.message(), **fields})
    assert answer["ok"] is ("report" in fields) and (answer["ok"] or answer["error"]["code"] == "bad_request")
    assert witness.votes() == before and a.ask()["ok"], "the connection is of use still"


def test_a_flood_slows_only_itself(witness, monkeypatch):
    monkeypatch.setattr(server, "BURST", 5.0)
    a, b = witness.admitted()
    a.close()
    for _count in range(12):
        assert a.ask()["ok"]
    wait_until(lambda: "is answered more slowly" in witness.log(), "it is logged")
    assert b.ask()["ok"]


def test_connections_without_a_handshake_are_bounded_and_end(witness, monkeypatch):
    monkeypatch.setattr(ports, "MAX_SHAKING_PER_ADDRESS", 3)
    monkeypatch.setattr(ports, "HANDSHAKE_TIMEOUT", 0.5)
    a, _b = witness.register()
    silent = [socket.create_connection((witness.address, witness.port), 5) for _count in range(5)]
    wait_until(lambda: "was turned away" in witness.log(), "the surplus is turned away")
    for sock in silent:
        assert sock.recv(1) == b""
        sock.close()
    wait_until(lambda: witness.resident.votes.port.count == 0, "nothing is left of them")
    assert a.ask()["ok"]


def test_the_oldest_connection_of_a_node_gives_way(witness):
    a, _b = witness.register()
    socks = [a.connect() for _count in range(server.PER_NODE + 1)]
    for sock in socks[1:]:
        wire.send(sock, a.message())
        assert wire.receive(sock)["ok"]
    assert socks[0].recv(1) == b""
    for sock in socks:
        sock.close()


def test_a_peer_that_sends_half_a_frame_holds_nothing(witness, monkeypatch):
    monkeypatch.setattr(server, "FRAME_TIMEOUT", 0.3)
    a, b = witness.register()
    with a.connect() as sock:
        sock.sendall((100).to_bytes(4, "big") + b"{")
        assert b.ask()["ok"]
        assert sock.recv(1) == b""


# -- which pairs there are ---------------------------------------------------------------------------------------------

def test_a_removed_pair_is_not_served_any_more(witness):
    a, _b = witness.admitted()
    assert verbs.pair(witness.host, {"state": "absent", "pair": {"pair": "pair1"}}, None)["changed"]
    with pytest.raises((OSError, wire.WireError)):
        a.ask()
    assert not (witness.folder / "witness" / "votes" / "pair1.json").exists()
    assert not verbs.pair(witness.host, {"state": "absent", "pair": {"pair": "pair1"}}, None)["changed"]


def test_both_certificates_count_while_they_are_exchanged(witness):
    a, b = witness.admitted()
    a.vote(GRANT, a.epoch(1))
    incarnation = witness.votes()["incarnation"]
    new = identity("pair1-a new")
    both = document()
    both["nodes"][0]["certificate"] += new[0]
    verbs.pair(witness.host, {"pair": both}, None)
    assert a.vote(RENEW, a.epoch(1), granted=True)["granted"], "the old connection goes on"
    a.close()
    a._sock = a.connect(new)
    assert a.ask()["ok"] and a.vote(RENEW, a.epoch(1), granted=True)["granted"]
    only = document()
    only["nodes"][0]["certificate"] = new[0]
    verbs.pair(witness.host, {"pair": only}, None)
    assert a.vote(RENEW, a.epoch(1), granted=True)["granted"] and witness.votes()["incarnation"] == incarnation
    with pytest.raises((ssl.SSLError, OSError, wire.WireError)):
        sock = a.connect(identity("pair1-a"))
        wire.send(sock, a.message())
        wire.receive(sock)
    assert b.ask()["ok"]


def test_another_recorder_of_the_same_name_inherits_no_votes(witness):
    a, _b = witness.admitted()
    a.vote(GRANT, a.epoch(3))
    verbs.pair(witness.host, {"pair": document(recorder_id="11111111-2222-4333-8444-555555555555")}, None)
    assert witness.votes()["epoch"][0] == 0 and not witness.votes()["voting"]
    witness.stop()
    verbs.pair(witness.host, {"pair": document()}, None)
    witness.start()
    assert not witness.votes()["voting"]


def test_a_damaged_definition_keeps_what_is_known_and_is_told(witness):
    a, _b = witness.admitted()
    (witness.folder / "witness" / "pairs" / "pair1.json").write_text("{")
    (witness.folder / "witness" / "pairs" / "other.json").write_text(json.dumps({"pair": "other"}))
    wait_until(lambda: "pair1" in witness.resident.book.problems and "other" in witness.resident.book.problems, "both are told")
    assert a.ask()["ok"]
    assert verbs.status(witness.host, {}, None)["service"]["unusable_pairs"] == ["other", "pair1"]


def test_only_one_witness_a_machine(witness, monkeypatch):
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.witness import service, settings
    original = service.exclusive
    monkeypatch.setattr(service, "exclusive", lambda host, path, timeout: original(host, path, 0.1))
    with pytest.raises(NodeError, match="Another witness process"):
        service.Resident(witness.host, settings.require(witness.host)).run(lambda seconds: time.sleep(seconds) or True)
