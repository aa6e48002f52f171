# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The open fence with its deadline: by the machine's clock, never without a fuse."""
from __future__ import annotations

import threading
import time

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import fuse, permit
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import FenceRules, HostError
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_fuse import FakeFuseProcess, FakeGuard
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeHost, wait_until

RULES = FenceRules(("10.0.0.1",))


class ClockedHost(FakeHost):
    """A machine whose clock the test moves, with fuse processes that a test may take away."""

    def __init__(self, root):
        super().__init__(root, "machine", ["127.20.0.11"])
        self.now = 1000.0
        self.guard = FakeGuard(lambda: self.note("guard killed"))
        self.fuses = []

    def monotonic(self):
        return self.now

    def start_runtime(self, arguments):
        self._perhaps_fail("start_runtime")
        self.fuses.append(FakeFuseProcess(self, self.guard))
        return self.fuses[-1]

    def open_permit(self, rules):
        self.note(f"fuse knows {self.fuses[-1].watch._deadline}")
        return super().open_permit(rules)

    @property
    def fused(self):
        """The deadline that the fuse process has."""
        return self.fuses[-1].watch._deadline


@pytest.fixture
def host(tmp_path):
    return ClockedHost(tmp_path)


@pytest.fixture
def kept(host):
    fuses = fuse.Fuse(host, lambda text: None)
    fuses.start()
    yield fuses
    fuses.stop()


@pytest.fixture
def keeper(host, kept):
    expired = threading.Event()
    keeper = permit.PermitKeeper(host, RULES, kept, expired.set)
    keeper.expired = expired
    yield keeper
    host.fail.clear()
    keeper.end()
    assert not host.permit_open()


def test_permit_is_closed_when_nobody_renews_it(host, keeper, kept):
    keeper.open(1006.0)
    assert keeper.is_open() and host.permit_open() and keeper.expires_in() == 6.0 and keeper.deadline == 1006.0
    host.now = 1005.0
    assert keeper.renew(1011.0)
    host.now = 1010.9
    assert keeper.is_open() and not keeper.expired.is_set()
    host.now = 1011.0
    assert not keeper.is_open() and keeper.expires_in() == 0.0
    assert keeper.expired.wait(30.0) and not host.permit_open()
    assert keeper.renew(1020.0) is False and not host.permit_open()
    assert kept.wait_told(30.0) and host.fused is None and not host.guard.killed.is_set()
    keeper.open(1020.0)
    assert host.permit_open()
    keeper.close()
    assert not host.permit_open() and keeper.slowest_close > 0.0


def test_fuse_knows_the_deadline_before_the_fence_opens_and_follows_it(host, keeper, kept):
    keeper.open(1006.0)
    assert [what for _moment, what in host.journal] == ["fuse knows 1006.0", "permit opened"]
    assert keeper.renew(1007.0) and kept.wait_told(30.0) and host.fused == 1007.0
    keeper.open(1009.0)
    assert len(host.permits) == 1 and keeper.deadline == 1009.0 and kept.wait_told(30.0) and host.fused == 1009.0
    keeper.close()
    assert kept.wait_told(30.0) and host.fused is None


@pytest.mark.parametrize("deadline", [1010.0, 1020.0, 1030.0])
def test_renewal_after_the_deadline_is_refused_even_before_the_watch_thread_wakes(host, keeper, deadline):
    keeper.open(1010.0)
    host.now = 1010.0 if deadline > 1010.0 else 1009.0
    assert keeper.renew(1008.0 if deadline == 1010.0 else deadline) is False and not host.permit_open()


def test_no_permit_without_a_fuse(host, keeper, kept, monkeypatch):
    monkeypatch.setattr(permit, "FUSE_WAIT", 0.3)
    host.fail["start_runtime"] = HostError("no memory", 8)
    wait_until(lambda: host.fuses, "a fuse")
    host.fuses[0].end()
    wait_until(lambda: not kept.ready(), "it is gone")
    with pytest.raises(NodeError) as caught:
        keeper.open(1006.0)
    assert caught.value.code == "fuse_missing" and not host.permit_open() and not keeper.is_open()
    host.fail.clear()
    assert kept.wait_told(30.0) and host.fused is None, "a deadline that no permit has ends nobody"
    keeper.open(1006.0)
    assert host.permit_open()


