# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who calls: HTTP basic, and NTLM with message encryption, which is bound to one TCP connection (MS-WSMV 2.2.9.1)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import os
import pathlib
import re
import typing as t

from ..settings import MachineSettings

BOUNDARY = b"--Encrypted Boundary"
PROTOCOL = "application/HTTP-SPNEGO-session-encrypted"
CONTENT_TYPE = f'multipart/encrypted;protocol="{PROTOCOL}";boundary="Encrypted Boundary"'
_ORIGINAL_LENGTH = re.compile(rb"OriginalContent:[^\r\n]*Length=(\d+)", re.IGNORECASE)
_OCTETS = b"\tContent-Type: application/octet-stream\r\n"


class BadMessage(Exception):
    """An encrypted message that this connection cannot read."""


class Session:
    """The authentication of one TCP connection."""

    def __init__(self) -> None:
        self.context: t.Any = None
        self.user: str | None = None  # known once NTLM is complete

    def decrypt(self, body: bytes) -> bytes:
        if self.user is None or self.context is None:
            raise BadMessage("the connection has no security context")
        header, _, payload = body.removeprefix(BOUNDARY + b"\r\n").partition(BOUNDARY + b"\r\n")
        length = _ORIGINAL_LENGTH.search(header)
        if length is None or not payload.startswith(_OCTETS):
            raise BadMessage("the message is not multipart/encrypted")
        sealed = payload[len(_OCTETS):].removesuffix(BOUNDARY + b"--\r\n")
        signature_length = int.from_bytes(sealed[:4], "little")
        if signature_length != 16:
            raise BadMessage("the signature has a wrong length")
        try:
            message = self.context.unwrap(sealed[4:]).data  # signature and sealed data follow each other, as NTLM wants them
        except Exception as error:  # whatever the security package objects to
            raise BadMessage(str(error)) from error
        if len(message) != int(length[1]):
            raise BadMessage("the decrypted length is not the announced one")
        return message

    def encrypt(self, message: bytes) -> bytes:
        sealed = self.context.wrap(message, encrypt=True).data
        return b"".join((
            BOUNDARY, b"\r\n\tContent-Type: ", PROTOCOL.encode(), b"\r\n\tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=",
            str(len(message)).encode(), b"\r\n", BOUNDARY, b"\r\n", _OCTETS, (16).to_bytes(4, "little"), sealed, BOUNDARY, b"--\r\n"))


class Authenticator:
    def __init__(self, settings: MachineSettings, root: pathlib.Path):
        self._settings = settings
        self._users = {user.casefold(): (user, password) for user, password in settings.users.items()}
        self._credentials = root / "ntlm-users"
        self._ready: asyncio.Task[None] | None = None
        self._spnego: t.Any = None

    def challenges(self) -> list[str]:
        offered = ["Negotiate"] if self._settings.winrm.ntlm else []
        return [*offered, 'Basic realm="WSMAN"'] if self._settings.winrm.basic else offered

    def basic(self, token: str) -> str | None:
        """The user of a basic header whose password is right."""
        if not self._settings.winrm.basic:
            return None
        try:
            name, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        user, expected = self._users.get(self._local_name(name), ("", ""))
        good = hmac.compare_digest(password.encode(), expected.encode())
        return user if good and user else None

    def _local_name(self, name: str) -> str:
        domain, separator, local = name.rpartition("\\")
        known = not separator or domain.casefold() in (".", self._settings.name.casefold())
        return local.casefold() if known else name.casefold()

    def prepare(self) -> asyncio.Task[None]:
        """Load the security package in the background: that takes longer than all else at boot."""
        if self._ready is None:
            self._ready = asyncio.get_running_loop().create_task(asyncio.to_thread(self._load))
        return self._ready

    def _load(self) -> None:
        import spnego
        from spnego._ntlm_raw.crypto import ntowfv1

        lines = []
        for user, password in self._settings.users.items():
            names = (user, f"{self._settings.name}\\{user}", f".\\{user}", f"{user}@{self._settings.name}")
            hashed = ntowfv1(password).hex().upper()
            lines += [f"{name}:1000:{'00' * 16}:{hashed}:[U]:LCT-00000000" for name in names]
        fd = os.open(self._credentials, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        os.environ["NTLM_USER_FILE"] = str(self._credentials)  # the kernel's own environment: its children get another
        os.environ["NETBIOS_COMPUTER_NAME"] = self._settings.name.upper()
        self._spnego = spnego

    async def ntlm(self, session: Session, token: str) -> bytes | None:
        """One step of NTLM. The token for the client, None when it is refused or (see `session.user`) complete."""
        if not self._settings.winrm.ntlm:
            return None
        await asyncio.shield(self.prepare())
        try:
            data = base64.b64decode(token, validate=True)
            if data[:12] == b"NTLMSSP\0\x01\0\0\0" or session.context is None:
                session.user = None
                session.context = self._spnego.server(
                    protocol="ntlm", options=self._spnego.NegotiateOptions.use_ntlm,
                    context_req=self._spnego.ContextReq.confidentiality | self._spnego.ContextReq.integrity)
            reply = session.context.step(data)
        except (binascii.Error, ValueError, self._spnego.exceptions.SpnegoError):
            session.context, session.user = None, None
            return None
        if session.context.complete:
            name = self._local_name(str(session.context.client_principal or "").partition("@")[0])
            session.user = self._users.get(name, (name, ""))[0]
        return reply
