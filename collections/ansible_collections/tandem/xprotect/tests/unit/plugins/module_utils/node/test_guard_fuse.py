# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fuse: the process that watches, the guard's side of it, and both as real processes."""
from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import fuse
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import fuse as process
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_fuse import FakeFuseProcess, FakeGuard
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import wait_until


class Machine:
    """What the fuse needs of a host: a clock that stands until a test moves it, and processes."""

    def __init__(self):
        self.now = 1000.0
        self.guard = FakeGuard()
        self.children = []
        self.refusal: BaseException | None = None
        self.deaf = False

    def monotonic(self):
        return self.now

    def start_runtime(self, arguments):
        assert arguments == ["fuse"]
        if self.refusal is not None:
            raise self.refusal
        self.children.append(FakeFuseProcess(self, self.guard, self.deaf))
        return self.children[-1]


@pytest.fixture
def machine():
    return Machine()


# -- the process -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("line", "meaning"), [
    (b"1 5.25", (1, 5.25)), (b"17 -", (17, None)), (b"3 1e3", (3, 1000.0)),
    (b"", None), (b"1", None), (b"1 ", None), (b"- -", None), (b"-1 5", None), (b"1 nan", None), (b"1 inf", None), (b"1 5 6", None),
    (b"\xff\xfe 1", None), (b"\xd9\xa1 5", None), (b"1 " + b"9" * 80, None), (b"9" * 70 + b" -", None), (b"{\"deadline\": 5}", None)])
def test_lines(line, meaning):
    assert process.parse(line) == meaning


class Watched:
    """The process's code over a pipe, its clock being the test's."""

    def __init__(self, machine):
        self.machine = machine
        self.answers = io.BytesIO()
        self._read, self._write = os.pipe()
        self.watch = process.Watch(machine, machine.guard, self.answers.write)
        self.killed = None
        self._threads = [threading.Thread(target=self.watch.read, args=(lambda: os.read(self._read, 4096),), daemon=True),
                         threading.Thread(target=self._run, daemon=True)]
        for thread in self._threads:
            thread.start()

    def _run(self):
        self.killed = self.watch.run()

    def say(self, data, answers=b""):
        os.write(self._write, data)
        wait_until(lambda: self.answers.getvalue().endswith(answers), f"{answers} is answered")

    def done(self):
        """Close the guard's end of the pipe; whether the guard was killed."""
        os.close(self._write)
        for thread in self._threads:
            thread.join(30.0)
            assert not thread.is_alive()
        os.close(self._read)
        return self.killed


def test_guard_past_its_deadline_is_killed_and_not_before(machine):
    watched = Watched(machine)
    watched.say(b"1 1005\n", b"0\n1\n")
    machine.now = 1005.0 + process.GRACE - 0.01
    watched.say(b"2 1005\n", b"2\n")
    assert not machine.guard.killed.wait(3 * process._LOOK)
    machine.now = 1005.0 + process.GRACE
    assert machine.guard.killed.wait(30.0)
    assert watched.done() is True


def test_renewed_and_closed_permits_are_left_alone(machine):
    watched = Watched(machine)
    for number, moment in enumerate(range(1000, 1030), 1):
        machine.now = moment
        watched.say(b"%d %d\n" % (number, moment + 6), b"\n%d\n" % number)
    watched.say(b"90 -\n", b"90\n")
    machine.now = 5000.0
    assert not machine.guard.killed.wait(3 * process._LOOK)
    assert watched.done() is False


def test_garbage_changes_nothing(machine):
    watched = Watched(machine)
    watched.say(b"1 1005\n", b"1\n")
    watched.say(b"\x00\xff" * 5000 + b"7 -\n" + b"12\n-\n2 nan\n3 1e9\n\n" + b"x" * 70 + b"4 -")
    watched.say(b"\n5 1006\n", b"5\n")
    assert watched.answers.getvalue() == b"0\n1\n5\n"
    machine.now = 1006.4
    assert machine.guard.killed.wait(30.0)
    assert watched.done() is True


def test_end_of_the_guard_ends_it_without_a_kill(machine):
    watched = Watched(machine)
    watched.say(b"1 1005\n", b"1\n")
    assert watched.done() is False and not machine.guard.killed.is_set()


