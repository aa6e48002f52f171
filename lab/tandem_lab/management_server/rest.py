# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration REST API under ``/api/rest/v1/``.

Wrappers, error bodies and resource names are documented (the vendor's OpenAPI text) and as captured from real servers.
Resources that the lab's sites do not have (microphones, outputs, failover groups...) are served as empty lists.
"""

from __future__ import annotations

import json
import typing as t

from aiohttp import web

from . import rest_query, schema
from .access_tokens import AccessTokens
from .model import Model, parent_id

Item = dict[str, t.Any]
Changed = t.Callable[[str], t.Awaitable[None]]

CHILDREN: dict[str, tuple[str, ...]] = {
    "sites": ("recordingServers",),
    "recordingServers": ("hardware", "storages"),
    "hardware": ("cameras",),
}
EMPTY_CHILDREN: dict[str, tuple[str, ...]] = {
    "recordingServers": ("recordingServerFailovers", "recordingServerMulticasts"),
    "hardware": ("microphones", "speakers", "metadata", "inputEvents", "outputs", "customProperties"),
    "cameras": ("ptzPresets", "patrollingProfiles", "privacyProtections", "customProperties"),
    "storages": ("archiveStorages",),
}
EMPTY = ("failoverGroups", "failoverRecorders", "microphones", "speakers", "metadata", "inputEvents", "outputs", "archiveStorages")
KINDS = ("sites", "recordingServers", "hardware", "cameras", "storages")
TEXTS = {
    401: "Unauthorized",
    403: "Forbidden, you are not authorized to access this object",
    404: "Not Found, the requested id does not exist",
    405: "Method Not Allowed",
}


class RestError(Exception):
    def __init__(self, status: int, text: str | None = None, *, name: str | None = None, text_id: str | None = None):
        super().__init__(text or TEXTS[status])
        self.status = status
        self.name = name
        self.text_id = text_id

    def response(self) -> web.Response:
        detail: dict[str, t.Any] = {"errorText": str(self)}
        if self.name:
            detail["property"] = self.name
        if self.text_id:
            detail["errorTextId"] = self.text_id
        return web.json_response({"error": {"httpCode": self.status, "details": [detail]}}, status=self.status)


def public(item: Item) -> Item:
    return {name: value for name, value in item.items() if name != "lab"}


def _named(names: t.Iterable[str], wanted: str) -> str | None:
    return next((name for name in names if name.lower() == wanted.lower()), None)


class RestApi:
    def __init__(self, model: Model, tokens: AccessTokens, changed: Changed):
        self._model = model
        self._tokens = tokens
        self._changed = changed

    async def handle(self, request: web.Request, path: str) -> web.Response:
        """Answer one request; `path` is what follows ``/api/rest/v1/``."""
        try:
            self._authorize(request)
            return await self._dispatch(request, [part for part in path.split("/") if part])
        except RestError as error:
            return error.response()
        except rest_query.QueryError as error:
            return RestError(400, str(error), name=error.name, text_id="InvalidQuery").response()
        except schema.PropertyError as error:
            return RestError(400, str(error), name=error.name, text_id=error.text_id).response()

    def _authorize(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.user_of(token.strip()) is None:
            raise RestError(401)

    async def _dispatch(self, request: web.Request, parts: list[str]) -> web.Response:
        if not 1 <= len(parts) <= 4:
            raise RestError(404, f"Unknown resource: {'/'.join(parts)}")
        kind = _named(KINDS, parts[0])
        if kind is None:
            return self._other(request, parts)
        if len(parts) == 1:
            return self._list(request, kind, self._model.items(kind))
        item = self._model.find(kind, parts[1])
        if item is None:
            raise RestError(404)
        if len(parts) == 2:
            return await self._single(request, kind, item)
        return await self._below(request, kind, item, parts[2:])

    def _other(self, request: web.Request, parts: list[str]) -> web.Response:
        if parts[0].lower() == "streams" and len(parts) == 2:
            camera = self._model.find("cameras", parts[1])
            if camera is None:
                raise RestError(404)
            return self._data(request, self._streams(camera))
        name = _named(EMPTY, parts[0])
        if name is None:
            raise RestError(404, f"Unknown resource: {parts[0]}")
        if len(parts) > 1:
            raise RestError(404)
        return self._list(request, name, [])

    async def _below(self, request: web.Request, kind: str, item: Item, rest: list[str]) -> web.Response:
        if kind == "cameras" and rest[0].lower() == "streams" and len(rest) == 1:
            return self._list(request, "streams", [self._streams(item)])
        child_kind = _named(CHILDREN.get(kind, ()), rest[0])
        if child_kind is None:
            empty = _named(EMPTY_CHILDREN.get(kind, ()), rest[0])
            if empty is None:
                raise RestError(404, f"Unknown resource: {rest[0]}")
            if len(rest) == 2:
                raise RestError(404)
            return self._list(request, empty, [])
        if len(rest) == 1:
            return self._list(request, child_kind, self._children(child_kind, kind, item))
        child = self._model.find(child_kind, rest[1])
        if child is None or (kind != "sites" and parent_id(child) != item["id"]):
            raise RestError(404)
        return await self._single(request, child_kind, child)

    def _children(self, child_kind: str, kind: str, item: Item) -> list[Item]:
        return self._model.items(child_kind) if kind == "sites" else self._model.children(child_kind, item["id"])

    # -- answers -------------------------------------------------------------------------------------------------
    def _list(self, request: web.Request, kind: str, items: list[Item]) -> web.Response:
        if request.method != "GET":
            raise RestError(405)
        # An item with a reference to the parent's id (streams) is not a list of the model: nothing to filter.
        chosen = rest_query.select(items, request.query)
        return self._wrap(request, "array", [self._with_children(request, kind, item) for item in chosen])

    def _data(self, request: web.Request, item: Item) -> web.Response:
        if request.method != "GET":
            raise RestError(405)
        return self._wrap(request, "data", item)

    async def _single(self, request: web.Request, kind: str, item: Item) -> web.Response:
        if request.method == "GET":
            return self._wrap(request, "data", self._with_children(request, kind, item))
        if request.method == "PATCH":
            return await self._patch(request, kind, item)
        raise RestError(405)

    def _with_children(self, request: web.Request, kind: str, item: Item) -> Item:
        shown = public(item)
        wanted = [name.strip() for key, value in request.query.items() if key.lower() == "includechildren" for name in value.split(",")]
        for name in wanted:
            child_kind = _named(CHILDREN.get(kind, ()), name)
            if child_kind:
                every = "disabled" in {key.lower() for key in request.query}
                children = self._children(child_kind, kind, item)
                shown[child_kind] = [public(child) for child in children if every or child.get("enabled", True)]
        return shown

    @staticmethod
    def _wrap(request: web.Request, key: str, content: t.Any) -> web.Response:
        body: dict[str, t.Any] = {key: content}
        if "nodata" in {name.lower() for name in request.query}:
            body = {}
        return web.json_response(body)

    async def _patch(self, request: web.Request, kind: str, item: Item) -> web.Response:
        try:
            changes = json.loads(await request.read())
        except ValueError as error:
            raise RestError(400, "Bad request: the body is not JSON") from error
        if not isinstance(changes, dict):
            raise RestError(400, "Bad request: the body is not an object")
        schema.check_changes(kind, item, changes)
        if self._model.change(kind, item["id"], changes):
            recorder = self._model.recorder_of(kind, item)
            if recorder:
                await self._changed(recorder)
        return web.json_response({"data": public(self._model.find(kind, item["id"]) or item)})

    @staticmethod
    def _streams(camera: Item) -> Item:
        """The one stream of a lab camera. Its reference id is made from the camera's id, so it never changes."""
        return {
            "displayName": "Streams",
            "stream": [
                {
                    "name": "Video stream 1",
                    "displayName": "Video stream 1",
                    "streamReferenceId": camera["lab"]["stream_id"],
                    "liveMode": "WhenNeeded",
                    "liveDefault": True,
                    "defaultPlayback": True,
                    "recordTo": camera["lab"]["track_id"],
                    "edgeTrackId": "",
                    "useEdge": False,
                }
            ],
            "relations": {
                "parent": {"type": "cameras", "id": camera["id"]},
                "self": {"type": "streams", "id": camera["id"]},
            },
        }
