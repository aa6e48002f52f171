# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The media port (7563): ImageServer and HTTP share it, told apart by the first byte of a connection."""

from __future__ import annotations

import asyncio
import typing as t

from .http import HttpConnection
from .image_session import ImageSession
from .inbox import Inbox, Overflow
from .soap import SoapServices

if t.TYPE_CHECKING:
    from ..engine import Recorder

FIRST_BYTE_SECONDS = 10.0
MAX_CONNECTIONS = 400


class MediaPort:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._services = SoapServices(recorder)
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections += 1
        try:
            await self._talk(Inbox(reader), writer)
            writer.close()
        except (OSError, TimeoutError, Overflow):
            pass  # the client is gone, too slow, or sends no protocol of ours
        except asyncio.CancelledError:
            pass  # the service stops
        except Exception as error:  # one client must never take the recorder down
            self._recorder.log("ERROR", f"A client's connection failed: {error!r}")
        finally:
            self._connections -= 1
            if not writer.is_closing():
                writer.transport.abort()

    async def _talk(self, inbox: Inbox, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(FIRST_BYTE_SECONDS):
            first = await inbox.peek()
        if first == b"<":
            await ImageSession(self._recorder, inbox, writer).run()
        elif first.isalpha():
            await HttpConnection(inbox, writer, self._services.answer).run()
