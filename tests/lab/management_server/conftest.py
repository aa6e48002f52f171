# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers and recorders for the tests of this folder."""

from __future__ import annotations

import pytest
from management_server_helpers import FakeRecorder, RunningServer, wait_until


@pytest.fixture(scope="session")
def start_server(tmp_path_factory):
    running = []

    def start(folder=None, **arguments):
        running.append(RunningServer(folder or tmp_path_factory.mktemp("management-server"), **arguments))
        return running[-1]

    start.forget = running.remove
    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def server(start_server):
    return start_server()


@pytest.fixture
def recorder(server):
    """Make fake recorders that are gone, also for the server, when the test is over."""
    made = []

    def make(*arguments, running=None, **options):
        made.append(FakeRecorder(running or server, *arguments, **options))
        return made[-1]

    yield make
    for entry in made:
        entry.close()
    wait_until(lambda: not server.recorders()["connected"])
