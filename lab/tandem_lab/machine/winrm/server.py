# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The WinRM listener: HTTP, authentication, and the six actions of a remote shell."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import pathlib
import typing as t
import weakref
from xml.sax.saxutils import quoteattr

from aiohttp import web
from multidict import CIMultiDict

from ..processes import Processes
from ..settings import MachineSettings
from . import auth, soap
from .shells import Shell, Shells

_log = logging.getLogger(__name__)
_READ_LIMIT = 8 * 1024 * 1024  # read and refused with 413 above the quota: so the client gets the answer and no reset
_ENVELOPE_OVERHEAD = 8192
_SOAP_TYPE = "application/soap+xml;charset=UTF-8"
_RSP = f"{{{soap.SHELL}}}"


class WinRMServer:
    def __init__(self, settings: MachineSettings, root: pathlib.Path, processes: Processes):
        self._settings = settings
        self._auth = auth.Authenticator(settings, root)
        self.shells = Shells(settings.winrm, processes)
        self.url = f"http://{settings.address}:{settings.winrm.port}/wsman"
        self._sessions: weakref.WeakKeyDictionary[t.Any, auth.Session] = weakref.WeakKeyDictionary()
        self._runner: web.AppRunner | None = None
        self._actions: dict[str, t.Callable[[soap.Request, str], t.Awaitable[tuple[str, str]]]] = {
            soap.TRANSFER + "/Create": self._create, soap.TRANSFER + "/Delete": self._delete, soap.SHELL + "/Command": self._command,
            soap.SHELL + "/Send": self._send, soap.SHELL + "/Receive": self._receive, soap.SHELL + "/Signal": self._signal,
        }

    async def start(self) -> None:
        app = web.Application(client_max_size=_READ_LIMIT)
        app.router.add_post("/wsman", self._handle)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None, keepalive_timeout=120.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._settings.address, self._settings.winrm.port, shutdown_timeout=1.0)
        await site.start()
        if self._settings.winrm.ntlm:
            self._auth.prepare()

    async def stop(self) -> None:
        self.shells.close()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- HTTP ----------------------------------------------------------------------------------------------------
    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.transport is None:
            return web.Response(status=400)  # the client is gone
        session = self._sessions.setdefault(request.transport, auth.Session())
        user, headers = await self._authenticate(request, session)
        if user is None:
            return web.Response(status=401, headers=headers)
        if len(body) > self._settings.winrm.max_request_bytes:
            return web.Response(status=413)
        encrypted = request.headers.get("Content-Type", "").startswith("multipart/encrypted")
        if encrypted:
            try:
                body = session.decrypt(body)
            except auth.BadMessage as error:
                _log.info("WinRM: refused an encrypted message: %s", error)
                return web.Response(status=400)
        elif not body:
            return web.Response(status=200, headers=headers)
        elif not self._settings.winrm.allow_unencrypted:
            return web.Response(status=500, text="unencrypted messages are not allowed")
        status, answer = await self._answer(body, user)
        if encrypted:
            return web.Response(status=status, body=session.encrypt(answer), headers={**headers, "Content-Type": auth.CONTENT_TYPE})
        return web.Response(status=status, body=answer, headers={**headers, "Content-Type": _SOAP_TYPE})

    async def _authenticate(self, request: web.Request, session: auth.Session) -> tuple[str | None, t.Any]:
        """The user, or None and the headers of a 401."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.casefold() == "basic":
            user = self._auth.basic(token)
            if user is not None:
                return user, {}
        elif scheme.casefold() in ("negotiate", "ntlm"):
            reply = await self._auth.ntlm(session, token)
            if session.user is not None:
                return session.user, {}
            if reply is not None:
                return None, {"WWW-Authenticate": f"{scheme} {base64.b64encode(reply).decode()}"}
        elif not scheme and session.user is not None:
            return session.user, {}
        return None, CIMultiDict(("WWW-Authenticate", challenge) for challenge in self._auth.challenges())

    async def _answer(self, body: bytes, user: str) -> tuple[int, bytes]:
        message_id = ""
        try:
            request = soap.parse(body)
            message_id = request.message_id
            action = self._actions.get(request.action)
            if action is None or request.resource != soap.CMD_RESOURCE:
                raise soap.Fault(soap.UNKNOWN_ACTION, f"The action {request.action} on {request.resource} is not supported.",
                                 "a:ActionNotSupported", sender=True)
            name, content = await action(request, user)
            return 200, soap.answer(name, message_id, content)
        except soap.Fault as error:
            return 500, soap.fault(error, message_id, self._settings.name)

    # -- actions -------------------------------------------------------------------------------------------------
    async def _create(self, request: soap.Request, user: str) -> tuple[str, str]:
        definition = request.body.find(f"{_RSP}Shell")
        if definition is None:
            raise soap.Fault(87, "The request holds no shell.", "w:InvalidParameter", sender=True)
        environment = {item.get("Name", ""): item.text or "" for item in definition.iter(f"{_RSP}Variable")}
        idle = soap.duration((definition.findtext(f"{_RSP}IdleTimeOut") or "").strip(), self._settings.winrm.idle_seconds)
        shell = self.shells.create(user, environment, definition.findtext(f"{_RSP}WorkingDirectory"), idle)
        selectors = f'<w:SelectorSet><w:Selector Name="ShellId">{shell.id}</w:Selector></w:SelectorSet>'
        return soap.TRANSFER + "/CreateResponse", (
            f"<x:ResourceCreated><a:Address>{self.url}</a:Address><a:ReferenceParameters><w:ResourceURI>{soap.CMD_RESOURCE}"
            f"</w:ResourceURI>{selectors}</a:ReferenceParameters></x:ResourceCreated>"
            f"<rsp:Shell><rsp:ShellId>{shell.id}</rsp:ShellId><rsp:InputStreams>stdin</rsp:InputStreams>"
            "<rsp:OutputStreams>stdout stderr</rsp:OutputStreams></rsp:Shell>")

    async def _delete(self, request: soap.Request, user: str) -> tuple[str, str]:
        self.shells.delete(self.shells.get(request.shell_id, user))
        return soap.TRANSFER + "/DeleteResponse", ""

    async def _command(self, request: soap.Request, user: str) -> tuple[str, str]:
        shell = self.shells.get(request.shell_id, user)
        line = request.body.find(f"{_RSP}CommandLine")
        if line is None:
            raise soap.Fault(87, "The request holds no command line.", "w:InvalidParameter", sender=True)
        parts = [item.text or "" for item in line if item.tag in (f"{_RSP}Command", f"{_RSP}Arguments")]
        skip = request.options.get("WINRS_SKIP_CMD_SHELL", "").upper() in ("TRUE", "1")
        command = await self.shells.run(shell, " ".join(part for part in parts if part), skip)
        return soap.SHELL + "/CommandResponse", (
            f"<rsp:CommandResponse><rsp:CommandId>{command.id}</rsp:CommandId></rsp:CommandResponse>")

    async def _send(self, request: soap.Request, user: str) -> tuple[str, str]:
        shell = self.shells.get(request.shell_id, user)
        for stream in request.body.iter(f"{_RSP}Stream"):
            command = self.shells.command(shell, stream.get("CommandId"))
            try:
                data = base64.b64decode(stream.text or "", validate=True)
            except binascii.Error as error:
                raise soap.Fault(87, f"The input is not base64: {error}", "w:InvalidParameter", sender=True) from error
            await self._busy(shell, command.send(data, stream.get("End", "").lower() == "true", self._timeout(request)))
        return soap.SHELL + "/SendResponse", "<rsp:SendResponse/>"

    async def _receive(self, request: soap.Request, user: str) -> tuple[str, str]:
        shell = self.shells.get(request.shell_id, user)
        desired = request.body.find(f"{_RSP}Receive/{_RSP}DesiredStream")
        command = self.shells.command(shell, desired.get("CommandId") if desired is not None else None)
        limit = max(4096, (min(request.max_envelope, 512_000) - _ENVELOPE_OVERHEAD) * 3 // 4)
        output, errors, code = await self._busy(shell, command.receive(self._timeout(request), limit))
        parts = [_stream(name, command.id, data) for name, data in (("stdout", output), ("stderr", errors)) if data]
        if code is None:
            parts.append(f'<rsp:CommandState CommandId="{command.id}" State="{soap.SHELL}/CommandState/Running"/>')
        else:
            parts += [f'<rsp:Stream Name="{name}" CommandId="{command.id}" End="true"/>' for name in ("stdout", "stderr")]
            parts.append(f'<rsp:CommandState CommandId="{command.id}" State="{soap.SHELL}/CommandState/Done">'
                         f"<rsp:ExitCode>{code}</rsp:ExitCode></rsp:CommandState>")
        return soap.SHELL + "/ReceiveResponse", f"<rsp:ReceiveResponse>{''.join(parts)}</rsp:ReceiveResponse>"

    async def _signal(self, request: soap.Request, user: str) -> tuple[str, str]:
        shell = self.shells.get(request.shell_id, user)
        signal = request.body.find(f"{_RSP}Signal")
        if signal is not None:
            self.shells.end_command(shell, signal.get("CommandId"))
        return soap.SHELL + "/SignalResponse", "<rsp:SignalResponse/>"

    def _timeout(self, request: soap.Request) -> float:
        return max(0.05, min(request.timeout, self._settings.winrm.max_operation_seconds))

    async def _busy(self, shell: Shell, work: t.Awaitable[t.Any]) -> t.Any:
        """A shell is not idle while a request works on it."""
        shell.busy += 1
        try:
            return await work
        finally:
            shell.busy -= 1
            shell.used = asyncio.get_running_loop().time()


def _stream(name: str, command_id: str, data: bytes) -> str:
    return f"<rsp:Stream Name={quoteattr(name)} CommandId={quoteattr(command_id)}>{base64.b64encode(data).decode()}</rsp:Stream>"
