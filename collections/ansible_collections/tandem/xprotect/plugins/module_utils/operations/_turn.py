# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A turn: the headless node is attached for a moment, fetches its configuration from the Management Server, and hands back.

No recorder stops for it. Meanwhile clients are served by the node that takes the turn, so it must record what its partner
records. Only the first turn of a node without any configuration is excepted: it cannot record before, its partner records on.

Files that two recorders fetched at the same time need not be equal: their format is not publicly known, and a machine may mark
its own. So after a turn both nodes' hashes are written down on the node, and as long as neither changes they count as equal.
"""

from __future__ import annotations

import hashlib
import json
import time
import typing as t

from ..errors import TandemError
from ..pair import replication
from ..pair.attachment import ACCEPTABLE, SWITCHOVER, plan_attachment
from ._attach import carry_out
from ._config_items import Contents, read_items
from ._integrations import Integrations
from ._nodes import read_facts
from ._work import WorkLock
from .context import Context

POLL_SECONDS = 0.5
SETTLED_SECONDS = 3.0  # items that did not change for so long after attaching count as fetched
READY_SECONDS = 30.0
# Written as an item like any other, so that it is in the node's history too. Items below ProgramData\\Tandem are refused by nodes.
RECORD = replication.Item("turn", "file", "C:\\Program Files\\Tandem\\turn.json", restart=False, optional=True)


def take_turn(context: Context, work: WorkLock, holder: str, items: t.Sequence[replication.Item]) -> dict[str, t.Any]:
    """Switch over to the headless node, wait until it has the items, switch back. Always tries to hand back."""
    other = context.pair.partner(holder).name
    reference = read_items(context, holder, items)
    first = _wait_ready(context, other) or not any(read_items(context, other, items).values())
    if not first:
        _refuse_unless_it_records(context, holder, other, items)
    there = _hand_over(context, other, fetches=first)
    fetched: dict[str, t.Any] = {}
    problem: TandemError | None = None
    try:
        work.renew()
        fetched = _wait_for(context, other, items, reference)
    except TandemError as error:
        problem = error
    try:
        back = _hand_over(context, holder)
    except TandemError as error:
        raise _not_handed_back(context, holder, other, error, problem) from error
    if problem is not None:
        raise problem
    _write_down(context, work, holder, other, items)
    _see_it_record(context, holder, other)
    return {"attached_meanwhile": other, "fetched": fetched, "there": there, "back": back}


def settled_before(context: Context, item: replication.Item, contents: t.Mapping[str, Contents]) -> bool:
    """Whether a turn ended with just these files on both nodes. `contents` by node, with that of `RECORD` among them."""
    now = {name: _sha256(contents[name].get(item.id)) for name in context.pair.names}
    records = [_parse(contents[name].get(RECORD.id)) for name in context.pair.names]
    return None not in now.values() and any(record.get(item.id) == now for record in records)


def _wait_ready(context: Context, node: str) -> bool:
    """Whether the node never recorded anything.

    The guard looks at the recorder once a second: one that was started just now has to be seen first.
    """
    deadline = time.monotonic() + READY_SECONDS
    while True:
        recorder = context.call(node, "attachment.status", {}).get("recorder") or {}
        if recorder.get("service_state") == "running":
            return recorder.get("known_devices") == 0
        if time.monotonic() >= deadline:
            raise TandemError(f"its recorder service is {recorder.get('service_state')} and cannot take a turn", pair=context.pair.name,
                              node=node,
                              code="recorder_stopped", next_step="start the recorder service of that node and run again.")
        time.sleep(POLL_SECONDS)


def _refuse_unless_it_records(context: Context, holder: str, node: str, items: t.Sequence[replication.Item]) -> None:
    missing, unused = _unrecorded(context, holder, node)
    if missing:
        raise TandemError(f"a turn is refused, because it does not record {_named(missing)} that node {holder} records",
                          pair=context.pair.name, node=node, code="not_recording",
                          next_step="look at RecorderEngine.log of that node. If its local configuration cannot be used any more, move"
                                    f" {' and '.join(item.path for item in items)} away there and run again: a node without one is let"
                                    " in to fetch it. No switchover was made.")


def _see_it_record(context: Context, holder: str, node: str) -> None:
    """A node that has the configuration and records nothing is no twin."""
    missing, written = _unrecorded(context, holder, node)
    if missing and not written:
        raise TandemError(f"it has fetched its configuration and records none of the {len(missing)} devices that node {holder} records",
                          pair=context.pair.name, node=node, code="not_recording",
                          next_step="look at RecorderEngine.log of that node, at its disks and at the cameras' limits of sessions.")
    if missing:
        context.warn(f"node {node} has fetched its configuration and does not record {_named(missing)} that node {holder} records; a"
                     " recording that somebody started by hand is made by one node only")


def _unrecorded(context: Context, holder: str, node: str) -> tuple[list[str], list[str]]:
    """The devices that the holder writes and `node` does not, and those that it does. Waits for a moment without the former.

    Both are asked again each time, because recordings on motion begin and end, and not on both nodes at once. Two looks count as
    one: where a table is just being split, its device is not written for a moment.
    """
    deadline = time.monotonic() + READY_SECONDS
    before: dict[str, set[str]] = {}
    while True:
        answers = context.on_nodes(lambda session: session.call("media.writing", {}))
        now = {name: set(answer.get("writing") or []) for name, answer in answers.items()}
        if before:
            written = now[node] | before[node]
            missing = (now[holder] | before[holder]) - written
            if not missing or time.monotonic() >= deadline:
                return sorted(missing), sorted(written)
        before = now
        time.sleep(POLL_SECONDS)


def _named(devices: t.Sequence[str]) -> str:
    more = ", ..." if len(devices) > 4 else ""
    return f"{len(devices)} devices ({', '.join(devices[:4])}{more})" if len(devices) > 1 else f"device {devices[0]}"


def _hand_over(context: Context, wanted: str, fetches: bool = False) -> dict[str, t.Any]:
    integrations = Integrations(context)
    integrations.start()
    # That it is behind is what a turn is for, and what it records was looked at more closely than a score tells.
    plan = plan_attachment(context.pair, read_facts(context)[0], SWITCHOVER, wanted, fetches=fetches, accept=ACCEPTABLE)
    if not plan.changed:
        return {"changed": False, "epoch": plan.epoch, "steps": [], "seconds": 0.0, "fingerprint": None}
    error = integrations.ready(60.0)
    if error is not None:
        raise TandemError(f"the Management Server cannot be asked, so no node can fetch its configuration: {error.message}",
                          pair=context.pair.name, code="management_server",
                          next_step="wait until the Management Server answers, then run again.") from error
    return carry_out(context, plan, integrations, serve_wait=context.params["serve_wait"])


def _wait_for(context: Context, node: str, items: t.Sequence[replication.Item], reference: Contents) -> dict[str, t.Any]:
    """Until the node's items are what the other node had when it was attached, or are there and stopped changing."""
    began = time.monotonic()
    last: Contents | None = None
    unchanged_since = began
    while True:
        now = read_items(context, node, items)
        missing = [item.id for item in items if now[item.id] is None]
        differing = [item.id for item in items if replication.compare(item, reference[item.id], now[item.id]).changed]
        if now != last:
            last, unchanged_since = now, time.monotonic()
        seconds = round(time.monotonic() - began, 3)
        settled = not missing and time.monotonic() - unchanged_since >= SETTLED_SECONDS
        if not differing or (settled and context.params["turn_accept"] == "settled"):
            return {"seconds": seconds, "equal": not differing, "differing": differing}
        if seconds >= context.params["turn_wait"]:
            raise _not_fetched(context, node, missing or differing, seconds)
        time.sleep(POLL_SECONDS)


