# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API Gateway's configuration REST interface: lists, single items, changes."""

from __future__ import annotations

import json
import typing as t
import urllib.parse

from ..errors import TandemError
from ._client import Answer, HttpClient
from .identity_provider import IdentityProvider

PAGE = 200
MOST_PAGES = 1000
ROOT = "/api/rest/v1/"


class RestClient:
    def __init__(self, http: HttpClient, identity: IdentityProvider):
        self._http, self._identity = http, identity

    def list(self, path: str, *, disabled: bool = True, filters: t.Mapping[str, str] | None = None) -> list[dict[str, t.Any]]:
        """All items of a collection, page by page; by default the disabled ones too (the server leaves them out otherwise).

        Not every collection honours paging (seen in public code), so a page that brings nothing new ends the list.
        """
        found: dict[str, dict[str, t.Any]] = {}
        for page in range(MOST_PAGES):
            query = [name for name, wanted in (("disabled", disabled),) if wanted]
            query += [f"{name}={urllib.parse.quote(value)}" for name, value in (filters or {}).items()]
            query += [f"page={page}", f"size={PAGE}"]
            items = self._body("GET", f"{path}?{'&'.join(query)}").get("array")
            if not isinstance(items, list):
                raise self._http.error(f"the list {path} of {self._http.url} has no array", "check that the URL is an API Gateway.",
                                       "protocol")
            new = {str(item.get("id") or json.dumps(item, sort_keys=True)): item for item in items if isinstance(item, dict)}
            fresh = new.keys() - found.keys()
            found.update(new)
            if len(items) < PAGE or not fresh:
                return list(found.values())
        raise self._http.error(f"the list {path} has more than {MOST_PAGES * PAGE} items", "narrow it by a filter.", "protocol")

    def get(self, path: str) -> dict[str, t.Any]:
        return self._data("GET", path, None)

    def patch(self, path: str, changes: dict[str, t.Any]) -> dict[str, t.Any]:
        """Change the given properties and return the item as it is afterwards."""
        return self._data("PATCH", path, changes)

    def _data(self, method: str, path: str, changes: dict[str, t.Any] | None) -> dict[str, t.Any]:
        found = self._body(method, path, changes).get("data")
        if not isinstance(found, dict):
            raise self._http.error(f"{path} of {self._http.url} has no data", "check that the URL is an API Gateway.", "protocol")
        return found

    def _body(self, method: str, path: str, changes: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        answer = self._authorised(method, path, None if changes is None else json.dumps(changes).encode())
        found = answer.json()
        if answer.status in (200, 201) and isinstance(found, dict):
            return found
        raise self._failure(method, path, answer)

    def _authorised(self, method: str, path: str, body: bytes | None) -> Answer:
        kind = {"Content-Type": "application/json"} if body is not None else {}
        for attempt in (1, 2):
            answer = self._http.send(method, ROOT + path, headers={**self._identity.headers(), **kind}, body=body)
            if answer.status != 401 or attempt == 2:
                break
            self._identity.forget()  # restarted identity provider, changed key: a new token settles it
        return answer

    def _failure(self, method: str, path: str, answer: Answer) -> TandemError:
        found = answer.json()
        error = found.get("error") if isinstance(found, dict) else None
        details = error.get("details") if isinstance(error, dict) else None
        texts = [f"{item['property']}: {item.get('errorText')}" if item.get("property") else str(item.get("errorText"))
                 for item in details or [] if isinstance(item, dict)]
        code, step = {
            401: ("unauthorised", "check the user's role in XProtect."),
            403: ("forbidden", "give the user's role the rights to read and edit the recording servers."),
            404: ("not_found", "check the id; the object may have been removed."),
            400: ("refused", "correct the values."),
        }.get(answer.status, ("http", "check the API Gateway's log."))
        told = "; ".join(texts)[:500] or "no text"
        return self._http.error(f"{method} {path.partition('?')[0]} at {self._http.url} answered HTTP {answer.status}: {told}", step, code,
                                status=answer.status)
