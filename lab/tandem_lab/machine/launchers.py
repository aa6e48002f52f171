# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's "exe" files: small shell scripts that start Python with one of this package's modules."""

from __future__ import annotations

import pathlib
import py_compile
import shlex
import sys

import tandem_lab

LAB = pathlib.Path(tandem_lab.__file__).resolve().parent.parent
_PRECOMPILED = ("__init__", "channel", "sockets", "client", "clock", "aio", "host", "paths", "python_stub", "powershell_stub",
                "server_configurator")


def bare(module: str, function: str = "main") -> str:
    """Start `module.function()` without site-packages: fast, and nothing but the standard library and the lab to import."""
    code = f"import sys; sys.path.insert(0, {str(LAB)!r}); from {module} import {function}; sys.exit({function}())"
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -B -X utf8 -c {shlex.quote(code)} "$@"\n'


def module(name: str) -> str:
    """`python -m name`, with the lab importable."""
    code = f"import sys; sys.path.insert(0, {str(LAB)!r}); import runpy; runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -I -S -B -X utf8 -c {shlex.quote(code)} "$@"\n'


def write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def precompile() -> None:
    """The programs run with -B and write no byte code; without it each start would compile these modules again."""
    folder = pathlib.Path(__file__).parent
    recorder = sorted((folder.parent / "recorder").glob("*.py"))
    for source in [folder.parent / "__init__.py", *(folder / f"{name}.py" for name in _PRECOMPILED), *recorder]:
        try:
            py_compile.compile(str(source), doraise=True)
        except (OSError, py_compile.PyCompileError):
            continue  # a read-only installation is slower, not wrong; what does not compile says so when it runs
