# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's report about itself: the answer to ``attachment.status`` and to the partner's question."""

from __future__ import annotations

import time
import typing as t

from .. import runtime
from . import decisions

if t.TYPE_CHECKING:
    from .core import Guard


def report(guard: Guard, configuration: str, loaded_runtime: str | None) -> dict:
    with guard.lock:
        now = time.monotonic()
        settings, partner = guard.settings, guard.partner
        return {
            "pair": settings.pair, "node": settings.node, "state": guard.state, "epoch": guard.epoch,
            "since_ms": guard.file.now.since_ms, "reason": guard.reason, "claim": guard.claim, "busy": guard.busy,
            "incarnation": guard.file.now.incarnation,
            "permit": {"open": guard.permit.is_open(), "expires_in": round(guard.permit.expires_in(), 2)},
            "fence": {"installed": guard.fence_installed},
            "service_address": {"address": settings.service_address.address, "held": guard.address_held,
                                "error": guard.address_error},
            "partner": {
                "name": settings.partner.name,
                "heard_ago": None if partner.heard_at is None else round(now - partner.heard_at, 2),
                "epoch": None if partner.heard_at is None else partner.epoch, "state": partner.state,
                "permit_may_be_open_for": round(decisions.permit_may_be_open_for(
                    now, guard.started_at, settings.permit_ttl, partner), 2),
                "recorder": guard.partner_report.get("recorder")},
            "management": {"reached_ago": round(now - guard.management_reached_at, 2) if guard.ever_reached_management else None},
            "recorder": guard.observer.describe(),
            "running_for": round(now - guard.started_at, 1),
            "runtime_version": runtime.VERSION, "runtime_sha256": loaded_runtime, "configuration_sha256": configuration,
        }
