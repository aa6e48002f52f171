# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.pair import replication
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.manifest_default import CACHE_ASSUMPTION

DOCUMENT = (b'<?xml version="1.0" encoding="utf-8"?>\r\n<recorderconfig>\r\n  <recorder><id>R</id></recorder>\r\n'
            b'  <webserver><host>H</host><encryption enabled="false" certificateHash="" /></webserver>\r\n</recorderconfig>\r\n')
XML = replication.Item("recorder_config", "xml", "C:\\x\\RecorderConfig.xml", ("webserver/encryption/@certificateHash", "not/there"))
FILE = replication.Item("cache", "file", "C:\\x\\Cache.json")


def entry(**changes):
    return {"id": "one", "kind": "file", "path": "C:\\ProgramData\\one.json", **changes}


def test_the_shipped_manifest():
    items = {item.id: item for item in replication.load("north")}
    assert items["recorder_config"].kind == "xml" and items["recorder_config"].path.endswith("\\RecorderConfig.xml")
    assert "webserver/encryption/@certificateHash" in items["recorder_config"].preserve
    assert items["local_configuration_cache"].assumption == CACHE_ASSUMPTION
    assert items["local_configuration_cache"].path is None, "where that file is is not publicly known"


def test_an_item_without_a_path_is_refused_where_it_is_needed():
    with pytest.raises(TandemError) as caught:
        replication.require_paths("north", replication.load("north"))
    assert caught.value.code == "path_unknown" and str(caught.value) == (
        "pair north: which file is item local_configuration_cache of the replication manifest is not publicly known, and no path is"
        " given. Next: find it on a test node: add a camera to its recorder in the Management Client, look which file below"
        " C:\\ProgramData\\Milestone changes, then set item_paths.local_configuration_cache (inventory: tandem_item_paths) and run"
        " again; nothing was changed.")
    replication.require_paths("north", replication.load("north", item_paths={"local_configuration_cache": "E:\\Cache.db"}))
    with pytest.raises(TandemError, match="Next: find the file on a test node, then set item_paths.one "):
        replication.require_paths("north", replication.load("north", [entry(path=None)]))


def test_paths_of_an_inventory():
    items = {item.id: item for item in replication.load("north", item_paths={"local_configuration_cache": "E:\\Cache.db"})}
    assert items["local_configuration_cache"].path == "E:\\Cache.db"


@pytest.mark.parametrize(("manifest", "paths", "told"), [
    ([entry(kind="tree")], None, "item one is of the unknown kind 'tree'"),
    ([entry(path="one.json")], None, "item one needs an absolute Windows path and not 'one.json'"),
    ([{"id": "one"}], None, "item one needs an absolute Windows path and not ''"),
    ([entry(path=None)], {"one": "one.json"}, "item one needs an absolute Windows path and not 'one.json'"),
    ([entry(path="C:\\a\\..\\b")], None, "absolute Windows path"),
    ([entry(path="C:\\a\\b?.xml")], None, "absolute Windows path"),
    ([entry(), entry()], None, "item one is listed twice"),
    ([entry(preserve=["a/b"])], None, "only XML items can preserve values"),
    ([entry(kind="xml", preserve="a/b")], None, "preserve must be a list"),
    ([entry(restarts=True)], None, "unknown keys: restarts"),
    (["one"], None, "entry 1 is not a dictionary with an id"),
    ([entry()], {"two": "C:\\x"}, "item_paths names two"),
])
def test_a_manifest_that_cannot_be_used(manifest, paths, told):
    with pytest.raises(TandemError) as caught:
        replication.load("north", manifest, paths)
    assert told in str(caught.value) and str(caught.value).startswith("pair north: the replication manifest cannot be used")


def test_own_values_are_kept_and_everything_else_is_taken():
    ours = DOCUMENT.replace(b'certificateHash=""', b'certificateHash="AB12"').replace(b"<id>R</id>", b"<id>OLD</id>")
    found = replication.compare(XML, DOCUMENT, ours)
    assert found.changed and found.content == DOCUMENT.replace(b'certificateHash=""', b'certificateHash="AB12"')
    assert "<id>OLD</id>" in found.before and "<id>R</id>" in found.after and 'certificateHash="AB12"' in found.after


def test_only_own_values_differ():
    ours = DOCUMENT.replace(b'certificateHash=""', b'certificateHash="AB12"')
    assert not replication.compare(XML, DOCUMENT, ours).changed
    assert replication.fingerprint(XML, DOCUMENT, ours) == replication.fingerprint(XML, ours, ours)
    assert replication.fingerprint(XML, DOCUMENT, ours) != replication.fingerprint(XML, DOCUMENT.replace(b"R<", b"S<"), ours)


