# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``lock.acquire``, ``lock.renew``, ``lock.release``: one long operation at a time."""

from __future__ import annotations

from .. import work_lock
from ..host.base import Host
from . import _request as ask


def acquire(host: Host, request: dict, _progress: object) -> dict:
    lock = work_lock.acquire(host, ask.text(request, "owner", limit=200), ask.text(request, "purpose", limit=200), _ttl(request))
    return {"changed": True, "lock": lock}


def renew(host: Host, request: dict, _progress: object) -> dict:
    return {"changed": True, "lock": work_lock.renew(host, ask.text(request, "owner", limit=200), _ttl(request))}


def release(host: Host, request: dict, _progress: object) -> dict:
    return {"changed": work_lock.release(host, ask.text(request, "owner", limit=200)), "lock": work_lock.read(host)}


def _ttl(request: dict) -> float:
    return ask.number(request, "ttl", work_lock.MIN_TTL, work_lock.MAX_TTL)


VERBS = {"lock.acquire": acquire, "lock.renew": renew, "lock.release": release}
