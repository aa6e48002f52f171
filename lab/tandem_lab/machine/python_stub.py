# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `python.exe` of a lab machine: this computer's Python, seen as the embeddable package sees itself.

Started by a launcher as `python -I -S -B -X utf8 -c ... ARGUMENTS`: no site-packages, no user settings; only the standard
library, the script's own archive and `tandem_lab` (for the host class) can be imported. Accepts the options that the product
uses and runs SCRIPT, a Windows path, as `__main__`. `sys.argv[0]` is a path that can be opened, and text output has CR LF, as on
Windows.
"""

from __future__ import annotations

import os
import sys
import types
import typing as t

_FLAGS = ("-I", "-B", "-E", "-s", "-u")


def main() -> None:
    try:
        script, arguments = _parse(sys.argv[1:])
    except ValueError as error:
        print(f"python.exe: {error}", file=sys.stderr)
        sys.exit(2)
    from .paths import PathError, WindowsPaths
    try:
        path = str(WindowsPaths(os.environ["TANDEM_LAB_ROOT"]).host(script))
    except PathError as error:
        print(f"python.exe: {error}", file=sys.stderr)
        sys.exit(2)
    if not os.path.isfile(path):
        print(f"python.exe: can't open file '{script}': [Errno 2] No such file or directory", file=sys.stderr)
        sys.exit(2)
    sys.argv[:] = [path, *arguments]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(newline="\r\n")  # text output ends its lines as on Windows
    _run(path)


def _parse(arguments: list[str]) -> tuple[str, list[str]]:
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        if option in ("-V", "--version"):
            print(f"Python {sys.version.split()[0]}")
            sys.exit(0)
        if option == "-X" and rest and rest[0] == "utf8":
            rest.pop(0)
        elif not option.startswith("-"):
            return option, rest
        elif option not in _FLAGS:
            break
    raise ValueError("the lab machine's Python runs only: [-I] [-B] [-X utf8] SCRIPT [ARGUMENTS]")


def _run(path: str) -> None:
    """Run a script or an archive with a `__main__` module as the main program (`runpy` does the same, more slowly)."""
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    with open(path, "rb") as file:
        is_archive = file.read(2) == b"PK"
    if is_archive:
        import zipimport
        sys.path.insert(0, path)
        importer = zipimport.zipimporter(path)
        module.__loader__ = importer
        module.__spec__ = importer.find_spec("__main__")
        code: t.Any = importer.get_code("__main__")
        module.__file__ = os.path.join(path, "__main__.py")
    else:
        with open(path, "rb") as file:
            code = compile(file.read(), path, "exec")
        sys.path.insert(0, os.path.dirname(path))
        module.__file__ = path
    exec(code, module.__dict__)
