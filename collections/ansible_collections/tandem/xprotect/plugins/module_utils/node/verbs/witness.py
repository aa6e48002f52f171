# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``witness`` (the resident process), ``witness.configure``, ``witness.pair`` and ``witness.status``.

On Windows the service is installed and restarted here. On Linux that is systemd's (the role writes the unit), and the answer tells
whether a restart is needed.
"""

from __future__ import annotations

import ssl
import sys

from ..errors import NodeError
from ..host.base import Host
from ..store import ROOT, make_folder, read_bytes, to_json, write_bytes_if_different
from ..witness import settings
from . import _request as ask
from .guard import PYTHON

DISPLAY = "Tandem Witness (third voter of XProtect recorder pairs)"
RESTART_AFTER = 2.0
START_TIMEOUT = 30.0


def resident(host: Host, _request: dict, _progress: object) -> dict:
    from ..witness import service
    service.run(host)
    return {"stopped": True}


# -- the witness itself ------------------------------------------------------------------------------------------------

def configure(host: Host, request: dict, _progress: object) -> dict:
    """Settings, certificate and (with `runtime_path`) the Windows service. A changed witness is restarted: renewals survive that."""
    check = ask.flag(request, "check")
    document = ask.section(request, "config")
    settings.parse(document)
    given = request.get("tls")
    command = _command(ask.text(request, "runtime_path")) if request.get("runtime_path") is not None else None
    items = [(settings.SETTINGS_FILE, to_json(document))]
    if given is not None:
        items += _tls_items(ask.section(request, "tls"))
    elif not _has_identity(host):
        raise NodeError("tls_missing", f"The witness has no certificate and key ({settings.CERTIFICATE}) and none were given.",
                        "Give certificate and key.")
    if not check:
        _make_folders(host)
    written = [{"id": path.rsplit("\\", 1)[1], "changed": write_bytes_if_different(host, path, data, check)} for path, data in items]
    if command is not None:
        written.append({"id": "service", "changed": _install(host, command, check)})
    changed = any(item["changed"] for item in written)
    running = _report(host)
    outdated = changed or running is None or _is_old(host, running, command)
    if outdated and command is not None and not check:
        host.service_stop(settings.SERVICE, START_TIMEOUT)
        host.service_start(settings.SERVICE, START_TIMEOUT)
    return {"changed": changed or (outdated and command is not None), "items": written,
            "restart_needed": outdated and (check or command is None), "certificate": _certificate(host)}


def status(host: Host, _request: dict, _progress: object) -> dict:
    """What a controller has to know: the certificate to pin, the pairs that are registered, and what the service says."""
    about = settings.load(host)
    return {"configured": about is not None, "name": about.name if about else None, "port": about.port if about else None,
            "certificate": _certificate(host), "has_key": read_bytes(host, settings.KEY, settings.MAX_PEM) is not None,
            "registered": settings.pair_names(host), "service": _report(host) if about else None}


# -- its pairs ---------------------------------------------------------------------------------------------------------

def pair(host: Host, request: dict, _progress: object) -> dict:
    """Have a pair registered (``state: present``, with its document in `pair`) or not (``absent``)."""
    settings.require(host)
    check, state = ask.flag(request, "check"), ask.text(request, "state", "present")
    document = ask.section(request, "pair")
    if state not in ("present", "absent"):
        raise NodeError("bad_request", f"state must be 'present' or 'absent', not {state[:32]!r}.")
    name = ask.text(document, "pair")
    changed = _register(host, name, document, check) if state == "present" else _forget(host, name, check)
    report = None if check else _report(host, "reload")
    problem = (report or {}).get("problems", {}).get(name)
    if problem and state == "present":
        raise NodeError("witness_config_invalid", f"The witness does not take pair {name} over: {problem}", "Correct it and run again.")
    known = [row for row in (report or {}).get("pairs", []) if row.get("pair") == name]
    return {"changed": changed, "running": report is not None, "state": known[0]["state"] if known else None,
            "certificate": _certificate(host)}


def _register(host: Host, name: str, document: dict, check: bool) -> bool:
    definition = settings.parse_pair(document)
    for other in settings.pair_names(host):
        if other == name:
            continue
        if other.casefold() == name.casefold():
            raise NodeError("pair_exists", f"This witness has a pair {other!r}, which differs from {name!r} in case only.",
                            "Give the pair another name.")
        _refuse_shared_certificate(host, other, definition)
    if len(settings.pair_names(host)) >= settings.MAX_PAIRS:
        raise NodeError("too_many", f"This witness serves {settings.MAX_PAIRS} pairs already.", "Use another witness.")
    if not check:
        _make_folders(host)
    return write_bytes_if_different(host, settings.pair_file(name), to_json(document), check)


def _refuse_shared_certificate(host: Host, other: str, definition: settings.PairDefinition) -> None:
    try:
        known = settings.load_pair(host, other)
    except NodeError:
        return  # the service tells about that one
    theirs = {certificate for node in known.nodes for certificate in node.certificates} if known else set()
    if any(not theirs.isdisjoint(node.certificates) for node in definition.nodes):
        raise NodeError("certificate_shared", f"A node of pair {definition.pair} has the certificate of a node of pair {other}.",
                        "Each node needs a certificate of its own: configure its guard first.")


def _forget(host: Host, name: str, check: bool) -> bool:
    """Definition first: without it the service gives no vote. A pair that comes back has to be admitted by its nodes."""
    paths = [host.path(path) for path in (settings.pair_file(name), settings.votes_file(name))]
    present = [path for path in paths if path.exists()]
    if not check and present:
        paths[0].unlink(missing_ok=True)
        _report(host, "reload")
        paths[1].unlink(missing_ok=True)
    return bool(present)


# -- parts -------------------------------------------------------------------------------------------------------------

def _command(runtime_path: str) -> str:
    if '"' in runtime_path or not runtime_path.lower().endswith("\\node.pyz"):
        raise NodeError("bad_request", "runtime_path must be the Windows path of a node.pyz.")
    return f'"{PYTHON}" -I -B -X utf8 "{runtime_path}" witness'


def _make_folders(host: Host) -> None:
    make_folder(host, ROOT)
    for folder in (settings.FOLDER, settings.PAIRS_FOLDER, settings.VOTES_FOLDER):
        make_folder(host, folder)
    if make_folder(host, settings.TLS_FOLDER):
        host.restrict_to_administrators(host.path(settings.TLS_FOLDER))


def _tls_items(tls: dict) -> list[tuple[str, bytes]]:
    certificate, key = (ask.text(tls, name, limit=settings.MAX_PEM) for name in ("certificate", "key"))
    try:
        settings.read_pem(certificate)
    except (ValueError, ssl.SSLError) as error:
        raise NodeError("tls_invalid", f"The certificate of the witness is not usable: {error}.", "Give a certificate in PEM.") from None
    _check_key(certificate, key)
    return [(settings.CERTIFICATE, certificate.encode()), (settings.KEY, key.encode())]


def _check_key(certificate: str, key: str) -> None:
    """They belong together, before anything is replaced."""
    import os
    import tempfile
    with tempfile.TemporaryDirectory() as scratch:
        file = os.path.join(scratch, "both.pem")
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii", errors="replace") as out:
            out.write(certificate.strip() + "\n" + key)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file, password=lambda: "")
        except (ssl.SSLError, OSError) as error:
            raise NodeError("tls_invalid", f"Certificate and key of the witness do not fit: {error}.",
                            "Give a PEM certificate and its own unencrypted PEM key.") from None


def _has_identity(host: Host) -> bool:
    return all(read_bytes(host, path, settings.MAX_PEM) is not None for path in (settings.CERTIFICATE, settings.KEY))


def _certificate(host: Host) -> str | None:
    data = read_bytes(host, settings.CERTIFICATE, settings.MAX_PEM)
    return None if data is None else data.decode("ascii", "replace")


def _install(host: Host, command: str, check: bool) -> bool:
    service = host.service(settings.SERVICE)
    changed = service.state == "missing" or service.command != command or service.start_type != "auto"
    if changed and not check:
        host.service_install(settings.SERVICE, DISPLAY, command, start_type="auto", restart_after=RESTART_AFTER)
    return changed


def _is_old(host: Host, running: dict, command: str | None) -> bool:
    if running.get("configuration_sha256") != settings.configuration_sha256(host):
        return True
    archive = host.path(command.split('"')[3]) if command else None
    if archive is None or not archive.is_file():
        return False
    import hashlib
    with open(archive, "rb") as file:
        return running.get("runtime_sha256") not in (None, hashlib.file_digest(file, "sha256").hexdigest())


def _report(host: Host, op: str = "status") -> dict | None:
    """What the running service says about itself, None when none answers."""
    from ..guard import wire
    from ..witness import client
    try:
        return client.ask(host, settings.require(host), op)
    except (NodeError, OSError, wire.WireError) as error:
        sys.stderr.write(f"the witness service did not answer: {error}\n")
        return None


VERBS = {"witness": resident, "witness.configure": configure, "witness.pair": pair, "witness.status": status}
