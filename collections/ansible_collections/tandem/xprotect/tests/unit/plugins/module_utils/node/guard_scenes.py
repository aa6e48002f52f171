# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of two guards share: asking verbs, expecting refusals, bringing a pair into a known state."""
from __future__ import annotations

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import attachment
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeNode, FakePair, wait_until


def status(node: FakeNode) -> dict:
    return attachment.status(node.host, {}, None)


def verb(node: FakeNode, name: str, **request) -> dict:
    return attachment.VERBS[f"attachment.{name}"](node.host, request, lambda step, **fields: None)


def refusal(call) -> NodeError:
    with pytest.raises(NodeError) as caught:
        call()
    return caught.value


def recording(node: FakeNode) -> bool:
    return status(node)["recorder"]["recording"] and status(node)["partner"]["heard_ago"] is not None


def start(pair: FakePair) -> None:
    for node in pair.nodes:
        node.start_guard()
    for node in pair.nodes:
        wait_until(lambda node=node: recording(node), f"{node.settings.node} records and hears its partner")


def adopted(pair: FakePair) -> None:
    start(pair)
    verb(pair.a, "adopt")
    pair.b.host.rules = pair.b.settings.fence_rules()
    wait_until(lambda: pair.b.state_on_disk()["epoch"] == 1, "b knows epoch 1")


def only_attached(pair: FakePair, node: FakeNode) -> None:
    other = pair.b if node is pair.a else pair.a
    assert status(node)["state"] == "attached" and status(other)["state"] == "headless"
    assert node.host.permit_open() and not other.host.permit_open()
    assert pair.service_address in node.host.addresses() and pair.service_address not in other.host.addresses()
