# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import _work, media_storage
from ansible_collections.tandem.xprotect.tests.unit.builders import Site

A, B = "north-a", "north-b"


def context(site, **keywords):
    return site.context(media_storage, **keywords)


def test_it_is_held_on_both_nodes_and_given_back():
    site = Site()
    with _work.WorkLock(context(site), [B, A], "backfill") as work:
        assert site.requests("lock.acquire")[0] == {"owner": work.owner, "purpose": "backfill", "ttl": _work.TTL}
    assert site.verbs(reading=()) == [f"{A} lock.acquire", f"{B} lock.acquire", f"{A} lock.release", f"{B} lock.release"]


def test_it_is_given_back_when_the_work_fails():
    site = Site()
    with pytest.raises(RuntimeError), _work.WorkLock(context(site), [A, B], "backfill"):
        raise RuntimeError
    assert len(site.requests("lock.release")) == 2


def test_two_owners_are_never_the_same():
    assert _work.owner_name() != _work.owner_name() and len(_work.owner_name()) <= 200


def test_progress_renews_it(monkeypatch):
    monkeypatch.setattr(_work, "RENEW_AFTER", 0.0)

    class Telling(Site):
        def answer(self, node, verb, request, on_progress):
            if verb == "media.stage":
                on_progress({"step": "stage"})
            return super().answer(node, verb, request, on_progress)

    site = Telling(media__stage={})
    with _work.WorkLock(context(site), [A, B], "backfill") as work:
        work.call(B, "media.stage", {})
    assert len(site.requests("lock.renew")) == 4  # before the verb and with its progress, on both nodes
    assert site.requests("lock.renew")[0] == {"owner": work.owner, "ttl": _work.TTL}


def test_it_is_not_renewed_all_the_time():
    site = Site(media__plan={})
    with _work.WorkLock(context(site), [A, B], "backfill") as work:
        for unused in range(3):
            work.call(B, "media.plan", {})
    assert not site.requests("lock.renew")


def test_a_lock_that_was_lost_ends_the_work(monkeypatch):
    monkeypatch.setattr(_work, "RENEW_AFTER", 0.0)
    site = Site(lock__renew={A: {"changed": True}, B: VerbError("somebody holds the lock", "north", B, code="busy")}, media__plan={})
    with pytest.raises(TandemError) as caught, _work.WorkLock(context(site), [A, B], "backfill") as work:
        work.call(B, "media.plan", {})
    assert caught.value.code == "lock_lost" and "while backfill went on" in str(caught.value) and not site.requests("media.plan")


def test_a_node_that_is_silent_for_a_moment_does_not_end_the_work(monkeypatch):
    monkeypatch.setattr(_work, "RENEW_AFTER", 0.0)
    site = Site(lock__renew=TandemError("no route", code="unreachable"), lock__release=TandemError("no route", code="unreachable"),
                media__plan={})
    found = context(site)
    with _work.WorkLock(found, [A], "backfill") as work:
        work.call(B, "media.plan", {})
    assert "could not be renewed" in found.warnings[0] and "expires within 600 s" in found.warnings[1]


def test_check_mode_takes_none():
    site = Site()
    with _work.WorkLock(context(site, check_mode=True), [A, B], "backfill"):
        pass
    assert site.calls == []
