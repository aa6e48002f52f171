# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``witness``: a Windows machine (or the controller itself) becomes a witness: runtime, certificate, settings, service."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import typing as t

from .. import _runtime_build, certificates
from ..arguments import WITNESS_SPEC
from ..errors import TandemError
from ..pair.pair import DEFAULT_WITNESS_PORT
from ..runtime_deploy import Archive, ensure
from ._witness_machine import WitnessContext

ARGUMENT_SPEC: dict[str, t.Any] = {
    "witness": {"type": "dict", "required": True, "options": WITNESS_SPEC},
    "python_archive": {"type": "path"},
    "listen_address": {"type": "str"},
    "api_port": {"type": "int", "default": 11445},
    "api_token": {"type": "str", "no_log": True},
}
CONTEXT = WitnessContext
TIMEOUT = 180.0


@dataclasses.dataclass
class Runtime:
    changed: bool = False
    bare: bool = False  # only looked at, and it is not there: verbs cannot be asked


def run(context: WitnessContext) -> dict[str, t.Any]:
    runtime = _runtime(context)
    if runtime.bare:
        return _result(context, ["runtime", "certificate", "witness.json", "service"], None)
    present = context.session.call("witness.status", {}, timeout=TIMEOUT)
    request: dict[str, t.Any] = {"config": _config(context), "check": context.check_mode}
    if not (present.get("certificate") and present.get("has_key")):
        certificate, key = certificates.create(context.name, _ipv4(context))
        request["tls"] = {"certificate": certificate, "key": key}
    if context.way == "winrm":
        request["runtime_path"] = _runtime_build.runtime_path(_runtime_build.sha256())
    answer = context.session.call("witness.configure", request, timeout=TIMEOUT)
    items = (["runtime"] if runtime.changed else []) + [str(item["id"]) for item in answer.get("items") or [] if item.get("changed")]
    if answer.get("changed") and not items:
        items.append("restart")
    if answer.get("restart_needed") and not context.check_mode:
        context.warn(f"witness {context.name}: the service is not managed by this module there; restart it to take over what changed")
    return _result(context, items, answer.get("certificate"))


def _runtime(context: WitnessContext) -> Runtime:
    if context.way != "winrm":
        return Runtime()
    path = context.params.get("python_archive")
    answer = ensure(t.cast(t.Any, context.session), Archive.load(path) if path else None, context.check_mode)
    return Runtime(bool(answer["changed"]), bool(answer["changed"]) and context.check_mode)


def _config(context: WitnessContext) -> dict[str, t.Any]:
    token = context.params.get("api_token")
    if token is not None and len(token) < 16:
        raise TandemError("api_token is shorter than 16 characters", pair=context.name, code="configuration",
                          next_step="give a long random text, for example of `openssl rand -hex 24`.")
    port = context.params["witness"].get("port") or DEFAULT_WITNESS_PORT
    return {"name": context.name, "address": context.params.get("listen_address") or _ipv4(context), "port": port,
            "api_port": context.params["api_port"], "token_sha256": hashlib.sha256(token.encode()).hexdigest() if token else None}


def _ipv4(context: WitnessContext) -> str:
    try:
        return socket.gethostbyname(context.address)
    except OSError as error:
        raise TandemError(f"the address {context.address} cannot be resolved on the controller: {error.strerror or error}",
                          pair=context.name, code="configuration", next_step="give an IPv4 address as witness.address.") from None


def _result(context: WitnessContext, items: list[str], certificate: str | None) -> dict[str, t.Any]:
    return {"changed": bool(items), "items": items, "certificate": certificate,
            "diff": {"before": "", "after": "".join(f"witness {context.name}: {item}\n" for item in items)}}
