# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``service.status``, ``service.start``, ``service.stop`` of the recorder and of the guard."""

from __future__ import annotations

from .. import settings as node_settings
from ..errors import NodeError
from ..host.base import Host
from ..recorder_local import StatusProbe
from . import _request as ask

AUTOMATIC = ("auto", "delayed-auto")  # Windows starts it after a reboot
_TIMEOUT = 120.0


def status(host: Host, request: dict, _progress: object) -> dict:
    service = host.service(_name(host, request))
    return {"name": service.name, "service": describe(service)}


def start(host: Host, request: dict, _progress: object) -> dict:
    """Start it; with ``start_type`` "auto" also have Windows start it from now on. The machine's former start type is kept."""
    name = _installed(host, request)
    automatic = _make_automatic(host, request, name)
    started = host.service(name).state != "running"
    if started:
        host.service_start(name, _TIMEOUT)
    return {"changed": started or automatic, "started": started, "start_type_changed": automatic, "service": describe(host.service(name))}


def _make_automatic(host: Host, request: dict, name: str) -> bool:
    wanted = ask.text(request, "start_type", None)
    if wanted not in (None, "auto"):
        raise NodeError("bad_request", f"start_type must be 'auto', not {wanted[:64]!r}.")
    before = host.service(name).start_type
    if wanted is None or before in AUTOMATIC:
        return False
    if name != node_settings.GUARD_SERVICE:
        from .identity import keep_start_type
        keep_start_type(host, before)
    host.service_configure(name, start_type="auto")
    return True


def stop(host: Host, request: dict, _progress: object) -> dict:
    """Refused while this node serves: the way to stop an attached recorder is to hand over first."""
    name = _installed(host, request)
    changed = host.service(name).state != "stopped"
    if changed:
        reason = serving(host)
        if reason and not ask.text(request, "force", None):
            raise NodeError("attached", f"The service {name} is not stopped: {reason}.",
                            "Hand over to the partner first (switchover), or give the reason for stopping it all the same as 'force'.")
        host.service_stop(name, _TIMEOUT)
    return {"changed": changed, "service": describe(host.service(name))}


def serving(host: Host) -> str | None:
    """Why this machine must be taken as attached, None when it is not."""
    if host.permit_open():
        return "this node is attached"
    if host.fence_rules() is not None:
        return None
    settings = node_settings.load(host)
    state = StatusProbe.find(host, settings.address if settings else None).ask()
    if state is not None and state.attached:
        return "this machine has no fence and its recorder is connected to the Management Server"
    return None


def describe(service) -> dict:
    return {"state": service.state, "start_type": service.start_type, "pid": service.pid}


def _name(host: Host, request: dict) -> str:
    name = ask.text(request, "name", "recorder")
    if name == "guard":
        return node_settings.GUARD_SERVICE
    if name == "recorder":
        settings = node_settings.load(host)
        return settings.recorder_service if settings else node_settings.DEFAULT_SERVICES["recorder"]
    raise NodeError("bad_request", f"name must be 'recorder' or 'guard', not {name[:64]!r}.")


def _installed(host: Host, request: dict) -> str:
    name = _name(host, request)
    if host.service(name).state == "missing":
        raise NodeError("service_missing", f"The service {name} does not exist on this machine.", "Install it first.")
    return name


VERBS = {"service.status": status, "service.start": start, "service.stop": stop}
