# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RecorderCommandService: sequences, pictures, manual recording."""

from __future__ import annotations

import base64
import typing as t

from .. import clock
from ..device import Device
from ..media import layout
from ..media.timeline import Picture
from .envelope import Call, SoapFault, element, time_text

if t.TYPE_CHECKING:
    from ..engine import Recorder

RECORDING = "f9c62604-d0c5-4050-ae25-72de51639b14"
MOTION = "53cb5e33-2183-44bd-9491-8364d2457480"
RECORDING_WITH_TRIGGER = "0601d294-b7e5-4d93-9614-9658561ad5e4"
TYPES = {RECORDING: "RecordingSequence", MOTION: "MotionSequence", RECORDING_WITH_TRIGGER: "RecordingWithTriggerSequence"}
COLUMN_OF = {RECORDING: layout.SEQUENCES, MOTION: layout.MOTION, RECORDING_WITH_TRIGGER: layout.SEQUENCES}
SERVICE_VERSION = 9
MAX_SEQUENCES = 100_000


class RecorderCommands:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.open_to_all = frozenset({"GetVersion"})
        self.operations: dict[str, t.Callable[[Call], t.Awaitable[str | None]]] = {
            "GetVersion": self._version,
            "SequencesGetTypes": self._sequence_types,
            "SequencesGet": self._sequences,
            "StartManualRecording": self._start_manual,
            "StopManualRecording": self._stop_manual,
            "IsManualRecording": self._is_manual,
            "JPEGGetAt": self._jpeg_at_or_before,
            "JPEGGetAtOrBefore": self._jpeg_at_or_before,
            "JPEGGetAtOrAfter": self._jpeg_at_or_after,
            "JPEGGetLive": self._jpeg_live,
        }

    async def _version(self, call: Call) -> str:
        return str(SERVICE_VERSION)

    def _device(self, call: Call) -> Device:
        device = self._recorder.devices.get(call.guid("deviceId"))
        if device is None:
            raise SoapFault("Unknown device", 40002)
        return device

    # ---- sequences

    async def _sequence_types(self, call: Call) -> str:
        self._device(call)
        return "".join(
            f"<SequenceType>{element('Id', type_id)}{element('Name', name)}</SequenceType>" for type_id, name in TYPES.items()
        )

    async def _sequences(self, call: Call) -> str:
        """Sequences that reach into [minTime, maxTime], whole, by their begin."""
        device = self._device(call)
        column = COLUMN_OF.get(call.guid("sequenceType"))
        if column is None:
            raise SoapFault("Unknown sequence type", 40003)
        begin, end = call.time("minTime"), call.time("maxTime")
        most = min(max(call.number("maxCount"), 0), MAX_SEQUENCES)
        spans = await self._recorder.store.timeline(device.settings.id).sequences(column)
        found = [span for span in spans if span[1] >= begin and span[0] <= end][:most]
        return "".join(
            f"<SequenceEntry>{element('TimeBegin', time_text(first))}{element('TimeTrigged', time_text(first))}"
            f"{element('TimeEnd', time_text(last))}</SequenceEntry>"
            for first, last in found
        )

    # ---- manual recording

    async def _start_manual(self, call: Call) -> str:
        return self._each(call, lambda device: device.start_manual())

    async def _stop_manual(self, call: Call) -> str:
        return self._each(call, lambda device: device.stop_manual())

    def _each(self, call: Call, action: t.Callable[[Device], None]) -> str:
        results = []
        for device_id in call.guids("deviceIds") or []:
            device = self._recorder.devices.get(device_id)
            if device is not None:
                action(device)
            code, message = (0, "Success") if device is not None else (1, "Unknown device")
            results.append(
                f"<ManualRecordingResult>{element('DeviceId', device_id)}{element('ResultCode', code)}"
                f"{element('Message', message)}</ManualRecordingResult>"
            )
        return "".join(results)

    async def _is_manual(self, call: Call) -> str:
        infos = []
        for device_id in call.guids("deviceIds") or []:
            device = self._recorder.devices.get(device_id)
            infos.append(
                f"<ManualRecordingInfo>{element('DeviceId', device_id)}"
                f"{element('IsManualRecording', device is not None and device.manual)}</ManualRecordingInfo>"
            )
        return "".join(infos)

    # ---- pictures

    async def _jpeg_at_or_before(self, call: Call) -> str | None:
        timeline = self._recorder.store.timeline(self._device(call).settings.id)
        return self._picture(timeline.at_or_before(call.time("time")))

    async def _jpeg_at_or_after(self, call: Call) -> str | None:
        timeline = self._recorder.store.timeline(self._device(call).settings.id)
        return self._picture(timeline.at_or_after(call.time("time")))

    def _picture(self, picture: Picture | None) -> str | None:
        if picture is None:
            return None
        try:
            return _jpeg(picture.time, picture.frame.read())
        except (OSError, layout.TableDamaged) as error:
            raise SoapFault(f"The picture cannot be read: {error}", 40004, code="Server") from error

    async def _jpeg_live(self, call: Call) -> str | None:
        """The newest picture as it came; it is never scaled."""
        device = self._device(call)
        if device.latest is None or device.latest[0] < clock.now_ms() - 10_000:
            return None
        return _jpeg(*device.latest)


def _jpeg(time_ms: int, frame: bytes) -> str:
    return element("Time", time_text(time_ms)) + element("Data", base64.b64encode(frame).decode())
