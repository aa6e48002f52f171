# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``attachment.*``: what the guard of this machine is asked to do, and the wait until clients can be served."""

from __future__ import annotations

import time
import typing as t

from .. import settings as node_settings
from ..errors import NodeError
from ..guard.client import TandemClient
from ..host.base import Host
from . import _request as ask

#: The guard restarts the recorder once when it has not connected for this long; after that the verb waits once more.
CONNECT_LIMIT = 10.0
CONNECT_LIMIT_AFTER_RESTART = 60.0
POLL = 0.05


def status(host: Host, _request: dict, _progress: object) -> dict:
    with _guard(host, node_settings.require(host)) as guard:
        return guard.call("status")


def adopt(host: Host, request: dict, progress: t.Callable) -> dict:
    with _guard(host, node_settings.require(host)) as guard:
        result = guard.call("adopt", timeout=30.0, force=ask.text(request, "force", None))
    _report(progress, result)
    return result


def detach(host: Host, _request: dict, _progress: object) -> dict:
    with _guard(host, node_settings.require(host)) as guard:
        return guard.call("detach", timeout=30.0)


def rejoin(host: Host, request: dict, _progress: object) -> dict:
    """Asked of the attached node: its partner, which was removed by force, votes again."""
    settings = node_settings.require(host)
    with _guard(host, settings) as guard:
        return guard.call("rejoin", timeout=10.0, partner=ask.text(request, "node", settings.partner.name))


def witness(host: Host, _request: dict, _progress: object) -> dict:
    """Asked of the attached node: the witness that its configuration names votes, or none does."""
    with _guard(host, node_settings.require(host)) as guard:
        return guard.call("witness", timeout=10.0)


def maintenance(host: Host, request: dict, _progress: object) -> dict:
    """Planned maintenance for so many seconds; 0 ends it."""
    with _guard(host, node_settings.require(host)) as guard:
        return guard.call("maintenance", timeout=10.0, seconds=ask.number(request, "seconds", 0, 7 * 86400),
                          reason=ask.text(request, "reason", None))


def take(host: Host, request: dict, progress: t.Callable) -> dict:
    """Failover onto this node. `wait`: for how long a partner's permit that may still be open is waited for."""
    settings = node_settings.require(host)
    mode = ask.text(request, "mode", "failover")
    if mode != "failover":
        raise NodeError("bad_request", f"mode must be 'failover', not {mode[:32]!r}: a planned hand-over is asked of the attached node.")
    force = ask.text(request, "force", None)
    deadline = time.monotonic() + ask.number(request, "wait", 0, 600, 0)
    fields = {"force": force, "without_witness": ask.flag(request, "without_witness"), "accept": _accepted(request),
              "evidence": ask.text(request, "evidence", None)}
    with _guard(host, settings) as guard:
        result = _take_when_allowed(guard, fields, deadline, progress)
        _report(progress, result)
        if result.get("changed"):
            from ..recorder_local import StatusProbe  # after the promotion, which must not wait for an import
            probe = StatusProbe.find(host, settings.address)
            _wait_connected(lambda: probe.ask(1.0), lambda: guard.call("status", timeout=2.0), result, progress)
    return result


def release(host: Host, request: dict, progress: t.Callable) -> dict:
    """Planned switchover away from this node. Done already when the successor is attached.

    `fetches`: the successor has no configuration, cannot record yet, and is attached to fetch it.
    """
    settings = node_settings.require(host)
    successor, fetches = ask.text(request, "successor", settings.partner.name), ask.flag(request, "fetches")
    with _guard(host, settings) as guard:
        state = guard.call("status")
        if state.get("state") != "attached" and successor == settings.partner.name:
            done = _already(host, settings)
            if done is not None:
                return done
        result = guard.call("release", timeout=30.0, successor=successor, fetches=fetches, accept=_accepted(request))
        _report(progress, result)
        with TandemClient(host, settings, peer="partner") as partner:
            _wait_connected(lambda: _partner_state(partner), lambda: partner.call("report", timeout=2.0), result, progress)
    return result


# -- inside ------------------------------------------------------------------------------------------------------------

