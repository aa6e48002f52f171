# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The node runtime as one file, made in memory from this collection's own sources.

Nothing binary is kept anywhere: the same sources give the same bytes on every controller, so the SHA-256 names the version
and two controllers never argue about what is on a node.
"""

from __future__ import annotations

import functools
import hashlib
import io
import pathlib
import zipfile

from .errors import TandemError

PACKAGE = "tandem_node"
SOURCES = pathlib.Path(__file__).resolve().parent / "node"
PROGRAM_FOLDER = "C:\\Program Files\\Tandem"
PYTHON_FOLDER = PROGRAM_FOLDER + "\\python"
PYTHON = PYTHON_FOLDER + "\\python.exe"
RUNTIME_FOLDER = PROGRAM_FOLDER + "\\runtime"

_MAIN = f"""import sys

from {PACKAGE}.main import main

if __name__ == "__main__":
    sys.exit(main())
"""
_DATE = (2026, 1, 1, 0, 0, 0)


@functools.cache
def build() -> bytes:
    """The bytes of node.pyz. Sorted names, fixed dates, modes and system, and not compressed: zlib's versions differ."""
    files = {f"{PACKAGE}/{path.relative_to(SOURCES).as_posix()}": path.read_bytes().replace(b"\r\n", b"\n")
             for path in SOURCES.rglob("*.py")}
    if f"{PACKAGE}/main.py" not in files:
        raise TandemError(f"the sources of the node runtime are not complete below {SOURCES}", code="incomplete",
                          next_step="install the collection tandem.xprotect again; its modules run through their action plugins.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted({**files, "__main__.py": _MAIN.encode()}.items()):
            entry = zipfile.ZipInfo(name, _DATE)
            entry.create_system = 0
            entry.external_attr = 0
            archive.writestr(entry, data)
    return buffer.getvalue()


@functools.cache
def sha256() -> str:
    return hashlib.sha256(build()).hexdigest()


def runtime_path(digest: str) -> str:
    """Where that version lies on a node. Versions lie side by side: a running guard keeps the file that it was started from."""
    return f"{RUNTIME_FOLDER}\\{digest[:16]}\\node.pyz"


def command(digest: str, verb: str) -> tuple[str, list[str]]:
    """Program and arguments that run a verb. -I: nothing of the machine's environment is imported; -B: no files are left."""
    return PYTHON, ["-I", "-B", "-X", "utf8", f'"{runtime_path(digest)}"', verb]
