# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder's own web API port (9001). What the real one answers is not publicly known: this says who is there."""

from __future__ import annotations

import asyncio
import json
import typing as t

from .http import HttpConnection, HttpReply, HttpRequest
from .inbox import Inbox, Overflow

if t.TYPE_CHECKING:
    from ..engine import Recorder


class WebApi:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await HttpConnection(Inbox(reader), writer, self._answer).run()
            writer.close()
        except (OSError, TimeoutError, Overflow, asyncio.CancelledError):
            pass
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _answer(self, request: HttpRequest) -> HttpReply:
        config = self._recorder.config
        document = {"product": "XProtect Recording Server (lab)", "version": config.version, "recorderId": config.recorder_id}
        return HttpReply(200, "application/json; charset=utf-8", json.dumps(document).encode())