def test_fuse_that_stood_still_reads_before_it_kills(machine):
    """The whole machine stood still: the renewal that waits in the pipe counts."""
    guard, looks = machine.guard, []
    watch = process.Watch(machine, guard, lambda data: None)
    watch._deadline = 1005.0

    def clock():
        looks.append(machine.now)
        if len(looks) == 2:
            machine.now = 1010.0  # the process did not run for this long
        elif len(looks) == 3:  # it has let the other thread read
            watch._deadline = 1016.0
        elif len(looks) == 6:
            watch._ended = True
        return machine.now

    machine.monotonic = clock
    assert watch.run() is False and not guard.killed.is_set()


def test_kill_that_is_refused_is_tried_again(machine):
    attempts = []

    class Stubborn(FakeGuard):
        def kill(self):
            attempts.append(1)
            if len(attempts) < 3:
                raise HostError("access is denied", 5)
            super().kill()

    machine.guard = Stubborn()
    watched = Watched(machine)
    watched.say(b"1 1000\n", b"1\n")
    machine.now = 1001.0
    assert machine.guard.killed.wait(30.0) and len(attempts) == 3
    watched.done()


# -- the guard's side --------------------------------------------------------------------------------------------------

@pytest.fixture
def kept(machine):
    logged = []
    keeper = fuse.Fuse(machine, logged.append)
    keeper.logged = logged
    yield keeper
    keeper.stop()
    assert all(not child.alive() for child in machine.children)


def test_fuse_is_told_every_deadline(machine, kept):
    assert not kept.ready() and kept.describe() == {"alive": False, "restarts": 0}
    kept.arm(1005.0)  # before there is a process
    kept.start()
    assert kept.wait_ready(30.0) and kept.wait_told(30.0)
    watch = machine.children[0].watch
    assert watch._deadline == 1005.0
    kept.arm(1006.5)
    assert kept.wait_told(30.0) and watch._deadline == 1006.5
    kept.disarm()
    assert kept.wait_told(30.0) and watch._deadline is None
    assert kept.describe() == {"alive": True, "restarts": 0}
    with pytest.raises(ValueError, match="no deadline"):
        kept.arm(float("nan"))


def test_killed_fuse_is_replaced_and_knows_the_deadline(machine, kept):
    kept.start()
    kept.arm(1005.0)
    assert kept.wait_told(30.0)
    machine.children[0].end()
    wait_until(lambda: len(machine.children) == 2, "another process")
    assert kept.wait_told(30.0) and machine.children[1].watch._deadline == 1005.0
    assert kept.describe() == {"alive": True, "restarts": 1}
    assert any("is started again: process" in text for text in kept.logged)


def test_stopped_fuse_is_missing_and_replaced(machine, kept, monkeypatch):
    monkeypatch.setattr(fuse, "ROUND", 0.05)
    kept.start()
    assert kept.wait_ready(30.0)
    machine.children[0].frozen.set()
    wait_until(lambda: not kept.ready(), "it is noticed")
    wait_until(lambda: len(machine.children) == 2 and kept.ready(), "another process")
    assert any("does not answer" in text for text in kept.logged)


def test_process_that_never_speaks_and_a_machine_that_starts_none(machine, kept, monkeypatch):
    monkeypatch.setattr(fuse, "ROUND", 0.01)
    monkeypatch.setattr(fuse, "_PAUSE", 0.01)
    machine.deaf = True
    kept.start()
    kept.arm(1005.0)
    wait_until(lambda: len(machine.children) >= 3, "it is tried again")
    assert not kept.ready() and not kept.wait_told(0.0)
    machine.refusal = HostError("no memory", 8)
    wait_until(lambda: any("could not be started" in text for text in kept.logged), "it is logged")
    machine.deaf, machine.refusal = False, None
    assert kept.wait_told(30.0)
    assert len([text for text in kept.logged if "no memory" in text]) == 1, "once, not at every attempt"


def test_what_the_runtime_says_when_it_fails_is_logged(machine, kept, monkeypatch):
    monkeypatch.setattr(fuse, "_PAUSE", 0.01)
    monkeypatch.setattr(machine, "deaf", True)
    kept.start()
    wait_until(lambda: machine.children, "a process")
    machine.children[0]._output.put(b'{"event":"result","ok":false,"error":{"code":"no_host"}}\n')
    machine.children[0].end()
    wait_until(lambda: any("no_host" in text for text in kept.logged), "the reason is in the log")


def test_a_pipe_that_nobody_reads_is_never_filled(machine, kept):
    kept.start()
    assert kept.wait_ready(30.0)
    child = machine.children[0]
    child.frozen.set()
    for number in range(1000):
        kept.arm(1005.0 + number / 1000)
    assert len(b"".join(child.received)) < 4096


