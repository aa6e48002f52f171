# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import random

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.xmledit import MAX_BYTES, XmlError, read_values, set_values

TEXT = """<?xml version="1.0" encoding="%s"?>
<!-- kept: <recorder><id>not this</id></recorder> -->
<recorderconfig xmlns:x='urn:x'>
  <version>25.1.0.2</version>
  <recorder >
    <id>f9dc2bcd-faea-4138-bf5a-32cd15c91f2c</id><displayname>Dæmpet &amp; Søn</displayname>
    <serverEncryption enabled = "false"
        certificateHash='' x:other="a > b"/>
    <empty/><empty2></empty2><empty3 a="1" />
    <split>one<!-- remark -->two<![CDATA[ <three> ]]></split>
    <x:unknown><deep id="7"><id>8</id></deep></x:unknown>
  </recorder>
  <hosts><host>a</host><host>b</host></hosts>
</recorderconfig>
<!-- end -->
"""


def document(encoding: str = "utf-8", newline: str = "\r\n", mark: bytes = b"", codec: str | None = None) -> bytes:
    return mark + (TEXT % encoding).replace("\n", newline).encode(codec or encoding)


VARIANTS = [
    pytest.param(document(), "utf-8", id="utf-8"),
    pytest.param(document(newline="\n"), "utf-8", id="lf"),
    pytest.param(document(mark=b"\xef\xbb\xbf"), "utf-8", id="utf-8 with mark"),
    pytest.param(document("utf-16", mark=b"\xff\xfe", codec="utf-16-le"), "utf-16-le", id="utf-16-le"),
    pytest.param(document("utf-16", mark=b"\xfe\xff", codec="utf-16-be"), "utf-16-be", id="utf-16-be"),
    pytest.param(document("iso-8859-1"), "iso-8859-1", id="latin-1"),
    pytest.param(document("windows-1252"), "windows-1252", id="windows-1252"),
]


@pytest.mark.parametrize(("data", "codec"), VARIANTS)
def test_reads_values_and_attributes(data, codec):
    assert read_values(data, ["version", "recorder/displayname", "recorder/serverEncryption/@enabled",
                              "recorder/serverEncryption/@certificateHash", "recorder/split", "recorder/empty", "recorder/none",
                              "recorder/@none", "recorder/x:unknown/deep/@id"]) == {
        "version": "25.1.0.2", "recorder/displayname": "Dæmpet & Søn", "recorder/serverEncryption/@enabled": "false",
        "recorder/serverEncryption/@certificateHash": "", "recorder/split": "onetwo <three> ", "recorder/empty": "",
        "recorder/none": None, "recorder/@none": None, "recorder/x:unknown/deep/@id": "7"}


@pytest.mark.parametrize(("data", "codec"), VARIANTS)
@pytest.mark.parametrize(("path", "value", "before", "after"), [
    ("recorder/id", "ABC", "<id>f9dc2bcd-faea-4138-bf5a-32cd15c91f2c</id>", "<id>ABC</id>"),
    ("recorder/displayname", "Grün <&>", "Dæmpet &amp; Søn", "Grün &lt;&amp;&gt;"),
    ("recorder/serverEncryption/@enabled", "tr\"ue'", 'enabled = "false"', "enabled = \"tr&quot;ue'\""),
    ("recorder/serverEncryption/@certificateHash", "it's\t1", "certificateHash=''", "certificateHash='it&apos;s&#9;1'"),
    ("recorder/serverEncryption/@x:other", "n", 'x:other="a > b"', 'x:other="n"'),
    ("recorder/empty", "v", "<empty/>", "<empty>v</empty>"),
    ("recorder/empty2", "v", "<empty2></empty2>", "<empty2>v</empty2>"),
    ("recorder/empty3", "v", '<empty3 a="1" />', '<empty3 a="1">v</empty3>'),
    ("recorder/empty3/@a", "", '<empty3 a="1" />', '<empty3 a="" />'),
    ("recorder/split", "new", "one<!-- remark -->two<![CDATA[ <three> ]]>", "new<!-- remark -->"),
    ("version", "", "<version>25.1.0.2</version>", "<version></version>"),
    ("recorder/x:unknown/deep/id", "9", "<id>8</id>", "<id>9</id>"),
])
def test_replaces_only_the_bytes_of_the_value(data, codec, path, value, before, after):
    old, new = before.encode(codec), after.encode(codec)
    assert data.count(old) == 1
    assert set_values(data, {path: value}) == data.replace(old, new)


@pytest.mark.parametrize(("data", "codec"), VARIANTS)
def test_equal_values_change_nothing(data, codec):
    paths = ["version", "recorder/displayname", "recorder/split", "recorder/serverEncryption/@certificateHash"]
    assert set_values(data, read_values(data, paths)) == data


def test_several_values_at_once():
    data = document()
    wanted = {"version": "longer than before", "recorder/id": "x", "recorder/serverEncryption/@enabled": "true", "recorder/empty": "äöü"}
    result = set_values(data, wanted)
    assert read_values(result, list(wanted)) == wanted
    assert set_values(result, read_values(data, list(wanted))) == data.replace(b"<empty/>", b"<empty></empty>")


