# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutual TLS between the two guards of a pair, and between a verb and the guard of its own machine.

There is no certificate authority: a node trusts exactly its partner's certificate and its own, byte for byte. Names
and issuers are not looked at, because the certificate itself is what was pinned.
"""

from __future__ import annotations

import ssl

from ..errors import NodeError
from ..host.base import Host
from ..store import OWN_CERTIFICATE, OWN_KEY, PARTNER_CERTIFICATE, TLS_FOLDER, read_bytes

_MAX_PEM = 64 * 1024
_NEXT = "Run the role that configures the guards: it writes certificate, key and the partner's certificate."


class Pinned:
    """The two certificates that a node accepts, and contexts that accept nothing else."""

    def __init__(self, host: Host):
        self._host = host
        own, partner = read_pem(host, OWN_CERTIFICATE), read_pem(host, PARTNER_CERTIFICATE)
        for path, text in ((OWN_CERTIFICATE, own), (PARTNER_CERTIFICATE, partner)):
            if text is None:
                raise NodeError("tls_missing", f"The Tandem port cannot be used: {path} is missing.", _NEXT)
        self._trusted = own + "\n" + partner
        try:
            self.own = ssl.PEM_cert_to_DER_cert(own.strip())
            self.partner = ssl.PEM_cert_to_DER_cert(partner.strip())
        except ValueError as error:
            raise NodeError("tls_invalid", f"A certificate in {TLS_FOLDER} cannot be read: {error}.", _NEXT) from None

    def server(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_SERVER)

    def client(self) -> ssl.SSLContext:
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def role(self, sock: ssl.SSLSocket) -> str | None:
        """Who is at the other end: "partner", "local" (this machine itself) or None for anybody else."""
        certificate = sock.getpeercert(binary_form=True)
        if certificate == self.own:
            return "local"
        return "partner" if certificate == self.partner else None

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


def read_pem(host: Host, path: str) -> str | None:
    """A certificate's text, None when there is no such file."""
    data = read_bytes(host, path, _MAX_PEM)
    return None if data is None else data.decode("ascii", "replace")


def _no_password() -> str:
    """Asked for only when the key is encrypted, which a service cannot use: never prompt."""
    return ""