def _not_fetched(context: Context, node: str, names: t.Sequence[str], seconds: float) -> TandemError:
    return TandemError(f"while it was attached for {seconds:.0f} s, its {', '.join(names)} did not become what its partner had; the pair"
                       " was handed back", pair=context.pair.name, node=node, code="not_fetched",
                       next_step="look at RecorderEngine.log of that node; raise turn_wait, or set turn_accept to settled when the files"
                                 " of two recorders are never equal on this version of XProtect.")


def _not_handed_back(context: Context, holder: str, other: str, error: TandemError, before: TandemError | None) -> TandemError:
    also = f"; before that: {before.message}" if before else ""
    return TandemError(f"the turn of node {other} could not be ended, node {holder} was to be attached again: {error.message}{also}",
                       pair=context.pair.name, node=holder, code="not_handed_back", details=error.details,
                       next_step=f"read the state of the pair (module pair_info), then switch over to node {holder} (module"
                                 " recorder_attachment).")


# -- the record --------------------------------------------------------------------------------------------------------
def _write_down(context: Context, work: WorkLock, holder: str, other: str, items: t.Sequence[replication.Item]) -> None:
    contents = context.on_nodes(lambda session: read_items(context, session.node_name, [*items, RECORD]))
    record = _parse(contents[other][RECORD.id])
    record.update({item.id: {name: _sha256(contents[name][item.id]) for name in (holder, other)} for item in items})
    content = (json.dumps(record, indent=2, sort_keys=True) + "\n").encode()
    if content == contents[other][RECORD.id]:
        return
    work.call(other, "config.apply", {"items": [replication.apply_request(RECORD, content, False)], "author": "turn", "check": False})


def _parse(content: bytes | None) -> dict[str, t.Any]:
    try:
        found = json.loads(content or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()
