# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder itself: configuration in, cameras recorded, uplink kept, clients served."""

from __future__ import annotations

import asyncio
import typing as t
import uuid

from . import clock, configuration, recorder_config
from .configuration import CameraSettings, Configuration, ConfigurationError
from .device import Device
from .fault_player import FaultPlayer
from .log import RecorderLog
from .machine import DATA_FOLDER, Machine
from .machine_seal import MachineSeal
from .media.bank import Storage
from .media.store import MediaStore
from .mjpeg import pull
from .network import Network, Server
from .tokens import Tokens
from .uplink import Uplink


class Recorder:
    def __init__(self, machine: Machine, config: recorder_config.RecorderConfig, network: Network, log: RecorderLog) -> None:
        self.machine = machine
        self.config = config
        self.network = network
        self.log = log
        self.instance = str(uuid.uuid4())
        self.tokens = Tokens(machine.assumes("client_tokens_need_management_server", True))
        self.devices: dict[str, Device] = {}
        self.configuration: Configuration | None = None
        self.configuration_changed_ms = 0
        self.changes = asyncio.Event()  # set and replaced at every change of a device's state
        self.store = MediaStore(
            log,
            machine.local_time,
            table_seconds=machine.table_seconds,
            play_once=machine.assumes("overlapping_tables_play_once", True),
            rebuild_missing_cache=machine.assumes("bank_cache_rebuilt_when_missing", True),
            remount_reloads_tables=machine.assumes("bank_remount_reloads_tables", False),
            disk_check_seconds=config.disk_check_seconds,
        )
        self._cache = machine.path(DATA_FOLDER) / configuration.FILE_NAME
        self._seal = MachineSeal(machine)
        self._faults = FaultPlayer(self)
        self._pullers: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._servers: list[Server] = []
        self._last_uplink_error = ""

    # ---- life

    async def start(self) -> None:
        """Record from the local copy of the configuration at once, then serve and look for the Management Server."""
        self._faults.begin()
        self._load_cache()
        await self._listen()
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._uplink().run())]
        self.log("INFO", f"Recording Server {self.config.name} ({self.config.recorder_id}) started, instance {self.instance}")

    async def _listen(self) -> None:
        from .serve import media_port, web_api

        port = media_port.MediaPort(self)
        self._servers.append(await self.network.start_server(self.config.port, port.serve))
        self._servers.append(await self.network.start_server(self.config.web_api_port, web_api.WebApi(self).serve))

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; an unexpected end of an inner task ends the recorder with that task's error."""
        self._tasks.append(asyncio.create_task(self._faults.run()))  # not before the service is up: a hung one was started, too
        waiting = {asyncio.create_task(stop.wait()), *self._tasks}
        while not stop.is_set():
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # the uplink may end by itself; whatever fails ends the service, which is then started again

    async def stop(self) -> None:
        """Stop cleanly: no more frames, all tables closed."""
        for server in self._servers:
            server.close()
        tasks = [*self._tasks, *self._pullers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.store.close(clock.now_ms())
        self.log("INFO", "Recording Server stopped")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.store.tick(clock.now_ms())

    # ---- configuration

    def _load_cache(self) -> None:
        if not self.machine.assumes("recorder_starts_without_management_server", True):
            self.log("INFO", "Waiting for the Management Server: this recorder does not start from its local configuration")
            return
        try:
            document = configuration.read_cache(self._cache)
            if document is None:
                self.log("INFO", "There is no local configuration yet: waiting for the Management Server")
            else:
                self._seal.check(document)
                self._apply(self._parse(document))
        except (ConfigurationError, OSError) as error:
            self.log("ERROR", f"The local configuration cannot be used ({error}): waiting for the Management Server")

    def take_configuration(self, document: t.Any) -> None:
        """A configuration from the Management Server: keep a copy, apply it live. A bad one changes nothing."""
        try:
            parsed = self._parse(document)
        except ConfigurationError as error:
            self.log("ERROR", f"The Management Server sent a configuration that cannot be used: {error}")
            return
        try:
            configuration.write_cache(self._cache, self._seal.close(document))
        except OSError as error:
            self.log("ERROR", f"The local configuration cannot be written: {error}")
        if parsed != self.configuration:
            self._apply(parsed)

    def _parse(self, document: t.Any) -> Configuration:
        parsed = configuration.parse(document)
        if parsed.recorder_id != self.config.recorder_id:
            raise ConfigurationError(f"it belongs to the recorder {parsed.recorder_id}, this one is {self.config.recorder_id}")
        return parsed

    def _apply(self, new: Configuration) -> None:
        self.store.configure([self._storage(storage) for storage in new.storages], clock.now_ms())
        wanted = {camera.id: camera for camera in new.cameras if camera.enabled}
        for device_id in [device_id for device_id in self.devices if device_id not in wanted]:
            self._drop(device_id)
        for camera in wanted.values():
            self._take(camera)
        self.configuration = new
        self.configuration_changed_ms = clock.now_ms()
        self.log("INFO", f"Configuration version {new.version} is in use: {len(wanted)} cameras, {len(new.storages)} storages")
        self.note_change()

    def _storage(self, storage: configuration.StorageConfig) -> Storage:
        path = self.machine.path(storage.disk_path)
        drive = self.machine.drive(storage.disk_path)
        return Storage(storage.id, storage.name, storage.disk_path, path, drive, storage.retain_minutes, storage.max_size_mb)

    def _take(self, camera: CameraSettings) -> None:
        device = self.devices.get(camera.id)
        if device is None:
            device = self.devices[camera.id] = Device(camera, self.store, self.machine.motion_threshold, self.log)
            device.on_change = self.note_change
            self._faults.take(device)
        elif device.settings == camera:
            return
        else:
            same_source = device.settings.source == camera.source
            device.configure(camera)
            self._faults.take(device)
            if same_source:
                return  # the running connection goes on: a new configuration costs no frame
            self._pullers.pop(camera.id).cancel()
            device.lost("the camera has a new address")
        self._connect(device)

    def _connect(self, device: Device) -> None:
        work = pull(self.network, device.settings.source, device.frame, device.link, self._faults.reachable)
        self._pullers[device.settings.id] = asyncio.create_task(work)

    def reconnect_cameras(self, reason: str) -> None:
        """Give up all connections to cameras, with what waits in them, and make new ones."""
        for device in self.devices.values():
            self._pullers.pop(device.settings.id).cancel()
            device.lost(reason)
            self._connect(device)

    def _drop(self, device_id: str) -> None:
        self._pullers.pop(device_id).cancel()
        self.devices.pop(device_id).close()

    def note_change(self) -> None:
        """Wake whoever waits for a change of state."""
        self.changes.set()
        self.changes = asyncio.Event()

    # ---- Management Server

    def _uplink(self) -> Uplink:
        config = self.config
        hello = {
            "type": "hello",
            "recorder_id": config.recorder_id,
            "instance": self.instance,
            "client_registration_id": config.client_registration_id,
            "name": config.name,
            "host": config.host,
            "port": config.port,
            "version": config.version,
            "time_zone": self.machine.time_zone,
        }
        return Uplink(
            self.network,
            (config.server_address, config.server_port),
            hello,
            retry_seconds=self.machine.uplink_retry_seconds,
            reconnects=self.machine.assumes("reconnects_when_management_server_reachable_again", True),
            on_attached=self._attached,
            on_message=self._message,
            on_detached=self._detached,
            status=self._uplink_status,
        )

    def _attached(self, welcome: dict[str, t.Any]) -> None:
        self.tokens.replace((entry["token"], entry["expires_ms"]) for entry in welcome.get("tokens", []))
        self.take_configuration(welcome.get("configuration"))
        self.tokens.attached = True
        self._last_uplink_error = ""
        self.log("INFO", f"Attached to the Management Server {self.config.server_address}")
        self.note_change()

    def _message(self, message: dict[str, t.Any]) -> None:
        if message["type"] == "configuration":
            self.take_configuration(message.get("configuration"))
        elif isinstance(message.get("token"), str) and isinstance(message.get("expires_ms"), int):
            self.tokens.add(message["token"], message["expires_ms"])

    def _detached(self, reason: str) -> None:
        if self.tokens.attached or reason != self._last_uplink_error:
            self.log("WARNING", f"Not attached to the Management Server {self.config.server_address}: {reason}")
        self._last_uplink_error = reason
        if self.tokens.attached:
            self.tokens.attached = False
            self.note_change()

    def _uplink_status(self) -> dict[str, t.Any]:
        return {"devices": len(self.devices), "recording": sum(device.recording for device in self.devices.values())}