def test_opening_waits_for_a_fuse_that_is_being_started(host, keeper, kept):
    wait_until(lambda: host.fuses, "a fuse")
    host.fuses[0].end()
    keeper.open(1006.0)
    assert host.permit_open() and len(host.fuses) == 2


def test_votes_that_ran_out_meanwhile_open_nothing(host, keeper, kept):
    host.now = 1006.0
    with pytest.raises(NodeError) as caught:
        keeper.open(1006.0)
    assert caught.value.code == "no_majority" and not host.journal[1:] and not host.permit_open()
    assert kept.wait_told(30.0) and host.fused is None


def test_fence_that_does_not_open_leaves_no_deadline_behind(host, keeper, kept):
    host.fail["open_permit"] = HostError("the filter engine does not run", 1062)
    with pytest.raises(HostError):
        keeper.open(1006.0)
    assert not keeper.is_open() and kept.wait_told(30.0) and host.fused is None


def test_permit_that_does_not_let_itself_be_closed_ends_the_guard(host, keeper, kept, monkeypatch):
    keeper.open(1006.0)

    def refuse():
        raise HostError("the filter engine hangs", 1460)

    held = host.permits[0]
    monkeypatch.setattr(held, "close", refuse)
    with pytest.raises(HostError):
        keeper.close()
    assert kept.wait_told(30.0) and host.fused == 1000.0
    host.now += 0.5
    assert host.guard.killed.wait(30.0)
    monkeypatch.undo()
    held.close()  # what the system does with the process


def test_fuse_that_stays_away_is_reported(host, keeper, kept):
    keeper.open(1060.0)
    assert not keeper.fuse_lost()
    host.fail["start_runtime"] = HostError("no memory", 8)
    host.fuses[0].end()
    wait_until(lambda: not kept.ready(), "it is gone")

    def later():
        host.now += 0.02
        return keeper.fuse_lost()

    wait_until(later, "it is reported")
    assert host.now > 1000.0 + permit.FUSE_AWAY, "not before"
    assert keeper.is_open() and keeper.renew(host.now + 60.0), "closing is for the core to decide"
    host.fail.clear()
    wait_until(lambda: later() is False, "it is back")


def test_guard_that_stood_still_does_not_report_its_fuse(host, keeper, kept):
    """A single look that comes a minute late counts as one look."""
    keeper.open(1100.0)
    host.fail["start_runtime"] = HostError("no memory", 8)
    host.fuses[0].end()
    wait_until(lambda: not kept.ready(), "it is gone")
    host.now += 60.0
    looks = host.monotonic
    seen = []
    host.monotonic = lambda: seen.append(1) or looks()
    wait_until(lambda: len(seen) >= 3, "some looks")
    assert not keeper.fuse_lost()


def test_stopped_watch_is_no_matter_for_the_fuse(host, kept):
    """The guard hangs as a whole: nothing of its own code runs."""
    keeper = permit.PermitKeeper(host, RULES, kept)
    keeper.open(1006.0)
    with keeper._changed:  # whoever holds this keeps the watch thread from closing
        host.now = 1006.0 + 0.4
        assert host.guard.killed.wait(30.0)
    keeper.end()


def test_a_callback_that_fails_does_not_end_the_watch(host, kept, capsys):
    keeper = permit.PermitKeeper(host, RULES, kept, lambda: 1 // 0)
    for _round in range(2):
        keeper.open(host.now + 5.0)
        host.now += 5.0
        wait_until(lambda: not host.permit_open(), "it is closed")
    keeper.end()
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_real_clock(tmp_path):
    """Without a clock of the test's: the defaults of the host."""
    host = ClockedHost(tmp_path)
    host.monotonic = time.monotonic
    kept = fuse.Fuse(host, lambda text: None)
    kept.start()
    expired = threading.Event()
    keeper = permit.PermitKeeper(host, RULES, kept, expired.set)
    keeper.open(time.monotonic() + 1.0)
    assert keeper.is_open()
    assert expired.wait(30.0) and not host.permit_open() and not host.guard.killed.is_set()
    keeper.end()
    kept.stop()
