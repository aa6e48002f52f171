# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The replication manifest: which items make up the configuration on disk, and how two nodes differ in them.

An item is compared as it would look after a copy: an XML document with the target's own values at its ``preserve`` paths.
What is shown of a difference has its secrets masked; what is written never passes through here.
"""

from __future__ import annotations

import base64
import dataclasses
import difflib
import hashlib
import re
import typing as t

from ..errors import TandemError
from ..node import xmledit
from .manifest_default import DEFAULT_MANIFEST

KINDS = ("file", "xml")
MAX_DIFF_LINES = 400
MAX_COMPARED_LINES = 20_000  # beyond, looking for the changed places would take minutes
MASK = "********"
_KEYS = {"id", "kind", "path", "preserve", "restart", "assumption", "optional", "help"}
_PATH = re.compile(r"[A-Za-z]:\\(?!\\)[^<>:\"|?*/\0]+\Z")
_SECRET = r"[\w.:-]*(?:password|passphrase|passwd|secret|token|apikey|api_key|privatekey|private_key|credential)[\w.:-]*"
_MASKS = (
    re.compile(rf"(<({_SECRET})(?:\s[^<>]*)?>)([^<]+)(?=</\2>)", re.IGNORECASE),  # <password>text</password>
    re.compile(rf"(\b({_SECRET})\s*=\s*\")([^\"]+)(?=\")", re.IGNORECASE),  # password="text"
    re.compile(rf"(\"({_SECRET})\"\s*:\s*\")((?:[^\"\\]|\\.)+)(?=\")", re.IGNORECASE),  # "password": "text"
)


@dataclasses.dataclass(frozen=True)
class Item:
    """One file of the configuration. Without a path it is known that there is such a file, but not where."""

    id: str
    kind: str
    path: str | None
    preserve: tuple[str, ...] = ()
    restart: bool = True
    assumption: str | None = None
    optional: bool = False
    help: str | None = None  # how its path can be found

    def as_request(self) -> dict[str, t.Any]:
        return {"id": self.id, "kind": self.kind, "path": self.path, "preserve": list(self.preserve)}


@dataclasses.dataclass(frozen=True)
class ItemDiff:
    """How one item differs: `content` is what the target would hold after a copy."""

    item: Item
    changed: bool
    content: bytes | None = None
    before: str = ""
    after: str = ""

    def as_diff(self) -> dict[str, str]:
        return {"before_header": self.item.path, "after_header": self.item.path, "before": self.before, "after": self.after}


def load(pair: str, manifest: t.Sequence[t.Mapping[str, t.Any]] | None = None,
         item_paths: t.Mapping[str, str] | None = None) -> list[Item]:
    """The items of a manifest (the shipped one when none is given), with the paths that an inventory sets."""
    entries = list(manifest) if manifest else [dict(entry) for entry in DEFAULT_MANIFEST]
    problems: list[str] = []
    paths = dict(item_paths or {})
    items = []
    for position, entry in enumerate(entries, 1):
        item = _item(entry, position, paths, problems)
        if item is not None:
            items.append(item)
    seen: set[str] = set()
    for item in items:
        if item.id in seen:
            problems.append(f"item {item.id} is listed twice")
        seen.add(item.id)
    problems += [f"item_paths names {unknown}, which is no item of the manifest" for unknown in sorted(set(paths) - seen)]
    if problems:
        raise TandemError("the replication manifest cannot be used: " + "; ".join(problems), pair=pair, code="manifest",
                          next_step="correct the options manifest and item_paths and run again.")
    return items


def _item(entry: t.Any, position: int, paths: t.Mapping[str, str], problems: list[str]) -> Item | None:
    if not isinstance(entry, t.Mapping) or not isinstance(entry.get("id"), str) or not entry["id"]:
        problems.append(f"entry {position} is not a dictionary with an id")
        return None
    name = entry["id"]
    before = len(problems)
    unknown = sorted(set(entry) - _KEYS)
    if unknown:
        problems.append(f"item {name} has unknown keys: {', '.join(map(str, unknown))}")
    kind = entry.get("kind", "file")
    if kind not in KINDS:
        problems.append(f"item {name} is of the unknown kind {kind!r} (known: {', '.join(KINDS)})")
    given = paths.get(name) or entry.get("path")
    path = None if given is None and "path" in entry else str(given or "")
    if path is not None and (not _PATH.match(path) or ".." in path.split("\\")):
        problems.append(f"item {name} needs an absolute Windows path and not {path!r}")
    preserve = entry.get("preserve") or []
    if not isinstance(preserve, (list, tuple)) or not all(isinstance(value, str) for value in preserve):
        problems.append(f"item {name}: preserve must be a list of XPaths")
    elif preserve and kind != "xml":
        problems.append(f"item {name}: only XML items can preserve values")
    if len(problems) > before:
        return None
    return Item(name, kind, path, tuple(preserve), bool(entry.get("restart", True)), entry.get("assumption"),
                bool(entry.get("optional", False)), entry.get("help"))


def require_paths(pair: str, items: t.Iterable[Item]) -> None:
    """Refuse a manifest with an item whose place is not known: it can neither be copied nor compared."""
    for item in items:
        if item.path is None:
            raise TandemError(f"which file is item {item.id} of the replication manifest is not publicly known, and no path is given",
                              pair=pair, code="path_unknown",
                              next_step=f"{item.help or 'find the file on a test node'}, then set item_paths.{item.id}"
                                        " (inventory: tandem_item_paths) and run again; nothing was changed.")


def apply_request(item: Item, content: bytes, restart: bool) -> dict[str, t.Any]:
    """The item as the verb ``config.apply`` takes it."""
    return {**item.as_request(), "content_b64": base64.b64encode(content).decode(), "sha256": hashlib.sha256(content).hexdigest(),
            "restart": restart}


def check_source(pair: str, node: str, item: Item, content: bytes | None) -> bytes | None:
    """The source's content of an item; refuses a missing, empty or broken one. None: an optional item that is not there."""
    if content is None:
        if item.optional:
            return None
        raise TandemError(f"{item.path} (item {item.id}) does not exist", pair=pair, node=node, code="item_missing",
                          next_step=f"set item_paths.{item.id} to where the file is on this version of XProtect, or remove the item"
                                    " from the manifest.")
    if not content:
        raise TandemError(f"{item.path} (item {item.id}) is empty", pair=pair, node=node, code="config_unreadable",
                          next_step="restore the file on that node; nothing was changed on its partner.")
    if item.kind == "xml":
        check_xml(pair, node, item.path, content)
    return content


