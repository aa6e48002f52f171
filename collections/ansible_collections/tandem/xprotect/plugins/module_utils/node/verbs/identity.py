# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verbs of the recorder's identity on disk: read it, take over the pair's, go back to the machine's own.

Switching the identity through RecorderConfig.xml is what the vendor's own failover does (documented). The client
registration (``ClientRegistrationId``) and the certificate hashes belong to the machine and are not part of it.
"""

from __future__ import annotations

import hashlib
import shutil
import typing as t

from .. import gates, recorder_local, settings, xmledit
from ..errors import NodeError
from ..host.base import Host
from ..recorder_local import CONFIG_FILE, INSTALLATION_KEY
from ..store import ROOT, make_folder, read_bytes, read_json, write_bytes, write_json
from . import _request as ask

FIELDS = (
    "recorder/id", "recorder/displayname",
    "server/address", "server/webapiport", "server/authorizationserveraddress",
    "webserver/host", "webserver/port", "webapi/port", "webapi/publicUri",
    "driverservices/alert/enabled", "driverservices/alert/port", "driverservices/smtp/enabled", "driverservices/smtp/port",
    "database/database_default/name", "database/database_default/path",
)
REGISTRY = (f"{INSTALLATION_KEY}|RecorderIDOnMachine",)  # assumption `recorder_id_registry_value_present`: only set where it exists
OWN_FOLDER = ROOT + "\\identity\\own"
OWN_FILE = OWN_FOLDER + "\\identity.json"
START_TYPES = ("auto", "delayed-auto", "demand", "disabled")
PURPOSE = "changing the identity"


def identity_read(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    document = _document(host)
    fields = _read(document, [*FIELDS, "version", "recorder/ClientRegistrationId"])
    version, registration = fields.pop("version"), fields.pop("recorder/ClientRegistrationId")
    return {"fields": fields, "registry": {name: _registry_read(host, name) for name in REGISTRY}, "version": version,
            "client_registration_id": registration, "device_pack": host.registry_read(recorder_local.DRIVERS_KEY, "VersionC"),
            "time_zone": host.time_zone(),
            "drives": [{"letter": d.letter, "total_bytes": d.total_bytes, "free_bytes": d.free_bytes} for d in host.drives()],
            "own_backup": read_json(host, OWN_FILE) is not None, "config_sha256": hashlib.sha256(document).hexdigest()}


def identity_apply(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    wanted = _wanted(request, "fields", FIELDS)
    values = _wanted(request, "registry", REGISTRY)
    return _change(host, wanted, values, ask.flag(request, "check"), keep_own=True)


def identity_undo(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    """Give the machine its own identity back, as it was before the first `identity.apply`."""
    own = read_json(host, OWN_FILE)
    check = ask.flag(request, "check")
    if own is None:
        return {"changed": False, "diff": [], "skipped": [], "stopped": False}
    result = _change(host, _wanted(own, "fields", FIELDS), _wanted(own, "registry", REGISTRY), check, keep_own=False)
    result["diff"] += _give_start_type_back(host, own.get("start_type"), check)
    if not check:
        shutil.rmtree(host.path(OWN_FOLDER))
    return {**result, "changed": True}


# -- inside ------------------------------------------------------------------------------------------------------------

def _document(host: Host) -> bytes:
    document = read_bytes(host, CONFIG_FILE, xmledit.MAX_BYTES)
    if document is None:
        raise NodeError("config_missing", f"{CONFIG_FILE} is missing: no recording server is installed here.",
                        "Install the recording server first.")
    return document


def _read(document: bytes, paths: t.Iterable[str]) -> dict[str, str | None]:
    try:
        return xmledit.read_values(document, list(paths))
    except xmledit.XmlError as error:
        raise _unreadable(error) from None


def _unreadable(error: xmledit.XmlError) -> NodeError:
    return NodeError("config_unreadable", f"{CONFIG_FILE} cannot be used: {error}.",
                     "Restore the file from a backup (the recorder's folder and Tandem's history hold some). Nothing was changed.",
                     {"file": CONFIG_FILE, "line": error.line, "column": error.column})


def _wanted(request: dict, name: str, known: tuple[str, ...]) -> dict[str, str]:
    """The wanted values, checked by name. A value of None says that the other machine has no such element: it is left."""
    given = ask.section(request, name) if request.get(name) is not None else {}
    names = {item.lower(): item for item in known}
    result = {}
    for key, value in given.items():
        short = key.removeprefix("/recorderconfig/").removeprefix("HKLM\\")
        if short.lower() not in names or not (value is None or isinstance(value, str)):
            raise NodeError("bad_request", f"{key} is not part of a recorder's identity, or its value is no text.",
                            f"Known are: {', '.join(known)}.")
        if value is not None:
            result[names[short.lower()]] = value
    return result


def _change(host: Host, fields: dict[str, str], registry: dict[str, str], check: bool, keep_own: bool) -> dict:
    document = _document(host)
    before = _read(document, fields)
    skipped = [name for name in registry if _registry_read(host, name) is None]
    values = {name: value for name, value in registry.items() if name not in skipped}
    diff = [{"field": name, "before": before[name], "after": value} for name, value in fields.items() if before[name] != value]
    diff += [{"field": name, "before": _registry_read(host, name), "after": value} for name, value in values.items()
             if _registry_read(host, name) != value]
    try:
        new = xmledit.set_values(document, fields)
    except xmledit.XmlError as error:
        raise _unreadable(error) from None
    if check or not diff:
        return {"changed": bool(diff), "diff": diff, "skipped": skipped, "stopped": False}
    node = settings.require(host)
    _require_harmless(host, node)
    if keep_own:
        _keep_own(host, document)
    stopped = host.service(node.recorder_service).state != "stopped"
    if stopped:
        host.service_stop(node.recorder_service)
    _write(host, document, new)
    for name, value in values.items():
        key, value_name = name.split("|", 1)
        host.registry_write(key, value_name, value)
    return {"changed": True, "diff": diff, "skipped": skipped, "stopped": stopped}


def _write(host: Host, expected: bytes, new: bytes) -> None:
    if _document(host) != expected:
        raise NodeError("config_changed", f"{CONFIG_FILE} was changed by something else just now.", "Run again.")
    write_bytes(host, CONFIG_FILE, new)
    if _document(host) != new:
        write_bytes(host, CONFIG_FILE, expected)
        raise NodeError("not_written", f"{CONFIG_FILE} does not read back as it was written.", "Check the disk of this node.")


def _require_harmless(host: Host, node: settings.NodeSettings) -> None:
    """Two recorders with one id may exist only when a fence keeps this one away from the Management Server."""
    if host.fence_rules() is None:
        raise NodeError("not_fenced", f"Node {node.node} of pair {node.pair} has no fence: with the pair's identity "
                        "its recorder could reach the Management Server as a second one of the same id.",
                        "Run the role that configures the guards, then run again.")
    if host.permit_open():
        raise NodeError("attached", f"Node {node.node} of pair {node.pair} is attached: {PURPOSE} is done on the headless node only.",
                        f"Switch over to {node.partner.name} first.")
    try:
        gates.require_headless(host, node, PURPOSE)
    except NodeError as error:
        if error.code != "guard_down":  # without its guard nobody holds a permit, and the fence is closed
            raise


def _keep_own(host: Host, document: bytes) -> None:
    """The machine's own identity is kept once, before the first change; the marker is written last."""
    if read_json(host, OWN_FILE) is not None:
        return
    make_folder(host, OWN_FOLDER)
    write_bytes(host, OWN_FOLDER + "\\RecorderConfig.xml", document)
    write_json(host, OWN_FILE, {"fields": _read(document, FIELDS), "registry": {name: _registry_read(host, name) for name in REGISTRY}})


def keep_start_type(host: Host, start_type: str) -> None:
    """Keep how the machine's recorder service was started before Tandem changed that, beside its own identity where there is one."""
    own = read_json(host, OWN_FILE)
    if own is not None and "start_type" not in own:
        write_json(host, OWN_FILE, {**own, "start_type": start_type})


def _give_start_type_back(host: Host, start_type: t.Any, check: bool) -> list[dict]:
    node = settings.load(host)
    name = node.recorder_service if node else settings.DEFAULT_SERVICES["recorder"]
    now = host.service(name).start_type
    if start_type not in START_TYPES or start_type == now:
        return []
    if not check:
        host.service_configure(name, start_type=start_type)
    return [{"field": f"start type of service {name}", "before": now, "after": start_type}]


def _registry_read(host: Host, name: str) -> str | None:
    key, value_name = name.split("|", 1)
    return host.registry_read(key, value_name)


VERBS = {"identity.read": identity_read, "identity.apply": identity_apply, "identity.undo": identity_undo}
