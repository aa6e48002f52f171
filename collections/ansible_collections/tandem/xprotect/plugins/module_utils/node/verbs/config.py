# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verbs of configuration on disk: read items, replace them with a backup and a restart where one is needed, go back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

from .. import gates, history, ledger, settings, xmledit
from ..errors import NodeError
from ..history import Change
from ..host.base import Host, HostError
from ..media import coverage
from ..store import ROOT, read_bytes, write_bytes
from . import _request as ask

PURPOSE = "Changing the configuration"
MAX_ITEMS = 200
_MAX_SHOWN = 256 * 1024
_SECRET = re.compile(r"(<(passphrase|password|secret)\b[^>]*>)[^<]+(?=</\2>)", re.IGNORECASE)


def config_read(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    result = {}
    for item in _items(request):
        data = read_bytes(host, item["path"], history.MAX_ITEM_BYTES)
        result[item["id"]] = {"exists": False, "size": None, "sha256": None, "content_b64": None} if data is None else {
            "exists": True, "size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "content_b64": base64.b64encode(data).decode()}
    return {"items": result}


def config_apply(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    node = settings.require(host)
    changes = [_change(host, item) for item in _items(request)]
    return _apply(host, node, changes, ask.text(request, "author", "unknown", 200), ask.flag(request, "check"),
                  ask.number(request, "partner_timeout", 0, 600, 30.0))


def config_history(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    return {"versions": [history.read(host, number) for number in history.numbers(host)]}


def config_rollback(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    """Give the files of a version the content that they had before it. This is a version of its own."""
    node = settings.require(host)
    number = int(ask.number(request, "version", 1, 999_999_999))
    changes, left = [], []
    for old in history.changes(host, number):
        if old.before is None:
            left.append(old.path)  # it did not exist: nothing of the recorder's is deleted
        else:
            changes.append(Change(old.id, old.path, read_bytes(host, old.path, history.MAX_ITEM_BYTES), old.before, old.restart))
    result = _apply(host, node, changes, ask.text(request, "author", "unknown", 200), ask.flag(request, "check"),
                    ask.number(request, "partner_timeout", 0, 600, 30.0))
    return {**result, "left": left}


# -- the request -------------------------------------------------------------------------------------------------------

def _items(request: dict) -> list[dict]:
    items = request.get("items")
    if not isinstance(items, list) or len(items) > MAX_ITEMS or not all(isinstance(item, dict) for item in items):
        raise NodeError("bad_request", f"items must be a list of at most {MAX_ITEMS} objects.")
    for item in items:
        history.check_id(item.get("id"))
        ask.text(item, "path", limit=1000)
        if item["path"].lower().startswith(ROOT.lower() + "\\"):
            raise NodeError("bad_request", f"{item['path']} belongs to Tandem itself.", "Take the item out of the manifest.")
        if item.get("kind") not in ("file", "xml"):
            raise NodeError("bad_request", f"Item {item['id']} must be of kind file or xml.")
    if len({item["id"] for item in items}) < len(items) or len({item["path"].lower() for item in items}) < len(items):
        raise NodeError("bad_request", "An item or a path is listed twice.")
    return items


def _change(host: Host, item: dict) -> Change:
    try:
        wanted = base64.b64decode(item.get("content_b64") or "", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise NodeError("bad_request", f"The content of item {item['id']} is not base64.") from None
    if hashlib.sha256(wanted).hexdigest() != item.get("sha256") or len(wanted) > history.MAX_ITEM_BYTES:
        raise NodeError("bad_request", f"The content of item {item['id']} is not what its SHA-256 says, or too long.", "Send it again.")
    before = read_bytes(host, item["path"], history.MAX_ITEM_BYTES)
    if item["kind"] == "xml":
        wanted = _with_own_values(item, wanted, before)
    return Change(item["id"], item["path"], before, wanted, bool(item.get("restart", False)))


def _with_own_values(item: dict, wanted: bytes, before: bytes | None) -> bytes:
    """The given document with this node's own values at the preserved paths. A document that cannot be parsed is refused."""
    paths = [_below_root(path) for path in item.get("preserve") or []]
    theirs = _values(item, wanted, paths, "The document that is to be written")
    if not paths:
        return wanted
    if before is None:
        raise NodeError("config_missing", f"{item['path']} does not exist on this node, and it holds values that are this node's own.",
                        "Install the recording server first, or restore the file.")
    own = _values(item, before, paths, "The document of this node")
    keep = {path: value for path, value in own.items() if value is not None}
    absent = sorted(path for path in keep if theirs[path] is None)
    if absent:
        raise NodeError("config_unreadable", f"The document that is to be written to {item['path']} has no place for {', '.join(absent)}.",
                        "Bring both nodes to the same version of XProtect.")
    return xmledit.set_values(wanted, keep)


def _values(item: dict, document: bytes, paths: list[str], what: str) -> dict[str, str | None]:
    try:
        return xmledit.read_values(document, paths)
    except xmledit.XmlError as error:
        raise NodeError("config_unreadable", f"{what} ({item['path']}) cannot be used: {error}.", "Nothing was changed. Mend the document.",
                        {"file": item["path"], "line": error.line, "column": error.column}) from None


def _below_root(path: object) -> str:
    """A path as xmledit wants it; one that begins with the root element (``/recorderconfig/...``) is shortened."""
    if not isinstance(path, str) or not path:
        raise NodeError("bad_request", "preserve must be a list of paths.")
    return path.split("/", 2)[2] if path.startswith("/") and path.count("/") >= 2 else path


# -- applying ----------------------------------------------------------------------------------------------------------

def _apply(host: Host, node: settings.NodeSettings, wanted: list[Change], author: str, check: bool, patience: float) -> dict:
    changes = [change for change in wanted if change.before != change.after]
    items = [{"id": change.id, "changed": change.before != change.after, **_shown(change)} for change in wanted]
    running = host.service(node.recorder_service).state == "running"
    restart = running and any(change.restart for change in changes)
    if check or not changes:
        return {"changed": bool(changes), "items": items, "restarted": False, "version": None, "restart_needed": restart}
    if restart:
        gates.require_headless(host, node, PURPOSE)
        gates.wait_until_partner_records(host, node, lambda: coverage.writing(host, ledger.now_ms()), PURPOSE, patience)
        gates.require_headless(host, node, PURPOSE)
    version = history.begin(host, author, changes)
    try:
        if restart:
            _write_and_restart(host, node, changes, version)
        else:
            _write(host, changes)
    except BaseException:
        history.finish(host, version, history.UNDONE)
        raise
    history.finish(host, version, history.APPLIED)
    return {"changed": True, "items": items, "restarted": restart, "version": version, "restart_needed": restart}


def _write_and_restart(host: Host, node: settings.NodeSettings, changes: list[Change], version: int) -> None:
    """The recorder reads its files at start (seen in public code), so they are replaced while it is stopped.

    Whatever fails, it runs again at the end: with the new files, else with the old ones.
    """
    begin = ledger.now_ms()
    try:
        try:
            host.service_stop(node.recorder_service)
            _write(host, changes)
        except (NodeError, HostError):
            host.service_start(node.recorder_service)
            raise
        try:
            host.service_start(node.recorder_service)
        except HostError as error:
            _put_back(host, changes)
            host.service_start(node.recorder_service)
            raise NodeError("recorder_not_starting", f"The recorder of node {node.node} of pair {node.pair} does not start with the new "
                            f"configuration: {error}. The old one is back and the recorder runs with it.",
                            "Look at the recorder's log and at the changed items.", {"version": version}) from None
    finally:
        ledger.record(host, f"sync-{version}-{begin}", "sync", begin, ledger.now_ms())


def _write(host: Host, changes: list[Change]) -> None:
    """All files or none; each is read back."""
    written: list[Change] = []
    try:
        for change in changes:
            written.append(change)
            write_bytes(host, change.path, change.after)
            if read_bytes(host, change.path, history.MAX_ITEM_BYTES) != change.after:
                raise NodeError("not_written", f"{change.path} does not read back as it was written.", "Check the disk of this node.")
    except NodeError:
        _put_back(host, written)
        raise


def _put_back(host: Host, changes: list[Change]) -> None:
    for change in changes:
        if change.before is not None:
            write_bytes(host, change.path, change.before)
        else:
            host.path(change.path).unlink(missing_ok=True)


def _shown(change: Change) -> dict[str, str]:
    """Both texts for a diff, without secrets; what is no text or too long is described by its hash."""
    if change.before == change.after:
        return {"diff_before": "", "diff_after": ""}
    texts = []
    for data in (change.before, change.after):
        try:
            text = "" if data is None else data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if data is not None and ("\0" in text or len(data) > _MAX_SHOWN):
            text = f"({len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()})\n"
        texts.append(_SECRET.sub(r"\1***", text))
    return {"diff_before": texts[0], "diff_after": texts[1]}


VERBS = {"config.read": config_read, "config.apply": config_apply, "config.history": config_history, "config.rollback": config_rollback}
