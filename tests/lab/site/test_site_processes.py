# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes are stopped by their record, and by nothing less."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import time

import pytest

from tandem_lab.site.processes import ProcessError, Processes, Record, start_time


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """Modules ``sleeper`` and ``stubborn`` (ignores SIGTERM) can be started."""
    (tmp_path / "sleeper.py").write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    (tmp_path / "stubborn.py").write_text(
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(60)\n")
    (tmp_path / "broken.py").write_text("raise SystemExit('no luck')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    made = Processes(tmp_path)
    yield made
    made.stop(list(made.records()), grace=0.1)


def wait_until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def said_up(record):
    return lambda: "up" in open(record.log, encoding="utf-8").read()


def test_start_and_stop(processes):
    record = processes.start("one", "sleeper", [], die_with_parent=False)
    assert record.alive and processes.running("one")
    with pytest.raises(ProcessError, match="one runs already"):
        processes.start("one", "sleeper", [], die_with_parent=False)
    processes.stop(["one"])
    assert not record.alive and processes.records() == {}


def test_another_object_stops_what_the_first_started(processes, tmp_path):
    record = processes.start("one", "sleeper", [], die_with_parent=False)
    wait_until(said_up(record))
    Processes(tmp_path).kill("one")
    assert not processes.running("one")


def test_a_process_that_ignores_sigterm_is_killed(processes):
    record = processes.start("one", "stubborn", [], die_with_parent=True)
    wait_until(said_up(record))
    processes.stop(["one"], grace=0.2)
    assert not record.alive


def test_a_recycled_pid_is_left_alone(processes, tmp_path):
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        old = Record("one", bystander.pid, start_time(bystander.pid) - 1, str(tmp_path / "x.log"))
        (tmp_path / "processes.json").write_text(json.dumps({"one": {k: v for k, v in dataclasses.asdict(old).items() if k != "name"}}))
        assert not processes.kill("one")
        processes.stop(["one"])
        assert bystander.poll() is None
    finally:
        bystander.stdin.close()
        bystander.wait(5)


def test_an_ended_process_is_reported_with_its_log(processes):
    processes.start("one", "broken", [], die_with_parent=False)
    wait_until(lambda: not processes.running("one"))
    with pytest.raises(ProcessError, match="no luck") as caught:
        processes.check(["one"])
    assert "one.log" in str(caught.value)


def test_processes_die_with_their_parent(processes, tmp_path):
    """A test run that is killed leaves nothing behind."""
    script = textwrap.dedent("""
        import pathlib, sys, time
        from tandem_lab.site.processes import Processes
        print(Processes(pathlib.Path(sys.argv[1])).start("child", "sleeper", [], die_with_parent=True).pid, flush=True)
        time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                              env=dict(os.environ, PYTHONPATH=os.pathsep.join([*sys.path, str(tmp_path)])))
    child = int(parent.stdout.readline())
    assert start_time(child) is not None
    parent.kill()
    parent.communicate()
    wait_until(lambda: start_time(child) is None)
