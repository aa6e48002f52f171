# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A compiled copy of the runtime beside its archive, for a faster start.

Python compiles the modules of an archive anew in each process, which is nearly half of a verb's start time. `make` writes
the compiled modules into a folder beside the archive, named by the archive's own folder and by the interpreter's magic
number; `use` lets the package look there first. The archive stays the truth: without the folder everything works as well.
"""

from __future__ import annotations

import os
import sys

_EXTERNAL = sys.modules["_frozen_importlib_external"]


def folder(archive: str) -> str:
    magic = _EXTERNAL.MAGIC_NUMBER.hex()  # type: ignore[attr-defined]
    return os.path.join(os.path.dirname(os.path.abspath(archive)), f"compiled-{sys.implementation.cache_tag}-{magic}")


def use(package: str) -> None:
    """Called by the program before it imports anything else of the package."""
    archive = sys.argv[0] if sys.argv else ""
    path = sys.modules[package].__path__
    if archive.endswith(".pyz") and path and str(path[0]).startswith(archive):
        compiled = folder(archive)
        if os.path.isdir(compiled):
            path.insert(0, compiled)


def make(archive: str) -> bool:
    """Write the folder in one step; false when it is there already. Errors leave nothing half-done behind."""
    import shutil
    import zipfile
    target = folder(archive)
    if os.path.isdir(target):
        return False
    beside = f"{target}.{os.getpid()}.new"
    try:
        with zipfile.ZipFile(archive) as opened:
            for name in opened.namelist():
                package, _slash, inner = name.partition("/")
                if package == "tandem_node" and inner.endswith(".py"):
                    _compile(opened.read(name), f"{archive}/{name}", os.path.join(beside, *inner.split("/")) + "c")
        os.rename(beside, target)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return True


def _compile(source: bytes, name: str, target: str) -> None:
    code = compile(source, name, "exec", dont_inherit=True, optimize=sys.flags.optimize)
    data = _EXTERNAL._code_to_hash_pyc(code, bytes(8), False)  # type: ignore[attr-defined]  # unchecked: there is no source beside it
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
