# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small durable files of a machine: JSON documents that are replaced in one step, and a bounded event log."""

from __future__ import annotations

import asyncio
import json
import os
import pathlib
import time
import typing as t

MAX_FILE = 16 * 1024 * 1024
MAX_EVENTS = 4 * 1024 * 1024


def read_json(path: pathlib.Path, default: t.Any = None) -> t.Any:
    """The content of a JSON file, `default` when there is none."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        return default
    if len(data) > MAX_FILE:
        raise ValueError(f"{path} is larger than {MAX_FILE} bytes")
    try:
        return json.loads(data)
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error


def write_json(path: pathlib.Path, value: t.Any, mode: int = 0o644) -> None:
    """Replace `path`: written beside, synced, renamed, and the folder synced."""
    _write(path, json.dumps(value, indent=2, sort_keys=True).encode() + b"\n", mode)


def _write(path: pathlib.Path, data: bytes, mode: int) -> None:
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Document:
    """A JSON file of the kernel. `save` is done when the disk has it, in order, without holding up the event loop."""

    def __init__(self, path: pathlib.Path, default: t.Any):
        self.path = path
        self.value = read_json(path, default)
        self._lock = asyncio.Lock()

    async def save(self, value: t.Any | None = None) -> None:
        if value is not None:
            self.value = value
        async with self._lock:
            data = json.dumps(self.value, indent=2, sort_keys=True).encode() + b"\n"
            await asyncio.to_thread(_write, self.path, data, 0o644)


class EventLog:
    """`events.jsonl`: what happened to the machine, one JSON object a line, two files of bounded size.

    `t_ms` is this computer's time, whatever the machine's own clock shows: so the logs of several machines can be compared.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path

    def add(self, kind: str, **details: t.Any) -> None:
        line = json.dumps({"t_ms": time.time_ns() // 1_000_000, "event": kind, **details}) + "\n"
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(line)
            size = file.tell()
        if size > MAX_EVENTS:
            os.replace(self._path, self._path.with_name("events.1.jsonl"))
