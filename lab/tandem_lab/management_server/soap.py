# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SOAP ServerCommandService at its three documented paths, by Basic, Bearer or NTLM."""

from __future__ import annotations

import datetime
import logging
import typing as t
import uuid
from xml.etree import ElementTree

from aiohttp import web

from . import soap_types
from .access_tokens import AccessTokens
from .accounts import Accounts
from .config import ServerConfig
from .model import Model
from .vms_tokens import VmsTokens
from .xml_records import Record, element

NAMESPACE = "http://videoos.net/2/XProtectCSServerCommand"
SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
SVC = "/managementserver/servercommandservice.svc"
SVC_OAUTH = "/managementserver/servercommandserviceoauth.svc"
ASMX = "/serverapi/servercommandservice.asmx"
NO_PERMISSION = "VMO61008: You do not have sufficient permissions to complete the operation."

log = logging.getLogger(__name__)
PushToken = t.Callable[[str, int], t.Awaitable[None]]


class SoapFault(Exception):
    def __init__(self, code: str, text: str):
        super().__init__(text)
        self.code = code


class Call(t.NamedTuple):
    envelope: str
    operation: str
    arguments: dict[str, str]


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def parse(body: bytes) -> Call:
    """The operation is the first element of the Body: SOAPAction headers of real clients are not reliable."""
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise SoapFault("s:Client", "A document type is not allowed")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise SoapFault("s:Client", f"The request is not XML: {error}") from error
    namespace = root.tag.partition("}")[0].lstrip("{")
    if namespace not in (SOAP_11, SOAP_12) or _local(root.tag) != "Envelope":
        raise SoapFault("s:Client", "The request is not a SOAP envelope")
    soap_body = root.find(f"{{{namespace}}}Body")
    if soap_body is None or len(soap_body) == 0:
        raise SoapFault("s:Client", "The SOAP body is empty")
    operation = soap_body[0]
    return Call(namespace, _local(operation.tag), {_local(child.tag): (child.text or "").strip() for child in operation})


class ServerCommandService:
    def __init__(self, config: ServerConfig, model: Model, accounts: Accounts, access: AccessTokens, tokens: VmsTokens, push: PushToken):
        self._config = config
        self._model = model
        self._accounts = accounts
        self._access = access
        self._tokens = tokens
        self._push = push

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path.lower()
        body = await request.read()  # also before a refusal: an NTLM handshake needs its connection kept
        user = self._authenticate(request, path)
        call = Call(SOAP_11, "", {})
        try:
            call = parse(body)
            result = await self._invoke(call, user)
        except SoapFault as fault:
            return self._fault(call.envelope, fault)
        alphabetical = path != ASMX
        content = "" if result is None else element(f"{call.operation}Result", result, alphabetical=alphabetical)
        return self._reply(call.envelope, f'<{call.operation}Response xmlns="{NAMESPACE}">{content}</{call.operation}Response>')

    def _authenticate(self, request: web.Request, path: str) -> str:
        if path == SVC_OAUTH:
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            user = self._access.user_of(token.strip()) if scheme.lower() == "bearer" else None
            if user is None:
                raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
            return user
        user = self._accounts.http_basic(request)
        if user is not None:
            return user
        if path == ASMX and not request.headers.get("Authorization", "").lower().startswith("basic"):
            return self._accounts.windows_integrated(request)
        raise web.HTTPUnauthorized(headers={"WWW-Authenticate": f'Basic realm="{self._config.name}"'})

    async def _invoke(self, call: Call, user: str) -> t.Any:
        arguments = call.arguments
        if call.operation == "Login":
            return await self._login(arguments, user)
        if call.operation == "Logout":
            await self._logout(arguments)
            return None
        if call.operation == "GetVersion":
            return 25
        if call.operation == "GetServerVersion":
            return self._config.version
        if call.operation == "IsOnline":
            return True
        if call.operation in ("GetConfiguration", "QueryRecorderInfo"):
            if self._tokens.find(arguments.get("token")) is None:
                raise SoapFault("s:51000", NO_PERMISSION)
            if call.operation == "GetConfiguration":
                return soap_types.configuration_info(self._model)
            recorder = self._model.find("recordingServers", arguments.get("recorderId", ""))
            if recorder is None:
                raise SoapFault("s:51000", "VMO61001: The recorder does not exist.")
            return soap_types.recorder_info(self._model, recorder)
        raise SoapFault("s:Client", f"The operation {call.operation} is not supported")

    async def _login(self, arguments: dict[str, str], user: str) -> Record:
        """The connected recorders know the token before the client does, else its first connect would be refused."""
        try:
            instance = str(uuid.UUID(arguments.get("instanceId", "")))
        except ValueError as error:
            raise SoapFault("s:Client", "instanceId is not a GUID") from error
        token = self._tokens.issue(user, instance)
        log.info("login of %s", user)
        await self._push(token.text, token.expires_ms)
        now = datetime.datetime.now(datetime.timezone.utc)
        return Record(
            {
                "Token": token.text,
                "RegistrationTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "TimeToLive": Record({"MicroSeconds": int(self._tokens.seconds * 1_000_000)}),
                "TimeToLiveLimited": False,
            }
        )

    async def _logout(self, arguments: dict[str, str]) -> None:
        revoked = self._tokens.revoke(arguments.get("currentToken", ""))
        if revoked:
            await self._push(revoked.text, revoked.expires_ms)

    @staticmethod
    def _reply(envelope: str, content: str, status: int = 200) -> web.Response:
        kind = "text/xml" if envelope == SOAP_11 else "application/soap+xml"
        text = f'<s:Envelope xmlns:s="{envelope}"><s:Body>{content}</s:Body></s:Envelope>'
        return web.Response(text=text, status=status, content_type=kind, charset="utf-8")

    def _fault(self, envelope: str, fault: SoapFault) -> web.Response:
        if envelope == SOAP_12:
            role = "Sender" if fault.code == "s:Client" else "Receiver"
            code = f"<s:Code><s:Value>s:{role}</s:Value></s:Code>"
            reason = element("s:Text", str(fault), alphabetical=True).replace("<s:Text>", '<s:Text xml:lang="en-US">')
            return self._reply(envelope, f"<s:Fault>{code}<s:Reason>{reason}</s:Reason></s:Fault>", 500)
        reason = element("faultstring", str(fault), alphabetical=True).replace("<faultstring>", '<faultstring xml:lang="en-US">')
        return self._reply(envelope, f"<s:Fault><faultcode>{fault.code}</faultcode>{reason}</s:Fault>", 500)
