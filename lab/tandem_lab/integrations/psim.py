# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PSIM: it has stored every id, name, address and relation of the site, and notices when one of them is different.

Settings and times of change are not its business. ``snapshot`` asks REST, SOAP and the recorders' addresses; a snapshot is
a flat JSON object, field path -> value, so that a difference names exactly one reference.

``python -m tandem_lab.integrations.psim snapshot --site site.json --out file`` and ``... compare before after``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import typing as t
from pathlib import Path

from .vms_client import Site, VmsClient

Snapshot = dict[str, t.Any]
REFERENCES = (
    "id", "name", "displayName", "shortName", "enabled", "hostName", "portNumber", "webServerUri", "activeWebServerUri",
    "publicAccessEnabled", "publicWebserverHostName", "publicWebserverPort", "timeZoneName", "timeZone", "version", "address", "model",
    "channel", "recordingStorage", "diskPath", "encryptionMethod", "isDefault", "hardwareDriverPath", "relations", "computerName",
)
SOAP_RECORDER = ("RecorderId", "ServiceId", "Name", "HostName", "WebServerUri", "TimeZoneName", "XmlEncoding")
SOAP_CAMERA = ("RecorderId", "HardwareId", "DeviceId", "Name", "DeviceIndex", "Streams", "Tracks")
SOAP_HARDWARE = ("HardwareId", "DeviceIds", "RecorderId", "Name", "Uri")


def snapshot(site: Site | Path) -> Snapshot:
    client = VmsClient(site)
    found: Snapshot = {}
    for kind in ("sites", "recordingServers", "hardware", "cameras", "storages"):
        for item in client.list(f"{kind}?disabled"):
            _keep(found, f"rest/{kind}/{item['id']}", {name: item[name] for name in REFERENCES if name in item})
    for camera in client.list("cameras?disabled"):
        for stream in client.list(f"cameras/{camera['id']}/streams"):
            found[f"rest/streams/{camera['id']}"] = [entry["streamReferenceId"] for entry in stream["stream"]]
    _soap(client, found)
    return found


def _soap(client: VmsClient, found: Snapshot) -> None:
    configuration = client.configuration()
    _keep(found, "soap/server", {name: configuration[name] for name in ("ServerId", "ServerName")})
    for listed in configuration["Recorders"]:
        recorder = client.recorder_info(listed["RecorderId"])
        for source, info in (("GetConfiguration", listed), ("QueryRecorderInfo", recorder)):
            place = f"soap/{source}/{info['RecorderId']}"
            _keep(found, place, {name: info[name] for name in SOAP_RECORDER})
            for camera in info["Cameras"]:
                _keep(found, f"{place}/cameras/{camera['DeviceId']}", {name: camera[name] for name in SOAP_CAMERA})
            for hardware in info["Hardware"]:
                _keep(found, f"{place}/hardware/{hardware['HardwareId']}", {name: hardware[name] for name in SOAP_HARDWARE})
        found[f"image_server/{listed['RecorderId']}"] = listed["WebServerUri"]


def _keep(found: Snapshot, place: str, values: dict[str, t.Any]) -> None:
    found.update({f"{place}/{name}": value for name, value in values.items()})


def compare(before: Snapshot, after: Snapshot) -> list[dict[str, t.Any]]:
    """The fields that differ; None stands for a reference that is not there."""
    return [
        {"field": field, "before": before.get(field), "after": after.get(field)}
        for field in sorted(before.keys() | after.keys()) if before.get(field) != after.get(field)
    ]


def fingerprint(taken: Snapshot) -> str:
    return hashlib.sha256(json.dumps(taken, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(prog="tandem_lab.integrations.psim", description="Take and compare snapshots of a site's references.")
    commands = parser.add_subparsers(dest="command", required=True)
    take = commands.add_parser("snapshot")
    take.add_argument("--site", type=Path, required=True)
    take.add_argument("--out", type=Path, required=True)
    both = commands.add_parser("compare")
    both.add_argument("before", type=Path)
    both.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "snapshot":
        arguments.out.write_text(json.dumps(snapshot(arguments.site), indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return 0
    differences = compare(*(json.loads(path.read_bytes()) for path in (arguments.before, arguments.after)))
    for difference in differences:
        print(f"{difference['field']}: {difference['before']!r} -> {difference['after']!r}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
