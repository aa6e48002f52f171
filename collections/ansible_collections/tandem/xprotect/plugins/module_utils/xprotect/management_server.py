# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One Management Server: its REST and SOAP clients behind one login."""

from __future__ import annotations

import typing as t

from ..errors import TandemError
from ._client import HttpClient
from .identity_provider import IdentityProvider
from .rest import RestClient
from .soap import SoapClient


class ManagementServer:
    """`options` is the module option ``management_server``. Nothing is sent before the first question."""

    def __init__(self, options: t.Mapping[str, t.Any], pair: str | None = None):
        self.http = HttpClient(options["url"], pair, ca_file=options.get("ca_file"),
                               validate_certificate=options.get("validate_certificate") is not False)
        self.url = self.http.url
        self.identity = IdentityProvider(self.http, options["username"], options.get("password"), options.get("auth") or "basic")
        self.rest = RestClient(self.http, self.identity)
        self.soap = SoapClient(self.http, self.identity)

    def version(self) -> str:
        """The product's version, asked without login: the cheapest proof that it answers."""
        found = self.http.send("GET", "/api/.well-known/uris").json()
        if not isinstance(found, dict) or not found.get("ProductVersion"):
            raise self.http.error(f"{self.url} is not an XProtect Management Server", "correct management_server.url.", "protocol")
        return str(found["ProductVersion"])

    def recorder(self, recorder_id: str) -> dict[str, t.Any]:
        """The recording server as REST gives it."""
        try:
            return self.rest.get(f"recordingServers/{recorder_id}")
        except TandemError as error:
            if error.code == "not_found":
                raise self.http.error(f"the Management Server at {self.url} knows no recording server {recorder_id}",
                                      "correct recorder_id, or the management server's URL.", "not_found") from None
            raise

    def recorder_uri(self, recorder_id: str) -> str:
        """Where clients find the recorder, in the order in which they look (seen in public code)."""
        found = self.recorder(recorder_id)
        uri = found.get("activeWebServerUri") or found.get("webServerUri") or f"http://{found.get('hostName')}:7563/"
        return str(uri)

    def close(self) -> None:
        self.http.close()
