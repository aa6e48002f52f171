# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who obeys which rules so that two parties do not hear each other."""

from __future__ import annotations

import pytest

from tandem_lab.faults import FaultError
from tandem_lab.faults.network import Parties
from tandem_lab.machine.packets import Rule

A, B, W, MS = "pair1-a", "pair1-b", "witness-1", "management-server"
SITE = {
    "subnet": "127.16.0",
    "pairs": [{"service_address": "127.16.0.10", "nodes": [{"name": A, "address": "127.16.0.11"}, {"name": B, "address": "127.16.0.12"}]}],
    "witness": {"name": W, "address": "127.16.0.3"},
}


def rule(last, to=None, **values):
    return Rule(f"127.16.0.{last}", f"127.16.0.{last}", to=to and f"127.16.0.{to}", **values)


FROM_A_AT_W, FROM_W_AT_A, TO_SERVICE = rule(11), rule(3), rule(3, 10)
CASES = [
    # What A sends to the witness by its service address comes from there: A hears nothing of such a connection.
    (A, W, "to", {W: [FROM_A_AT_W], A: [TO_SERVICE]}),
    (A, W, "from", {A: [FROM_W_AT_A]}),
    (A, W, "both", {W: [FROM_A_AT_W], A: [TO_SERVICE, FROM_W_AT_A]}),
    (A, B, "both", {B: [rule(11), rule(11, 10)], A: [rule(12, 10), rule(12)]}),
    (W, MS, "both", {MS: [rule(3)], W: [rule(2)]}),
    (MS, "cameras", "to", {"cameras": [rule(2)]}),
    ("cameras", A, "to", {A: [Rule("127.16.0.101", "127.16.0.254")]}),
    ("controller", A, "both", {A: [Rule("127.0.0.1", "127.0.0.1", ports=(7563, 9001, 11000), other_ports=True)]}),
    (A, "clients", "both", {A: [Rule("127.0.0.1", "127.0.0.1", ports=(7563, 9001, 11000))]}),
    ("clients", A, "to", {A: [Rule("127.0.0.1", "127.0.0.1", ports=(7563, 9001, 11000))]}),
    ("controller", MS, "both", {MS: [Rule("127.0.0.1", "127.0.0.1", other_ports=True)]}),
]


@pytest.mark.parametrize(("one", "two", "direction", "expected"), CASES)
def test_partitions(one, two, direction, expected):
    assert Parties.of(SITE).partition(one, two, direction) == expected


@pytest.mark.parametrize(("one", "two", "direction", "message"), [
    (A, A, "both", "from itself"),
    (A, "pair9-x", "both", "not on this site's network"),
    (A, W, "sideways", "not a direction"),
    (A, "controller", "to", "cannot be dropped"),
    ("clients", A, "from", "cannot be dropped"),
    ("clients", "controller", "both", "programs of this computer"),
])
def test_impossible_partitions(one, two, direction, message):
    with pytest.raises(FaultError, match=message):
        Parties.of(SITE).partition(one, two, direction)


def test_a_dead_machine_says_nothing_to_anybody():
    assert Parties.of(SITE).silence(A) == {party: [rule(11)] for party in (B, W, MS, "cameras")}


def test_loss_has_its_share_everywhere():
    rules = Parties.of(SITE).partition(A, W, share=0.2)
    assert {found.share for party in rules.values() for found in party} == {0.2}
    assert Parties.of(SITE).partition(A, W, "from", 0.2) == {A: [rule(3, share=0.2)]}


def test_a_site_of_before_the_witness():
    parties = Parties.of({name: value for name, value in SITE.items() if name != "witness"})
    assert parties.filtered == [A, B, MS, "cameras"]
