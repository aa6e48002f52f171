# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold before Tandem stops or changes a recorder: this node is headless and the partner records.

Both are asked afresh each time and as late as possible, because attachment never waits for other work.
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from .errors import NodeError
from .guard.client import TandemClient
from .host.base import Host
from .settings import NodeSettings

POLL_SECONDS = 0.5


def attachment_state(host: Host, settings: NodeSettings) -> str:
    """``attached`` or ``headless``, as this node's own guard says. Raises ``guard_down``."""
    with contextlib.closing(TandemClient(host, settings, peer="local")) as guard:
        return str(guard.call("status").get("state"))


def require_headless(host: Host, settings: NodeSettings, purpose: str) -> None:
    if attachment_state(host, settings) != "headless" or host.permit_open():
        raise NodeError("attached", f"Node {settings.node} of pair {settings.pair} is attached: "
                        f"{purpose} is done on the headless node only.",
                        f"Switch over to {settings.partner.name} first, or run this on {settings.partner.name} while it is headless.")


def wait_until_partner_records(host: Host, settings: NodeSettings, devices: t.Callable[[], t.Iterable[str]], purpose: str,
                               timeout: float = 30.0) -> set[str]:
    """Wait for a moment in which the partner writes media of all `devices()`, those that this node writes then.

    Both sides are looked at again each time: a motion recording comes and goes, and not on both nodes at once. Without
    any device the partner's recorder must still run and write something. Returns the devices of that moment.
    """
    limit = time.monotonic() + timeout
    with contextlib.closing(TandemClient(host, settings, peer="partner")) as partner:
        while True:
            over = time.monotonic() >= limit
            try:
                answer = partner.call("writing_devices")
            except NodeError as error:
                if over or error.code != "partner_unreachable":
                    raise
                answer = {}
            own = {device.lower() for device in devices()}
            missing = sorted(own - {str(device) for device in answer.get("writing") or []})
            if answer.get("running") is True and not missing:
                return own
            if over:
                raise _not_recording(settings, purpose, answer, missing)
            time.sleep(POLL_SECONDS)


def _not_recording(settings: NodeSettings, purpose: str, answer: dict, missing: list[str]) -> NodeError:
    name = settings.partner.name
    reason = f"its recorder is {answer.get('service', 'in an unknown state')} and writes no media"
    if answer.get("running") is True:
        reason = f"it does not write {len(missing)} device(s) that this node writes: {', '.join(missing[:8])}"
    return NodeError("partner_not_recording",
                     f"{purpose} on node {settings.node} of pair {settings.pair} would stop recording, "
                     f"and {name} does not record: {reason}.",
                     f"Bring {name} to record these devices, then run again.", {"partner": name, "missing": missing})
