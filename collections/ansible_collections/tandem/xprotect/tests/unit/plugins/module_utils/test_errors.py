# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import SeveralErrors, TandemError


@pytest.mark.parametrize("error, text", [
    (TandemError("the disk is full", "north", "a", "free some space."), "pair north, node a: the disk is full. Next: free some space."),
    (TandemError("it is over.", pair="north"), "pair north: it is over."),
    (TandemError("nothing is known", next_step="look."), "nothing is known. Next: look."),
    (TandemError("Is it?", node="a", next_step="look."), "node a: Is it? Next: look."),
])
def test_the_sentence(error, text):
    assert str(error) == text


def test_a_place_is_filled_in_once():
    error = TandemError("no", node="a").at("north", "b")
    assert (error.pair, error.node) == ("north", "a")


def test_several_errors_name_each_node_and_keep_a_common_code():
    both = SeveralErrors({"a": TandemError("off", node="a", code="unreachable", next_step="switch it on."),
                          "b": TandemError("off too", node="b", code="unreachable")}, "north")
    assert str(both) == "pair north: node a: off. Next: switch it on. | node b: off too"
    assert both.code == "unreachable"
    assert both.as_result()["error_details"]["a"]["next_step"] == "switch it on."
    mixed = SeveralErrors({"a": TandemError("x", code="one"), "b": TandemError("y", code="two")})
    assert mixed.code == "several"
