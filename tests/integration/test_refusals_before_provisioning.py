# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be refused before anything is changed: one clear message with pair, node and next step each."""

from __future__ import annotations

import re

import pytest

pytestmark = [pytest.mark.site, pytest.mark.usefixtures("untouched")]


def message(output: str) -> str:
    """The failure as one line of words, however the callback folded it."""
    return re.sub(r"\s+", " ", output)


def nodes(document):
    return document["pairs"][0]["nodes"]


@pytest.mark.usefixtures("nothing_brought")
def test_wrong_password(controller):
    site_file = controller.variant("password", lambda d: nodes(d)[1].update(password="not-the-password"))
    output = message(controller.play("provision", site_file=site_file, status=2))
    assert "pair1" in output and "pair1-b" in output
    assert "password" in output.lower() and "Next:" in output
    assert "not-the-password" not in output


@pytest.mark.usefixtures("nothing_brought")
def test_unreachable_node(controller):
    site_file = controller.variant("unreachable", lambda d: nodes(d)[1].update(
        winrm_url=nodes(d)[1]["winrm_url"].replace(":5985", ":5999")))
    output = message(controller.play("provision", site_file=site_file, status=2))
    assert "pair1-b" in output and "reach" in output.lower() and "Next:" in output


@pytest.mark.usefixtures("nothing_brought")
def test_a_pair_of_one(controller):
    output = message(controller.play("provision", site_file=controller.variant("one", lambda d: nodes(d).pop()), status=2))
    assert "pair1" in output and "two nodes" in output.lower() and "Next:" in output


@pytest.mark.usefixtures("nothing_brought")
def test_a_pair_of_three(controller):
    site_file = controller.variant("three", lambda d: nodes(d).append(dict(nodes(d)[0], name="pair1-c", address="127.1.1.99")))
    output = message(controller.play("provision", site_file=site_file, status=2))
    assert "pair1" in output and "two nodes" in output.lower() and "Next:" in output


@pytest.mark.usefixtures("nothing_brought")
def test_one_address_twice(controller):
    site_file = controller.variant("same", lambda d: nodes(d)[1].update(address=nodes(d)[0]["address"]))
    output = message(controller.play("provision", site_file=site_file, status=2))
    assert "pair1" in output and "same address" in output.lower() and "Next:" in output


@pytest.mark.usefixtures("nothing_brought")
def test_unknown_recorder_id(controller):
    site_file = controller.variant("unknown", lambda d: d["pairs"][0].update(recorder_id="11111111-2222-4333-8444-555555555555"))
    output = message(controller.play("provision", site_file=site_file, status=2))
    assert "11111111-2222-4333-8444-555555555555" in output and "pair1" in output and "Next:" in output


def test_nobody_said_where_the_local_copy_of_the_configuration_is(controller):
    output = message(controller.play("provision", "-e", '{"tandem_item_paths": {}}', status=2))
    assert "pair1" in output and "tandem_item_paths.local_configuration_cache" in output and "Next: find it on a test node" in output


@pytest.fixture
def restored(site):
    """Files of node b that a test damages, put back afterwards."""
    root = site.machine_directory("pair1-b")
    paths = [root / "C/ProgramData/Milestone/XProtect Recording Server/RecorderConfig.xml", root / "machine.json"]
    contents = [path.read_bytes() for path in paths]
    yield paths
    for path, content in zip(paths, contents):
        path.write_bytes(content)


def test_another_version(controller, site, restored):
    config = restored[0]
    text = config.read_bytes()
    config.write_bytes(re.sub(rb"<version>[^<]+</version>", b"<version>24.1.0.7</version>", text))
    before = config.read_bytes()
    output = message(controller.play("provision", status=2))
    assert "24.1.0.7" in output and "version" in output.lower() and "pair1-b" in output and "Next:" in output
    assert config.read_bytes() == before
    config.write_bytes(text)


def test_truncated_recorder_config(controller, site, restored):
    config = restored[0]
    whole = config.read_bytes()
    config.write_bytes(whole[:len(whole) // 2])
    output = message(controller.play("provision", status=2))
    assert "RecorderConfig.xml" in output and "pair1-b" in output and "Next:" in output
    config.write_bytes(whole)


def test_full_disk(controller, site):
    with site.free_bytes("pair1-b", "D:", 50_000_000):
        output = message(controller.play("provision", status=2))
    assert "D:" in output and "pair1-b" in output and "Next:" in output
