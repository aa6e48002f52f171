# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``selftest``: does everything that the runtime needs of this machine work here? Made for the first hour on a real recorder.

Reads everything, writes only below Tandem's own folders (a probe file in the staging folder of each media drive), and touches the
network only on the machine itself, except for one question to the Management Server about its time. Two items are off unless
asked for, because they change the machine for some seconds: ``{"address": {"address", "prefix", "interface"}}`` holds a free
address and lets it run out; ``{"permit": true}`` opens the fence of a headless node and closes it again.
"""

from __future__ import annotations

import random
import time
import typing as t

from .. import settings as node_settings
from ..errors import NodeError
from ..guard import clocks, drives, registration
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
        ("media_drives", lambda: _media_drives(host)), ("clocks", lambda: _clocks(host)),
        ("management_time", lambda: _management_time(host, settings)), ("registration", lambda: _registration(host, settings)),
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


def _media_drives(host: Host) -> list[str]:
    """Every drive that holds media takes writes from this account."""
    letters = sorted({folder[:2].upper() for folder in media_folders(host) if folder[1:3] == ":\\"})
    if not letters:
        raise Skip("no media folder is on a drive of this machine")
    refused = [letter for letter in letters if not drives.writable(host, letter)]
    if refused:
        raise HostError(f"{', '.join(refused)} takes no writes")
    return letters


def _clocks(host: Host) -> str:
    """The clock that leases live by runs; and the identity that changes when a virtual machine is turned back."""
    before, real = host.monotonic(), time.monotonic()
    time.sleep(0.2)
    passed, really = host.monotonic() - before, time.monotonic() - real
    if not 0.5 * really <= passed <= 2 * really:
        raise HostError(f"the lease's clock went on by {passed:.3f} s in {really:.3f} s")
    generation = host.vm_generation()
    return f"runs; virtual machine generation {generation or 'not known'}"


def _management_time(host: Host, settings: node_settings.NodeSettings | None) -> str:
    if settings is None:
        raise Skip("this machine belongs to no pair yet")
    for address in settings.management_addresses:
        for port in settings.management_ports:
            answer = clocks.ask_date(host, address, port, 1.0)
            measured = answer and clocks.measure(*answer, 0.5)
            if measured:
                return f"this machine's clock is {measured[0]:+.1f} s against {address}:{port} (exact to {measured[1]:.1f} s)"
    raise Skip("the Management Server does not tell its time (a headless node is fenced off from it)")


def _registration(host: Host, settings: node_settings.NodeSettings | None) -> str:
    wanted = registration.Registration.parse(getattr(settings, "registration", registration.ONCE), getattr(settings, "register", None))
    if not wanted.wanted:
        raise Skip("this pair's nodes are registered once")
    verdict = registration.can_register(host, wanted)
    if not verdict.ok:
        raise HostError(verdict.message)
    return f"{wanted.file} is there"


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
