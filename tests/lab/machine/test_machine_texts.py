# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows command lines, Windows paths, time texts: pure functions of the lab machine."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

from tandem_lab.machine import commandline, paths
from tandem_lab.machine.winrm import soap


@pytest.mark.parametrize(("line", "expected"), [
    ("", []),
    ("a.exe", ["a.exe"]),
    ('"C:\\Program Files\\a.exe" -I  x', ["C:\\Program Files\\a.exe", "-I", "x"]),
    ('a.exe "b c" d', ["a.exe", "b c", "d"]),
    ('a.exe "b\\"c"', ["a.exe", 'b"c']),
    ('a.exe b\\\\"c d"', ["a.exe", "b\\c d"]),
    ('a.exe b\\\\\\"c', ["a.exe", 'b\\"c']),
    ("a.exe C:\\x\\y\\", ["a.exe", "C:\\x\\y\\"]),
    ('a.exe "a""b"', ["a.exe", 'a"b']),
    ('a.exe ""', ["a.exe", ""]),
    ("a.exe\tb", ["a.exe", "b"]),
])
def test_command_lines_are_split_as_the_c_runtime_does(line: str, expected: list[str]) -> None:
    assert commandline.split(line) == expected


@pytest.mark.parametrize("arguments", [["x"], ["a b", ""], ['say "hi"', "C:\\dir\\"], ["a\\\\b", 'c"', "d\\\\\"e f"]])
def test_splitting_undoes_the_quoting_of_the_standard_library(arguments: list[str]) -> None:
    assert commandline.split(subprocess.list2cmdline(["p.exe", *arguments])) == ["p.exe", *arguments]


def test_a_program_path_with_blanks_is_tried_piece_by_piece() -> None:
    assert commandline.candidates("C:\\Program Files\\a.exe x") == [
        ("C:\\Program", ["Files\\a.exe", "x"]), ("C:\\Program Files\\a.exe", ["x"]), ("C:\\Program Files\\a.exe x", [])]
    assert commandline.candidates('"C:\\Program Files\\a.exe" x') == [("C:\\Program Files\\a.exe", ["x"])]


def test_windows_paths_ignore_case_and_keep_what_exists(tmp_path: pathlib.Path) -> None:
    (tmp_path / "C/Program Files/Tandem").mkdir(parents=True)
    known = paths.WindowsPaths(tmp_path)
    assert known.host("c:\\PROGRAM FILES\\tandem\\New.txt") == tmp_path / "C/Program Files/Tandem/New.txt"
    assert known.host("C:/Program Files") == tmp_path / "C/Program Files"
    assert known.host("\\\\?\\C:\\") == tmp_path / "C"
    assert known.windows(tmp_path / "C/Program Files/x") == "C:\\Program Files\\x"


@pytest.mark.parametrize("text", [
    "", "C:", "C:x", "\\x", "x\\y", "/etc/passwd", "\\\\server\\share", "C:\\a\\..\\b", "C:\\a:b", "C:\\a.", "C:\\a\0"])
def test_what_is_no_absolute_windows_path_is_refused(text: str) -> None:
    with pytest.raises(paths.PathError):
        paths.parse(text)


@pytest.mark.parametrize(("text", "seconds"), [
    ("PT20S", 20), ("PT0.5S", 0.5), ("PT1M", 60), ("P1DT1H", 90000), ("", 7), ("20", 7), ("PT", 7)])
def test_xml_durations(text: str, seconds: float) -> None:
    assert soap.duration(text, 7) == seconds
