# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the items of the replication manifest from nodes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import typing as t

from ..errors import TandemError
from ..pair import replication
from .context import Context

READ_TIMEOUT = 120.0
Contents = dict[str, t.Optional[bytes]]


def read_items(context: Context, node: str, items: t.Sequence[replication.Item], timeout: float = READ_TIMEOUT) -> Contents:
    """The content of each item on one node by item id, None where the file does not exist. Checked against its hash."""
    request = {"items": [item.as_request() for item in items]}
    answer = context.call(node, "config.read", request, timeout=timeout).get("items") or {}
    return {item.id: _content(context, node, item, answer.get(item.id) or {}) for item in items}


def _content(context: Context, node: str, item: replication.Item, found: t.Mapping[str, t.Any]) -> bytes | None:
    if not found.get("exists"):
        return None
    try:
        content = base64.b64decode(found.get("content_b64") or "", validate=True)
    except (binascii.Error, ValueError):
        content = None
    if content is None or hashlib.sha256(content).hexdigest() != found.get("sha256"):
        raise TandemError(f"{item.path} (item {item.id}) did not arrive whole", pair=context.pair.name, node=node, code="transfer",
                          next_step="run again; if it persists, look at the disk of that node.")
    return content