# -- real processes ----------------------------------------------------------------------------------------------------

HOST = """
    import os, pathlib, select, signal, sys
    from tandem_node.host import base, children

    class Process:
        def __init__(self, pid):
            self.pid, self._fd = pid, os.pidfd_open(pid)
        def alive(self):
            return not select.select([self._fd], [], [], 0)[0]
        def kill(self):
            signal.pidfd_send_signal(self._fd, signal.SIGKILL)

    class Small:
        def path(self, windows_path):
            return pathlib.Path(os.environ["ARCHIVE"] + windows_path.rpartition("\\\\")[2])
        def process(self, pid):
            return Process(pid)
        def start_runtime(self, arguments):
            return children.PipeChild([sys.executable, os.environ["ARCHIVE"], *arguments])

    missing = dict.fromkeys(base.Host.__abstractmethods__ - set(dir(Small)), lambda *_: None)
    SmallHost = type("SmallHost", (Small, base.Host), missing)
"""
GUARD = """
    import sys, time, os
    sys.path.insert(0, os.environ["ARCHIVE"])
    from small_host import SmallHost
    from tandem_node.guard.fuse import Fuse
    host = SmallHost()
    fuse = Fuse(host, lambda text: None)
    fuse.start()
    assert fuse.wait_ready(60)
    print(fuse._child.pid, flush=True)
    for line in sys.stdin:
        if line == "replaced\\n":
            while fuse.describe()["restarts"] == 0:
                time.sleep(0.01)
        else:
            fuse.arm(host.monotonic() + float(line))
        assert fuse.wait_told(60)
        print(fuse._child.pid, flush=True)
    fuse.stop()
"""


class RealGuard:
    def __init__(self, folder):
        archive = folder / "node.pyz"
        self.log = folder / "node.pyzguard.log"
        archive.write_bytes(_runtime_build.build())
        (folder / "small_host.py").write_text(textwrap.dedent(HOST))
        (folder / "guard.py").write_text(textwrap.dedent(GUARD))
        environment = {**os.environ, "ARCHIVE": str(archive), "PYTHONPATH": str(folder), "TANDEM_NODE_HOST": "small_host:SmallHost"}
        self.process = subprocess.Popen([sys.executable, str(folder / "guard.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        env=environment, text=True, bufsize=1)
        self.fuse = int(self.process.stdout.readline())

    def say(self, what):
        self.process.stdin.write(f"{what}\n")
        self.fuse = int(self.process.stdout.readline())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def guard(tmp_path):
    if not hasattr(os, "pidfd_open"):
        pytest.skip("there are no handles of processes on this system")
    guard = RealGuard(tmp_path)
    yield guard
    guard.end()
    wait_until(lambda: not lives(guard.fuse), "the fuse ends with the guard")


def test_stopped_guard_is_ended_by_a_real_fuse(guard):
    guard.say(0.5)
    guard.process.send_signal(signal.SIGSTOP)
    assert guard.process.wait(60) == -signal.SIGKILL
    wait_until(lambda: not lives(guard.fuse), "the fuse ends, too")
    assert guard.log.read_text().count("the fuse ended the guard") == 1


def test_killed_real_fuse_is_replaced(guard):
    guard.say(100)
    first = guard.fuse
    os.kill(first, signal.SIGKILL)
    guard.say("replaced")
    assert guard.fuse != first and lives(guard.fuse) and not lives(first)
    guard.process.stdin.write("0.0\n")
    assert guard.process.wait(60) == -signal.SIGKILL, "the new one knows its guard as well"


def test_fuse_is_small(tmp_path):
    """Its start is part of how long a guard is without one, and what it does not import cannot hang it."""
    (tmp_path / "node.pyz").write_bytes(_runtime_build.build())
    code = "import sys; sys.path.insert(0, 'node.pyz'); from tandem_node import main; main.find('fuse'); print(*sys.modules)"
    command = [sys.executable, "-S", "-B", "-c", code]
    modules = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    ours = {name for name in modules if name.startswith("tandem_node")}
    assert ours == {"tandem_node", *(f"tandem_node.{name}" for name in (
        "main", "precompiled", "errors", "host", "host.base", "verbs", "verbs.fuse"))}
    assert not {"ssl", "subprocess", "asyncio", "hashlib", "ctypes", "urllib.request", "xml.etree.ElementTree"} & set(modules)
