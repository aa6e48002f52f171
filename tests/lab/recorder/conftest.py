# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from recorder_rig import Cameras, FakeManagementServer, Rig, free_subnet, wait_for


@pytest.fixture(scope="session")
def subnet():
    return free_subnet()


@pytest.fixture(scope="session")
def cameras(tmp_path_factory, subnet):
    """1 and 2: plain; 3: motion by schedule; 4: motion on request."""
    schedule = {"every_seconds": 6, "for_seconds": 1}
    cameras = Cameras(tmp_path_factory.mktemp("cameras"), subnet, [{"fps": 10}, {"fps": 10}, {"fps": 10, "motion": schedule}, {"fps": 10}])
    yield cameras
    cameras.stop()


@pytest.fixture
def rigs(tmp_path, subnet):
    """Makes machines; ends their recorders after the test."""
    made: list[Rig] = []

    def make(**options):
        folder = tmp_path / f"m{len(made) + 1}"
        folder.mkdir()
        rig = Rig(folder, f"{subnet}.{11 + len(made)}", server=f"{subnet}.2", **options)
        made.append(rig)
        return rig

    yield make
    for rig in made:
        if rig.process is not None:
            rig.kill()


@pytest.fixture
def servers(subnet):
    """Makes Management Servers' uplinks; stops them after the test."""
    made: list[FakeManagementServer] = []

    def make(configuration):
        made.append(FakeManagementServer(f"{subnet}.2", configuration))
        return made[-1]

    yield make
    for server in made:
        server.stop()


@pytest.fixture
def attached(rigs, servers, cameras):
    """A recorder that is attached and records two cameras."""
    rig = rigs()
    entries = [rig.camera(cameras.url(1)), rig.camera(cameras.url(2))]
    server = servers(rig.configuration(entries))
    rig.start()
    rig.cameras, rig.server = entries, server
    wait_for("the attached recorder to record", lambda: rig.attach_state() == "Attached" and all(rig.sequences(c) for c in entries))
    return rig


@pytest.fixture(scope="session")
def recorder(tmp_path_factory, subnet, cameras):
    """One attached recorder for all tests of serving: camera 1 always, camera 2 on motion that never comes (an empty database)."""
    rig = Rig(tmp_path_factory.mktemp("served"), f"{subnet}.31", server=f"{subnet}.32")
    rig.cameras = [rig.camera(cameras.url(1), name="Entrance <1>"), rig.camera(cameras.url(2), "motion")]
    rig.server = FakeManagementServer(f"{subnet}.32", rig.configuration(rig.cameras))
    rig.start()
    wait_for("closed tables", lambda: rig.attach_state() == "Attached" and len(rig.closed_tables()) >= 3)
    yield rig
    assert rig.end() == 0
    assert not [line for line in rig.log().splitlines() if "connection failed" in line]
    rig.server.stop()
