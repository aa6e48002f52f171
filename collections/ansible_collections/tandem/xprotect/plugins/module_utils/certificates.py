# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Certificates of the nodes: self-signed, pinned by the partner, made on the controller.

There is no certificate authority whose loss or expiry could part a pair: each side trusts exactly two certificates, its own
and its partner's. CA:TRUE is set because OpenSSL takes a self-signed certificate as a trust anchor only then.
"""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import re

from ._http import need
from .errors import TandemError

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as import_error:
    CRYPTOGRAPHY_MISSING: ImportError | None = import_error
else:
    CRYPTOGRAPHY_MISSING = None

YEARS = 10


@dataclasses.dataclass(frozen=True)
class NodeCertificate:
    """What `read` found in a PEM certificate."""

    common_name: str
    addresses: tuple[str, ...]
    names: tuple[str, ...]
    not_after: datetime.datetime
    sha256: str

    def days_left(self) -> float:
        return (self.not_after - datetime.datetime.now(datetime.timezone.utc)).total_seconds() / 86400

    def fits(self, node: str, address: str) -> bool:
        return self.common_name == node and address in self.addresses


def create(node: str, address: str) -> tuple[str, str]:
    """A new certificate and its private key (PEM, both). The key is for the node alone and is kept nowhere else."""
    need("cryptography", CRYPTOGRAPHY_MISSING)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # the nodes' clocks may be behind the controller's
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS + YEARS // 4))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, content_commitment=False, key_encipherment=False,
                                     data_encipherment=False, key_agreement=False, crl_sign=False, encipher_only=False,
                                     decipher_only=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName(_alternatives(node, address)), critical=False)
        .sign(key, hashes.SHA256()))
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def read(pem: str) -> NodeCertificate:
    """What stands in a certificate."""
    need("cryptography", CRYPTOGRAPHY_MISSING)
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError as error:
        raise TandemError(f"the node's certificate cannot be read: {error}", code="certificate",
                          next_step="have it made anew (module node_guard).") from None
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return NodeCertificate(
        common_name=str(common[0].value) if common else "",
        addresses=tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        names=tuple(names.get_values_for_type(x509.DNSName)),
        not_after=certificate.not_valid_after_utc,
        sha256=certificate.fingerprint(hashes.SHA256()).hex())


def split(text: str) -> list[str]:
    """The certificates in a text, each as PEM. Two while one is exchanged for the other: both are trusted for that time."""
    return [block + "\n" for block in re.findall(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", text, re.DOTALL)]


def together(*pems: str) -> str:
    """One text of several certificates, each once."""
    found: list[str] = []
    for pem in pems:
        found += [block for block in split(pem) if block not in found]
    return "".join(found)


def _alternatives(node: str, address: str) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = [x509.IPAddress(ipaddress.ip_address(address))]
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", node):  # names of nodes may hold blanks, DNS names may not
        found.append(x509.DNSName(node))
    return found
