# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""RecorderStatusService2: whether the recorder is attached, and how its devices and storages are."""

from __future__ import annotations

import asyncio
import shutil
import time
import typing as t
import uuid

from .. import clock
from ..device import Device
from .envelope import Call, SoapFault, element, time_text

if t.TYPE_CHECKING:
    from ..engine import Recorder

SERVICE_VERSION = 4
MAX_SESSIONS = 200
MAX_WAIT_MS = 60_000
SESSION_IDLE_SECONDS = 600.0
OTHER_ARRAYS = "".join(f"<{name}StatusArray />" for name in ("InputDevice", "OutputDevice", "MicrophoneDevice", "SpeakerDevice"))


class _Session:
    """What one client subscribed to, and what it was told last."""

    def __init__(self) -> None:
        self.devices: set[str] = set()
        self.configuration = False
        self.configuration_told = 0
        self.told: dict[str, str] = {}
        self.used = time.monotonic()


class RecorderStatus:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._sessions: dict[str, _Session] = {}
        # GetRecorderStatus needs no token in the older of the two documented forms (assumption `recorder_status_without_token`).
        self.open_to_all = frozenset({"GetVersion", "GetRecorderStatus"})
        self.operations: dict[str, t.Callable[[Call], t.Awaitable[str | None]]] = {
            "GetVersion": self._version,
            "GetRecorderStatus": self._recorder_status,
            "GetCurrentDeviceStatus": self._device_status,
            "StartStatusSession": self._start,
            "StopStatusSession": self._stop,
            "SubscribeDeviceStatus": self._subscribe_devices,
            "SubscribeConfigurationStatus": self._subscribe_configuration,
            "SubscribeEventStatus": self._subscribe_events,
            "GetStatus": self._status,
            "GetRecordingStorageStatus": self._storages,
            "GetArchiveStorageStatus": self._archives,
        }

    async def _version(self, call: Call) -> str:
        return str(SERVICE_VERSION)

    async def _recorder_status(self, call: Call) -> str:
        """The texts are assumed (assumption `attach_state_strings`)."""
        attached = self._recorder.tokens.attached
        return element("AttachState", "Attached" if attached else "Detached") + element(
            "ConnectionState", "Connected" if attached else "Disconnected"
        )

    async def _device_status(self, call: Call) -> str:
        wanted = call.guids("deviceIds")
        devices = self._recorder.devices
        ids = list(devices) if not wanted else [device_id for device_id in wanted if device_id in devices]
        cameras = "".join(self._camera(devices[device_id], False) for device_id in ids)
        return f"<CameraDeviceStatusArray>{cameras}</CameraDeviceStatusArray>{OTHER_ARRAYS}<EventStatusArray />"

    def _camera(self, device: Device, is_change: bool) -> str:
        state = self._state(device)
        return (
            f"<CameraDeviceStatus>{element('Time', time_text(clock.now_ms()))}{element('DeviceId', device.settings.id)}"
            f"{element('IsChange', is_change)}{state}</CameraDeviceStatus>"
        )

    def _state(self, device: Device) -> str:
        bank = self._recorder.store.banks.get(device.settings.storage_id)
        values = {
            "Enabled": True,
            "Started": True,
            "Error": not device.connected,
            "ErrorNotLicensed": False,
            "ErrorNoConnection": not device.connected,
            "Recording": device.recording,
            "DbMoveInProgress": False,
            "ErrorOverflow": False,
            "ErrorWritingGop": device.write_error,
            "DbRepairInProgress": bank is not None and bank.rebuilding,
            "Motion": device.moving,
        }
        return "".join(element(name, value) for name, value in values.items())

    # ---- sessions

    async def _start(self, call: Call) -> str:
        now = time.monotonic()
        self._sessions = {key: session for key, session in self._sessions.items() if now - session.used < SESSION_IDLE_SECONDS}
        if len(self._sessions) >= MAX_SESSIONS:
            raise SoapFault("Too many status sessions", 40005, code="Server")
        session_id = str(uuid.uuid4())
        self._sessions[session_id] = _Session()
        return session_id

    def _session(self, call: Call) -> _Session:
        session = self._sessions.get(call.guid("statusSessionId"))
        if session is None:
            raise SoapFault("Unknown status session", 40006)
        session.used = time.monotonic()
        return session

    async def _stop(self, call: Call) -> None:
        self._session(call)
        del self._sessions[call.guid("statusSessionId")]

    async def _subscribe_devices(self, call: Call) -> None:
        self._session(call).devices = set(call.guids("deviceIds") or [])

    async def _subscribe_configuration(self, call: Call) -> None:
        session = self._session(call)
        session.configuration = (call.text("subscribe") or "").lower() in ("true", "1")
        session.configuration_told = self._recorder.configuration_changed_ms

    async def _subscribe_events(self, call: Call) -> None:
        """Accepted; the lab's recorder raises no events."""
        self._session(call)

    async def _status(self, call: Call) -> str:
        """Long poll: all subscribed devices at first, then what has changed, at the latest when the time is over."""
        session = self._session(call)
        deadline = time.monotonic() + min(max(call.number("millisecondsTimeout"), 0), MAX_WAIT_MS) / 1000
        while True:
            changes = self._recorder.changes
            answer = self._news(session)
            left = deadline - time.monotonic()
            if answer or left <= 0:
                return answer or f"<CameraDeviceStatusArray />{OTHER_ARRAYS}<EventStatusArray />"
            try:
                async with asyncio.timeout(left):
                    await changes.wait()
            except TimeoutError:
                pass

    def _news(self, session: _Session) -> str:
        cameras = ""
        for device_id in sorted(session.devices):
            device = self._recorder.devices.get(device_id)
            state = self._state(device) if device else ""
            if device and session.told.get(device_id) != state:
                cameras += self._camera(device, device_id in session.told)
                session.told[device_id] = state
        changed = ""
        if session.configuration and session.configuration_told != self._recorder.configuration_changed_ms:
            session.configuration_told = self._recorder.configuration_changed_ms
            changed = f"<ConfigurationChangedStatus>{element('Time', time_text(session.configuration_told))}</ConfigurationChangedStatus>"
        if not cameras and not changed:
            return ""
        return f"<CameraDeviceStatusArray>{cameras}</CameraDeviceStatusArray>{OTHER_ARRAYS}<EventStatusArray />{changed}"

    # ---- storages

    async def _storages(self, call: Call) -> str:
        found = []
        for bank in self._recorder.store.banks.values():
            try:
                free = 0 if bank.disk.state else shutil.disk_usage(bank.storage.drive).free
            except OSError:
                free = 0
            found.append(
                f"<StorageStatus>{element('StorageId', bank.storage.id)}{element('Name', bank.storage.name)}"
                f"{element('Path', bank.storage.disk_path)}{element('Available', bank.available)}"
                f"{element('UsedSpaceInBytes', bank.used_bytes())}{element('FreeSpaceInBytes', free)}</StorageStatus>"
            )
        return "".join(found)

    async def _archives(self, call: Call) -> str:
        return ""
