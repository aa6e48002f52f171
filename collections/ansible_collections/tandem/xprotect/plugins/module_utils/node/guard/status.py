# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's report about itself: the answer to ``attachment.status``, and what partner and witness are told."""

from __future__ import annotations

import math
import typing as t

from .. import runtime

if t.TYPE_CHECKING:
    from .core import Guard
    from .protocol.views import Peer


class Reporter:
    def __init__(self, guard: Guard, configuration: str, loaded_runtime: str | None):
        self._guard = guard
        self._configuration = configuration
        self._runtime_sha256 = loaded_runtime

    def __call__(self, devices: bool = True) -> dict:
        """`devices`: with the list of devices that are written now, for those who compare them."""
        guard = self._guard
        recorder = guard.observer.describe(devices)
        with guard.lock:
            now = guard.host.monotonic()
            return {**self._attachment(now), **self._votes(now), **self._machine(now), "recorder": recorder, "health": recorder["health"]}

    def _attachment(self, now: float) -> dict:
        guard, record = self._guard, self._guard.agent.record
        settings = guard.settings
        return {"pair": settings.pair, "node": settings.node, "state": guard.state, "epoch": guard.epoch,
                "holder": guard.agent.seen.holder or None, "since_ms": guard.file.since_ms, "reason": record.reason, "claim": record.claim,
                "busy": guard.busy, "steps": list(guard.steps), "promotion": settings.promotion, "maintenance": guard.maintenance.describe(),
                "registration": {"mode": settings.registration, "error": guard.registration_error},
                "fence_agent": guard.fencing.outcome,
                "permit": {"open": guard.permit.is_open(), "expires_in": round(guard.permit.expires_in(), 2)},
                "fuse": guard.fuse.describe(), "fence": {"installed": guard.fence_installed},
                "service_address": {"address": settings.service_address.address, "held": guard.address.held, "error": guard.address.error},
                "management": {"reached_ago": _ago(guard.management_reached_at, now)}}

    def _votes(self, now: float) -> dict:
        guard, agent, settings = self._guard, self._guard.agent, self._guard.settings
        free, deadline = guard.voter.free_in(now), agent.deadline - now
        partner = agent.peers[settings.partner.name]
        told = partner.header
        return {"incarnation": agent.record.incarnation, "voting": agent.record.voting, "membership": agent.record.membership.to_document(),
                "lease": {"ttl": guard.voter.timing.ttl, "margin": round(guard.voter.timing.margin, 2),
                          "deadline_in": round(deadline, 2) if agent.attached and math.isfinite(deadline) else None,
                          "free_in": None if math.isinf(free) else round(free, 2)},
                "voters": {name: _voter(peer, now) for name, peer in agent.peers.items() if name in agent.record.membership.voters},
                "partner": {"name": settings.partner.name, "heard_ago": _ago(partner.heard_at, now),
                            "epoch": None if told is None else told.epoch.number, "state": guard.partner_report.get("state"),
                            "recorder": guard.partner_report.get("recorder")},
                "witness": None if settings.witness is None else
                {"name": settings.witness.name, "heard_ago": _ago(agent.peers["witness"].heard_at, now)}}

    def _machine(self, now: float) -> dict:
        guard = self._guard
        return {"running_for": round(now - guard.started_at, 1), "runtime_version": runtime.VERSION,
                "runtime_sha256": self._runtime_sha256, "configuration_sha256": self._configuration}


def _voter(peer: Peer, now: float) -> dict:
    return {"heard_ago": _ago(peer.heard_at, now), "acknowledged_ago": _ago(peer.renewed_at, now),
            "voting": peer.header.voting if peer.header is not None else None,
            "refuses": peer.refusal.message if peer.refusal is not None else None}


def _ago(at: float | None, now: float) -> float | None:
    return None if at is None or math.isinf(at) else round(now - at, 2)
