# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated site for a whole test module, playbook runs against it, and variants of its inventory."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.winrm import NodeSession
from tandem_lab.site import Site

# What a running guard writes by itself.
GUARDS_OWN = ("heartbeat.json", "availability.jsonl", "guard.log")
PROJECT = pathlib.Path(__file__).resolve().parents[2]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """A file is one story about one site: its tests stay together, in their order."""
    from xdist.scheduler import LoadFileScheduling
    return LoadFileScheduling(config, log)


class Controller:
    """Runs playbooks as a user would, against a site.json that a test may have changed."""

    def __init__(self, site: Site, folder: pathlib.Path) -> None:
        self.site, self.folder = site, folder
        self.file = site.directory / "site.json"

    def variant(self, name: str, change) -> pathlib.Path:
        """A copy of site.json after `change(document)`."""
        document = copy.deepcopy(json.loads(self.file.read_text(encoding="utf-8")))
        change(document)
        path = self.folder / f"{name}.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def start(self, playbook: str, *arguments: str, site_file: pathlib.Path | None = None) -> subprocess.Popen:
        environment = dict(os.environ, TANDEM_LAB_SITE=str(site_file or self.file), ANSIBLE_CONFIG=str(PROJECT / "ansible.cfg"),
                           ANSIBLE_NOCOLOR="1", ANSIBLE_LOCAL_TEMP=str(self.folder / "ansible"))
        program = pathlib.Path(sys.executable).parent / "ansible-playbook"
        return subprocess.Popen([str(program), "-i", str(PROJECT / "inventories" / "lab"), f"playbooks/{playbook}.yml", *arguments],
                                cwd=PROJECT, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def play(self, playbook: str, *arguments: str, site_file: pathlib.Path | None = None, status: int = 0) -> str:
        process = self.start(playbook, *arguments, site_file=site_file)
        output, _ = process.communicate(timeout=170)
        assert (process.returncode == 0) == (status == 0), output
        return output


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    site.create(cameras=3, pairs=1, settings={"table_seconds": 6})
    try:
        site.up(die_with_parent=True)
        yield site
    finally:
        site.down()


@pytest.fixture(scope="module")
def controller(site, tmp_path_factory):
    return Controller(site, tmp_path_factory.mktemp("controller"))


def open_session(controller: Controller, name: str) -> NodeSession:
    site = json.loads(controller.file.read_text(encoding="utf-8"))
    node = next(node for node in site["pairs"][0]["nodes"] if node["name"] == name)
    return NodeSession(dict(node, winrm_transport="ntlm"), "pair1")


@pytest.fixture
def session(controller):
    """A node's verbs without a playbook."""
    sessions = []

    def opened(name: str) -> NodeSession:
        sessions.append(open_session(controller, name))
        return sessions[-1]

    yield opened
    for one in sessions:
        one.close()


@pytest.fixture
def status(controller):
    """A guard's own report; empty while none answers (the machine boots, the guard starts)."""
    kept: dict[str, NodeSession] = {}

    def ask(name: str) -> dict:
        for _attempt in range(2):  # the session of before is of no more use when the machine has booted since
            try:
                if name not in kept:
                    kept[name] = open_session(controller, name)
                return kept[name].call("attachment.status")
            except TandemError:
                kept.pop(name).close()
        return {}

    yield ask
    for one in kept.values():
        one.close()


@pytest.fixture
def machines_state(site):
    """Ask for the digest of both machines, runtime included."""
    return lambda: fixed_state(site, runtime=True)


@pytest.fixture
def untouched(site):
    """The test must leave identities, services, fences, settings and media folders of both machines as they were.

    The node runtime may have been brought: it has to look at the recorders to refuse, and its folder touches nothing else.
    """
    before = fixed_state(site)
    yield
    assert fixed_state(site) == before


@pytest.fixture
def nothing_brought(site):
    """Not even the runtime."""
    before = fixed_state(site, runtime=True)
    yield
    assert fixed_state(site, runtime=True) == before


def fixed_state(site: Site, runtime: bool = False) -> dict[str, str]:
    """Digest of everything on the machines that only an operation changes (media and logs grow by themselves)."""
    state = {}
    for machine in ("pair1-a", "pair1-b"):
        root = site.machine_directory(machine)
        files = [root / name for name in ("services.json", "registry.json", "fence.json")]
        files += sorted((root / "C/ProgramData/Tandem").rglob("*"))
        files += sorted((root / "C/Program Files/Tandem").rglob("*")) if runtime else []
        files += [root / "C/ProgramData/Milestone/XProtect Recording Server/RecorderConfig.xml"]
        state[f"{machine} drives"] = ",".join(sorted(path.name for path in (root / "D").iterdir()))
        for path in files:
            if path.is_file() and path.name not in GUARDS_OWN:
                state[str(path.relative_to(root.parent))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return state
