# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The identity provider under ``/IDP``: OAuth token requests, discovery, keys (documented paths and reply shapes)."""

from __future__ import annotations

import typing as t

from aiohttp import web

from .access_tokens import SCOPE, AccessTokens
from .accounts import Accounts
from .config import ServerConfig

CLIENT_ID = "GrantValidatorClient"


def _refuse(error: str, description: str) -> web.Response:
    """The body of a refused token request is assumption `idp_error_body`."""
    return web.json_response({"error": error, "error_description": description}, status=400)


class IdentityProvider:
    def __init__(self, config: ServerConfig, accounts: Accounts, tokens: AccessTokens):
        self._config = config
        self._accounts = accounts
        self._tokens = tokens

    async def token(self, request: web.Request) -> web.Response:
        if request.content_type != "application/x-www-form-urlencoded":
            return _refuse("invalid_request", "The body is not a form")
        form: dict[str, t.Any] = dict(await request.post())
        if form.get("client_id") != CLIENT_ID:
            return _refuse("invalid_client", "Unknown client_id")
        grant = form.get("grant_type")
        if grant == "password":
            user = self._accounts.basic_user(str(form.get("username", "")), str(form.get("password", "")))
            if user is None:
                return _refuse("invalid_grant", "InvalidCredential")
        elif grant == "windows_credentials":
            if request.path.lower().startswith("/api/"):
                # Documented: the API Gateway does not pass NTLM through, so there is no challenge here.
                return web.json_response({"error": "invalid_grant", "error_description": "InvalidCredential"}, status=401)
            user = self._accounts.windows_integrated(request)
        else:
            return _refuse("unsupported_grant_type", f"Grant type {grant} is not supported")
        return web.json_response(
            {
                "access_token": self._tokens.issue(user, CLIENT_ID),
                "expires_in": self._tokens.seconds,
                "token_type": "Bearer",
                "scope": SCOPE,
            },
            headers={"Cache-Control": "no-store"},
        )

    async def discovery(self, request: web.Request) -> web.Response:
        base = f"{self._config.http_url}/IDP"
        return web.json_response(
            {
                "issuer": base,
                "jwks_uri": f"{base}/.well-known/openid-configuration/jwks",
                "authorization_endpoint": f"{base}/connect/authorize",
                "token_endpoint": f"{base}/connect/token",
                "external_providers_uri": f"{base}/api/external-providers",
                "server_version": self._config.version,
                "scopes_supported": [SCOPE],
                "grant_types_supported": ["password", "windows_credentials"],
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
                "response_types_supported": ["code"],
            }
        )

    async def keys(self, request: web.Request) -> web.Response:
        return web.json_response(self._tokens.public_keys())

    async def well_known_uris(self, request: web.Request) -> web.Response:
        url = self._config.http_url
        return web.json_response(
            {
                "ProductVersion": self._config.version,
                "UnsecureManagementServer": f"{url}/",
                "SecureManagementServer": "",
                "IdentityProvider": f"{url}/IDP",
                "ApiGateways": [f"{url}/API/"],
            }
        )
