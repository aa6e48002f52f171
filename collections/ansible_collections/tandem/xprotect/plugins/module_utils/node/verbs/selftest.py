# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``selftest``: does everything that the runtime needs of this machine work here? Made for the first hour on a real recorder.

Reads everything, writes only below Tandem's own folder, and touches the network only on the machine itself. Two items
are off unless asked for, because they change the machine for some seconds: ``{"address": {"address", "prefix",
"interface"}}`` holds a free address and lets it run out; ``{"permit": true}`` opens the fence of a headless node and
closes it again.
"""

from __future__ import annotations

import random
import time
import typing as t

from .. import settings as node_settings
from ..errors import NodeError
from ..host.base import Host, HostError
from ..recorder_local import INSTALLATION_KEY, StatusProbe, media_folders, read_config
from ..store import ROOT, append_line, make_folder, read_bytes, write_bytes

FOLDER = ROOT + "\\selftest"
LIFETIME = 5.0


class Skip(Exception):
    """The item was not asked for or does not apply."""


def selftest(host: Host, request: dict, progress: t.Callable) -> dict:
    settings = node_settings.load(host)
    name = settings.recorder_service if settings else node_settings.DEFAULT_SERVICES["recorder"]
    checks: list[tuple[str, t.Callable[[], t.Any]]] = [
        ("machine_name", host.machine_name), ("os_name", host.os_name), ("time_zone", host.time_zone),
        ("drives", lambda: [drive.letter for drive in host.drives()]), ("addresses", lambda: sorted(host.addresses())),
        ("registry", lambda: host.registry_read(INSTALLATION_KEY, "MediaDBFolder")),
        ("recorder_service", lambda: host.service(name).state),
        ("guard_service", lambda: host.service(node_settings.GUARD_SERVICE).state),
        ("fence", lambda: "installed" if host.fence_rules() else "not installed"), ("permit", host.permit_open),
        ("files", lambda: _files(host)), ("loopback", lambda: _loopback(host, settings)),
        ("recorder_config", lambda: read_config(host)["id"]), ("media_folders", lambda: media_folders(host)),
        ("recorder_status", lambda: _recorder_status(host, settings, name)),
        ("address_lifetime", lambda: _address(host, request.get("address"))),
        ("permit_cycle", lambda: _permit(host, settings, request.get("permit") is True)),
    ]
    items = []
    for item, check in checks:
        items.append(_run(item, check))
        progress(item, outcome=items[-1]["outcome"])
    return {"ok": all(item["outcome"] != "error" for item in items), "items": items}


def _run(name: str, check: t.Callable[[], t.Any]) -> dict:
    started = time.perf_counter()
    try:
        outcome, found = "ok", check()
    except Skip as reason:
        outcome, found = "skipped", str(reason)
    except (HostError, NodeError, OSError) as error:
        outcome, found = "error", str(error)
    return {"name": name, "outcome": outcome, "found": found, "seconds": round(time.perf_counter() - started, 4)}


def _files(host: Host) -> str:
    """Write, replace, append, restrict, inherit, read back, remove."""
    make_folder(host, FOLDER)
    file = FOLDER + "\\file.txt"
    for content in (b"one", b"two"):
        write_bytes(host, file, content)
        if read_bytes(host, file) != content:
            raise HostError("a file did not read back as it was written")
    append_line(host, FOLDER + "\\lines.jsonl", {"at": time.time()})
    host.restrict_to_administrators(host.path(file))
    if read_bytes(host, file) != b"two":
        raise HostError("a restricted file cannot be read any more by this account")
    host.inherit_permissions(host.path(FOLDER))
    if read_bytes(host, file) != b"two":
        raise HostError("a file with its folder's rights cannot be read by this account")
    for path in (file, FOLDER + "\\lines.jsonl"):
        host.path(path).unlink()
    host.path(FOLDER).rmdir()
    return "written, replaced, restricted, given its folder's rights, removed"


def _loopback(host: Host, settings: node_settings.NodeSettings | None) -> str:
    """A connection of this machine to itself, through listen, accept and connect."""
    address = settings.address if settings else next(iter(host.addresses()), "127.0.0.1")
    listener, port = _listen(host, address)
    try:
        client = host.connect(address, port, 2.0)
        try:
            accepted = host.accept(listener, 2.0)
            if accepted is None:
                raise HostError(f"a connection to {address} was not accepted within 2 s")
            accepted[0].close()
        finally:
            client.close()
    finally:
        listener.close()
    return f"connected to {address}"


def _listen(host: Host, address: str) -> tuple[t.Any, int]:
    """A free port. Tried one by one, because not every listener can tell which port the system chose."""
    for left in range(4, -1, -1):
        port = random.randrange(49152, 65536)
        try:
            return host.listen(address, port), port
        except (OSError, HostError):
            if not left:
                raise
    raise AssertionError("unreachable")


def _recorder_status(host: Host, settings: node_settings.NodeSettings | None, name: str) -> str:
    if host.service(name).state != "running":
        raise Skip("the recorder service does not run")
    state = StatusProbe.find(host, settings.address if settings else None).ask()
    if state is None:
        raise HostError("the running recorder does not tell its state without a token (assumption recorder_status_without_token)")
    return f"{state.attach_state}, {state.connection_state}"


def _address(host: Host, wanted: object) -> str:
    """Assumption `address_lifetime_enforced`: an address goes by itself when its lifetime is over."""
    if not isinstance(wanted, dict):
        raise Skip("not asked for")
    address, prefix = str(wanted.get("address")), wanted.get("prefix")
    if not isinstance(prefix, int):
        raise HostError("address needs 'address' and 'prefix'")
    if address in host.addresses():
        raise HostError(f"{address} is in use on this machine: give a free one")
    host.hold_address(address, prefix, LIFETIME, wanted.get("interface"))
    try:
        if address not in host.addresses():
            raise HostError(f"{address} was added but is not there")
        deadline = time.monotonic() + LIFETIME + 5.0
        while address in host.addresses():
            if time.monotonic() > deadline:
                raise HostError(f"{address} is still there 5 s after its lifetime: addresses must be dropped by a process")
            time.sleep(0.2)
    finally:
        if address in host.addresses():
            host.drop_address(address)
    return "held, and gone by itself after its lifetime"


def _permit(host: Host, settings: node_settings.NodeSettings | None, wanted: bool) -> str:
    if not wanted:
        raise Skip("not asked for")
    if settings is None or host.fence_rules() is None:
        raise Skip("there is no fence on this machine")
    if host.permit_open():
        raise Skip("this node is attached")
    permit = host.open_permit(settings.fence_rules())
    try:
        opened = host.permit_open()
    finally:
        permit.close()
    if not opened or host.permit_open():
        raise HostError("the permit was not seen to open and to close")
    return "opened and closed"


VERBS = {"selftest": selftest}