def _guard(host: Host, settings: node_settings.NodeSettings) -> TandemClient:
    return TandemClient(host, settings, peer="local")


def _already(host: Host, settings: node_settings.NodeSettings) -> dict | None:
    try:
        with TandemClient(host, settings, peer="partner") as partner:
            state = partner.call("report")
    except NodeError:
        return None
    if state.get("state") != "attached":
        return None
    return {"changed": False, "epoch": state.get("epoch"), "successor": settings.partner.name, "steps": [],
            "recorder_attached": _is_attached(state.get("recorder"))}


def _accepted(request: dict) -> list[str]:
    """Reasons against a candidate that are accepted by name."""
    names = request.get("accept") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NodeError("bad_request", "'accept' must be a list of names.")
    return names


def _take_when_allowed(guard: TandemClient, fields: dict, deadline: float, progress: t.Callable) -> dict:
    started, waited = time.monotonic(), False
    while True:
        try:
            result = guard.call("take", timeout=30.0, **fields)
        except NodeError as refusal:
            left = deadline - time.monotonic()
            pause = refusal.details.get("wait")
            if left <= 0 or (refusal.code != "busy" and not isinstance(pause, (int, float))):
                raise
            pause = float(pause) if isinstance(pause, (int, float)) else 0.2
            if pause > left:
                raise
            if not waited:
                progress("waiting", seconds=round(pause, 1), reason=refusal.message)
            waited = True
            time.sleep(min(pause + 0.02, left))
            continue
        if waited:
            result.setdefault("steps", []).insert(0, {"step": "permit_wait", "seconds": round(time.monotonic() - started, 3)})
        return result


def _wait_connected(ask_state: t.Callable[[], t.Any], ask_guard: t.Callable[[], dict], result: dict, progress: t.Callable) -> None:
    """The last step: the recorder says that it is attached. A Management Server that is down is waited for only briefly."""
    started = time.monotonic()
    limit = CONNECT_LIMIT
    while True:
        state = ask_state()
        seconds = round(time.monotonic() - started, 3)
        if state is not None and state.attached:
            step = {"step": "recorder_attached", "seconds": seconds}
            result["recorder_attached"] = True
            result.setdefault("steps", []).append(step)
            progress(**step)
            return
        if seconds >= limit:
            if limit > CONNECT_LIMIT or not _worth_waiting(ask_guard):
                break
            limit = CONNECT_LIMIT_AFTER_RESTART
            progress("waiting", seconds=seconds,
                     reason="the recorder has not connected yet; it is restarted once while the partner records")
        time.sleep(POLL)
    result["recorder_attached"] = False
    result["warnings"] = [f"The node is attached, but its recorder did not connect to the Management Server within {limit:g} s: "
                          "clients wait for it. Check the Management Server and the recorder's log."]


def _worth_waiting(ask_guard: t.Callable[[], dict]) -> bool:
    """Only when the Management Server can be reached and the partner records does the guard restart the recorder."""
    try:
        status = ask_guard()
    except NodeError:
        return False
    partner = (status.get("partner") or {}).get("recorder") or {}
    return (status.get("management") or {}).get("reached_ago") is not None and (partner.get("writing") or 0) > 0


class _Reported:
    """The recorder's state as the partner's guard reports it."""

    def __init__(self, attached: bool):
        self.attached = attached


def _partner_state(partner: TandemClient) -> _Reported | None:
    try:
        status = partner.call("report", timeout=2.0)
    except NodeError:
        return None
    return _Reported(_is_attached(status.get("recorder")))


def _is_attached(recorder: object) -> bool:
    recorder = recorder if isinstance(recorder, dict) else {}
    return (str(recorder.get("attach_state")).lower() == "attached"
            and str(recorder.get("connection_state")).lower() == "connected")


def _report(progress: t.Callable, result: dict) -> None:
    for step in result.get("steps") or []:
        progress(**step)


VERBS = {"attachment.status": status, "attachment.adopt": adopt, "attachment.detach": detach, "attachment.take": take,
         "attachment.release": release, "attachment.rejoin": rejoin, "attachment.witness": witness,
         "attachment.maintenance": maintenance}
