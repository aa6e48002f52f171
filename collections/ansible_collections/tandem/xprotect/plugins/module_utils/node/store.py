# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tandem's own files on a node: where they are, and how they are read and replaced.

A file is written beside its place, brought to the disk and moved into place in one step, so that a power cut leaves the
old content or the new one. Reads have a limit, because a damaged file may have any size.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import time
import typing as t

from .errors import NodeError
from .host.base import Host, HostError

ROOT = "C:\\ProgramData\\Tandem"
NODE_FILE = ROOT + "\\node.json"
LOCK_FILE = ROOT + "\\lock.json"
LEDGER_FILE = ROOT + "\\ledger.jsonl"
TLS_FOLDER = ROOT + "\\tls"
GUARD_FOLDER = ROOT + "\\guard"
OWN_CERTIFICATE = TLS_FOLDER + "\\node.pem"
OWN_KEY = TLS_FOLDER + "\\node.key"
PARTNER_CERTIFICATE = TLS_FOLDER + "\\partner.pem"
WITNESS_CERTIFICATE = TLS_FOLDER + "\\witness.pem"

MAX_JSON = 4 * 1024 * 1024

_serial = itertools.count()


def make_folder(host: Host, path: str) -> bool:
    """Have the folder; true when it had to be created. Tandem's root is closed to ordinary users from its first moment."""
    root = host.path(ROOT)
    target = host.path(path)
    if target != root and root in target.parents and not root.is_dir():
        make_folder(host, ROOT)
    if target.is_dir():
        return False
    target.mkdir(parents=True, exist_ok=True)
    if target == root:
        host.restrict_to_administrators(target)
    return True


def read_bytes(host: Host, path: str, limit: int = MAX_JSON) -> bytes | None:
    """The file's content, None when there is no such file."""
    try:
        with open(host.path(path), "rb") as file:
            data = file.read(limit + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NodeError("file_unreadable", f"{path} cannot be read: {error.strerror or error}.",
                        "Check the disk and the rights on the file.") from None
    if len(data) > limit:
        raise NodeError("file_too_large", f"{path} is larger than the {limit} bytes that are expected at most.",
                        "Look at the file; it may be damaged.")
    return data


def write_bytes(host: Host, path: str, data: bytes) -> None:
    """Replace the file durably. The folder must exist."""
    target = host.path(path)
    beside = target.with_name(f".{target.name}.{os.getpid()}-{next(_serial)}.new")
    try:
        try:
            with open(beside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            host.replace_file(beside, target)
        except BaseException:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise
    except (OSError, HostError) as error:
        raise NodeError("file_unwritable", f"{path} cannot be written: {getattr(error, 'strerror', None) or error}.",
                        "Check free space and the rights on the folder.") from None


def write_bytes_if_different(host: Host, path: str, data: bytes, check: bool = False) -> bool:
    """Replace the file only when its content is another one; true when it was (or with `check` would be) changed."""
    if read_bytes(host, path, max(len(data), MAX_JSON)) == data:
        return False
    if not check:
        write_bytes(host, path, data)
    return True


def read_json(host: Host, path: str, limit: int = MAX_JSON) -> t.Any:
    """The document in the file, None when there is no file. A damaged file raises ``file_damaged``."""
    data = read_bytes(host, path, limit)
    if data is None:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NodeError("file_damaged", f"{path} is not valid JSON: {error}.",
                        "Restore the file, or move it away and run the playbook again.") from None


def write_json(host: Host, path: str, document: t.Any) -> None:
    write_bytes(host, path, to_json(document))


def to_json(document: t.Any) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def append_line(host: Host, path: str, document: t.Any) -> None:
    """Add one JSON line durably. A line torn by a power cut is ended first, so that it spoils only itself."""
    target = host.path(path)
    line = json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    try:
        with open(target, "ab+") as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    line = b"\n" + line
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NodeError("file_unwritable", f"{path} cannot be written: {error.strerror or error}.",
                        "Check free space and the rights on the folder.") from None


def read_lines(host: Host, path: str, limit: int = 16 * 1024 * 1024) -> list[dict]:
    """The JSON objects of a line file, oldest first; torn and foreign lines are left out. At most the last `limit` bytes."""
    try:
        with open(host.path(path), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - limit))
            data = file.read(limit)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NodeError("file_unreadable", f"{path} cannot be read: {error.strerror or error}.") from None
    documents = []
    for line in data.splitlines():
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            documents.append(document)
    return documents


@contextlib.contextmanager
def exclusive(host: Host, path: str, timeout: float) -> t.Iterator[None]:
    """Be the only process that holds `path` (an empty file) open in this way; the system frees it with the process.

    Raises TimeoutError when another process keeps it for longer than `timeout`.
    """
    handle = _lock_file(host.path(path), timeout)
    try:
        yield
    finally:
        os.close(handle)


def _lock_file(path: pathlib.Path, timeout: float) -> int:
    deadline = time.monotonic() + timeout
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOINHERIT", 0), 0o600)
    while True:
        try:
            _try_lock(handle)
            return handle
        except OSError:
            if time.monotonic() >= deadline:
                os.close(handle)
                raise TimeoutError(f"{path.name} is held by another process") from None
            time.sleep(0.02)


def _try_lock(handle: int) -> None:
    try:
        import fcntl
    except ImportError:
        import msvcrt
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
