# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import io
import pathlib
import zipfile

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils import _bootstrap, _runtime_build
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError


@pytest.fixture
def sources(tmp_path, monkeypatch):
    def make(name: str, **files: str) -> pathlib.Path:
        folder = tmp_path / name
        for path, text in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
        monkeypatch.setattr(_runtime_build, "SOURCES", folder)
        return folder

    yield make
    _runtime_build.build.cache_clear()
    _runtime_build.sha256.cache_clear()


def built() -> bytes:
    _runtime_build.build.cache_clear()
    _runtime_build.sha256.cache_clear()
    return _runtime_build.build()


def test_the_same_sources_give_the_same_bytes(sources):
    sources("one", **{"main.py": "x = 1\n", "verbs/facts.py": "y = 2\n"})
    first, digest = built(), _runtime_build.sha256()
    sources("two", **{"verbs/facts.py": "y = 2\r\n", "main.py": "x = 1\r\n", "verbs/facts.pyc": "junk", "notes.txt": "junk"})
    assert built() == first and _runtime_build.sha256() == digest == hashlib.sha256(first).hexdigest()
    sources("three", **{"main.py": "x = 2\n", "verbs/facts.py": "y = 2\n"})
    assert built() != first


def test_it_is_a_program(sources, tmp_path):
    import subprocess
    import sys

    sources("one", **{"main.py": "def main():\n    print('here')\n    return 3\n", "__init__.py": ""})
    (tmp_path / "node.pyz").write_bytes(built())
    done = subprocess.run([sys.executable, "-I", "-B", str(tmp_path / "node.pyz")], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (3, "here", "")
    names = zipfile.ZipFile(io.BytesIO(built())).namelist()
    assert names == sorted(names) and "__main__.py" in names


def test_incomplete_sources_are_told(sources):
    sources("none", **{"errors.py": ""})
    with pytest.raises(TandemError) as caught:
        built()
    assert "install the collection" in str(caught.value)


def test_the_real_runtime_builds():
    assert b"tandem_node/main.py" in built() or not (_runtime_build.SOURCES / "main.py").exists()


def test_the_bootstrap_script_is_short_enough_and_quotes():
    text = _bootstrap.script("C:\\Program Files\\O'Brien\\node.pyz", "ab" * 32, "file")
    assert text.splitlines()[:3] == ["$Target = 'C:\\Program Files\\O''Brien\\node.pyz'", f"$Sha256 = '{'ab' * 32}'", "$Kind = 'file'"]
    assert len(text) <= 3000
    arguments = _bootstrap.arguments(text)
    assert base64.b64decode(arguments[-1]).decode("utf-16-le") == text
    assert sum(map(len, arguments)) < 32_000, "CreateProcess takes 32767 characters"


@pytest.mark.parametrize("target, kind", [("C:\\x\ny", "file"), ("C:\\x", "exe")])
def test_the_bootstrap_script_refuses(target, kind):
    with pytest.raises(ValueError):
        _bootstrap.script(target, "ab" * 32, kind)


@pytest.mark.parametrize("size", [0, 1, 49152, 49153, 200_000])
def test_the_bootstrap_input(size):
    data = bytes(number % 251 for number in range(size))
    lines = _bootstrap.stdin_lines(data).split(b"\r\n")
    assert lines.pop() == b"" and b"".join(base64.b64decode(line) for line in lines) == data
