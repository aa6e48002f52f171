# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs one program of the machine to its end: bounded in time and in what is kept of its output. For any operating system."""

from __future__ import annotations

import subprocess
import threading
import typing as t

from .base import HostError

#: Of a program's output the last so many bytes are kept.
KEPT = 16 * 1024


def run(command: list[str], timeout: float, **options: t.Any) -> tuple[int, str]:
    """Exit code and output (both streams). Raises `HostError` when it cannot be started or does not end in time."""
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        code = getattr(error, "winerror", None) or getattr(error, "errno", None)
        raise HostError(f"{command[0]} could not be started: {error}", code) from None
    output = bytearray()
    reader = threading.Thread(target=_drain, args=(process.stdout, output), name="program output", daemon=True)
    reader.start()
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise HostError(f"{command[0]} did not end within {timeout:g} s and was ended") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        reader.join(1.0)  # what it started itself may keep the pipe open: nobody waits for that
    return signed(code), bytes(output).decode("utf-8", "replace").strip()


def signed(code: int) -> int:
    """An exit code as its program meant it: Windows gives -1 as 4294967295."""
    return code - (1 << 32) if code >= 1 << 31 else code


def _drain(stream: t.Any, output: bytearray) -> None:
    """A full pipe would stop the program, so everything is read, and the end of it kept."""
    with stream:
        while True:
            try:
                chunk = stream.read1(4096)
            except (OSError, ValueError):
                return
            if not chunk:
                return
            output += chunk
            del output[:-KEPT]
