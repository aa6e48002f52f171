# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ImageServer connection: requests are answered one after the other, in order; live pictures come in between."""

from __future__ import annotations

import asyncio
import typing as t
import uuid

from .. import clock
from ..media import layout
from ..media.timeline import Picture
from . import image_protocol as protocol
from .inbox import Inbox
from .live import LiveSender

if t.TYPE_CHECKING:
    from ..device import Device
    from ..engine import Recorder

MAX_REQUEST = 64 * 1024
CONNECT_SECONDS = 10.0
IDLE_SECONDS = 600.0
SEND_SECONDS = 15.0
READ_TRIES = 3
MAX_ALARMS = 10_000


class ImageSession:
    def __init__(self, recorder: Recorder, inbox: Inbox, writer: asyncio.StreamWriter) -> None:
        self._recorder = recorder
        self._inbox = inbox
        self._writer = writer
        self._device: Device | None = None
        self._token = ""
        self._format = protocol.ImageFormat(jpeg=True, multipart=False)
        self._live: asyncio.Task[None] | None = None
        self._position: int | None = None  # time of the picture that was played last
        self._number = 0
        self._open = True

    async def run(self) -> None:
        try:
            while self._open:
                data = await self._next_request()
                if data is None:
                    return
                await self._answer(protocol.parse(data))
        except protocol.Malformed as error:
            self._recorder.log("WARNING", f"ImageServer: a client sent a request that cannot be read ({error}); its connection is closed")
        finally:
            await self._stop_live()

    async def _next_request(self) -> bytes | None:
        """The next request, None when the client has gone. One that watches live need not send anything."""
        if self._live is None:
            async with asyncio.timeout(IDLE_SECONDS if self._device else CONNECT_SECONDS):
                return await self._inbox.until(protocol.END, MAX_REQUEST)
        reading = asyncio.ensure_future(self._inbox.until(protocol.END, MAX_REQUEST))
        try:
            await asyncio.wait({reading, self._live}, return_when=asyncio.FIRST_COMPLETED)
            if self._live.done():
                self._live.result()
                return None  # its token has run out, or the camera is gone
            return reading.result()
        finally:
            if not reading.done():
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        async with asyncio.timeout(SEND_SECONDS):
            await self._writer.drain()

    async def _answer(self, request: protocol.Request) -> None:
        if request.method == "connect":
            await self._connect(request)
        elif self._device is None:
            await self._refuse(request, "Not connected")
        elif request.method == "connectupdate":
            await self._connect_update(request)
        elif not self._recorder.tokens.known(self._token):
            await self._refuse(request, "Security token invalid")
        elif self._device.gone:
            await self._refuse(request, "Unknown device")
        elif request.method == "live":
            await self._start_live(request)
        elif request.method == "stop":
            await self._stop_live()
            await self._send(protocol.response(request.id, "stop", "<errorreason>Success</errorreason>"))
        elif request.method == "alarms":
            await self._alarms(request)
        elif request.method in PLAYBACK:
            await self._stop_live()
            await self._play(request)
        else:
            await self._send(protocol.response(request.id, request.method, "<errorreason>Unknown method</errorreason>"))

    # ---- connect

    async def _refuse(self, request: protocol.Request, reason: str) -> None:
        """What a real recorder does after a refusal is not known (assumption `image_server_closes_after_refusal`)."""
        await self._stop_live()
        await self._send(protocol.connected(request, reason))
        self._open = not self._recorder.machine.assumes("image_server_closes_after_refusal", True)

    async def _connect(self, request: protocol.Request) -> None:
        parameters = request.connect_parameters()
        token = parameters.get("connectiontoken", "")
        if not self._recorder.tokens.accepts(token):
            await self._refuse(request, "Security token invalid")
            return
        device = self._find_device(parameters.get("id", ""), request.text("cameraid"))
        if device is None:
            await self._refuse(request, "Unknown device")
            return
        await self._stop_live()
        self._token, self._device, self._position = token, device, None
        self._format = protocol.ImageFormat(request.flag("alwaysstdjpeg"), request.flag("multipartdata"))
        details = protocol.capabilities(request, self._format.jpeg, device.settings.name, self._format.multipart)
        await self._send(protocol.connected(request, None, details))

    def _find_device(self, *candidates: str) -> Device | None:
        """The id of the connect parameters decides; some clients put a dummy into cameraid."""
        for text in candidates:
            if text:
                try:
                    return self._recorder.devices.get(str(uuid.UUID(text)))
                except ValueError:
                    continue
        return None

    async def _connect_update(self, request: protocol.Request) -> None:
        """A renewed token. The id is not looked at: a public client sends a broken one here."""
        token = request.connect_parameters().get("connectiontoken", "")
        accepted = self._recorder.tokens.accepts(token)
        if accepted:
            self._token = token
        await self._send(protocol.connected(request, None if accepted else "Security token invalid"))

    # ---- live

    async def _start_live(self, request: protocol.Request) -> None:
        await self._stop_live()
        assert self._device is not None
        sender = LiveSender(self._device, self._format, request.id, self._send, lambda: self._recorder.tokens.known(self._token))
        self._live = asyncio.create_task(sender.run(first_picture=request.text("sendinitialimage").lower() != "no"))

    async def _stop_live(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.cancel()
            await asyncio.gather(live, return_exceptions=True)

    # ---- playback

    async def _play(self, request: protocol.Request) -> None:
        assert self._device is not None
        for _ in range(READ_TRIES):
            picture = await self._find(request)
            if picture is None:
                await self._send(protocol.empty_image(request.id))
                return
            try:
                frame = picture.frame.read()
            except (OSError, layout.TableDamaged) as error:
                self._timeline.drop_unreadable(picture.frame.table, error)
                continue
            self._position = picture.time
            self._number += 1
            times = (picture.previous, picture.time, picture.next)
            await self._send(self._format.image(request.id, times, frame, self._number))
            await asyncio.sleep(0)  # many requests in one packet must not hold up recording
            return
        await self._send(protocol.empty_image(request.id))

    @property
    def _timeline(self) -> t.Any:
        assert self._device is not None
        return self._recorder.store.timeline(self._device.settings.id)

    async def _find(self, request: protocol.Request) -> Picture | None:
        timeline, position = self._timeline, self._position
        if request.method == "goto":
            wanted = request.number("time")
            return timeline.at_or_before(wanted) if wanted is not None else timeline.first()
        if request.method == "begin" or (request.method == "next" and position is None):
            return timeline.first()
        if request.method == "end" or position is None:
            return timeline.last()
        if request.method == "next":
            return timeline.next(position)
        if request.method == "previous":
            return timeline.previous(position)
        begin = await self._sequence_begin(position, forward=request.method == "nextsequence")
        return timeline.at_or_before(position) if begin is None else timeline.at_or_after(begin)

    async def _sequence_begin(self, position: int, forward: bool) -> int | None:
        """Where the next recording sequence begins, or the one before that which holds the position."""
        spans = await self._timeline.sequences(layout.SEQUENCES)
        if forward:
            return next((begin for begin, _ in spans if begin > position), None)
        earlier = [begin for begin, end in spans if end < position and begin < position]
        return earlier[-1] if earlier else None

    async def _alarms(self, request: protocol.Request) -> None:
        """Recording sequences around a time (vendor's sample) or between two times."""
        begin, end = request.number("starttime"), request.number("endtime")
        centre, span = request.number("centertime"), request.number("timespan")
        if centre is not None:
            begin, end = centre - abs(span or 0), centre + abs(span or 0)
        begin, end = begin or 0, end if end is not None else clock.now_ms()
        spans = [part for part in await self._timeline.sequences(layout.SEQUENCES) if part[1] >= begin and part[0] <= end]
        most = min(max(request.number("numalarms") or MAX_ALARMS, 0), MAX_ALARMS)
        if len(spans) > most and centre is not None:
            spans = sorted(sorted(spans, key=lambda part: abs(part[0] - centre))[:most])
        await self._send(protocol.alarms(request, spans[:most]))


PLAYBACK = frozenset({"goto", "next", "previous", "nextsequence", "previoussequence", "begin", "end"})
