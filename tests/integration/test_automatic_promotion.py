# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Promotion `automatic`: nobody runs a playbook. The tests go on from each other's state."""

from __future__ import annotations

import json

import pytest

from looking import A, B, changed, duplicates, permits, records, wait, words

pytestmark = pytest.mark.site


@pytest.fixture(scope="module", autouse=True)
def pair(controller):
    controller.play("provision", "-e", "tandem_promotion=automatic")


def connected(status, name: str) -> bool:
    """Does the recorder of this node, which is attached, serve?"""
    recorder = status(name).get("recorder") or {}
    return str(recorder.get("attach_state")).lower() == "attached" and str(recorder.get("connection_state")).lower() == "connected"


def test_a_dead_holder_is_replaced(controller, site, status):
    wait("both to record and to know each other",
         lambda: records(site, A) and records(site, B) and status(B)["health"]["serving_fit"] and status(A)["voters"]["witness"]["voting"])
    with site.faults.power_off(A):
        wait("the other node to attach itself", lambda: status(B)["state"] == "attached")
        assert status(B)["epoch"] == 2
        wait("its recorder to serve", lambda: connected(status, B))
        assert changed(controller.play("failover")) == 0, "a playbook that comes late changes nothing"
    wait("the returned machine to record", lambda: records(site, A))
    wait("it to know, headless", lambda: (status(A).get("state"), status(A).get("epoch")) == ("headless", 2))
    assert len(permits(site, A, "permit_opened")) == 1 and duplicates(site) == 0


def test_nobody_takes_over_by_himself_during_maintenance(controller, site, status):
    wait("the returned node to be fit", lambda: status(A)["voting"] and status(A)["health"]["serving_fit"])
    controller.play("maintenance", "-e", json.dumps({"reason": "Windows updates, J. Doe"}))
    with site.faults.power_off(B):
        wait("the lease to have been free for long", lambda: status(A)["lease"]["free_in"] == 0 and status(A)["partner"]["heard_ago"] > 8)
        assert status(A)["state"] == "headless"
        output = words(controller.play("maintenance", "-e", "state=ended"))
        assert f"node {B} was not told" in output
        wait("the node to attach itself now", lambda: status(A)["state"] == "attached")
        wait("its recorder to serve", lambda: connected(status, A))
    wait("the returned node, headless", lambda: (status(B).get("state"), status(B).get("epoch")) == ("headless", 3))
    assert duplicates(site) == 0
