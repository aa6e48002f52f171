# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registration of recorders, ``POST /lab/register``: what the lab's Server Configurator calls. How the real one does it is not public."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid

from aiohttp import web

from .config import ServerConfig
from .model import Model
from .uplink import Uplink

MAX_SECONDS = 120.0
log = logging.getLogger(__name__)


def _refuse(status: int, text: str) -> web.Response:
    return web.json_response({"status": "Error", "error": text}, status=status)


class RegistrationService:
    def __init__(self, config: ServerConfig, model: Model, uplink: Uplink):
        self._model = model
        self._uplink = uplink
        self._seconds = min(max(float(config.settings.get("registration_seconds", 0.0)), 0.0), MAX_SECONDS)

    async def register(self, request: web.Request) -> web.Response:
        """The machine that asks is from now on the one that registered last."""
        try:
            body = json.loads(await request.read())
            recorder_id, client_id = (str(uuid.UUID(body[name])) for name in ("recorder_id", "client_registration_id"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return _refuse(400, "recorder_id and client_registration_id must be GUIDs")
        if self._model.find("recordingServers", recorder_id) is None:
            # The lab makes no new recorders, so an unknown one is treated like one that may not register.
            return _refuse(403, f"the recorder {recorder_id} may not register on this Management Server")
        await asyncio.sleep(self._seconds)
        self._uplink.register(recorder_id, request.remote or "", client_id)
        log.info("recorder %s registered by %s", recorder_id, request.remote)
        return web.json_response({"status": "Success"})
