# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.pair import PairDefinition, normalise_guid
from ansible_collections.tandem.xprotect.tests.unit.builders import RECORDER, params


def nodes(*pairs):
    return [{"name": name, "address": address} for name, address in pairs]


def test_a_good_definition():
    pair = PairDefinition.from_params(params(recorder_id="{F9DC2BCD-FAEA-4138-BF5A-32CD15C91F2C}"))
    assert (pair.name, pair.recorder_id, pair.names, pair.tandem_port) == ("north", RECORDER, ("north-a", "north-b"), 11443)
    assert pair.service_address.as_dict() == {"address": "10.0.0.10", "prefix": 24, "interface": None}
    assert pair.node("NORTH-B").address == "10.0.0.12"
    assert pair.partner("north-b").name == "north-a" and pair.partner("north-a").name == "north-b"
    assert "secret" not in repr(pair) and pair.nodes[0].connection["password"] == "secret"


def test_a_witness():
    witness = {"name": "watch-1", "address": "10.0.0.20", "password": "secret", "connection": "local"}
    pair = PairDefinition.from_params(params(witness=witness))
    assert (pair.witness.name, pair.witness.address, pair.witness.port, pair.witness.way) == ("watch-1", "10.0.0.20", 11444, "local")
    assert pair.voters == ("north-a", "north-b", "witness") and "secret" not in repr(pair)
    assert PairDefinition.from_params(params()).voters == ("north-a", "north-b")


@pytest.mark.parametrize(("changes", "told"), [
    ({"nodes": nodes(("a", "10.0.0.11"))}, "exactly two nodes, and one is defined"),
    ({"nodes": nodes(("a", "10.0.0.11"), ("b", "10.0.0.12"), ("c", "10.0.0.13"))}, "exactly two nodes, and 3 are defined"),
    ({"nodes": []}, "exactly two nodes, and none is defined"),
    ({"nodes": nodes(("a", "10.0.0.11"), ("b", "10.0.0.11"))}, "nodes a and b have the same address 10.0.0.11"),
    ({"nodes": nodes(("a", "north-1.example.com"), ("b", "North-1.example.com."))}, "have the same address north-1.example.com"),
    ({"nodes": nodes(("a", "10.0.0.11"), ("A", "10.0.0.12"))}, "both nodes are called a"),
    ({"nodes": nodes(("a", "10.0.0.300"), ("b", "10.0.0.12"))},
     "address of node a is neither a usable IPv4 address nor a host name: '10.0.0.300'"),
    ({"nodes": nodes(("a", "0.0.0.0"), ("b", "10.0.0.12"))}, "address of node a"),
    ({"nodes": nodes(("a", "fe80::1"), ("b", "10.0.0.12"))}, "address of node a"),
    ({"nodes": nodes(("a", "two words"), ("b", "10.0.0.12"))}, "address of node a"),
    ({"nodes": nodes(("a/b", "10.0.0.11"), ("b", "10.0.0.12"))}, "node number 1 has no usable name"),
    ({"nodes": nodes(("a ", "10.0.0.11"), (" b", "10.0.0.12"))}, "node number 2 has no usable name"),
    ({"nodes": ["a", "b"]}, "node number 1 is not a dictionary"),
    ({"nodes": nodes(("a", "10.0.0.10"), ("b", "10.0.0.12"))}, "service address 10.0.0.10 is also the address of node a"),
    ({"recorder_id": None}, "recorder_id is missing"),
    ({"recorder_id": "north"}, "recorder_id is not a GUID: 'north'"),
    ({"recorder_id": "00000000-0000-0000-0000-000000000000"}, "recorder_id is not a GUID"),
    ({"service_address": None}, "service_address is missing"),
    ({"service_address": {"address": "north.example.com"}}, "service_address 'north.example.com' is not a usable IPv4 address"),
    ({"service_address": {"address": "224.0.0.1"}}, "is not a usable IPv4 address"),
    ({"service_address": {"address": "10.0.0.10", "prefix": 40}}, "from 1 to 32 and not 40"),
    ({"service_address": {"address": "10.0.0.255", "prefix": 24}}, "network's own or its broadcast address"),
    ({"tandem_port": 0}, "from 1 to 65535 and not 0"),
    ({"tandem_port": 7563}, "tandem_port 7563 is the port of the recorder's clients"),
    ({"nodes": nodes(("Witness", "10.0.0.11"), ("b", "10.0.0.12"))}, "a node cannot be called Witness"),
    ({"witness": {"name": "w", "address": "10.0.0.11"}}, "the witness has the address of node north-a: it has to run on neither"),
    ({"witness": {"name": "w", "address": "10.0.0.10"}}, "service address 10.0.0.10 is also the address of the witness"),
    ({"witness": {"name": "North-A", "address": "10.0.0.20"}}, "the witness and a node are both called north-a"),
    ({"witness": {"name": "", "address": "10.0.0.300"}}, "the witness has no usable name"),
    ({"witness": {"name": "w", "address": "10.0.0.300"}}, "address of the witness is neither a usable IPv4 address nor a host name"),
    ({"witness": {"name": "w", "address": "10.0.0.20", "port": 9000}}, "witness.port 9000 is the port of the Management Server"),
    ({"witness": {"name": "w", "address": "10.0.0.20", "certificate": "x", "certificate_file": "y"}}, "are both given"),
    ({"witness": "watch-1"}, "witness is not a dictionary"),
])
def test_what_is_refused(changes, told):
    with pytest.raises(TandemError) as caught:
        PairDefinition.from_params(params(**changes))
    text = str(caught.value)
    assert told in text
    assert text.startswith("pair north: ") and "Next: correct the definition of the pair" in text
    assert caught.value.code == "pair_definition"


def test_a_missing_name():
    with pytest.raises(TandemError, match="its name .* is missing"):
        PairDefinition.from_params(params(pair=""))


def test_all_mistakes_at_once():
    with pytest.raises(TandemError) as caught:
        PairDefinition.from_params(params(recorder_id="x", tandem_port=9001, nodes=nodes(("a", "10.0.0.11"), ("b", "10.0.0.11"))))
    assert len(caught.value.details["problems"]) == 3
    assert "for 3 reasons: (1) " in str(caught.value) and "(3) " in str(caught.value)


def test_a_small_network_and_a_prefix_of_31_are_allowed():
    for prefix in (31, 32):
        assert PairDefinition.from_params(params(service_address={"address": "10.0.0.10",
                                                                  "prefix": prefix})).service_address.prefix == prefix


def test_an_unknown_node_is_named_with_the_known_ones():
    with pytest.raises(TandemError) as caught:
        PairDefinition.from_params(params()).node("north-c")
    assert "no node called 'north-c'; the nodes of this pair are north-a and north-b" in str(caught.value)


@pytest.mark.parametrize(("text", "guid"), [
    ("F9DC2BCD-faea-4138-bf5a-32cd15c91f2c", RECORDER), ("{" + RECORDER + "}", RECORDER), (f" {RECORDER} ", RECORDER),
    ("", None), (None, None), (RECORDER[:-1], None), (RECORDER.replace("-", ""), None), (7, None)])
def test_guids(text, guid):
    assert normalise_guid(text) == guid
