# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tandem_lab.management_server --config FILE``: runs until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
from pathlib import Path

from . import config
from .server import ManagementServer


async def run(server: ManagementServer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    logging.getLogger(__name__).info("ready at %s", server.config.http_url)
    try:
        await stop.wait()
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(server.stop(), 5)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tandem_lab.management_server", description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("aiohttp").setLevel(logging.WARNING)
    try:
        server = ManagementServer(config.load(arguments.config))
        asyncio.run(run(server))
    except (OSError, ValueError, KeyError) as error:
        logging.getLogger(__name__).error("the Management Server cannot run: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
