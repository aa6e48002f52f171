# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OAuth access tokens of the identity provider: JSON Web Tokens, RS256 with a key id (documented shape)."""

from __future__ import annotations

import base64
import hashlib
import json
import time
import typing as t
import uuid
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from . import files

SECONDS = 3600
SCOPE = "managementserver"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class AccessTokens:
    """Signs and checks access tokens. The key is kept, so that tokens outlive a restart of the server."""

    def __init__(self, key_file: Path, issuer: str, seconds: int = SECONDS):
        self._issuer = issuer
        self.seconds = seconds
        if key_file.exists():
            key = serialization.load_pem_private_key(key_file.read_bytes(), None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise ValueError(f"{key_file} holds no RSA key")
            self._key = key
        else:
            self._key = rsa.generate_private_key(65537, 2048)
            pem = self._key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            files.write_durable(key_file, pem)
        public = self._key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._key_id = hashlib.sha256(public).hexdigest()[:32].upper()

    def issue(self, user: str, client_id: str) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "kid": self._key_id, "typ": "at+jwt"}
        claims = {
            "nbf": now,
            "exp": now + self.seconds,
            "iss": self._issuer,
            "aud": SCOPE,
            "client_id": client_id,
            "sub": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._issuer}/{user.lower()}")),
            "name": user,
            "auth_time": now,
            "idp": "local",
            "jti": uuid.uuid4().hex.upper(),
            "iat": now,
            "scope": [SCOPE],
        }
        signed = ".".join(_encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims))
        return f"{signed}.{_encode(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def user_of(self, token: str) -> str | None:
        """The user of a valid token, None for any other text."""
        try:
            signed, _, signature = token.rpartition(".")
            header_part, _, claims_part = signed.partition(".")
            header, claims = json.loads(_decode(header_part)), json.loads(_decode(claims_part))
            if header.get("alg") != "RS256" or header.get("kid") != self._key_id:
                return None
            self._key.public_key().verify(_decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
            if claims["iss"] != self._issuer or not claims["nbf"] <= time.time() < claims["exp"]:
                return None
            return str(claims["name"])
        except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature):
            return None

    def public_keys(self) -> dict[str, t.Any]:
        numbers = self._key.public_key().public_numbers()
        return {
            "keys": [
                {
                    "kty": "RSA",
                    "use": "sig",
                    "kid": self._key_id,
                    "alg": "RS256",
                    "e": _encode(numbers.e.to_bytes(3, "big")),
                    "n": _encode(numbers.n.to_bytes(256, "big")),
                }
            ]
        }
