# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the camera process is told at its start: a JSON file that lists the cameras.

``{"cameras": [{"number": 1, "address": "127.16.3.101"}, {"number": 7, "address": "127.16.3.107", "motion": true}]}``

Optional for each camera: ``name``, ``serial`` (``cam-<number>``), ``port`` (8080), ``fps`` (5), ``sessions_max`` (10),
``queue_seconds`` (15) and ``motion``: false, true (an event of 4 s every 12 s) or
``{"every_seconds": 12, "for_seconds": 4, "ramp_frames": 4}``. Optional at the top: ``defaults`` with the same keys.
"""

from __future__ import annotations

import dataclasses
import json
import typing as t
from pathlib import Path

MAX_CONFIG_BYTES = 1 << 20
MIN_QUEUE_SECONDS = 10.0


class ConfigError(Exception):
    pass


@dataclasses.dataclass(frozen=True)
class MotionSchedule:
    every_seconds: float = 12.0
    for_seconds: float = 4.0
    ramp_frames: int = 4


@dataclasses.dataclass(frozen=True)
class CameraConfig:
    number: int
    address: str
    port: int = 8080
    name: str = ""
    serial: str = ""
    fps: float = 5.0
    motion: MotionSchedule | None = None
    sessions_max: int = 10
    queue_seconds: float = 15.0

    @property
    def interval_ms(self) -> float:
        return 1000.0 / self.fps


def _motion(value: t.Any) -> MotionSchedule | None:
    if isinstance(value, bool) or value is None:
        return MotionSchedule() if value else None
    if not isinstance(value, dict):
        raise ConfigError(f"motion must be true, false or an object, not {value!r}")
    schedule = MotionSchedule(**value)
    if schedule.for_seconds <= 0 or schedule.every_seconds <= schedule.for_seconds + 1:
        raise ConfigError(f"motion: for_seconds must be positive and every_seconds longer by more than 1 s: {value}")
    return schedule


def _camera(raw: dict[str, t.Any]) -> CameraConfig:
    values = dict(raw)
    values["motion"] = _motion(values.get("motion"))
    values["serial"] = values.get("serial") or f"cam-{values['number']}"
    values["name"] = values.get("name") or f"Camera {values['number']}"
    camera = CameraConfig(**values)
    if not 0.1 <= camera.fps <= 60:
        raise ConfigError(f"camera {camera.number}: fps must be 0.1 to 60, not {camera.fps}")
    if camera.queue_seconds < MIN_QUEUE_SECONDS:
        raise ConfigError(f"camera {camera.number}: queue_seconds must be at least {MIN_QUEUE_SECONDS:g}: short stalls must lose nothing")
    return camera


def parse(document: t.Any) -> list[CameraConfig]:
    if not isinstance(document, dict) or not isinstance(document.get("cameras"), list):
        raise ConfigError("the configuration must be an object with a list cameras")
    defaults = document.get("defaults", {})
    try:
        cameras = [_camera({**defaults, **raw}) for raw in document["cameras"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"a camera is not described properly: {error}") from error
    for key in ("serial", "number"):
        values = [getattr(camera, key) for camera in cameras]
        if len(set(values)) != len(values):
            raise ConfigError(f"two cameras have the same {key}: {sorted(values)}")
    return cameras


def load(path: Path) -> list[CameraConfig]:
    with path.open("rb") as file:
        raw = file.read(MAX_CONFIG_BYTES + 1)
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        return parse(json.loads(raw))
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
