# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``guard`` (the resident process), ``guard.configure``, ``guard.tls`` and the permanent fence."""

from __future__ import annotations

import os
import sys
import typing as t

from .. import settings as node_settings
from ..errors import NodeError
from ..host.base import FenceRules, Host
from ..settings import GUARD_SERVICE, NodeSettings
from ..store import (NODE_FILE, OWN_CERTIFICATE, OWN_KEY, PARTNER_CERTIFICATE, ROOT, TLS_FOLDER, WITNESS_CERTIFICATE, make_folder,
                     read_bytes, to_json, write_bytes_if_different)
from . import _request as ask

PYTHON = "C:\\Program Files\\Tandem\\python\\python.exe"
DISPLAY = "Tandem Guard (attachment of an XProtect recorder pair)"
RESTART_AFTER = 2.0
_MAX_PEM = 64 * 1024


def resident(host: Host, _request: dict, _progress: object) -> dict:
    from ..guard import service
    service.run(host)
    return {"stopped": True}


# -- configuration -----------------------------------------------------------------------------------------------------

def configure(host: Host, request: dict, _progress: object) -> dict:
    """Files, service and running copy. An attached guard is never restarted here: it is reported as pending instead."""
    check = ask.flag(request, "check")
    document = ask.section(request, "config")
    settings = node_settings.parse(document)
    tls = ask.section(request, "tls")
    command = _command(ask.text(request, "runtime_path"))
    certificate, partner = ask.text(tls, "certificate", limit=_MAX_PEM), ask.text(tls, "partner_certificate", limit=_MAX_PEM)
    key, witness = ask.text(tls, "key", None, limit=_MAX_PEM), ask.text(tls, "witness_certificate", None, limit=_MAX_PEM)
    if settings.witness is not None and witness is None:
        raise NodeError("tls_missing", "The pair has a witness, and its certificate was not given.", "Give the witness's certificate.")
    if key is None and read_bytes(host, OWN_KEY, _MAX_PEM) is None:
        raise NodeError("tls_missing", f"This node has no private key for the Tandem port ({OWN_KEY}) and none was given.",
                        "Give the key of the certificate.")
    if not check:
        make_folder(host, ROOT)
        if make_folder(host, TLS_FOLDER):
            host.restrict_to_administrators(host.path(TLS_FOLDER))
    _check_tls(host, certificate, key, partner, witness)
    items = [(NODE_FILE, to_json(document)), (OWN_CERTIFICATE, certificate.encode()), (PARTNER_CERTIFICATE, partner.encode())]
    if key is not None:
        items.insert(1, (OWN_KEY, key.encode()))
    if witness is not None:
        items.append((WITNESS_CERTIFICATE, witness.encode()))
    attached = host.permit_open()
    written = [{"id": path.rsplit("\\", 1)[1], "changed": write_bytes_if_different(host, path, data, check)} for path, data in items]
    written.append({"id": "service", "changed": _install_service(host, command, check)})
    if not check:
        _precompile(host, command)
    outdated = _outdated(host, settings, command, [item for item in written if item["changed"]])
    pending = outdated and attached  # told each time; a change only the first time, when something is written
    if outdated and not check and not pending:
        _restart(host)
    return {"changed": any(item["changed"] for item in written) or (outdated and not pending), "items": written,
            "restart_needed": outdated and (check or pending), "guard_pending": pending}


def tls(host: Host, _request: dict, _progress: object) -> dict:
    certificate = read_bytes(host, OWN_CERTIFICATE, _MAX_PEM)
    return {"certificate": None if certificate is None else certificate.decode("ascii", "replace"),
            "has_key": read_bytes(host, OWN_KEY, _MAX_PEM) is not None}


def _command(runtime_path: str) -> str:
    if not runtime_path.lower().endswith(".pyz"):
        runtime_path = runtime_path.rstrip("\\") + "\\node.pyz"
    if '"' in runtime_path:
        raise NodeError("bad_request", "runtime_path must not hold a quotation mark.")
    return f'"{PYTHON}" -I -B -X utf8 "{runtime_path}" guard'


def _install_service(host: Host, command: str, check: bool) -> bool:
    service = host.service(GUARD_SERVICE)
    changed = service.state == "missing" or service.command != command or service.start_type != "auto"
    if changed and not check:
        host.service_install(GUARD_SERVICE, DISPLAY, command, start_type="auto", restart_after=RESTART_AFTER)
    return changed


def _outdated(host: Host, settings: NodeSettings, command: str, changed: list) -> bool:
    """Must the guard be (re)started so that what runs is what is configured?"""
    if changed or host.service(GUARD_SERVICE).state != "running":
        return True
    from ..guard.client import TandemClient
    try:
        with TandemClient(host, settings, peer="local", connect_timeout=1.0) as guard:
            running = guard.call("status", timeout=3.0)
    except NodeError:
        return True
    archive = host.path(command.split('"')[3])
    return (running.get("configuration_sha256") != node_settings.configuration_sha256(host)
            or (archive.is_file() and running.get("runtime_sha256") not in (None, _sha256(archive))))


