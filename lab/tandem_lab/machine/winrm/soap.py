# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WS-Management envelopes: reading requests, writing answers and faults."""

from __future__ import annotations

import dataclasses
import re
import uuid
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
FAULT = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
CMD_RESOURCE = SHELL + "/cmd"
ANONYMOUS = ADDRESSING + "/role/anonymous"

TIMED_OUT = 2150858793
UNKNOWN_SHELL = 2150858843
TOO_MANY_SHELLS = 2150859173
UNKNOWN_ACTION = 2150858752
_DURATION = re.compile(r"-?P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?")


class Fault(Exception):
    """An answer that tells the client what is wrong. `code` goes into WSManFault."""

    def __init__(self, code: int, message: str, subcode: str = "w:InternalError", sender: bool = False):
        super().__init__(message)
        self.code = code
        self.message = message
        self.subcode = subcode
        self.sender = sender


@dataclasses.dataclass(frozen=True)
class Request:
    action: str
    message_id: str
    resource: str
    shell_id: str | None
    options: dict[str, str]
    timeout: float
    max_envelope: int
    body: ET.Element


def parse(data: bytes) -> Request:
    try:
        envelope = ET.fromstring(data)
    except ET.ParseError as error:
        raise Fault(2150858817, f"the request is not XML: {error}", "w:SchemaValidationError", sender=True) from error
    header = envelope.find(f"{{{SOAP}}}Header")
    body = envelope.find(f"{{{SOAP}}}Body")
    if header is None:
        raise Fault(2150858817, "the request has no SOAP header", "w:SchemaValidationError", sender=True)
    selectors = {item.get("Name", "").casefold(): item.text or "" for item in header.iter(f"{{{WSMAN}}}Selector")}
    return Request(
        action=_text(header, ADDRESSING, "Action"), message_id=_text(header, ADDRESSING, "MessageID"),
        resource=_text(header, WSMAN, "ResourceURI"), shell_id=selectors.get("shellid"),
        options={item.get("Name", "").upper(): (item.text or "").strip() for item in header.iter(f"{{{WSMAN}}}Option")},
        timeout=duration(_text(header, WSMAN, "OperationTimeout"), 60.0),
        max_envelope=_number(_text(header, WSMAN, "MaxEnvelopeSize"), 153600),
        body=body if body is not None else ET.Element("Body"))


def _text(header: ET.Element, namespace: str, name: str) -> str:
    return (header.findtext(f"{{{namespace}}}{name}") or "").strip()


def _number(text: str, default: int) -> int:
    return int(text) if text.isdigit() else default


def duration(text: str, default: float) -> float:
    """Seconds of an XML duration such as PT20S; `default` for anything else."""
    match = _DURATION.fullmatch(text)
    if not match or not any(match.groups()):
        return default
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def answer(action: str, relates_to: str, body: str) -> bytes:
    return (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:x="{TRANSFER}" xmlns:w="{WSMAN}" '
        f'xmlns:rsp="{SHELL}"><s:Header><a:Action>{action}</a:Action><a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>'
        f"<a:To>{ANONYMOUS}</a:To><a:RelatesTo>{escape(relates_to)}</a:RelatesTo></s:Header><s:Body>{body}</s:Body></s:Envelope>").encode()


def fault(error: Fault, relates_to: str, machine: str) -> bytes:
    side = "s:Sender" if error.sender else "s:Receiver"
    reason = escape(error.message)
    body = (
        f'<s:Fault><s:Code><s:Value>{side}</s:Value><s:Subcode><s:Value>{error.subcode}</s:Value></s:Subcode></s:Code>'
        f'<s:Reason><s:Text xml:lang="en-US">{reason}</s:Text></s:Reason><s:Detail><f:WSManFault xmlns:f="{FAULT}" '
        f'Code="{error.code}" Machine={quoteattr(machine)}><f:Message>{reason}</f:Message></f:WSManFault></s:Detail></s:Fault>')
    return answer("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", relates_to, body)
