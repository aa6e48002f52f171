# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the recorder of a machine: ``python -m tandem_lab.recorder`` with the machine's folder in TANDEM_LAB_ROOT."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from . import clock, machine, network, recorder_config
from .engine import Recorder
from .log import RecorderLog


async def run(recorder: Recorder) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await recorder.start()
        await recorder.network.service_ready()
        await recorder.run(stop)
    finally:
        await recorder.stop()


def main() -> int:
    root = os.environ.get("TANDEM_LAB_ROOT")
    if not root:
        print("recorder: TANDEM_LAB_ROOT must name the folder of the machine", file=sys.stderr)
        return 2
    try:
        host = machine.load(Path(root))
    except machine.MachineError as error:
        print(f"recorder: {error}", file=sys.stderr)
        return 2
    clock.use(host.root)
    data = host.path(machine.DATA_FOLDER)
    log = RecorderLog(data / "Logs")
    try:
        config = recorder_config.read(data / recorder_config.FILE_NAME)
    except recorder_config.RecorderConfigError as error:
        log("ERROR", f"The service cannot start: {error}. Restore {machine.DATA_FOLDER}\\{recorder_config.FILE_NAME} and start it again.")
        print(f"recorder: {error}", file=sys.stderr)
        return 1
    try:
        asyncio.run(run(Recorder(host, config, network.choose(host.address), log)))
    except OSError as error:
        log("ERROR", f"The service ends: {error}")
        print(f"recorder: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
