# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One WinRM shell on one connection: starts a program without cmd.exe, feeds it, reads it, ends it.

Everything that comes back is bounded in size and time. Used by one caller at a time.
"""

from __future__ import annotations

import dataclasses
import time
import typing as t

from ._winrm_wire import BUSY, OPERATIONS_QUOTA, UNKNOWN_SHELL, OperationTimeout, Wire
from .errors import TandemError

CHUNK = 250_000  # as base64 in its envelope safely below the 500 kB that Windows accepts
OUTPUT_LIMIT = 64 * 1024 * 1024
LINE_LIMIT = 32 * 1024 * 1024  # as long as the longest request: what a verb gives can be handed back to one
STDERR_KEPT = 64 * 1024
IDLE_LIMIT = 15.0  # a connection that was idle longer is not trusted with a command: Windows closes idle ones
RECEIVE_SECONDS = 20.0
REFUSED_SECONDS = 30.0  # a program that does not take its input has this long to end


@dataclasses.dataclass
class Finished:
    """A program that ended: exit code, all of stdout unless its lines were consumed, the end of stderr."""

    exit_code: int
    stdout: bytes
    stderr: str


class _Lines:
    """Cuts a stream into lines; refuses too long lines and too much in all."""

    def __init__(self, on_line: t.Callable[[bytes], None] | None):
        self._on_line = on_line
        self._parts: list[bytes] = []
        self._open = 0
        self.total = 0

    def feed(self, data: bytes) -> str | None:
        """A reason to stop, or None."""
        self.total += len(data)
        if self.total > OUTPUT_LIMIT:
            return f"more than {OUTPUT_LIMIT // 2**20} MiB of output"
        *ended, rest = data.split(b"\n") if self._on_line else [data]
        for piece in ended:
            line = b"".join((*self._parts, piece))
            self._parts, self._open = [], 0
            if len(line) > LINE_LIMIT:
                return f"a line of more than {LINE_LIMIT // 2**20} MiB"
            if line.strip():
                self._on_line(line.rstrip(b"\r"))
        if rest:
            self._parts.append(rest)
            self._open += len(rest)
        return f"a line of more than {LINE_LIMIT // 2**20} MiB" if self._on_line and self._open > LINE_LIMIT else None

    def rest(self) -> bytes:
        """What was not handed out: everything without `on_line`, else an unended last line, which is handed out now."""
        data = b"".join(self._parts)
        if self._on_line and data.strip():
            self._on_line(data)
            return b""
        return data


class Channel:
    def __init__(self, node: dict[str, t.Any], pair: str):
        self.pair, self.node_name = pair, node["name"]
        self._wire = Wire(node, pair)
        self._shell: str | None = None
        self._used = 0.0  # when the connection was last known to be good
        self._dead = False  # the last message found nobody: no use in saying goodbye

    def run(self, command: str, arguments: t.Sequence[str], stdin: bytes, on_line: t.Callable[[bytes], None] | None,
            timeout: float, what: str) -> Finished:
        deadline = time.monotonic() + timeout
        command_id = self._start(what, command, arguments)
        try:
            refused = self._send(command_id, stdin, deadline, what)
            if refused:
                deadline = min(deadline, time.monotonic() + REFUSED_SECONDS)
            return self._receive(command_id, on_line, deadline, refused or self._timeout(what, timeout), what)
        except TandemError as error:
            if self._dead:
                error.message = f"{what} was started, and then {error.message}; whether it was finished is not known"
            raise
        finally:
            self._signal(command_id)

    def _start(self, what: str, command: str, arguments: t.Sequence[str]) -> str:
        if time.monotonic() - self._used > IDLE_LIMIT:
            self._wire.disconnect()  # never start a command on a connection that may be dead: nobody could tell whether it ran
        for attempt in (1, 2):
            try:
                if self._shell is None:
                    self._shell = self._message(f"{what}: opening a shell", lambda p: p.open_shell(codepage=65001, noprofile=True))
                shell = self._shell
                return self._message(what, lambda p: p.run_command(
                    shell, f'"{command}"', arguments, console_mode_stdin=False, skip_cmd_shell=True))
            except TandemError as error:
                # Both faults mean that the command was not started: the shell ended while idle, or has used up its operations.
                again = error.details.get("fault") == UNKNOWN_SHELL or error.details.get("wmi") == OPERATIONS_QUOTA
                if attempt == 2 or not again or self._shell is None:
                    raise
                self._shell = None
            except OperationTimeout:
                raise self._timeout(what, 20.0) from None
        raise AssertionError("not reached")

    def _send(self, command_id: str, stdin: bytes, deadline: float, what: str) -> TandemError | None:
        """Hand over stdin. A program that ended early refuses it; then its output tells more than that refusal."""
        pieces = [stdin[start:start + CHUNK] for start in range(0, len(stdin), CHUNK)] or [b""]
        for number, piece in enumerate(pieces, 1):
            last, busy = number == len(pieces), 0
            while True:
                if time.monotonic() > deadline:
                    raise self._timeout(f"{what} (sending its input)", None)
                try:
                    self._message(what, lambda p: p.send_command_input(self._shell, command_id, piece, end=last))
                    break
                except OperationTimeout:
                    raise self._timeout(f"{what} (sending its input)", 20.0) from None
                except TandemError as error:
                    if error.details.get("fault") in BUSY and busy < 20:
                        busy += 1
                        time.sleep(0.25)
                        continue
                    if error.code != "fault" or error.details.get("fault") == UNKNOWN_SHELL:
                        raise
                    return error
        return None

    def _receive(self, command_id: str, on_line: t.Callable[[bytes], None] | None, deadline: float, too_late: TandemError,
                 what: str) -> Finished:
        lines, stderr = _Lines(on_line), b""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise too_late
            try:
                out, err, exit_code, ended = self._message(
                    what, lambda p: p.get_command_output_raw(self._shell, command_id), min(RECEIVE_SECONDS, left + 1.0))
            except OperationTimeout:
                continue
            stderr = (stderr + err)[-STDERR_KEPT:]
            excess = lines.feed(out)
            if excess:
                raise TandemError(f"{what} gave {excess} and was ended", self.pair, self.node_name,
                                  "ask for less at a time, or look for what is wrong with the data on the node.", code="output_too_large")
            if ended:
                return Finished(exit_code, lines.rest(), stderr.decode("utf-8", "replace"))

    def _signal(self, command_id: str) -> None:
        """Let Windows forget the command, and end it (with its children) if it still runs."""
        if self._shell is None or self._dead:
            return
        try:
            self._message("ending a command", lambda p: p.cleanup_command(self._shell, command_id), 5.0)
        except (TandemError, OperationTimeout):
            self._forget_shell()

    def _forget_shell(self) -> None:
        """A shell in an unknown state is deleted, which ends everything in it; if that fails too, it idles out."""
        shell, self._shell = self._shell, None
        if shell is None:
            return
        try:
            self._message("closing a shell", lambda p: p.close_shell(shell, close_session=False), 5.0)
        except (TandemError, OperationTimeout):
            pass

    def _message(self, what: str, send: t.Callable[[t.Any], t.Any], seconds: float = RECEIVE_SECONDS) -> t.Any:
        try:
            answer = self._wire.message(what, send, seconds)
        except OperationTimeout:
            self._used = time.monotonic()
            raise
        except TandemError as error:
            self._used = time.monotonic() if "fault" in error.details else 0.0
            self._dead = error.code in ("unreachable", "timeout", "wrong_password", "certificate")
            raise
        self._used, self._dead = time.monotonic(), False
        return answer

    def _timeout(self, what: str, seconds: float | None) -> TandemError:
        after = f" after {seconds:.0f} s" if seconds else " in time"
        return TandemError(f"{what} was not finished{after} and was ended", self.pair, self.node_name,
                           "look at the load of the node, then run again with a longer timeout.", code="timeout")

    def close(self) -> None:
        """Delete the shell, which ends whatever still runs in it, and close the connection. Never raises."""
        if not self._dead:
            self._forget_shell()
        self._shell = None
        self._wire.disconnect()