@pytest.mark.parametrize("ours", [None, b"<broken", b""])
def test_a_target_without_a_usable_document_gets_the_whole(ours):
    found = replication.compare(XML, DOCUMENT, ours)
    assert found.changed and found.content == DOCUMENT


def test_a_missing_optional_item_changes_nothing():
    optional = replication.Item("x", "file", "C:\\x", optional=True)
    assert replication.check_source("north", "a", optional, None) is None
    assert not replication.compare(optional, None, b"there").changed


@pytest.mark.parametrize(("item", "content", "code", "told"), [
    (XML, DOCUMENT[:150], "config_unreadable", "RecorderConfig.xml cannot be used: not well-formed XML"),
    (XML, b"", "config_unreadable", "is empty"),
    (XML, DOCUMENT.replace(b"<recorderconfig>", b"<!DOCTYPE x [<!ENTITY e 'x'>]><recorderconfig>", 1), "config_unreadable", "DTD"),
    (FILE, b"", "config_unreadable", "is empty"),
    (FILE, None, "item_missing", "does not exist"),
])
def test_a_source_that_cannot_be_copied(item, content, code, told):
    with pytest.raises(TandemError) as caught:
        replication.check_source("north", "north-a", item, content)
    assert caught.value.code == code and told in str(caught.value)
    assert str(caught.value).startswith("pair north, node north-a: C:\\x\\") and "Next: " in str(caught.value)


def test_a_truncated_document_is_refused_with_its_place():
    with pytest.raises(TandemError) as caught:
        replication.check_source("north", "north-a", XML, DOCUMENT[:150])
    assert caught.value.details["line"] == 4 and "(line 4, column" in str(caught.value)
    assert "it has 150 bytes and may be truncated" in str(caught.value) and "nothing was changed on" not in caught.value.message


@pytest.mark.parametrize(("text", "masked"), [
    ("<password>top</password>", "<password>********</password>"),
    ('<basic enable="true" passphrase="top" />', '<basic enable="true" passphrase="********" />'),
    ('{"Password": "to\\"p", "name": "x"}', '{"Password": "********", "name": "x"}'),
    ('"accessToken" : "abc"', '"accessToken" : "********"'),
    ("<clientSecret type='x'>\r\n  top\r\n</clientSecret>", "<clientSecret type='x'>********</clientSecret>"),
    ('certificateHash="AB12" name="Pass"', 'certificateHash="AB12" name="Pass"'),
    ("<password></password>", "<password></password>"),
])
def test_secrets_are_masked(text, masked):
    assert replication.mask(text) == masked


@pytest.mark.parametrize(("old", "new", "note"), [
    (b"<a><password>one</password></a>", b"<a><password>two</password></a>", "(only the value of a secret differs)\n"),
    (b"<a>\r\n</a>", b"<a>\n</a>", "(only line ends differ)\n")])
def test_a_difference_that_cannot_be_shown_is_told(old, new, note):
    found = replication.compare(FILE, new, old)
    assert found.changed and (found.before, found.after) == ("", note)


def test_a_binary_item_is_shown_by_its_hash():
    found = replication.compare(FILE, b"\x00\x01", b"\xff\xfe\x00")
    assert found.after.startswith("(2 bytes, SHA-256 ") and found.before.startswith("(3 bytes, SHA-256 ")


def test_a_long_document_is_shown_by_its_changed_places():
    old = "".join(f"line {number}\n" for number in range(2000))
    found = replication.compare(FILE, old.replace("line 1000\n", "changed\n").encode(), old.encode())
    assert found.after.splitlines() == ["... line 999", "line 998", "line 999", "changed", "line 1001", "line 1002"]
    assert found.before.splitlines()[3] == "line 1000"


def test_a_document_that_changed_everywhere_is_cut():
    found = replication.compare(FILE, "".join(f"new {n}\n" for n in range(3000)).encode(),
                                "".join(f"old {n}\n" for n in range(3000)).encode())
    assert len(found.after.splitlines()) == replication.MAX_DIFF_LINES + 1 and found.after.endswith("lines more\n")
    assert found.content.count(b"\n") == 3000


def test_the_diff_of_ansible():
    diff = replication.compare(FILE, b"new\n", b"old\n").as_diff()
    assert diff == {"before_header": FILE.path, "after_header": FILE.path, "before": "old\n", "after": "new\n"}
