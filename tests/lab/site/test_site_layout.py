# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses, names, ids and passwords of a new site."""

from __future__ import annotations

import json
import stat

import pytest

from tandem_lab.machine.ctl import MachineControl
from tandem_lab.site import Site, SiteError, layout, model_builder


@pytest.mark.parametrize(("cameras", "modes"), [
    (8, ["always"] * 6 + ["motion", "manual"]),
    (4, ["always", "always", "motion", "manual"]),
    (3, ["always"] * 3),
    (1, ["always"]),
])
def test_recording_modes(cameras, modes):
    assert [camera.recording_mode for camera in layout.plan("127.16.0", cameras=cameras, pairs=1).pairs[0].cameras] == modes


def test_nothing_is_the_same_twice():
    plan = layout.plan("127.16.0", cameras=16, pairs=9)
    cameras = [camera for pair in plan.pairs for camera in pair.cameras]
    nodes = [node for pair in plan.pairs for node in pair.nodes]
    addresses = [plan.server_address, *(camera.address for camera in cameras), *(node.address for node in nodes),
                 *(pair.service_address for pair in plan.pairs), plan.witness.address]
    assert len(set(addresses)) == len(addresses)
    assert len({camera.name for camera in cameras}) == len(cameras)
    assert len({machine.password for machine in (*nodes, plan.witness)}) == len(nodes) + 1
    ids = [value for camera in cameras for value in (camera.camera_id, camera.hardware_id, camera.stream_id, camera.track_id)]
    assert len(set(ids)) == len(ids)


def test_addresses_of_pairs():
    pair = layout.plan("127.16.0", cameras=1, pairs=2).pairs[1]
    assert (pair.service_address, *(node.address for node in pair.nodes)) == ("127.16.0.20", "127.16.0.21", "127.16.0.22")
    assert [node.name for node in pair.nodes] == ["pair2-a", "pair2-b"]
    assert pair.nodes[0].recorder_id == pair.recorder_id != pair.nodes[1].recorder_id


@pytest.mark.parametrize(("cameras", "pairs"), [(0, 1), (1, 0), (1, 10), (100, 2)])
def test_impossible_sizes(cameras, pairs):
    with pytest.raises(ValueError, match="a lab site has"):
        layout.plan("127.16.0", cameras=cameras, pairs=pairs)


def test_a_created_site_is_off_and_private(tmp_path):
    site = Site(tmp_path / "site")
    site.create(cameras=4, pairs=1, settings={"table_seconds": 6, "assumptions": {"local_config_cache_copyable": False}})
    description = site.describe()
    assert stat.S_IMODE((site.directory / "site.json").stat().st_mode) == 0o600
    assert site.processes.records() == {}
    assert json.loads((site.directory / "settings.json").read_text()) == {
        "table_seconds": 6, "uplink_retry_seconds": 0.25, "assumptions": {"local_config_cache_copyable": False}}
    node = description["pairs"][0]["nodes"][1]
    machine = json.loads((site.machine_directory("pair1-b") / "machine.json").read_text())
    assert machine["users"] == {node["username"]: node["password"]}
    assert MachineControl(site.machine_directory("pair1-b")).running() is None
    with pytest.raises(SiteError, match="holds a site already"):
        site.create()
    with pytest.raises(SiteError, match="no machine pair7-a"):
        site.machine_directory("pair7-a")
    # The passwords of the machines are in site.json and in machine.json, and nowhere else.
    holders = {path.name for path in site.directory.rglob("*") if path.is_file() and node["password"].encode() in path.read_bytes()}
    assert holders == {"site.json", "machine.json"}


def test_node_a_serves_and_node_b_never_connected(tmp_path):
    site = Site(tmp_path / "site")
    site.create(cameras=1)
    pair = site.describe()["pairs"][0]
    a, b = (site.machine_directory(node["name"]) for node in pair["nodes"])
    config = "C/ProgramData/Milestone/XProtect Recording Server/RecorderConfig.xml"
    assert pair["recorder_id"] in (a / config).read_text() and pair["recorder_id"] not in (b / config).read_text()
    assert f"<host>{pair['service_address']}</host>" in (a / config).read_text()
    assert json.loads((a / "addresses.json").read_text())["static"] == [{"address": pair["service_address"], "prefix": 24}]
    assert json.loads((b / "addresses.json").read_text())["static"] == []
    services = [json.loads((machine / "services.json").read_text()) for machine in (a, b)]
    assert [entry["Milestone XProtect Recording Server"]["start_type"] for entry in services] == ["auto", "demand"]


def test_the_witness_is_a_machine_without_a_recorder(tmp_path):
    site = Site(tmp_path / "site")
    site.create(cameras=1, pairs=2)
    witness = site.describe()["witness"]
    assert (witness["name"], witness["address"], witness["port"]) == ("witness-1", f"{site.describe()['subnet']}.3", 11444)
    assert site.machine_names() == ["pair1-a", "pair1-b", "pair2-a", "pair2-b", "witness-1"]
    folder = site.machine_directory("witness-1")
    assert json.loads((folder / "machine.json").read_text())["users"] == {witness["username"]: witness["password"]}
    assert json.loads((folder / "services.json").read_text()) == {}
    assert not (folder / "D").exists()


def test_the_model_of_a_new_site_is_whole(tmp_path):
    from tandem_lab.management_server.model import Model
    plan = layout.plan("127.16.0", cameras=3, pairs=2)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model_builder.build(plan)))
    model = Model(path)
    for pair in plan.pairs:
        configuration = model.configuration(pair.recorder_id)
        assert [camera["url"] for camera in configuration["cameras"]] == [camera.url for camera in pair.cameras]
        assert [storage["id"] for storage in configuration["storages"]] == [pair.storage_id]
