# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verbs of backfill: what this node holds, what it lacks, and bringing it here. Each runs at the node that lacks media."""

from __future__ import annotations

import contextlib
import typing as t

from .. import gates, ledger, settings
from ..errors import NodeError
from ..guard.client import TandemClient
from ..guard.heartbeat import availability
from ..host.base import Host
from ..media import banks, coverage, import_journal, intervals, partner, plan, remote, transfer, verify
from ..media.importer import Importer

STRATEGIES = ("restart",)


def media_coverage(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    node = settings.require(host)
    held = coverage.read(host, int(_number(request, "since_ms", 0)))
    return {"node": node.node, "devices": coverage.as_dict(held), "availability": availability(host), "tables": held.tables,
            "bytes": held.bytes, "restarts": ledger.restarts(host), "rebuilding": held.rebuilding, "measured_ms": ledger.now_ms(),
            "unfinished_import": _unfinished(host)}


def media_writing(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    """Whether this node's recorder runs and writes, and the devices whose media it writes now."""
    return remote.writing(host, settings.require(host), {})


def media_plan(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    node = settings.require(host)
    options = plan.Options.parse(request)
    held = gates.attachment_state(host, node) == "attached"
    with contextlib.closing(TandemClient(host, node, peer="partner")) as client:
        # The partner first: what this node closes meanwhile must not look as if it were missing here.
        theirs = partner.read_coverage(client, options.since_ms)
        _check_partner(host, node, theirs)
        own, now = coverage.read(host, options.since_ms), ledger.now_ms()
        _check_ready(node, own.rebuilding, theirs.coverage.rebuilding)
        away = plan.Away.make(availability(host), ledger.restarts(host), options, now)
        lacks = plan.missing(own, theirs.coverage, away, options, now)
        windows = {guid: (spans[0][0], spans[-1][1]) for guid, lack in lacks.items()
                   if (spans := intervals.union(lack.wanted, lack.restart))}
        offered = partner.read_tables(client, windows) if windows else []
    chosen = plan.choose(lacks, offered, _limits(host, now), options)
    return {**chosen, **plan.remains(lacks, chosen["tables"], min(now, theirs.measured_ms)), "held": held,
            "direction": f"{node.partner.name}->{node.node}", "unfinished_import": _unfinished(host)}


def media_stage(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    node = settings.require(host)
    wanted = transfer.parse_plan(request.get("plan"))
    rate = _number(request, "bytes_per_second", 0)
    return transfer.Stager(host, node, progress, reserve=int(_number(request, "reserve_bytes", transfer.DEFAULT_RESERVE)),
                           rate=rate or None).run(wanted)


def media_import(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    node = settings.require(host)
    strategy = request.get("strategy", "restart")
    if strategy not in STRATEGIES:
        raise NodeError("unsupported", f"There is no import strategy {strategy!r}.", f"Use one of: {', '.join(STRATEGIES)}.")
    accept = request.get("accept_not_recorded", [])
    if not isinstance(accept, list) or not all(isinstance(device, str) for device in accept):
        raise NodeError("bad_request", "accept_not_recorded must be a list of device ids.")
    return Importer(host, node, progress, rebuild_timeout=_number(request, "rebuild_timeout", 600.0),
                    writing_timeout=_number(request, "writing_timeout", 60.0), partner_timeout=_number(request, "partner_timeout", 30.0),
                    accept=accept).run()


def media_verify(host: Host, request: dict, progress: t.Callable[..., None]) -> dict:
    settings.require(host)
    wanted = transfer.parse_plan(request.get("plan"))
    spans: dict[tuple[str, str], intervals.Spans] = {}
    try:
        for table in request["plan"]["tables"]:
            listed = table.get("spans") or [[table["begin"], table["end"]]]
            spans[table["bank"].upper(), table["name"]] = intervals.valid(listed)
    except (KeyError, TypeError, ValueError) as error:
        raise NodeError("bad_request", f"The plan has no proper times: {error}.", "Pass the result of media.plan as plan.") from None
    return verify.check(host, wanted, spans, hashes=bool(request.get("hashes", True)),
                        tolerance_ms=int(_number(request, "tolerance_ms", 1000)))


# -- inside ------------------------------------------------------------------------------------------------------------

def _check_partner(host: Host, node: settings.NodeSettings, theirs: partner.Picture) -> None:
    if theirs.recorder_id.lower() != node.recorder_id:
        raise NodeError("identity_differs", f"{node.partner.name} belongs to recorder {theirs.recorder_id}, "
                        f"{node.node} to {node.recorder_id}.", "Configure both nodes as the same pair.")
    if theirs.time_zone != host.time_zone():
        raise NodeError("time_zone", f"The time zones differ: {theirs.time_zone!r} on {node.partner.name}, "
                        f"{host.time_zone()!r} on {node.node}.",
                        "Set both machines to the same time zone: tables are named by local time.")


def _check_ready(node: settings.NodeSettings, own: list[str], theirs: list[str]) -> None:
    for name, rebuilding in ((node.node, own), (node.partner.name, theirs)):
        if rebuilding:
            raise NodeError("media_not_ready", f"The recorder of {name} has not listed its closed tables yet "
                            f"(bank {', '.join(rebuilding)}).",
                            "Wait until it has rebuilt its media database, then run again. If its service is stopped, start it.")


def _limits(host: Host, now: int) -> dict[str, plan.Limits]:
    limits = {}
    for guid, bank in banks.by_id(host).items():
        oldest = now - int(bank.max_minutes * 60_000) if bank.max_minutes else 0
        room = None
        if bank.max_size_mb:
            content = banks.read_content(bank)
            room = int(bank.max_size_mb * 1024 * 1024) - sum(entry.size for entry in {**content.live, **content.closed}.values())
        limits[guid] = plan.Limits(bank.version, oldest, room)
    return limits


def _unfinished(host: Host) -> dict | None:
    journal = import_journal.unfinished(host)
    return None if journal is None else {"id": journal.id, "state": journal.state, "tables": len(journal.tables)}


def _number(request: dict, name: str, default: float) -> float:
    value = request.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1 << 53:
        raise NodeError("bad_request", f"{name} must be a number that is not negative.")
    return value


VERBS = {"media.coverage": media_coverage, "media.writing": media_writing, "media.plan": media_plan, "media.stage": media_stage,
         "media.import": media_import, "media.verify": media_verify}