def _precompile(host: Host, command: str) -> None:
    """Faster starts from now on. Only a convenience: a folder that cannot be written is no reason to fail."""
    archive = host.path(command.split('"')[3])
    if archive.is_file():
        from .. import precompiled
        try:
            precompiled.make(str(archive))
        except (OSError, ValueError, SyntaxError) as error:
            sys.stderr.write(f"the runtime could not be precompiled: {error}\n")


def _sha256(path: t.Any) -> str:
    import hashlib
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _restart(host: Host) -> None:
    if host.permit_open():
        raise NodeError("attached", "The guard was attached while it was configured; it is not restarted.",
                        "Run the task again: it reports the guard as pending.")
    host.service_stop(GUARD_SERVICE, 60.0)
    host.service_start(GUARD_SERVICE, 60.0)


def _check_tls(host: Host, certificate: str, key: str | None, partner: str, witness: str | None) -> None:
    """Certificate and key belong together and everything parses, before anything is replaced."""
    import ssl
    import tempfile
    from ..guard.tls import certificates_of
    try:
        own = certificates_of(certificate, "certificate")
        for name, others in (("partner", certificates_of(partner, "partner_certificate")),
                             ("witness", certificates_of(witness or "", "witness_certificate"))):
            if set(own) & set(others):
                raise NodeError("tls_invalid", f"The node and its {name} have the same certificate.",
                                "Give each of them a certificate of its own.")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_verify_locations(cadata="\n".join((certificate, partner, witness or "")))
        stored = host.path(OWN_KEY)
        if key is None:
            _load_pair(context, certificate, stored, host)
        else:
            folder = host.path(TLS_FOLDER)
            with tempfile.TemporaryDirectory(dir=folder if folder.is_dir() else None) as scratch:
                file = os.path.join(scratch, "key.pem")
                with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as out:
                    out.write(key)
                _load_pair(context, certificate, file, host)
    except (ssl.SSLError, ValueError, UnicodeError) as error:
        raise NodeError("tls_invalid", f"The certificates or the key for the Tandem port are not usable: {error}.",
                        "Give a PEM certificate, its own unencrypted PEM key, and the partner's PEM certificate.") from None


def _load_pair(context: t.Any, certificate: str, key_file: t.Any, host: Host) -> None:
    import tempfile
    folder = host.path(TLS_FOLDER)
    with tempfile.TemporaryDirectory(dir=folder if folder.is_dir() else None) as scratch:
        file = os.path.join(scratch, "certificate.pem")
        with open(file, "w", encoding="ascii") as out:
            out.write(certificate)
        context.load_cert_chain(file, key_file, password=lambda: "")


# -- fence -------------------------------------------------------------------------------------------------------------

def fence_install(host: Host, request: dict, _progress: object) -> dict:
    """Make the fence permanent on a node that does not serve. The node that serves is adopted instead."""
    rules = node_settings.require(host).fence_rules()
    before = host.fence_rules()
    if before == rules:
        return {"changed": False, "rules": _describe(rules)}
    if host.permit_open():
        raise NodeError("attached", "The fence's rules differ, but this node is attached and they are not changed under it.",
                        "Switch over first; then run the task again.")
    from .service import serving
    reason = serving(host)
    if reason:
        raise NodeError("attached", f"The fence is not installed: {reason}. It would be cut off.",
                        "Adopt this node instead (attachment.adopt).")
    if not ask.flag(request, "check"):
        host.fence_install(rules)
    return {"changed": True, "rules": _describe(rules)}


def fence_remove(host: Host, request: dict, _progress: object) -> dict:
    """Take the fence away for good. Not from a headless node whose recorder runs: it would appear twice."""
    if host.fence_rules() is None:
        return {"changed": False}
    settings = node_settings.load(host)
    name = settings.recorder_service if settings else node_settings.DEFAULT_SERVICES["recorder"]
    if not host.permit_open() and host.service(name).state not in ("stopped", "missing"):
        raise NodeError("recorder_running", "The fence is not removed: this node is headless and its recorder runs, so it would appear "
                        "at the Management Server beside its partner.", "Stop the recorder service of this node first.")
    if not ask.flag(request, "check"):
        host.fence_remove()
    return {"changed": True}


def _describe(rules: FenceRules) -> dict:
    return {"management_addresses": list(rules.management_addresses), "inbound_ports": list(rules.inbound_ports)}


VERBS = {"guard": resident, "guard.configure": configure, "guard.tls": tls, "fence.install": fence_install, "fence.remove": fence_remove}
