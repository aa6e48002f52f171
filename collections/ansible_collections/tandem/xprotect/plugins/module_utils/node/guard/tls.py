# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutual TLS between the guards of a pair, their witness, and a verb and the guard of its own machine.

There is no certificate authority: a node trusts exactly its own certificate, its partner's and its witness's, byte for byte.
Names and issuers are not looked at, because the certificate itself is what was pinned. A file may hold two certificates while
the other side exchanges its own.
"""

from __future__ import annotations

import re
import ssl

from ..errors import NodeError
from ..host.base import Host
from ..store import OWN_CERTIFICATE, OWN_KEY, PARTNER_CERTIFICATE, TLS_FOLDER, WITNESS_CERTIFICATE, read_bytes

_MAX_PEM = 64 * 1024
_MAX_CERTIFICATES = 2
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_NEXT = "Run the role that configures the guards: it writes certificate, key and the certificates of partner and witness."


class Pinned:
    """The certificates that a node accepts, and contexts that accept nothing else."""

    def __init__(self, host: Host):
        self._host = host
        texts = {path: read_pem(host, path) for path in (OWN_CERTIFICATE, PARTNER_CERTIFICATE, WITNESS_CERTIFICATE)}
        for path in (OWN_CERTIFICATE, PARTNER_CERTIFICATE):
            if texts[path] is None:
                raise NodeError("tls_missing", f"The Tandem port cannot be used: {path} is missing.", _NEXT)
        self._trusted = "\n".join(text for text in texts.values() if text)
        self._roles: dict[bytes, str] = {}
        for path, role in ((WITNESS_CERTIFICATE, "witness"), (PARTNER_CERTIFICATE, "partner"), (OWN_CERTIFICATE, "local")):
            for certificate in certificates_of(texts[path] or "", path):
                self._roles[certificate] = role

    def server(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def role(self, sock: ssl.SSLSocket) -> str | None:
        """Who is at the other end: "partner", "witness", "local" (this machine itself) or None for anybody else."""
        return self._roles.get(sock.getpeercert(binary_form=True) or b"")

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=self._trusted)
            context.load_cert_chain(self._host.path(OWN_CERTIFICATE), self._host.path(OWN_KEY), password=_no_password)
        except (OSError, ValueError) as error:
            raise NodeError("tls_invalid", f"The certificates in {TLS_FOLDER} cannot be used: {error}.", _NEXT) from None
        return context


def certificates_of(text: str, path: str) -> list[bytes]:
    """The certificates in a PEM text, as DER."""
    try:
        found = [ssl.PEM_cert_to_DER_cert(block) for block in _PEM.findall(text)]
    except ValueError as error:
        raise NodeError("tls_invalid", f"A certificate in {path} cannot be read: {error}.", _NEXT) from None
    if text.strip() and not 1 <= len(found) <= _MAX_CERTIFICATES:
        raise NodeError("tls_invalid", f"{path} holds {len(found)} certificates instead of 1 to {_MAX_CERTIFICATES}.", _NEXT)
    return found


def read_pem(host: Host, path: str) -> str | None:
    """A certificate's text, None when there is no such file."""
    data = read_bytes(host, path, _MAX_PEM)
    return None if data is None else data.decode("ascii", "replace")


def _no_password() -> str:
    """Asked for only when the key is encrypted, which a service cannot use: never prompt."""
    return ""
