# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Management Server and a small ImageServer whose behaviour a test can change."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fake_image_server import FakeImageServer

sys.path.insert(0, str(Path(__file__).parents[1] / "management_server"))
from management_server_helpers import RunningServer  # noqa: E402

from tandem_lab.site import layout  # noqa: E402


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "ms"
    folder.mkdir()
    running = RunningServer(folder)
    yield running
    running.stop()


@pytest.fixture
def site(server):
    return layout.describe(server.plan, python_archive="", log_directory="")


@pytest.fixture
def image_server(server):
    fake = FakeImageServer(server.pair.service_address, {camera.camera_id: camera.number for camera in server.pair.cameras})
    yield fake
    fake.close()
