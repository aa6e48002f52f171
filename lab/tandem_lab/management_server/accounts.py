# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in: the site's basic user and its Windows user, by password, HTTP Basic, Bearer or NTLM."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import weakref
from pathlib import Path

import spnego
from aiohttp import web
from spnego.exceptions import SpnegoError

from . import files
from .config import Account, ServerConfig

MAX_NTLM_BYTES = 16 << 10


def same_text(left: str, right: str) -> bool:
    return hmac.compare_digest(left.encode(), right.encode())


class Accounts:
    def __init__(self, config: ServerConfig):
        self._basic = config.basic_user
        self._windows = config.windows_user
        self._domain = config.windows_user.domain or config.name
        self._handshakes: weakref.WeakKeyDictionary[object, spnego.ContextProxy] = weakref.WeakKeyDictionary()
        self._authenticated: weakref.WeakKeyDictionary[object, str] = weakref.WeakKeyDictionary()
        self._ntlm_file: Path = config.state / "ntlm-users"
        line = f"{self._domain}:{self._windows.plain_name}:{self._windows.password}\n"
        files.write_durable(self._ntlm_file, line.encode())

    # -- name and password ---------------------------------------------------------------------------------------
    def basic_user(self, username: str, password: str) -> str | None:
        """The basic user's name if these are its credentials; the form ``[BASIC]\\name`` is accepted as well."""
        name = username[len("[BASIC]\\"):] if username.upper().startswith("[BASIC]\\") else username
        return self._match(self._basic, name, password)

    def windows_user(self, username: str, password: str) -> str | None:
        domain, separator, name = username.rpartition("\\")
        if separator and domain.lower() not in (self._domain.lower(), "."):
            return None
        return self._windows.username if self._match(Account(self._windows.plain_name, self._windows.password), name, password) else None

    @staticmethod
    def _match(account: Account, name: str, password: str) -> str | None:
        names, passwords = same_text(account.username.lower(), name.lower()), same_text(account.password, password)
        return account.username if names and passwords else None

    def http_basic(self, request: web.Request) -> str | None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            username, separator, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if not separator:
            return None
        return self.basic_user(username, password) or self.windows_user(username, password)

    # -- NTLM ----------------------------------------------------------------------------------------------------
    def windows_integrated(self, request: web.Request) -> str:
        """The Windows user of this connection. Raises 401 with the next message of the handshake until it is known."""
        connection = request.transport
        if connection is None:
            raise web.HTTPUnauthorized()
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if not value:
            known = self._authenticated.get(connection)
            if known:
                return known
            raise self._challenge({"WWW-Authenticate": "Negotiate"}, {"WWW-Authenticate": "NTLM"})
        if scheme.lower() not in ("ntlm", "negotiate") or len(value) > MAX_NTLM_BYTES:
            raise self._challenge({"WWW-Authenticate": "NTLM"})
        return self._handshake(connection, scheme, value)

    def _handshake(self, connection: object, scheme: str, value: str) -> str:
        context = self._handshakes.get(connection)
        if context is None:
            # pyspnego's acceptor looks its users up in the file that this variable names.
            os.environ["NTLM_USER_FILE"] = str(self._ntlm_file)
            context = self._handshakes[connection] = spnego.server(protocol=scheme.lower(), options=spnego.NegotiateOptions.use_ntlm)
        try:
            answer = context.step(base64.b64decode(value, validate=True))
        except (SpnegoError, binascii.Error, ValueError) as error:
            self._handshakes.pop(connection, None)
            raise self._challenge({"WWW-Authenticate": "NTLM"}) from error
        if not context.complete:
            raise self._challenge({"WWW-Authenticate": f"{scheme} {base64.b64encode(answer or b'').decode()}"})
        self._handshakes.pop(connection, None)
        self._authenticated[connection] = self._windows.username
        return self._windows.username

    @staticmethod
    def _challenge(*headers: dict[str, str]) -> web.HTTPUnauthorized:
        refusal = web.HTTPUnauthorized(text="401 - Unauthorized: Access is denied due to invalid credentials.")
        for header in headers:
            for name, value in header.items():
                refusal.headers.add(name, value)
        return refusal
