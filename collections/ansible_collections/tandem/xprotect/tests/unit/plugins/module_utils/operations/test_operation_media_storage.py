# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import NodeUnreachable, SeveralErrors, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import media_storage
from ansible_collections.tandem.xprotect.tests.unit.builders import OTHER, Site

SERVING = {"attach_state": "Attached", "fenced": False}
FRESH = {"recorder_id": OTHER, "running": False, "fenced": False}


class Rest:
    def __init__(self, **lists):
        self.lists = lists

    def list(self, path, *, disabled=True, filters=None):
        found = self.lists.get(path.rpartition("/")[2], [])
        if isinstance(found, Exception):
            raise found
        return found


class Server:
    def __init__(self, **lists):
        self.rest = Rest(**lists)


def prepared(request):
    return {"changed": True, "created": request["folders"]}


def test_folders_of_the_storages_and_archives():
    site = Site(SERVING, FRESH, storage__prepare={"north-a": {"changed": False, "created": []}, "north-b": prepared})
    server = Server(storages=[{"id": "s1", "diskPath": "D:\\MediaDatabase\\"}, {"id": "s2", "diskPath": "\\\\nas\\media"}],
                    archiveStorages=[{"diskPath": "e:\\Archive"}, {"diskPath": "D:\\mediadatabase"}])
    context = site.context(media_storage, management_server=server)
    result = media_storage.run(context)
    assert result["changed"] and result["folders"] == ["D:\\MediaDatabase", "e:\\Archive"]
    assert result["nodes"]["north-b"]["created"] == result["folders"] and result["nodes"]["north-a"]["created"] == []
    assert result["diff"]["after"] == "node north-b: D:\\MediaDatabase\nnode north-b: e:\\Archive\n"
    assert context.warnings == ["storage \\\\nas\\media is not on a drive of the nodes and is left alone"]
    assert [request["check"] for request in site.requests("storage.prepare")] == [True, True, False, False]
    assert site.requests("storage.prepare")[0]["required_free_bytes"] == 5 * 1024 ** 3


def test_a_server_without_archives():
    site = Site(SERVING, FRESH, storage__prepare={"changed": False, "created": []})
    server = Server(storages=[{"id": "s1", "diskPath": "D:\\"}], archiveStorages=TandemError("unknown resource", code="not_found"))
    result = media_storage.run(site.context(media_storage, management_server=server))
    assert not result["changed"] and result["folders"] == ["D:\\"]


def test_without_a_server_the_folders_are_those_of_the_recorder():
    site = Site(SERVING, FRESH, storage__prepare={"changed": False, "created": []})
    assert media_storage.run(site.context(media_storage))["folders"] == ["D:\\MediaDatabase"]


def test_check_mode_asks_and_takes_no_lock():
    site = Site(SERVING, FRESH, storage__prepare=prepared)
    result = media_storage.run(site.context(media_storage, check_mode=True, folders=["D:\\X"]))
    assert result["changed"] and all(request["check"] for request in site.requests("storage.prepare"))
    assert not site.requests("lock.acquire")


def test_a_full_disk_names_pair_node_and_next_step():
    full = VerbError("Drive D: has 10 bytes free, 5368709120 are required.", "north", "north-b", "Free space or enlarge the drive.",
                     code="disk_full")
    site = Site(SERVING, FRESH, storage__prepare={"north-a": {"changed": False}, "north-b": full})
    with pytest.raises(TandemError) as caught:
        media_storage.run(site.context(media_storage))
    assert str(caught.value) == ("pair north, node north-b: Drive D: has 10 bytes free, 5368709120 are required."
                                 " Next: Free space or enlarge the drive.")
    assert caught.value.code == "disk_full"
    assert not site.requests("lock.acquire") and all(request["check"] for request in site.requests("storage.prepare"))


def test_both_disks_full():
    site = Site(SERVING, FRESH, storage__prepare=VerbError("full", "north", None, code="disk_full"))
    with pytest.raises(SeveralErrors) as caught:
        media_storage.run(site.context(media_storage))
    assert caught.value.code == "disk_full" and "north-a" in str(caught.value) and "north-b" in str(caught.value)


def test_a_second_run_while_one_is_in_progress():
    busy = VerbError("root@awx process 7 (ab12cd) holds the work lock of this node since 2026-01-01 10:00:00 UTC for: backfill.", "north",
                     "north-b",
                     "Wait until it is done.", code="busy", details={"lock": {"owner": "root@awx process 7 (ab12cd)"}})
    site = Site(SERVING, FRESH, lock__acquire={"north-a": {"changed": True}, "north-b": busy}, storage__prepare=prepared)
    with pytest.raises(TandemError) as caught:
        media_storage.run(site.context(media_storage))
    text = str(caught.value)
    assert text.startswith("pair north, node north-b: another run is in progress on this pair: root@awx process 7 (ab12cd) holds the")
    assert "since 2026-01-01 10:00:00 UTC for: backfill" in text and text.endswith("Next: Wait until it is done.")
    assert caught.value.code == "busy"
    assert site.verbs(reading=("facts", "storage.prepare")) == ["north-a lock.acquire", "north-b lock.acquire", "north-a lock.release"]
    assert all(request["check"] for request in site.requests("storage.prepare"))


@pytest.mark.parametrize(("b", "code"), [
    (NodeUnreachable("no route", "north", "north-b", code="unreachable"), "node_unreachable"),
    (TandemError("login refused", "north", "north-b", code="wrong_password"), "wrong_password")])
def test_a_node_that_is_missing(b, code):
    with pytest.raises(TandemError) as caught:
        media_storage.run(Site(SERVING, b).context(media_storage))
    assert caught.value.code == code and caught.value.node == "north-b"


def test_no_folder_is_known():
    with pytest.raises(TandemError, match="no storage folder is known"):
        media_storage.run(Site({**SERVING, "recorder__media_folders": []}, FRESH).context(media_storage))


@pytest.mark.parametrize(("a", "b", "code"), [
    (FRESH, FRESH, "unknown_recorder_id"), (SERVING, {**FRESH, "recorder__version": "24.1"}, "not_a_twin"),
    (SERVING, {**FRESH, "recorder_id": None, "recorder__config_error": "no element found (line 3, column 7)"}, "config_unreadable")])
def test_a_machine_that_cannot_be_a_twin_is_refused_before_anything_is_asked_of_it(a, b, code):
    site = Site(a, b)
    with pytest.raises(TandemError) as caught:
        media_storage.run(site.context(media_storage))
    assert caught.value.code == code and site.verbs() == []


def test_a_pair_whose_nodes_differ_for_a_while_is_not_refused():
    site = Site({"state": "attached"}, {"state": "headless", "recorder__version": "26.1"}, storage__prepare={"changed": False})
    assert not media_storage.run(site.context(media_storage))["changed"]
