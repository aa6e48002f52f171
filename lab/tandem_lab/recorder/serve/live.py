# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Live pictures and status for one client."""

from __future__ import annotations

import asyncio
import time
import typing as t

from .. import clock
from ..device import Device, LiveFeed
from . import image_protocol as protocol

STATUS_SECONDS = 2.0
FRESH_MS = 5000


class LiveSender:
    def __init__(
        self,
        device: Device,
        picture_format: protocol.ImageFormat,
        request_id: str,
        send: t.Callable[[bytes], t.Awaitable[None]],
        may_go_on: t.Callable[[], bool],
    ) -> None:
        self._device = device
        self._format = picture_format
        self._request_id = request_id
        self._send = send
        self._may_go_on = may_go_on
        self._last_ms = 0
        self._number = 0

    async def run(self, first_picture: bool) -> None:
        """Until it is cancelled, the client is gone, or its token has run out."""
        feed = LiveFeed()
        latest = self._device.latest
        if first_picture and latest and latest[0] > clock.now_ms() - FRESH_MS:
            feed.put(*latest)
        self._device.feeds.add(feed)
        try:
            await self._run(feed)
        finally:
            self._device.feeds.discard(feed)

    async def _run(self, feed: LiveFeed) -> None:
        next_status = 0.0
        told: dict[int, int] = {}
        while self._may_go_on() and not self._device.gone:
            feed.wake.clear()
            status = self._status()
            if status != told or time.monotonic() >= next_status:
                next_status, told = time.monotonic() + STATUS_SECONDS, status
                await self._send(protocol.live_status(clock.now_ms(), status))
            while feed.frames:
                await self._send_picture(*feed.frames.popleft())
            try:
                async with asyncio.timeout(max(0.01, next_status - time.monotonic())):
                    await feed.wake.wait()
            except TimeoutError:
                pass

    async def _send_picture(self, time_ms: int, frame: bytes) -> None:
        self._number += 1
        times = (self._last_ms or time_ms, time_ms, time_ms)
        self._last_ms = time_ms
        await self._send(self._format.image(self._request_id, times, frame, self._number, live=True))

    def _status(self) -> dict[int, int]:
        """Item 5, the camera's connection lost, is seen in public captures; the others are named by the vendor, unverified."""
        device = self._device
        return {
            1: int(device.connected),
            2: int(device.moving),
            3: int(device.recording),
            5: int(not device.connected),
            6: int(device.write_error),
        }