def check_xml(pair: str, node: str, path: str, content: bytes) -> None:
    """Refuse a document that is truncated or otherwise not well-formed, with the place where it breaks off."""
    try:
        xmledit.read_values(content, [])
    except xmledit.XmlError as error:
        raise TandemError(f"{path} cannot be used: {error}; it has {len(content)} bytes and may be truncated", pair=pair, node=node,
                          code="config_unreadable", details={"path": path, "line": error.line, "column": error.column},
                          next_step="put a good copy in its place (the recorder's folder and the node's history hold backups) and run"
                                    " again; nothing was changed.") from error


def wanted_content(item: Item, source: bytes, target: bytes | None) -> bytes:
    """What the target is to hold: the source's content, with the target's own values where the item preserves them."""
    if item.kind != "xml" or not item.preserve or target is None:
        return source
    try:
        own = xmledit.read_values(target, list(item.preserve))
        theirs = xmledit.read_values(source, list(item.preserve))
    except xmledit.XmlError:
        return source  # the target's document is broken: there is nothing of its own to keep
    return xmledit.set_values(source, {path: value for path, value in own.items() if value is not None and theirs[path] is not None})


def compare(item: Item, source: bytes | None, target: bytes | None) -> ItemDiff:
    """How the target differs from what a copy would make of it."""
    if source is None:
        return ItemDiff(item, False)
    content = wanted_content(item, source, target)
    if target == content:
        return ItemDiff(item, False, content)
    before, after = readable(target, content)
    return ItemDiff(item, True, content, before, after)


def fingerprint(item: Item, content: bytes | None, reference: bytes | None) -> str | None:
    """A hash of an item that is equal on two nodes when a copy would change nothing: preserved values count as the reference's."""
    if content is None:
        return None
    return hashlib.sha256(content if reference is None else wanted_content(item, content, reference)).hexdigest()


def readable(before: bytes | None, after: bytes) -> tuple[str, str]:
    """Two texts that show the difference: whole when small, else the changed places; never a secret's value."""
    texts = [_text(before), _text(after)]
    if texts[0] is None or texts[1] is None:
        return _digest(before), _digest(after)
    old, new = mask(texts[0]).splitlines(), mask(texts[1]).splitlines()
    if old == new:
        note = "(only the value of a secret differs)" if texts[0].splitlines() != texts[1].splitlines() else "(only line ends differ)"
        return "", note + "\n"
    if len(old) + len(new) > MAX_COMPARED_LINES:
        return _digest(before), _digest(after)
    return _changed_places(old, new)


def mask(text: str) -> str:
    """`text` without the values of XML elements, attributes and JSON members whose names say that they are secret."""
    for pattern in _MASKS:
        text = pattern.sub(lambda match: match.group(1) + MASK, text)
    return text


def _text(content: bytes | None) -> str | None:
    if content is None:
        return ""
    codec = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(codec)
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _digest(content: bytes | None) -> str:
    return "" if content is None else f"({len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()})\n"


def _changed_places(old: list[str], new: list[str]) -> tuple[str, str]:
    """The lines around each change of two texts, the rest left out."""
    if len(old) + len(new) <= MAX_DIFF_LINES:
        return _joined(old), _joined(new)
    shown: tuple[list[str], list[str]] = ([], [])
    for group in difflib.SequenceMatcher(None, old, new, autojunk=False).get_grouped_opcodes(2):
        for lines, side, first in ((old, 0, 1), (new, 1, 3)):
            begin, end = group[0][first], group[-1][first + 1]
            shown[side].append(f"... line {begin + 1}")
            shown[side].extend(lines[begin:end])
    return _joined(_cut(shown[0])), _joined(_cut(shown[1]))


def _cut(lines: list[str]) -> list[str]:
    if len(lines) <= MAX_DIFF_LINES:
        return lines
    return [*lines[:MAX_DIFF_LINES], f"... and {len(lines) - MAX_DIFF_LINES} lines more"]


def _joined(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)
