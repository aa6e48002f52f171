# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows command lines: one text, split by the program itself by the rules of the Microsoft C run-time (documented)."""

from __future__ import annotations


def split(line: str) -> list[str]:
    """The arguments that a program would see, its own name first."""
    line = line.strip()
    if not line:
        return []
    program, rest = _program(line)
    return [program, *_arguments(rest)]


def candidates(line: str) -> list[tuple[str, list[str]]]:
    """What may be the program, best first, each with the arguments that would remain."""
    line = line.strip()
    if not line:
        return []
    if line[0] == '"':
        program, *arguments = split(line)
        return [(program, arguments)]
    ends = [index for index, char in enumerate(line) if char in " \t"]
    return [(line[:end], _arguments(line[end:])) for end in [*ends[:16], len(line)] if line[end - 1] not in " \t"]


def _program(line: str) -> tuple[str, str]:
    # The program name knows no escapes: a quoted one ends at the next quote, a bare one at the first blank.
    if line[0] == '"':
        name, _, rest = line[1:].partition('"')
        return name, rest
    for index, char in enumerate(line):
        if char in " \t":
            return line[:index], line[index:]
    return line, ""


def _arguments(text: str) -> list[str]:
    arguments: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position] in " \t":
            position += 1
        if position >= len(text):
            return arguments
        argument, position = _argument(text, position)
        arguments.append(argument)


def _argument(text: str, position: int) -> tuple[str, int]:
    result: list[str] = []
    quoted = False
    while position < len(text):
        char = text[position]
        if char == "\\":
            position = _backslashes(text, position, result)
        elif char == '"':
            if quoted and text[position + 1:position + 2] == '"':
                result.append('"')  # two quotes inside quotes are one
                position += 2
            else:
                quoted = not quoted
                position += 1
        elif char in " \t" and not quoted:
            break
        else:
            result.append(char)
            position += 1
    return "".join(result), position


def _backslashes(text: str, position: int, result: list[str]) -> int:
    # 2n backslashes and a quote: n backslashes; 2n+1: n backslashes and a literal quote; without a quote they are literal.
    end = position
    while text[end:end + 1] == "\\":
        end += 1
    count = end - position
    if text[end:end + 1] != '"':
        result.append("\\" * count)
        return end
    result.append("\\" * (count // 2))
    if count % 2:
        result.append('"')
        return end + 1
    return end
