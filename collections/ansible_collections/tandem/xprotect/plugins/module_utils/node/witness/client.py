# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verb's question to the witness service of its own machine, by the witness's own certificate."""

from __future__ import annotations

import ssl

from ..errors import NodeError
from ..guard import wire
from ..host.base import Host, HostError
from . import settings
from .settings import WitnessSettings

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 2.0, 20.0
#: Where the service listens on all addresses, it is reached at this one.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def ask(host: Host, about: WitnessSettings, op: str) -> dict:
    """Raises `NodeError` for a refusal, OSError or `WireError` when nobody answers."""
    own = settings.own_certificate(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=own)
    context.load_cert_chain(host.path(settings.CERTIFICATE), host.path(settings.KEY), password=lambda: "")
    try:
        raw = host.connect(_ANY.get(about.address, about.address), about.port, CONNECT_TIMEOUT)
    except HostError as error:
        raise OSError(str(error)) from None
    try:
        raw.settimeout(CONNECT_TIMEOUT)
        sock = context.wrap_socket(raw)
    except OSError:
        raw.close()
        raise
    with sock:
        if sock.getpeercert(binary_form=True) != own:
            raise ssl.SSLError("another certificate than the witness's own was shown")
        wire.send(sock, {"op": op})
        answer = wire.receive(sock, ANSWER_TIMEOUT)
    if answer.get("ok") is not True:
        raise NodeError.from_dict(answer.get("error"))
    result = answer.get("result")
    return result if isinstance(result, dict) else {}
