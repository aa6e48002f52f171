# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Management Server put together: one HTTP port ("IIS") and the recorders' uplink."""

from __future__ import annotations

import re
import typing as t

from aiohttp import web

from .access_tokens import AccessTokens
from .accounts import Accounts
from .config import ServerConfig
from .identity_provider import IdentityProvider
from .model import Model
from .registration_service import RegistrationService
from .rest import RestApi
from .soap import ASMX, SVC, SVC_OAUTH, ServerCommandService
from .uplink import Uplink
from .vms_tokens import VmsTokens

MAX_BODY = 1 << 20
Handler = t.Callable[[web.Request], t.Awaitable[web.StreamResponse]]


class ManagementServer:
    def __init__(self, config: ServerConfig):
        config.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.config = config
        self.model = Model(config.model)
        self.tokens = VmsTokens(config.state / "vms-tokens.json", config.name, config.token_seconds)
        self.uplink = Uplink(config, self.model, self.tokens)
        access = AccessTokens(config.state / "identity-key.pem", f"{config.http_url}/IDP")
        accounts = Accounts(config)
        provider = IdentityProvider(config, accounts, access)
        registration = RegistrationService(config, self.model, self.uplink)
        self._rest = RestApi(self.model, access, self.uplink.push_configuration)
        soap = ServerCommandService(config, self.model, accounts, access, self.tokens, self.uplink.push_token)
        # Paths are matched in lower case: so does IIS, and real clients differ in spelling.
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = [
            ("POST", re.compile(r"(/api)?/idp/connect/token"), provider.token),
            ("GET", re.compile(r"(/api)?/idp/\.well-known/openid-configuration"), provider.discovery),
            ("GET", re.compile(r"(/api)?/idp/\.well-known/openid-configuration/jwks"), provider.keys),
            ("GET", re.compile(r"/api/\.well-known/uris"), provider.well_known_uris),
            ("*", re.compile(r"/api/rest/v1/.*"), self._rest_request),
            ("POST", re.compile("|".join(re.escape(path) for path in (SVC, SVC_OAUTH, ASMX))), soap.handle),
            ("GET", re.compile(r"/lab/recorders"), self._recorders),
            ("POST", re.compile(r"/lab/register"), registration.register),
        ]
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_route("*", "/{path:.*}", self._dispatch)
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        # Only once recorders can connect does the server answer at all: "it answers" then means "it is ready".
        await self.uplink.start()
        await web.TCPSite(self._runner, self.config.address, self.config.http_port).start()

    async def stop(self) -> None:
        await self.uplink.stop()
        if self._runner:
            await self._runner.cleanup()

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        path = request.path.lower().rstrip("/")
        other_method = False
        for method, pattern, handler in self._routes:
            if pattern.fullmatch(path) is None:
                continue
            if method in ("*", request.method):
                return await handler(request)
            other_method = True
        raise web.HTTPMethodNotAllowed(request.method, []) if other_method else web.HTTPNotFound()

    async def _rest_request(self, request: web.Request) -> web.StreamResponse:
        return await self._rest.handle(request, request.path[len("/api/rest/v1/"):])

    async def _recorders(self, request: web.Request) -> web.Response:
        return web.json_response(self.uplink.describe())
