# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `powershell.exe` of a lab machine. It is no PowerShell.

It executes exactly one script: Tandem's bootstrap, which it recognises by its text (three assignment lines, then a remainder of
known SHA-256), and does in Python what that script does. Anything else ends with a message and exit code 1. So the lab shows that
the controller sends the script and its data as agreed; it does not show that the script works on Windows.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import pathlib
import re
import shutil
import sys
import uuid
import zipfile

from . import channel
from .paths import PathError, WindowsPaths

BOOTSTRAP_SHA256 = "7d6a64b9971a5f72c8350edff076b87d0471199e8d8bb364bf4bde38df62425b"
MARK = "tandem.sha256"
MAX_INPUT = 256 * 1024 * 1024
MAX_LINE = 4 * 1024 * 1024
_ASSIGNMENT = re.compile(r"\$(\w+) = '((?:[^']|'')*)'\s*")
_SWITCHES = ("-noprofile", "-noninteractive", "-nologo")
_WITH_VALUE = ("-executionpolicy", "-inputformat", "-outputformat", "-version")
_ENCODED = ("-encodedcommand", "-enc", "-e", "-ec")


def main() -> int:
    try:
        values = recognise(_script(sys.argv[1:]))
    except ValueError as error:
        print(f"powershell.exe of the lab machine: {error}", file=sys.stderr)
        return 1
    try:
        answer, code = Bootstrap(**values).run(), 0
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        answer, code = {"error": str(error)}, 1
    print(json.dumps(answer, separators=(",", ":")), flush=True)
    return code


def _script(arguments: list[str]) -> str:
    """The script in the command line."""
    rest = list(arguments)
    while rest:
        name = rest.pop(0).lower()
        if name in _SWITCHES:
            continue
        if not rest:
            break
        value = rest.pop(0)
        if name in _ENCODED:
            try:
                return base64.b64decode(value, validate=True).decode("utf-16-le")
            except (binascii.Error, UnicodeDecodeError) as error:
                raise ValueError(f"the encoded command is not base64 of UTF-16: {error}") from error
        if name not in _WITH_VALUE:
            break
    raise ValueError("only -EncodedCommand with Tandem's bootstrap script is simulated here, no other PowerShell")


def recognise(script: str) -> dict[str, str]:
    """The parameters of the bootstrap script; refuses any other text."""
    lines = script.replace("\r\n", "\n").lstrip("\n").split("\n", 3)
    values: dict[str, str] = {}
    for line in lines[:3]:
        match = _ASSIGNMENT.fullmatch(line)
        if match:
            values[match[1].lower()] = match[2].replace("''", "'")
    remainder = lines[3].strip() if len(lines) == 4 else ""
    if set(values) != {"target", "sha256", "kind"} or hashlib.sha256(remainder.encode()).hexdigest() != BOOTSTRAP_SHA256:
        raise ValueError("this is not Tandem's bootstrap script, and no other PowerShell is simulated here")
    return values


class Bootstrap:
    """What the script does, line by line the same."""

    def __init__(self, target: str, sha256: str, kind: str):
        try:
            self._target = WindowsPaths(os.environ[channel.ROOT_ENVIRONMENT]).host(target)
        except PathError as error:
            raise ValueError(str(error)) from error
        self._sha256 = sha256.lower()
        self._kind = kind
        if kind not in ("zip", "file"):
            raise ValueError(f"Unknown kind {kind}.")

    def run(self) -> dict[str, object]:
        present = self._present()
        if present == self._sha256 or (self._kind == "zip" and self._target.exists()):
            return {"installed": False, "present": present}
        temp = self._target.parent / f"tandem-{uuid.uuid4().hex}"
        temp.mkdir(parents=True)
        try:
            pack = temp / "pack.zip"
            size = _receive(pack)
            if size:
                self._place(temp, pack, size, present)
            return {"installed": size > 0, "present": self._present()}
        finally:
            shutil.rmtree(temp, ignore_errors=True)

    def _present(self) -> str:
        if self._kind == "zip":
            mark = self._target / MARK
            return mark.read_text(encoding="utf-8").strip() if mark.is_file() else ""
        return _hash(self._target) if self._target.is_file() else ""

    def _place(self, temp: pathlib.Path, pack: pathlib.Path, size: int, present: str) -> None:
        digest = _hash(pack)
        if digest != self._sha256:
            raise ValueError(f"The data that arrived ({size} bytes) has the SHA-256 {digest}, not {self._sha256}.")
        if self._kind == "zip":
            new = temp / "new"
            _expand(pack, new)
            (new / MARK).write_text(self._sha256, encoding="utf-8")
            new.rename(self._target)
            return
        if present:
            self._target.unlink()
        pack.rename(self._target)


def _receive(pack: pathlib.Path) -> int:
    """Base64 lines of standard input into a file. The number of bytes."""
    size = 0
    with open(pack, "wb") as file:
        while line := sys.stdin.buffer.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE or size > MAX_INPUT:
                raise ValueError("there is too much input")
            size += file.write(base64.b64decode(line.strip(), validate=True))
        file.flush()
        os.fsync(file.fileno())
    return size


def _expand(pack: pathlib.Path, folder: pathlib.Path) -> None:
    with zipfile.ZipFile(pack) as archive:
        if sum(item.file_size for item in archive.infolist()) > MAX_INPUT:
            raise ValueError("the archive is too large")
        archive.extractall(folder)
    for program in folder.rglob("*.exe"):
        program.chmod(0o755)  # Windows knows no such bit: every .exe can be started


def _hash(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
