# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SOAP services on the media port: which path is which service, tokens, faults."""

from __future__ import annotations

import typing as t

from . import envelope
from .commands import RecorderCommands
from .envelope import Call, SoapFault
from .http import HttpReply, HttpRequest
from .status import RecorderStatus

if t.TYPE_CHECKING:
    from ..engine import Recorder

PATHS = {
    "/recordercommandservice/recordercommandservice.asmx": "commands",
    "/recorderstatusservice/recorderstatusservice2.asmx": "status",
}
KIND_11, KIND_12 = "text/xml; charset=utf-8", "application/soap+xml; charset=utf-8"
FAULT_STATUS = 500  # by the rule of SOAP 1.1 (assumption `soap_fault_http_status`)
Operation = t.Callable[[Call], t.Awaitable[str | None]]


class SoapServices:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._services: dict[str, RecorderCommands | RecorderStatus] = {
            "commands": RecorderCommands(recorder),
            "status": RecorderStatus(recorder),
        }

    async def answer(self, request: HttpRequest) -> HttpReply:
        service = PATHS.get(request.path.lower().rstrip("/"))
        if service is None:
            return HttpReply(404, "text/plain", b"There is no such service on this recorder.")
        if request.method != "POST":
            return HttpReply(405, "text/plain", b"Send a SOAP request with POST; this recorder serves no WSDL.")
        soap = envelope.SOAP_11
        try:
            call = Call(request.body)
            soap = call.soap
            inner = await self._operate(self._services[service], call)
            return HttpReply(200, _kind(soap), envelope.result(call, inner))
        except SoapFault as error:
            return HttpReply(FAULT_STATUS, _kind(soap), envelope.fault(soap, error))

    async def _operate(self, service: RecorderCommands | RecorderStatus, call: Call) -> str | None:
        operation = service.operations.get(call.name)
        if operation is None:
            raise envelope.unsupported(call.name)
        if call.name not in service.open_to_all:
            self._check_token(call)
        return await operation(call)

    def _check_token(self, call: Call) -> None:
        token = call.text("token")
        tokens = self._recorder.tokens
        if not token:
            raise SoapFault("No token supplied", 20001, 1)
        detached = call.name == "SequencesGet" and self._recorder.machine.assumes("sequences_get_available_when_detached", False)
        if not (tokens.accepts(token) or (detached and tokens.known(token))):
            raise SoapFault("Token invalid", 20001, 2)


def _kind(soap: str) -> str:
    return KIND_12 if soap == envelope.SOAP_12 else KIND_11
