# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The product's XProtect clients, node_runtime and node_info against a simulated site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
import yaml

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect import fingerprint
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.image_server import ImageServerClient
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.management_server import ManagementServer
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.recorder_status import get_recorder_status

pytestmark = pytest.mark.site


@pytest.fixture(scope="module")
def described(site):
    return json.loads((site.directory / "site.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pair(described):
    return described["pairs"][0]


@pytest.fixture(params=["basic", "windows"])
def server(described, request):
    user = described["management_server"][f"{request.param}_user"]
    server = ManagementServer({"url": described["management_server"]["http_url"], "auth": request.param, **user}, "pair1")
    yield server
    server.close()


def wait_for(question, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.1)
    return answer


def test_rest_and_soap(server, described, pair):
    assert server.version() == server.recorder(pair["recorder_id"])["version"] or server.version().count(".") == 3
    cameras = {item["id"]: item["name"] for item in server.rest.list("cameras")}
    assert cameras == {camera["id"]: camera["name"] for camera in described["cameras"]}
    assert server.recorder_uri(pair["recorder_id"]) == pair["service_url"]
    info = server.soap.recorder_info(pair["recorder_id"])
    assert info["WebServerUri"] == pair["service_url"]
    assert set(fingerprint.device_ids(info, "Cameras", "CameraInfo")) == set(cameras)
    assert len(server.soap.configuration()["Recorders"]) >= 1
    with pytest.raises(TandemError) as caught:
        server.recorder("00000000-0000-4000-8000-000000000000")
    assert caught.value.code == "not_found"


def test_a_wrong_password(described):
    for auth in ("basic", "windows"):
        options = {"url": described["management_server"]["http_url"], "auth": auth, "password": "not-this"}
        wrong = ManagementServer({**options, "username": described["management_server"][f"{auth}_user"]["username"]})
        with pytest.raises(TandemError) as caught:
            wrong.rest.list("sites")
        assert caught.value.code == "wrong_password" and "not-this" not in str(caught.value)


def test_the_fingerprint_notices_exactly_what_changed(server, described, pair):
    before = fingerprint.read(server, pair["recorder_id"])
    assert fingerprint.read(server, pair["recorder_id"]).sha256 == before.sha256
    assert before.summary()["cameras"] == len(described["cameras"])
    camera = described["cameras"][0]
    try:
        assert server.rest.patch(f"cameras/{camera['id']}", {"name": "Other name"})["name"] == "Other name"
        found = fingerprint.differences(before, fingerprint.read(server, pair["recorder_id"]))
        assert found and {item["after"] for item in found} == {"Other name"}
        assert {item["field"].split(".")[0] for item in found} == {"rest", "soap"}
    finally:
        server.rest.patch(f"cameras/{camera['id']}", {"name": camera["name"]})
    assert fingerprint.read(server, pair["recorder_id"]).sha256 == before.sha256


def test_a_refused_change(server, described):
    with pytest.raises(TandemError) as caught:
        server.rest.patch(f"cameras/{described['cameras'][0]['id']}", {"id": "x"})
    assert caught.value.code == "refused" and "id" in str(caught.value)


def test_recorder_status(pair):
    status = wait_for(lambda: get_recorder_status(pair["service_url"].rstrip("/")))
    assert status.attached, status
    with pytest.raises(NodeUnreachable):
        get_recorder_status(f"http://{pair['nodes'][1]['address']}:7563", pair="pair1", node="pair1-b")


def test_image_server(server, described, pair):
    camera = next(camera for camera in described["cameras"] if camera["recording_mode"] == "always")
    began = time.time_ns() // 1_000_000
    with ImageServerClient(pair["service_address"], camera["id"], server.soap.token()) as client:
        live = client.live_frame()
        assert live.jpeg()[:2] == b"\xff\xd8" and b"TANDEM1" in live.data
        wait_for(lambda: client.goto(began + 10_000).current > began + 1500)  # the newest picture is not repeated below
        recorded, following = client.goto(began + 1000), client.next()
        assert began < recorded.current <= began + 1000 < following.current
        assert following.current > recorded.current and following.jpeg() != recorded.jpeg()


@pytest.mark.parametrize("camera, token, reason", [(None, "TOKEN#no#no//ServerConnector#", "Security token invalid"),
                                                   ("00000000-0000-4000-8000-000000000000", None, "Unknown device")])
def test_image_server_refusals(server, described, pair, camera, token, reason):
    client = ImageServerClient(pair["service_address"], camera or described["cameras"][0]["id"], token or server.soap.token(), pair="pair1")
    with pytest.raises(TandemError) as caught:
        client.connect()
    assert caught.value.code == "refused" and caught.value.details["reason"] == reason


def play(controller, tmp_path, *tasks, arguments=()):
    """Run tasks against the pair as a user would; (status, output)."""
    path = tmp_path / "play.yml"
    modules = {f"tandem.xprotect.{name}": "{{ tandem_pair }}" for name in ("node_runtime", "node_info")}
    path.write_text(yaml.safe_dump([{"hosts": "tandem_pairs", "gather_facts": False, "module_defaults": modules, "tasks": list(tasks)}]))
    process = subprocess.run([f"{sys.prefix}/bin/ansible-playbook", "-i", "inventories/lab", str(path), *arguments], capture_output=True,
                             text=True, timeout=120, check=False, stdin=subprocess.DEVNULL, env=environment(controller))
    return process.returncode, " ".join((process.stdout + process.stderr).split())  # long messages are wrapped


def environment(controller):
    return dict(os.environ, TANDEM_LAB_SITE=str(controller.file), ANSIBLE_NOCOLOR="1")


def test_the_runtime_is_brought_once(controller, site, tmp_path, described, pair):
    bring = {"tandem.xprotect.node_runtime": {"python_archive": "{{ tandem_python_archive }}"}}
    look = {"tandem.xprotect.node_info": {}, "register": "found"}
    show = {"ansible.builtin.debug": {"msg": "{{ found.nodes | dict2items | map(attribute='value.facts.runtime.sha256') | list }}"}}
    path = _runtime_build.runtime_path(_runtime_build.sha256()).replace("C:", "C").replace("\\", "/")
    target = [site.directory / "machines" / node["name"] / path for node in pair["nodes"]]

    status, output = play(controller, tmp_path, look)
    assert status != 0 and "the program is not on the machine" in output and "module node_runtime" in output
    status, output = play(controller, tmp_path, {"tandem.xprotect.node_runtime": {}})
    assert status != 0 and "name the zip file with python_archive" in output
    status, output = play(controller, tmp_path, bring, arguments=("--check", "--diff"))
    assert status == 0 and "changed=1" in output and "missing" in output, output
    assert not any(path.exists() for path in target)

    status, output = play(controller, tmp_path, bring, look, show, arguments=("-vvv",))
    assert status == 0 and "changed=1" in output, output
    assert output.count(_runtime_build.sha256()) >= 2 and all(path.exists() for path in target)
    for node in pair["nodes"]:
        assert node["password"] not in output
    status, output = play(controller, tmp_path, bring)
    assert status == 0 and "changed=0" in output, output


def test_a_node_that_is_off_is_reported_and_not_fatal(controller, site, tmp_path, pair):
    site.power_off(pair["nodes"][1]["name"])
    try:
        began = time.monotonic()
        status, output = play(controller, tmp_path, {"tandem.xprotect.node_info": {}, "register": "found"}, {"ansible.builtin.debug": {
            "msg": "{{ found.nodes['%s'].error }}" % pair["nodes"][1]["name"]}})
        assert status == 0 and f"pair pair1, node {pair['nodes'][1]['name']}: WinRM at" in output and "cannot be reached" in output, output
        assert time.monotonic() - began < 30
        status, output = play(controller, tmp_path, {"tandem.xprotect.node_info": {"node": pair["nodes"][1]["name"]}})
        assert status != 0 and "Next: check that the machine is on" in output
    finally:
        site.power_on(pair["nodes"][1]["name"])
