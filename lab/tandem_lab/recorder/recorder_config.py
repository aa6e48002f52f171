# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RecorderConfig.xml: who this recorder is and where its Management Server is.

It is read at start only (assumption `recorder_config_read_at_start_only`).
"""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path
from xml.etree import ElementTree

MAX_BYTES = 4 * 1024 * 1024
FILE_NAME = "RecorderConfig.xml"


class RecorderConfigError(Exception):
    """The file is missing, truncated or lacks something; the service cannot start."""


@dataclasses.dataclass(frozen=True)
class RecorderConfig:
    recorder_id: str
    name: str
    client_registration_id: str
    version: str
    server_address: str
    server_port: int
    web_api_port: int
    host: str
    port: int
    default_storage_name: str
    default_storage_path: str
    disk_check_seconds: int


def read(path: Path) -> RecorderConfig:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise RecorderConfigError(f"{path.name} is larger than {MAX_BYTES} bytes")
        return parse(data)
    except OSError as error:
        raise RecorderConfigError(f"{path.name} cannot be read: {error.strerror}") from error


def parse(data: bytes) -> RecorderConfig:
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise RecorderConfigError(f"{FILE_NAME} is not a whole XML document: {error}") from error
    if root.tag != "recorderconfig":
        raise RecorderConfigError(f"{FILE_NAME}: the root element is {root.tag!r}, not 'recorderconfig'")

    def text(xpath: str, default: str | None = None) -> str:
        value = (root.findtext(xpath) or "").strip() or default
        if value is None:
            raise RecorderConfigError(f"{FILE_NAME}: recorderconfig/{xpath} is missing or empty")
        return value

    def guid(xpath: str) -> str:
        try:
            return str(uuid.UUID(text(xpath)))
        except ValueError as error:
            raise RecorderConfigError(f"{FILE_NAME}: recorderconfig/{xpath} is not a GUID: {text(xpath)!r}") from error

    def port(xpath: str, default: int) -> int:
        value = text(xpath, str(default))
        if not value.isdigit() or not 0 < int(value) < 65536:
            raise RecorderConfigError(f"{FILE_NAME}: recorderconfig/{xpath} is not a port: {value!r}")
        return int(value)

    def seconds(xpath: str, default: int) -> int:
        value = text(xpath, str(default))
        if not value.isdigit() or int(value) < 1:
            raise RecorderConfigError(f"{FILE_NAME}: recorderconfig/{xpath} is not a number of seconds: {value!r}")
        return int(value)

    return RecorderConfig(
        recorder_id=guid("recorder/id"),
        name=text("recorder/displayname"),
        client_registration_id=guid("recorder/ClientRegistrationId"),
        version=text("version", "25.1.1804.0"),
        server_address=text("server/address"),
        server_port=port("server/webapiport", 9000),
        web_api_port=port("webapi/port", 9001),
        host=text("webserver/host"),
        port=port("webserver/port", 7563),
        default_storage_name=text("database/database_default/name", "Local default"),
        default_storage_path=text("database/database_default/path", "D:\\MediaDatabase"),
        disk_check_seconds=seconds("database/database_server/disk_usage_monitor/check_interval_in_seconds", 60),
    )
