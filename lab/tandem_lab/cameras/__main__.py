# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the cameras of a site in one process: ``python -m tandem_lab.cameras --config FILE``.

Prints one line ``{"ready": true, ...}`` on standard output when all cameras answer, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from . import config
from .camera import Camera
from .server import CameraServer


async def run(cameras: list[Camera]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    clocks = []
    for index, camera in enumerate(cameras):
        # The grids are shifted against each other, so that the load is even.
        clocks.append(asyncio.create_task(_start_later(camera, index / len(cameras) / camera.config.fps)))
        await CameraServer(camera).start()
    print(json.dumps({"ready": True, "pid": os.getpid(), "cameras": len(cameras)}), flush=True)
    done, _ = await asyncio.wait([asyncio.create_task(stop.wait()), *clocks], return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()  # a camera's clock never ends by itself: show why it did


async def _start_later(camera: Camera, delay: float) -> None:
    await asyncio.sleep(delay)
    camera.start_clock()
    await camera.run()


def main() -> int:
    parser = argparse.ArgumentParser(description="The simulated cameras of a site.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file that lists the cameras")
    arguments = parser.parse_args()
    try:
        cameras = [Camera(entry) for entry in config.load(arguments.config)]
        asyncio.run(run(cameras))
    except (config.ConfigError, OSError) as error:
        print(f"cameras: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
