# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run random schedules: ``python -m model [--seeds FIRST COUNT] [--jobs N] [--trace SEED]``, from the folder ``tests``.

Prints the seed and the last steps of every violation. `--trace` runs one seed and prints all of it.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import gc
import itertools
import os
import pathlib
import sys
import time

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parents[2] / "collections")]

from . import schedules  # noqa: E402
from .simulation import Violation, without_encoding  # noqa: E402

CHUNK = 500
SHOWN = 5


def chunk(first: int, count: int) -> tuple[list[str], collections.Counter, float]:
    """What was violated, counts, and the longest overlap that the stated exception covers."""
    found, counts, longest = [], collections.Counter(), 0.0
    gc.disable()  # most of what a schedule leaves is freed at once; the rest after each chunk
    with without_encoding():
        for seed in range(first, first + count):
            try:
                world = schedules.run(seed)
            except Violation as violation:
                found.append(str(violation))
                continue
            counts.update(schedules=1, attachments=world.attachments, exceptions=len(world.exceptions), seconds=int(world.time))
            longest = max([longest, *world.exceptions])
    gc.enable()
    gc.collect()
    return found, counts, longest


def run(first: int, count: int, jobs: int) -> tuple[list[str], collections.Counter, float]:
    starts = range(first, first + count, CHUNK)
    sizes = [min(CHUNK, first + count - start) for start in starts]
    found: list[str] = []
    counts: collections.Counter = collections.Counter()
    longest = 0.0
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for some, counted, overlap in pool.map(chunk, starts, sizes):
            found += some
            counts += counted
            longest = max(longest, overlap)
    return found, counts, longest


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m model", description="Random schedules of the attachment protocol.")
    parser.add_argument("--seeds", nargs=2, type=int, default=(0, 100_000), metavar=("FIRST", "COUNT"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", type=int, metavar="SEED", help="run one seed and print all that happens")
    arguments = parser.parse_args()
    if arguments.trace is not None:
        world = schedules.run(arguments.trace, trace=True)
        print("\n".join(world.trace or []))
        return 0
    began = time.monotonic()
    found, counts, longest = run(*arguments.seeds, arguments.jobs)
    for text in itertools.islice(found, SHOWN):
        print(text)
    first, count = arguments.seeds
    print(f"{count} schedules from seed {first}: {len(found)} violations, {counts['attachments']} attachments in {counts['seconds'] / 3600:.0f} h "
          f"of simulated time; {counts['exceptions']} overlaps after a machine stood still, at most {longest:.1f} s; {time.monotonic() - began:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
