# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access tokens of the identity provider (OAuth 2), for basic users and for Windows users.

Documented (vendor samples): the password grant goes through the API Gateway, the Windows grant directly to the Management
Server because the gateway does not pass NTLM on. There is no refresh token: a new one is asked for before the end.
"""

from __future__ import annotations

import threading
import time
import typing as t
import urllib.parse

from .._http import need
from ..errors import TandemError
from ._client import Answer, HttpClient

try:
    from requests_ntlm import HttpNtlmAuth
except ImportError as import_error:
    NTLM_MISSING: ImportError | None = import_error
else:
    NTLM_MISSING = None

CLIENT_ID = "GrantValidatorClient"
MARGIN = 60.0  # seconds before its end from which a token is not used any more


class IdentityProvider:
    def __init__(self, http: HttpClient, username: str, password: str | None, auth: str = "basic"):
        self._http, self._username, self._auth = http, username, auth
        if not password:
            raise http.error(f"the password of {username} is missing", "set it, or the environment variable"
                             " TANDEM_MANAGEMENT_PASSWORD of the controller.", "configuration")
        self._password = password
        self._token = ""
        self._good_until = 0.0
        self._lock = threading.Lock()

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    def forget(self) -> None:
        """The server refused the token: the next `token` asks for a new one."""
        self._good_until = 0.0

    def token(self) -> str:
        with self._lock:
            if time.monotonic() >= self._good_until:
                began = time.monotonic()
                found = self._read(self._windows() if self._auth == "windows" else self._basic())
                self._token = found["access_token"]
                self._good_until = began + max(0.0, float(found.get("expires_in") or 3600) - MARGIN)
            return self._token

    def _basic(self) -> Answer:
        return self._post("/API/IDP/connect/token", {"grant_type": "password", "username": self._username,
                                                     "password": self._password, "client_id": CLIENT_ID}, None)

    def _windows(self) -> Answer:
        need("requests_ntlm", NTLM_MISSING)
        return self._post("/IDP/connect/token", {"grant_type": "windows_credentials", "client_id": CLIENT_ID},
                          HttpNtlmAuth(self._username, self._password))

    def _post(self, path: str, form: dict[str, str], auth: t.Any) -> Answer:
        return self._http.send("POST", path, headers={"Content-Type": "application/x-www-form-urlencoded"},
                               body=urllib.parse.urlencode(form).encode(), auth=auth)

    def _read(self, answer: Answer) -> dict[str, t.Any]:
        found = answer.json()
        if answer.status == 200 and isinstance(found, dict) and isinstance(found.get("access_token"), str):
            return found
        if answer.status in (400, 401, 403):  # assumption `idp_error_body`: any of these is a refused login
            raise self._refused(found)
        raise self._http.error(f"the identity provider at {self._http.url} answered HTTP {answer.status} and no token",
                               "check management_server.url and that the identity provider runs.", "http", status=answer.status)

    def _refused(self, found: t.Any) -> TandemError:
        told = found.get("error_description") or found.get("error") if isinstance(found, dict) else None
        reason = f" ({str(told)[:200]})" if told and self._password not in str(told) else ""
        return self._http.error(f"the Management Server at {self._http.url} refused the login of {self._username}{reason}",
                                "check user name, password and management_server.auth (basic or windows).", "wrong_password")
