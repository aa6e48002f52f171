# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SOAP 1.1 and 1.2 envelopes: calls read, results and faults built (shapes of the vendor's WSDL and of public captures)."""

from __future__ import annotations

import datetime
import re
import typing as t
import uuid
from xml.etree import ElementTree
from xml.sax.saxutils import escape

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_TIME = re.compile(r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,7})\d*)?(Z|[+-]\d\d:\d\d)?$")


class SoapFault(Exception):
    def __init__(self, text: str, number: int, sub_number: int | None = None, code: str = "Client") -> None:
        super().__init__(text)
        self.number = number
        self.sub_number = sub_number
        self.code = code


def unsupported(name: str) -> SoapFault:
    return SoapFault(f"Method '{name}' not supported", 40000, code="Server")


class Call:
    """One operation: the element in the body decides which, whatever the SOAPAction header says."""

    def __init__(self, data: bytes) -> None:
        if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
            raise SoapFault("A document type is not allowed", 40001)
        try:
            root = ElementTree.fromstring(data)
        except ElementTree.ParseError as error:
            raise SoapFault(f"The request is not XML: {error}", 40001) from error
        self.soap = SOAP_12 if root.tag.startswith(f"{{{SOAP_12}}}") else SOAP_11
        body = root.find(f"{{{self.soap}}}Body")
        if body is None or len(body) == 0:
            raise SoapFault("The request has no body", 40001)
        self._element = body[0]
        self.namespace, self.name = _split(self._element.tag)

    def _child(self, name: str) -> ElementTree.Element | None:
        return next((child for child in self._element if _split(child.tag)[1] == name), None)

    def text(self, name: str) -> str | None:
        child = self._child(name)
        return None if child is None else (child.text or "").strip()

    def guid(self, name: str) -> str:
        try:
            return str(uuid.UUID(self.text(name) or ""))
        except ValueError as error:
            raise SoapFault(f"{name} is not a GUID", 40001) from error

    def guids(self, name: str) -> list[str] | None:
        """An array of GUIDs, whatever its items are called; None when it is not given."""
        child = self._child(name)
        if child is None:
            return None
        try:
            return [str(uuid.UUID((item.text or "").strip())) for item in child]
        except ValueError as error:
            raise SoapFault(f"{name} holds something that is not a GUID", 40001) from error

    def number(self, name: str, default: int = 0) -> int:
        try:
            return int(self.text(name) or default)
        except ValueError as error:
            raise SoapFault(f"{name} is not a number", 40001) from error

    def time(self, name: str) -> int:
        """A dateTime as unix ms; without a zone it is UTC."""
        match = _TIME.match(self.text(name) or "")
        if not match:
            raise SoapFault(f"{name} is not a time", 40001)
        zone = "+00:00" if match.group(3) in (None, "Z") else match.group(3)
        try:
            moment = datetime.datetime.fromisoformat(match.group(1) + zone)
        except ValueError as error:
            raise SoapFault(f"{name} is not a time", 40001) from error
        return int((moment - _EPOCH).total_seconds()) * 1000 + int((match.group(2) or "0").ljust(3, "0")[:3])


def _split(tag: str) -> tuple[str, str]:
    namespace, _, name = tag.rpartition("}")
    return namespace.lstrip("{"), name


def time_text(unix_ms: int) -> str:
    moment = _EPOCH + datetime.timedelta(milliseconds=unix_ms)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}0Z"


def element(name: str, value: t.Any) -> str:
    """A simple element; booleans as XML writes them."""
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"<{name}>{escape(str(value))}</{name}>"


def result(call: Call, inner: str | None) -> bytes:
    """The reply of an operation; `inner` None for one that returns nothing."""
    content = "" if inner is None else f"<{call.name}Result>{inner}</{call.name}Result>" if inner else f"<{call.name}Result />"
    return _envelope(call.soap, f'<{call.name}Response xmlns="{call.namespace}">{content}</{call.name}Response>')


def fault(soap: str, error: SoapFault) -> bytes:
    sub = f"<SubErrorNumber>{error.sub_number}</SubErrorNumber>" if error.sub_number is not None else ""
    detail = f"<ErrorNumber>{error.number}</ErrorNumber>{sub}"
    text = escape(str(error))
    if soap == SOAP_12:
        code = "Sender" if error.code == "Client" else "Receiver"
        inner = (
            f"<soap:Code><soap:Value>soap:{code}</soap:Value></soap:Code>"
            f'<soap:Reason><soap:Text xml:lang="en">{text}</soap:Text></soap:Reason><soap:Detail>{detail}</soap:Detail>'
        )
    else:
        inner = f"<faultcode>soap:{error.code}</faultcode><faultstring>{text}</faultstring><detail>{detail}</detail>"
    return _envelope(soap, f"<soap:Fault>{inner}</soap:Fault>")


def _envelope(soap: str, body: str) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?><soap:Envelope xmlns:soap="{soap}" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xsd="http://www.w3.org/2001/XMLSchema">'
        f"<soap:Body>{body}</soap:Body></soap:Envelope>"
    ).encode()
