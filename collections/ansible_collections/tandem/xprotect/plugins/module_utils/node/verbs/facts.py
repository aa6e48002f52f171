# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``facts``: everything about this machine that a controller decides upon, in one call. Reads only; nothing missing fails it."""

from __future__ import annotations

import time
import typing as t

from .. import runtime, work_lock
from .. import settings as node_settings
from ..errors import NodeError
from ..host.base import Host, HostError
from ..recorder_local import (DRIVERS_KEY, INSTALLATION_KEY, StatusProbe, media_folders, read_config)
from ..store import NODE_FILE, read_json
from .service import describe


def facts(host: Host, _request: dict, _progress: object) -> dict:
    document = _tolerant(lambda: read_json(host, NODE_FILE))
    settings = _tolerant(lambda: node_settings.load(host))
    name = settings.recorder_service if settings else node_settings.DEFAULT_SERVICES["recorder"]
    rules = host.fence_rules()
    return {
        "runtime": {**runtime.describe(), "others": runtime.others(host)},
        "machine": _machine(host),
        "recorder": _recorder(host, name, settings.address if settings else None),
        "tandem": document,
        "guard": _guard(host, settings),
        "fence": {"installed": rules is not None, "rules": None if rules is None else {
            "management_addresses": list(rules.management_addresses), "inbound_ports": list(rules.inbound_ports)}},
        "lock": _tolerant(lambda: work_lock.read(host)),
    }


def _machine(host: Host) -> dict:
    return {"name": host.machine_name(), "os": host.os_name(), "time_zone": host.time_zone(),
            "clock_ms": time.time_ns() // 1_000_000, "addresses": host.addresses(),
            "drives": [{"letter": d.letter, "total_bytes": d.total_bytes, "free_bytes": d.free_bytes} for d in host.drives()]}


def _recorder(host: Host, service_name: str, address: str | None) -> dict:
    service = host.service(service_name)
    config: dict[str, str | None] = {}
    error, missing = None, False
    try:
        config = read_config(host)
    except NodeError as problem:
        error, missing = problem.message, problem.code == "config_missing"
    state = StatusProbe.find(host, address, config).ask() if service.state == "running" else None
    return {
        "installed": service.state != "missing" and not missing,
        "service": describe(service),
        "version": config.get("version"),
        "device_pack": host.registry_read(DRIVERS_KEY, "VersionC"),
        "id": config.get("id"), "name": config.get("name"), "client_registration_id": config.get("client_registration_id"),
        "server_address": config.get("server_address"),
        "web_server": {"host": config.get("web_server_host"), "port": _integer(config.get("web_server_port"))},
        "web_api_port": _integer(config.get("web_api_port")),
        "media_folders": media_folders(host, config),
        "registry_id": host.registry_read(INSTALLATION_KEY, "RecorderIDOnMachine"),
        "config_error": error,
        "status": None if state is None else {"attach_state": state.attach_state, "connection_state": state.connection_state},
    }


def _guard(host: Host, settings: node_settings.NodeSettings | None) -> dict:
    service = host.service(node_settings.GUARD_SERVICE)
    status = None
    if settings is not None and service.state == "running":
        from ..guard.client import TandemClient
        try:
            with TandemClient(host, settings, peer="local", connect_timeout=1.0) as guard:
                status = guard.call("status", timeout=2.0)
        except NodeError:
            status = None
    return {"service": {**describe(service), "command": service.command}, "status": status}


def _integer(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None


def _tolerant(read: t.Callable[[], t.Any]) -> t.Any:
    try:
        return read()
    except (NodeError, HostError):
        return None


VERBS = {"facts": facts}
