# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of two guards share: asking verbs, expecting refusals, bringing a pair into a known state."""
from __future__ import annotations

import pathlib
import time
import typing as t

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import attachment
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import witness as witness_verbs
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node import witness_scenes
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeNode, FakePair, identity, wait_until


class WitnessedPair(FakePair):
    """A pair with a running witness; the pair is registered there."""

    def __init__(self, root: pathlib.Path, monkeypatch: t.Any, ttl: float = 4.0, **fields: t.Any):
        self.witness = witness_scenes.TestWitness(root / "witness", monkeypatch)
        self.skew = 0.0  # of the witness's clock
        self.witness.host.monotonic = lambda: time.monotonic() + self.skew
        self.settings_of_witness = {"name": "witness-1", "address": self.witness.address, "port": self.witness.port}
        super().__init__(root, ttl, **{"witness": self.settings_of_witness, **fields})
        self.witness_address = self.witness.address
        for node in self.nodes:
            name, partner = node.settings.node, node.settings.partner.name
            node.trust(*identity(name), identity(partner)[0], witness_scenes.identity("witness-1")[0])
        nodes = [{"name": node.settings.node, "certificate": identity(node.settings.node)[0]} for node in self.nodes]
        witness_verbs.pair(self.witness.host, {"pair": witness_scenes.document(nodes=nodes, lease_ttl=ttl)}, None)
        self.witness.start()

    def pass_time(self, seconds: float, *nodes: FakeNode) -> None:
        """For the witness and the given nodes, which are not attached."""
        self.skew += seconds
        for node in nodes:
            node.host.skew += seconds

    def close(self) -> None:
        for node in self.nodes:
            node.close()
        self.witness.stop()
        super().close()


def status(node: FakeNode) -> dict:
    return attachment.status(node.host, {}, None)


def verb(machine: FakeNode, what: str, /, **request) -> dict:
    return attachment.VERBS[f"attachment.{what}"](machine.host, request, lambda step, **fields: None)


def refusal(call) -> NodeError:
    with pytest.raises(NodeError) as caught:
        call()
    return caught.value


def recording(node: FakeNode) -> bool:
    found = status(node)
    return found["recorder"]["recording"] and found["partner"]["heard_ago"] is not None


def votes(node: FakeNode, *voters: str) -> bool:
    """Does the node vote, with these voters as members (default: any)?"""
    record = node.state_on_disk()
    return record["voting"] and (not voters or record["membership"]["voters"] == sorted(voters))


def start(pair: FakePair) -> None:
    for node in pair.nodes:
        node.start_guard()
    for node in pair.nodes:
        wait_until(lambda node=node: recording(node) and votes(node), f"{node.settings.node} records, hears its partner and votes")


def adopted(pair: FakePair) -> None:
    start(pair)
    verb(pair.a, "adopt")
    pair.b.host.rules = pair.b.settings.fence_rules()
    wait_until(lambda: pair.b.state_on_disk()["epoch"] == 1, "b knows epoch 1")
    if isinstance(pair, WitnessedPair) and pair.a.settings.witness:
        verb(pair.a, "witness")
        wait_until(lambda: votes(pair.b, "pair1-a", "pair1-b", "witness") and pair.witness.votes()["voting"], "all three vote")


def switched_off(node: FakeNode) -> None:
    """The machine is gone from one moment to the next: none of its last words arrives anywhere."""
    everywhere = [node.settings.partner.address] + ([node.settings.witness.address] if node.settings.witness else [])
    node.host.isolated = set(everywhere)
    node.stop_guard()


def noted(node: FakeNode, what: str) -> bool:
    return what in [text for _moment, text in node.host.journal]


def later(node: FakeNode, seconds: float = 60.0) -> None:
    """Time passes for this node alone. Its looks at its recorder begin anew."""
    node.host.skew += seconds
    wait_until(lambda: status(node)["health"]["serving_fit"], "it looks at its recorder")


def other(pair: FakePair, node: FakeNode) -> FakeNode:
    return pair.b if node is pair.a else pair.a


def attached(node: FakeNode) -> bool:
    return status(node)["state"] == "attached"


def only_attached(pair: FakePair, node: FakeNode) -> None:
    assert status(node)["state"] == "attached" and status(other(pair, node))["state"] == "headless"
    assert node.host.permit_open() and not other(pair, node).host.permit_open()
    assert pair.service_address in node.host.addresses() and pair.service_address not in other(pair, node).host.addresses()


def never_both(pair: FakePair) -> None:
    """By the journals of the two machines: no permit was opened while the other one's was open."""
    events = sorted((moment, what, node.settings.node) for node in pair.nodes for moment, what in node.host.journal
                    if what in ("permit opened", "permit closed"))
    holder = None
    for _moment, what, name in events:
        assert holder in (None, name), f"{name}: {what} while {holder} was attached"
        holder = name if what == "permit opened" else None


def disk_full() -> Exception:
    return OSError(28, "No space left on device")
