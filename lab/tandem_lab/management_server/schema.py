# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which properties each REST resource has, which of them a client may write, and with what values.

Names, types and write access are documented (the vendor's OpenAPI text of the configuration API). That an unknown or
read-only property is refused with 400 is assumption `rest_unknown_property_rejected`; the ranges are the lab's own.
"""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Writable:
    kind: str  # string | boolean | integer | number
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    empty: bool = True


class PropertyError(Exception):
    def __init__(self, name: str, text: str, text_id: str):
        super().__init__(text)
        self.name = name
        self.text_id = text_id


NAME = Writable("string", empty=False)
TEXT = Writable("string")
FLAG = Writable("boolean")
PORT = Writable("integer", 0, 65535)

WRITABLE: dict[str, dict[str, Writable]] = {
    "sites": {"name": NAME, "description": TEXT},
    "recordingServers": {
        "name": NAME,
        "description": TEXT,
        "enabled": FLAG,
        "synchronizationTime": Writable("integer", -1, 1439),
        "publicAccessEnabled": FLAG,
        "publicWebserverHostName": TEXT,
        "publicWebserverPort": PORT,
        # Documented since 2023 R1: an empty multicast address fails validation, 0.0.0.0 means none.
        "multicastServerAddress": Writable("string", empty=False),
        "shutdownOnStorageFailure": FLAG,
    },
    "hardware": {
        "name": NAME,
        "description": TEXT,
        "enabled": FLAG,
        "address": Writable("string", empty=False),
        "userName": TEXT,
    },
    "cameras": {
        "name": NAME,
        "description": TEXT,
        "enabled": FLAG,
        "shortName": TEXT,
        "icon": Writable("integer", 0, 255),
        "gisPoint": Writable("string", empty=False),
        "coverageDirection": Writable("number", 0, 1),
        "coverageDepth": Writable("number", 0),
        "coverageFieldOfView": Writable("number", 0, 1),
        "recordingFramerate": Writable("number", 0, 1000),
        "recordKeyframesOnly": FLAG,
        "recordOnRelatedDevices": FLAG,
        "recordingEnabled": FLAG,
        "prebufferEnabled": FLAG,
        "prebufferInMemory": FLAG,
        "prebufferSeconds": Writable("integer", 0, 10_000),
        "edgeStorageEnabled": FLAG,
        "edgeStoragePlaybackEnabled": FLAG,
        "manualRecordingTimeoutEnabled": FLAG,
        "manualRecordingTimeoutMinutes": Writable("integer", 0, 2880),
        "failoverSetting": Writable("string", choices=("FullSupport", "LiveOnly", "Disabled")),
    },
    "storages": {
        "name": NAME,
        "description": TEXT,
        "maxSize": Writable("integer", 1, 1_099_511_627_776),
        "retainMinutes": Writable("integer", 1),
        "signing": FLAG,
    },
}


def _is_kind(value: t.Any, kind: str) -> bool:
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if kind == "integer" else isinstance(value, (int, float))


def _check_value(name: str, value: t.Any, rule: Writable) -> None:
    if not _is_kind(value, rule.kind):
        raise PropertyError(name, f"Invalid value for property {name}: a {rule.kind} is expected", "InvalidType")
    if rule.kind == "string":
        if len(value) > 4096 or (not value.strip() and not rule.empty):
            raise PropertyError(name, f"Invalid value for property {name}: the text is empty or too long", "InvalidLength")
        if rule.choices and value not in rule.choices:
            raise PropertyError(name, f"Invalid value for property {name}: one of {', '.join(rule.choices)} is expected", "InvalidChoice")
    elif rule.kind != "boolean":
        if (rule.minimum is not None and value < rule.minimum) or (rule.maximum is not None and value > rule.maximum):
            raise PropertyError(name, f"Invalid value for property {name}: {value} is out of range", "OutOfRange")


def check_changes(kind: str, item: dict[str, t.Any], changes: dict[str, t.Any]) -> None:
    """Raise PropertyError for the first property of a PATCH that cannot be set."""
    for name, value in changes.items():
        rule = WRITABLE[kind].get(name)
        if rule is None and name in item and name != "lab":
            raise PropertyError(name, f"Property {name} is read-only", "ReadOnlyProperty")
        if rule is None:
            raise PropertyError(name, f"Unknown property {name}", "UnknownProperty")
        _check_value(name, value, rule)
