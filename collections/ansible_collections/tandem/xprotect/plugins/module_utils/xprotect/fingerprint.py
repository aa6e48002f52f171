# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fingerprint of a pair: everything that integrations hold on to, as one hash that may never change.

`read` collects the identity as three kinds of client see it (REST, SOAP, and the address that they resolve). The rest is pure:
`canonical` leaves out what changes by itself, orders everything, and `differences` names each field that is not the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing as t

from ..errors import TandemError
from ._client import items
from .management_server import ManagementServer

# Fields that change although the identity does not, in any letter case. Everything else counts.
VOLATILE = {
    "lastmodified": "time of the last change of the object, also written by the server itself",
    "passwordlastmodified": "time of the last change of a camera's password",
    "laststatushandshake": "time of the last contact between sites",
    "synchronizationstatus": "state of the contact between sites",
    "synchronizationtime": "schedule of that contact on the server",
    "modified": "older name of lastModified",
    "defaultrecordingtimeseconds": "a default for new manual recordings, which is a setting and no identity",
}

# REST collections whose items belong to a hardware device. Older servers lack some of them.
DEVICES = ("cameras", "microphones", "speakers", "metadata", "inputEvents", "outputs")


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    sha256: str
    identity: dict[str, t.Any]

    @classmethod
    def of(cls, identity: t.Any) -> "Fingerprint":
        reduced = canonical(identity)
        text = json.dumps(reduced, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return cls(hashlib.sha256(text.encode()).hexdigest(), reduced)

    def summary(self) -> dict[str, t.Any]:
        """The hash and how much it covers, for results."""
        rest = self.identity.get("rest", {})
        return {"sha256": self.sha256, "hardware": len(rest.get("hardware", {})), "cameras": len(rest.get("cameras", {}))}


def read(server: ManagementServer, recorder_id: str) -> Fingerprint:
    """The fingerprint of one recorder as the Management Server gives it now."""
    rest = server.rest
    recorder = server.recorder(recorder_id)
    hardware = _children(rest.list("hardware"), {recorder_id.casefold()})
    owners = {str(item["id"]).casefold() for item in hardware}
    devices = {kind: _children(_optional(rest, kind), owners) for kind in DEVICES}
    info = server.soap.recorder_info(recorder_id)
    return Fingerprint.of({
        "rest": {"recorder": recorder, "hardware": hardware, "storages": rest.list(f"recordingServers/{recorder_id}/storages"), **devices},
        "soap": info,
        "client": {"recorder_uri": recorder.get("activeWebServerUri") or recorder.get("webServerUri"),
                   "soap_uri": info.get("WebServerUri") if isinstance(info, dict) else None},
    })


def _optional(rest: t.Any, kind: str) -> list[dict[str, t.Any]]:
    try:
        return rest.list(kind)
    except TandemError as error:
        if kind == "cameras" or error.code != "not_found":
            raise
        return []


def _children(found: list[dict[str, t.Any]], parents: set[str]) -> list[dict[str, t.Any]]:
    def parent(item: dict[str, t.Any]) -> str:
        return str(((item.get("relations") or {}).get("parent") or {}).get("id") or "").casefold()

    return [item for item in found if parent(item) in parents]


# -- pure ------------------------------------------------------------------------------------------------------------
def canonical(value: t.Any) -> t.Any:
    """The same data without volatile fields and independent of order: lists of objects become maps by id."""
    if isinstance(value, dict):
        return {key: canonical(inner) for key, inner in sorted(value.items()) if key.casefold() not in VOLATILE}
    if isinstance(value, list):
        return _canonical_list([canonical(item) for item in value])
    return value


def _canonical_list(found: list[t.Any]) -> t.Any:
    keys = [_key(item) for item in found]
    if found and all(keys) and len(set(keys)) == len(keys):
        return {str(key): item for key, item in sorted(zip(keys, found), key=lambda pair: str(pair[0]))}
    return sorted(found, key=lambda item: json.dumps(item, sort_keys=True, default=str))


def _key(item: t.Any) -> str | None:
    """What names an object: REST's id, or SOAP's own id of devices, hardware, streams and recorders."""
    if not isinstance(item, dict):
        return None
    for name in ("id", "DeviceId", "HardwareId", "StreamId", "TrackId", "RecorderId"):
        if isinstance(item.get(name), str) and item[name]:
            return item[name].casefold()
    return None


def differences(before: t.Any, after: t.Any, path: str = "") -> list[dict[str, t.Any]]:
    """Each field that is not the same, with both values; None stands for "not there"."""
    if isinstance(before, Fingerprint) or isinstance(after, Fingerprint):
        before, after = (item.identity if isinstance(item, Fingerprint) else canonical(item) for item in (before, after))
    if isinstance(before, dict) and isinstance(after, dict):
        found: list[dict[str, t.Any]] = []
        for key in sorted(before.keys() | after.keys(), key=str):
            found += differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [] if before == after else [{"field": path, "before": before, "after": after}]


def device_ids(info: t.Any, group: str, member: str) -> list[str]:
    """Ids of the devices in one group of a SOAP recorder info, for example ``("Cameras", "CameraInfo")``."""
    group_value = info.get(group) if isinstance(info, dict) else None
    return [str(item.get("DeviceId")) for item in items(group_value, member) if isinstance(item, dict)]