def test_line_ends_of_a_value_follow_the_document():
    assert b"<id>a\r\nb&#13;</id>" in set_values(document(), {"recorder/id": "a\nb\r"})
    assert b"<id>a\nb</id>" in set_values(document(newline="\n"), {"recorder/id": "a\nb"})


def test_characters_outside_the_encoding_become_references():
    result = set_values(document("iso-8859-1"), {"recorder/id": "Łódź"})
    assert "<id>&#321;ód&#378;</id>".encode("iso-8859-1") in result
    assert read_values(result, ["recorder/id"]) == {"recorder/id": "Łódź"}


@pytest.mark.parametrize(("path", "line", "column", "text"), [
    ("recorder/nothing", 5, 3, "no element <nothing>"),
    ("recorder/id/@thumbprint", 6, 5, "no attribute thumbprint"),
    ("server/address", 3, 1, "no element <server>"),
    ("recorder", 5, 3, "child elements"),
    ("hosts/host", 13, 24, "twice"),
])
def test_missing_or_ambiguous_paths_are_refused_with_their_place(path, line, column, text):
    with pytest.raises(XmlError, match=text) as caught:
        set_values(document(), {path: "x"})
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize("path", ["", "/recorder", "recorder/", "recorder//id", "@", "recorder/@", "a b", "recorder/*", "host[1]"])
def test_unusable_paths_are_refused(path):
    with pytest.raises(XmlError, match="path"):
        read_values(document(), [path])


@pytest.mark.parametrize("value", ["\0", "a\x0bb", "\ud800", "\uffff"])
def test_forbidden_characters_are_refused(value):
    with pytest.raises(XmlError, match="forbids"):
        set_values(document(), {"version": value})


@pytest.mark.parametrize("head", [
    "<!DOCTYPE a>", '<!DOCTYPE a [<!ENTITY b "c">]>', '<!DOCTYPE a SYSTEM "file:///c:/x">', '<!DOCTYPE a [<!ENTITY % b SYSTEM "u">%b;]>'])
def test_dtd_is_refused(head):
    with pytest.raises(XmlError, match="DTD") as caught:
        read_values(f"<?xml version='1.0'?>\n{head}<a><b>1</b></a>".encode(), ["b"])
    assert caught.value.line == 2


def test_undeclared_entity_is_refused():
    with pytest.raises(XmlError, match="entity") as caught:
        read_values(b"<a>\n <b>&c;</b></a>", ["b"])
    assert (caught.value.line, caught.value.column) == (2, 5)


def test_every_truncation_is_refused():
    whole = document().rstrip()
    body = whole[:whole.index(b"<!-- end")].rstrip()
    for length in range(len(body)):
        with pytest.raises(XmlError) as caught:
            read_values(body[:length], ["version"])
        assert caught.value.line is not None
    assert read_values(body, ["version"]) == {"version": "25.1.0.2"}


def test_bytes_that_the_encoding_does_not_know_are_refused():
    with pytest.raises(XmlError) as caught:
        read_values(b"<a>\n<b>\xff\xfe</b></a>", ["b"])
    assert caught.value.line == 2
    with pytest.raises(XmlError):
        read_values(b"<?xml version='1.0' encoding='no-such-thing'?><a><b>1</b></a>", ["b"])
    with pytest.raises(XmlError):
        read_values(b"<?xml version='1.0' encoding='shift_jis'?><a><b>1</b></a>", ["b"])


def test_size_is_limited():
    frame = b"<a><b></b></a>"
    fitting = frame.replace(b"<b>", b"<b>" + b"x" * (MAX_BYTES - len(frame)))
    assert len(read_values(fitting, ["b"])["b"]) == MAX_BYTES - len(frame)
    with pytest.raises(XmlError, match="accepted"):
        read_values(fitting + b"\n", ["b"])


def test_random_documents_survive_random_edits():
    """Whatever surrounds a value, an edit and the edit back give the same bytes."""
    chance = random.Random(7)
    fillers = ["<!-- <v>no</v> -->", "<?pi <v>?>", "\r\n\t", "text &#233; &lt;v>", "<o v='1'><v2>x</v2></o>", "<![CDATA[<v>]]>", "<o/>",
               "é"]
    values = ["", "é", "a&b", "<x>", "\"'", " spaces ", "]]>", "line\nline", "\U0001f600"]

    def filler():
        return "".join(chance.choices(fillers, k=chance.randrange(4)))

    for unused in range(300):
        old, new = chance.choice(values), chance.choice(values)
        parts = (f"{filler()}<v\n", f" a='{chance.randrange(9)}'", "></v", f" >{filler()}")
        data = ("<r>" + "".join(parts) + "<w><v>other</v></w></r>").encode()
        first = set_values(data, {"v": old, "v/@a": old})
        assert read_values(first, ["v", "v/@a", "w/v"]) == {"v": old, "v/@a": old, "w/v": "other"}
        second = set_values(first, {"v": new, "v/@a": new})
        assert set_values(second, {"v": old, "v/@a": old}) == first
