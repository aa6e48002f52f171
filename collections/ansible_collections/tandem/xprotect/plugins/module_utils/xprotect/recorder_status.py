# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a recorder says of itself that it is attached: RecorderStatusService2.GetRecorderStatus.

Asked without a token first (seen in public code); newer versions may want one (assumption `recorder_status_without_token`).
A refusal means that the state is unknown. It never means detached.
"""

from __future__ import annotations

import dataclasses

from ..errors import TandemError
from ._client import Answer, HttpClient, find, parse_xml, plain
from .soap import envelope, fault

PATH = "/RecorderStatusService/RecorderStatusService2.asmx"
NAMESPACE = "http://videoos.net/2/XProtectCSRecorderStatus2"


@dataclasses.dataclass(frozen=True)
class RecorderStatus:
    attach_state: str
    connection_state: str

    @property
    def attached(self) -> bool:
        """Compared as whole words: "Detached" contains "Attached" (assumption `attach_state_strings`)."""
        return self.attach_state.casefold() == "attached" and self.connection_state.casefold() == "connected"


def get_recorder_status(url: str, token: str | None = None, *, pair: str | None = None, node: str | None = None,
                        timeout: float = 3.0, ca_file: str | None = None, validate_certificate: bool = True) -> RecorderStatus:
    """Ask the recorder at `url` (``http://address:7563``)."""
    http = HttpClient(url, pair, node=node, connect_timeout=timeout, read_timeout=timeout, size_limit=1024 * 1024,
                      ca_file=ca_file, validate_certificate=validate_certificate)
    try:
        answer = _ask(http, {})
        if fault(answer) and token:
            answer = _ask(http, {"token": token})
        return _read(http, answer)
    finally:
        http.close()


def _ask(http: HttpClient, values: dict[str, str]) -> Answer:
    return http.send("POST", PATH, body=envelope(NAMESPACE, "GetRecorderStatus", values), headers={
        "Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{NAMESPACE}/GetRecorderStatus"'})


def _read(http: HttpClient, answer: Answer) -> RecorderStatus:
    told = fault(answer)
    result = find(parse_xml(answer.body), "GetRecorderStatusResult")
    found = plain(result) if result is not None else None
    if told is None and isinstance(found, dict) and found.get("AttachState"):
        return RecorderStatus(str(found["AttachState"]), str(found.get("ConnectionState") or ""))
    reason = told or f"HTTP {answer.status} without a state"
    raise TandemError(f"the recorder at {http.url} did not tell its state: {reason}", http.pair, http.node,
                      "the state is unknown; ask again with a token, or look at the recorder's log.", code="unknown_state")
