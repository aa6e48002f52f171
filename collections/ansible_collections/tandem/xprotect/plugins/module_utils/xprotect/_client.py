# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the clients of one server share: a bounded HTTP session, and XML without namespaces."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
import xml.etree.ElementTree as ET

from .._http import MIB, REQUESTS_MISSING, BoundedAdapter, explain, need, requests
from ..errors import TandemError


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: t.Mapping[str, str]
    body: bytes

    def json(self) -> t.Any:
        """The body as JSON, or None when it is none."""
        try:
            return json.loads(self.body.decode("utf-8-sig"))
        except ValueError:
            return None


class HttpClient:
    """Requests to one server. Environment proxies and .netrc are not used: the server is named by whoever calls."""

    def __init__(self, url: str, pair: str | None = None, *, node: str | None = None, ca_file: str | None = None,
                 validate_certificate: bool = True, connect_timeout: float = 5.0, read_timeout: float = 30.0,
                 size_limit: int = 64 * MIB):
        need("requests", REQUESTS_MISSING)
        self.url = url.rstrip("/")
        self.pair, self.node = pair, node
        if ca_file and not os.path.isfile(ca_file):
            raise self.error(f"ca_file names {ca_file}, which is no file on the controller", "correct its path.", "configuration")
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = (ca_file or True) if validate_certificate else False
        adapter = BoundedAdapter(connect_timeout, read_timeout, size_limit)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def error(self, message: str, next_step: str, code: str, **details: t.Any) -> TandemError:
        return TandemError(message, self.pair, self.node, next_step, code=code, details=details)

    def send(self, method: str, path: str, *, headers: dict[str, str] | None = None, body: bytes | None = None,
             auth: t.Any = None) -> Answer:
        try:
            response = self._session.request(method, self.url + path, headers=headers, data=body, auth=auth, allow_redirects=False)
            return Answer(response.status_code, response.headers, response.content)
        except Exception as error:  # requests, urllib3, requests_ntlm, spnego: one place turns all into words
            raise explain(error, self.url, "ca_file").at(self.pair, self.node) from None

    def close(self) -> None:
        self._session.close()


def parse_xml(text: bytes) -> ET.Element | None:
    """The root of a document, or None when it is not XML. Documents with own entities are refused as not XML."""
    if b"<!DOCTYPE" in text[:4096]:
        return None
    try:
        return ET.fromstring(text)
    except ET.ParseError:
        return None


def local(tag: str) -> str:
    """The name without its namespace."""
    return tag.rpartition("}")[2]


def find(element: ET.Element | None, name: str) -> ET.Element | None:
    """The first descendant of that local name."""
    return next((item for item in element.iter() if local(item.tag) == name), None) if element is not None else None


def plain(element: ET.Element) -> t.Any:
    """Text, or a dictionary of children; several children of one name become a list."""
    found: dict[str, t.Any] = {}
    for child in element:
        name, value = local(child.tag), plain(child)
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found if len(element) else (element.text or "").strip()


def items(value: t.Any, name: str) -> list[t.Any]:
    """The members of an array element as `plain` gives it: none, one or several."""
    found = value.get(name, []) if isinstance(value, dict) else []
    return found if isinstance(found, list) else [found]
