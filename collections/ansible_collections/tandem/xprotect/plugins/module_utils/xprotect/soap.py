# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Management Server's ServerCommandService: the VMS token that recorders accept, and what clients read of a recorder.

Documented (vendor WSDL and samples). The OAuth endpoint is used for basic and Windows users alike.
"""

from __future__ import annotations

import threading
import time
import typing as t
import uuid
from xml.sax.saxutils import escape

from ._client import Answer, HttpClient, find, items, parse_xml, plain
from .identity_provider import IdentityProvider

PATH = "/ManagementServer/ServerCommandServiceOAuth.svc"
NAMESPACE = "http://videoos.net/2/XProtectCSServerCommand"
ENVELOPE = ('<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            '<{name} xmlns="{namespace}">{body}</{name}></s:Body></s:Envelope>')


def envelope(namespace: str, name: str, values: t.Mapping[str, str]) -> bytes:
    """A request. The order of `values` is the order on the wire, which services compare with their contract."""
    body = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in values.items())
    return ENVELOPE.format(name=name, namespace=namespace, body=body).encode()


def fault(answer: Answer) -> str | None:
    """The text of a fault. Its HTTP status is not established (assumption `soap_fault_http_status`), so all are looked at."""
    found = find(parse_xml(answer.body), "Fault")
    if found is None:
        return None
    text = find(found, "faultstring")
    number = find(found, "ErrorNumber")
    told = (text.text if text is not None else None) or "fault without text"
    return f"{told} ({number.text})" if number is not None else told


class SoapClient:
    def __init__(self, http: HttpClient, identity: IdentityProvider):
        self._http, self._identity = http, identity
        self._instance = str(uuid.uuid4())
        self._token = ""
        self._renew_at = self._ends_at = 0.0
        self._lock = threading.RLock()

    # -- the VMS token ---------------------------------------------------------------------------------------------
    def token(self) -> str:
        """A token for recorders. Renewed after half of its life, so what is handed out lasts for a long playback."""
        with self._lock:
            now = time.monotonic()
            if now >= self._renew_at:
                self._login(self._token if now < self._ends_at else "")
            return self._token

    def forget_token(self) -> None:
        """A recorder refused the token: the next `token` logs in anew."""
        with self._lock:
            self._token, self._renew_at, self._ends_at = "", 0.0, 0.0

    def _login(self, current: str) -> None:
        began = time.monotonic()
        found = self.call("Login", {"currentToken": current, "instanceId": self._instance})
        life = items(found.get("TimeToLive"), "MicroSeconds") if isinstance(found, dict) else []
        if not isinstance(found, dict) or not found.get("Token") or not life or not str(life[0]).isdigit():
            raise self._http.error(f"the login at {self._http.url}{PATH} gave no token", "check the Management Server's log.", "protocol")
        seconds = int(life[0]) / 1e6
        self._token, self._renew_at, self._ends_at = found["Token"], began + seconds / 2, began + seconds

    # -- what clients read -----------------------------------------------------------------------------------------
    def configuration(self) -> dict[str, t.Any]:
        """GetConfiguration: what a client builds its view from. Tens of megabytes on a big site."""
        return self.call("GetConfiguration", {"token": self.token()})

    def recorder_info(self, recorder_id: str) -> dict[str, t.Any]:
        """QueryRecorderInfo: one recorder as clients see it, with its address and all devices."""
        return self.call("QueryRecorderInfo", {"recorderId": recorder_id, "token": self.token()})

    def call(self, operation: str, values: t.Mapping[str, str]) -> t.Any:
        """Call an operation; elements in alphabetical order, as this endpoint's data contract wants."""
        body = envelope(NAMESPACE, operation, dict(sorted(values.items())))
        for attempt in (1, 2):
            answer = self._http.send("POST", PATH, body=body, headers={
                **self._identity.headers(), "Content-Type": "text/xml; charset=utf-8",
                "SOAPAction": f'"{NAMESPACE}/IServerCommandService/{operation}"'})
            if answer.status != 401 or attempt == 2:
                break
            self._identity.forget()
        told = fault(answer)
        if told is not None:
            raise self._http.error(f"{operation} at {self._http.url} was refused: {told}",
                                   "check the rights of the user in XProtect.", "fault")
        result = find(parse_xml(answer.body), f"{operation}Result")
        if answer.status != 200 or result is None:
            raise self._http.error(f"{operation} at {self._http.url} answered HTTP {answer.status} without a result",
                                   "check that the Management Server runs and is of version 2021 R1 or later.", "http")
        return plain(result)
