# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of a WinRM session, with a stand-in for pywinrm's Protocol: what is sent, and what becomes of what comes back."""

from __future__ import annotations

import json
import threading
import time

import pytest

winrm_exceptions = pytest.importorskip("winrm.exceptions")

from ansible_collections.tandem.xprotect.plugins.module_utils import _runtime_build, _winrm_channel, _winrm_wire, runtime_deploy
from ansible_collections.tandem.xprotect.plugins.module_utils.errors import RuntimeMissing, TandemError, VerbError
from ansible_collections.tandem.xprotect.plugins.module_utils.winrm import NodeSession

NODE = {"name": "a", "address": "127.0.0.9", "winrm_url": "http://127.0.0.9:5985/wsman", "winrm_transport": "basic",
        "username": "u", "password": "geheim"}


def fault(code: int | None = None, wmi: int | None = None, subcode: str | None = None, reason: str = "because"):
    return winrm_exceptions.WSManFaultError(500, "m", "r", reason, "s:Receiver", subcode, code, wmi)


class Node:
    """Plays all shells of a machine. `program(stdin) -> [(stdout, stderr), ...], exit_code`; items may be exceptions."""

    def __init__(self, program):
        self.program = program
        self.log: list[str] = []
        self.stdin: dict[str, bytes] = {}
        self.commands: list[tuple[str, str]] = []
        self.output: dict[str, list] = {}
        self.fail: list[tuple[str, Exception]] = []
        self.shells: set[str] = set()

    def check(self, what: str) -> None:
        self.log.append(what)
        for entry in self.fail:
            if entry[0] == what:
                self.fail.remove(entry)
                raise entry[1]


class Transport:
    def __init__(self):
        self.read_timeout_sec = 30

    def build_session(self):
        class Session:
            def mount(self, *unused):
                pass
        return Session()

    def close_session(self):
        pass


def protocol_for(node: Node):
    class Protocol:
        def __init__(self, **options):
            self.options, self.operation_timeout_sec, self.transport = options, 20, Transport()
            node.log.append("connect")

        def open_shell(self, **options):
            node.check("create")
            shell = f"shell-{len(node.log)}"
            node.shells.add(shell)
            return shell

        def run_command(self, shell, command, arguments, console_mode_stdin, skip_cmd_shell):
            node.check("command")
            if shell not in node.shells:
                raise fault(_winrm_wire.UNKNOWN_SHELL)
            assert console_mode_stdin is False and skip_cmd_shell is True
            node.commands.append((command, " ".join(arguments)))
            name = f"command-{len(node.commands)}"
            node.stdin[name] = b""
            return name

        def send_command_input(self, shell, command, data, end):
            node.check("send")
            node.stdin[command] += data
            assert len(data) <= 250_000
            if end:
                node.output[command] = list(node.program(node.stdin[command]))

        def get_command_output_raw(self, shell, command):
            node.check("receive")
            step = node.output[command].pop(0)
            if isinstance(step, Exception):
                raise step
            if isinstance(step, int):
                return b"", b"", step, True
            if callable(step):
                step = step()
            return step[0], step[1], -1, False

        def cleanup_command(self, shell, command):
            node.check("signal")

        def close_shell(self, shell, close_session=True):
            node.check("delete")
            node.shells.discard(shell)

    return Protocol


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(_runtime_build, "sha256", lambda: "ab" * 32)

    def make(program, on_progress=None, **options) -> tuple[Node, NodeSession]:
        node = Node(program)
        monkeypatch.setattr(_winrm_wire, "Protocol", protocol_for(node))
        return node, NodeSession(NODE, "north", on_progress, **options)

    return make


def lines(*events) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\r\n" for event in events)


def ok(result) -> dict:
    return {"event": "result", "ok": True, "result": result}


def test_a_call_is_one_command_and_the_shell_is_kept(machine):
    node, session = machine(lambda stdin: [(lines(ok({"echo": json.loads(stdin)})), b""), 0])
    assert session.call("facts", {"a": "ü"}) == {"echo": {"a": "ü"}}
    assert session.call("facts") == {"echo": {}}
    assert node.commands[0] == (r'"C:\Program Files\Tandem\python\python.exe"',
                                r'-I -B -X utf8 "C:\Program Files\Tandem\runtime\abababababababab\node.pyz" facts')
    assert node.log == ["connect", "create"] + ["command", "send", "receive", "receive", "signal"] * 2
    session.close()
    assert node.log[-1] == "delete" and not node.shells


def test_progress_arrives_while_the_verb_runs(machine):
    seen, order = [], []

    def second():
        order.append(list(seen))
        return lines(ok({})), b""

    first = lines({"event": "progress", "step": "stage", "done_bytes": 5})
    node, session = machine(lambda stdin: [(first[:10], b""), (first[10:], b""), second, 0], seen.append)
    own = []
    session.call("media.stage", on_progress=own.append)
    assert order == [[{"event": "progress", "step": "stage", "done_bytes": 5}]] and own == seen


def test_a_verb_may_be_called_from_the_progress_of_another(machine):
    programs = iter([[(lines({"event": "progress", "step": "x"}), b""), (lines(ok({"outer": 1})), b""), 0],
                     [(lines(ok({"inner": 1})), b""), 0]])
    node, session = machine(lambda stdin: next(programs))
    inner = []
    assert session.call("media.stage", on_progress=lambda event: inner.append(session.call("lock.renew"))) == {"outer": 1}
    assert inner == [{"inner": 1}]
    session.close()
    assert node.log.count("create") == node.log.count("delete") == 2


def test_two_threads_do_not_wait_for_each_other(machine):
    together = threading.Barrier(2, timeout=30)

    def both():
        together.wait()
        return lines(ok({})), b""

    node, session = machine(lambda stdin: [both, 0])
    threads = [threading.Thread(target=session.call, args=("facts",)) for _number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not together.broken and node.log.count("signal") == 2


def test_big_input_goes_in_pieces(machine):
    node, session = machine(lambda stdin: [(str(len(stdin)).encode(), b""), 0])
    assert session.run("C:\\x.exe", [], b"x" * 600_001).stdout == b"600001"
    assert node.log.count("send") == 3


def test_no_output_yet_is_asked_again(machine):
    silence = winrm_exceptions.WinRMOperationTimeoutError
    node, session = machine(lambda stdin: [silence(), silence(), (lines(ok({"x": 1})), b""), 0])
    assert session.call("facts") == {"x": 1}


def test_a_refusal_of_the_verb(machine):
    refusal = {"event": "result", "ok": False, "error": {"code": "busy", "message": "held by b", "next": "wait.", "details": {"since": 1}}}
    node, session = machine(lambda stdin: [(lines(refusal), b""), 1])
    with pytest.raises(VerbError) as caught:
        session.call("lock.acquire", {})
    assert str(caught.value) == "pair north, node a: held by b. Next: wait." and caught.value.code == "busy"
    assert caught.value.details == {"since": 1}


def test_an_internal_error_brings_the_traceback(machine):
    refusal = {"event": "result", "ok": False, "error": {"code": "internal", "message": "bug"}}
    node, session = machine(lambda stdin: [(lines(refusal), b"Traceback: ZeroDivisionError"), 1])
    with pytest.raises(VerbError) as caught:
        session.call("facts")
    assert "ZeroDivisionError" in caught.value.details["diagnostics"]


@pytest.mark.parametrize("steps, kind, code, text", [
    ([(b"", b"python.exe: can't open file 'C:\\x\\node.pyz': [Errno 2] No such file"), 2], RuntimeMissing, "runtime_missing",
     "not on the machine"),
    ([(b"hello\n", b""), 0], TandemError, "no_answer", "exit code 0 and without an answer: hello"),
    ([(b"", b"MemoryError\n"), 1], TandemError, "no_answer", "MemoryError"),
    ([-1073741510], TandemError, "no_answer", "exit code -1073741510"),
])
def test_no_answer(machine, steps, kind, code, text):
    node, session = machine(lambda stdin: list(steps))
    with pytest.raises(kind) as caught:
        session.call("facts")
    assert caught.value.code == code and text in str(caught.value)


NOT_THERE = [(b"", b"python.exe: can't open file 'C:\\x\\node.pyz': [Errno 2] No such file"), 2]


def bare_of_runtime(machine, monkeypatch, there=False, takes=True, **options):
    """A machine with Python whose runtime PowerShell brings; the verbs answer what they were asked."""
    monkeypatch.setattr(_runtime_build, "build", lambda: b"runtime")
    state = {"there": there}

    def program(stdin):
        if "powershell" in node.commands[-1][0]:
            state["there"] = takes
            return [(b'{"installed":true,"present":"%s"}\r\n' % (b"ab" * 32), b""), 0]
        return [(lines(ok({"echo": json.loads(stdin)})), b""), 0] if state["there"] else list(NOT_THERE)

    node, session = machine(program, **options)
    return node, session


def programs(node: Node) -> list[str]:
    return ["powershell" if "powershell" in command else "python" for command, unused in node.commands]


def test_a_missing_runtime_is_brought_once_and_the_call_is_repeated(machine, monkeypatch):
    node, session = bare_of_runtime(machine, monkeypatch, brings_runtime=True)
    assert session.call("attachment.take", {"mode": "failover"}) == {"echo": {"mode": "failover"}}
    assert programs(node) == ["python", "powershell", "python"]
    assert node.stdin["command-2"] == b"cnVudGltZQ==\r\n"
    session.call("facts")
    assert programs(node)[3:] == ["python"]


def test_a_runtime_that_is_still_missing_after_it_was_brought_is_an_error(machine, monkeypatch):
    node, session = bare_of_runtime(machine, monkeypatch, takes=False, brings_runtime=True)
    with pytest.raises(RuntimeMissing):
        session.call("facts")
    assert programs(node) == ["python", "powershell", "python"]


def test_a_missing_runtime_is_not_brought_in_check_mode(machine, monkeypatch):
    node, session = bare_of_runtime(machine, monkeypatch)
    with pytest.raises(RuntimeMissing):
        session.call("facts")
    assert programs(node) == ["python"]


def test_another_runtime_than_this_versions_is_not_brought(machine, monkeypatch):
    node, session = bare_of_runtime(machine, monkeypatch, brings_runtime=True)
    with pytest.raises(RuntimeMissing):
        session.call("facts", runtime="cd" * 32)
    assert programs(node) == ["python"]


def test_a_machine_without_python_gets_nothing_by_the_way(machine):
    node, session = machine(None, brings_runtime=True)
    node.fail = [("command", fault(2))]
    with pytest.raises(RuntimeMissing):
        session.call("facts")
    assert node.log.count("command") == 1


def test_looking_brings_nothing(machine, monkeypatch):
    node, session = bare_of_runtime(machine, monkeypatch, brings_runtime=True)
    assert runtime_deploy.look(session) == {"python": "present", "runtime": "missing", "facts": None}
    assert programs(node) == ["python"]


@pytest.mark.parametrize("code", [2, 0x80070002])
def test_a_missing_program(machine, code):
    node, session = machine(None)
    node.fail = [("command", fault(code))]
    with pytest.raises(RuntimeMissing) as caught:
        session.call("facts")
    assert caught.value.code == "program_missing" and "node_runtime" in caught.value.next_step


@pytest.mark.parametrize("error", [fault(_winrm_wire.UNKNOWN_SHELL), fault(None, 0x803381A6)])
def test_a_shell_that_ended_is_opened_again(machine, error):
    node, session = machine(lambda stdin: [(lines(ok({})), b""), 0])
    session.call("facts")
    node.fail = [("command", error)]
    session.call("facts")
    assert node.log.count("create") == 2
    node.fail = [("command", error), ("command", fault(_winrm_wire.UNKNOWN_SHELL))]
    with pytest.raises(TandemError):
        session.call("facts")


def test_a_quota(machine):
    node, session = machine(None)
    node.fail = [("create", fault(None, None, "w:QuotaLimit", "too many shells"))]
    with pytest.raises(TandemError) as caught:
        session.call("facts")
    assert caught.value.code == "quota" and "MaxShellsPerUser" in str(caught.value)


def test_a_program_that_ends_before_it_read_its_input_tells_why(machine):
    node, session = machine(None)
    node.fail = [("send", fault(232, reason="the pipe is being closed"))]
    node.output["command-1"] = [(b"", b"can't open file"), 2]
    with pytest.raises(RuntimeMissing):
        session.call("facts", {"x": "y" * 300_000})
    assert node.log.count("send") == 1


def test_a_busy_input_is_sent_again(machine):
    node, session = machine(lambda stdin: [(lines(ok({"length": len(stdin)})), b""), 0])
    node.fail = [("send", fault(170)), ("send", fault(170))]
    assert session.call("facts") == {"length": 2}


def test_too_much_time(machine):
    def slow():
        time.sleep(0.15)
        return b"", b""

    node, session = machine(lambda stdin: [slow] * 50)
    with pytest.raises(TandemError) as caught:
        session.call("facts", timeout=0.4)
    assert caught.value.code == "timeout" and "not finished after 0 s" in str(caught.value)
    assert node.log[-1] == "signal"


@pytest.mark.parametrize("limit, chunk, text", [("OUTPUT_LIMIT", b"x\n" * 600, "MiB of output"),
                                                ("LINE_LIMIT", b"x" * 1100, "a line of more")])
def test_too_much_output(machine, monkeypatch, limit, chunk, text):
    monkeypatch.setattr(_winrm_channel, limit, 1000)
    node, session = machine(lambda stdin: [(chunk, b"")] * 50)
    with pytest.raises(TandemError) as caught:
        session.call("facts")
    assert text in str(caught.value) and node.log[-1] == "signal" and node.log.count("receive") <= 2


def test_a_connection_lost_in_the_middle_says_what_is_not_known(machine):
    import requests

    node, session = machine(lambda stdin: [requests.exceptions.ConnectionError("reset")])
    with pytest.raises(TandemError) as caught:
        session.call("attachment.take")
    assert "verb attachment.take was started, and then" in str(caught.value) and "not known" in str(caught.value)
    session.close()
    assert node.log[-1] == "receive", "no goodbye to a machine that is not there"


def test_an_idle_connection_is_not_trusted(machine, monkeypatch):
    node, session = machine(lambda stdin: [(lines(ok({})), b""), 0])
    session.call("facts")
    monkeypatch.setattr(_winrm_channel, "IDLE_LIMIT", 0.0)
    session.call("facts")
    assert node.log.count("connect") == 2 and node.log.count("create") == 1


def test_passwords_do_not_appear(machine):
    node, session = machine(None)
    node.fail = [("create", RuntimeError("cannot log in with geheim"))]
    with pytest.raises(TandemError) as caught:
        session.call("facts")
    assert "geheim" not in str(caught.value) and "********" in str(caught.value)


@pytest.mark.parametrize("change, text", [
    ({"username": None}, "needs a username"),
    ({"password": None}, "needs the password of u"),
    ({"winrm_url": "10.0.0.1:5985"}, "is not an http or https URL"),
    ({"winrm_transport": "certificate"}, "certificate_key_pem"),
    ({"winrm_transport": "certificate", "certificate_pem": "/x", "certificate_key_pem": "/y"}, "https only"),
])
def test_an_incomplete_definition(change, text):
    with pytest.raises(TandemError) as caught:
        NodeSession({**NODE, **change}, "north")
    assert text in str(caught.value) and caught.value.code == "configuration"


def test_the_bootstrap_answer(machine):
    node, session = machine(lambda stdin: [(b'{"installed":true,"present":"00"}\r\n', b""), 0])
    assert session.bootstrap("C:\\x", "00", b"data", "file") == {"installed": True, "present": "00"}
    assert node.commands[0][0].endswith('powershell.exe"') and "-EncodedCommand" in node.commands[0][1]
    assert len(node.commands[0][1]) < 30_000
    assert node.stdin["command-1"] == b"ZGF0YQ==\r\n"


def test_a_failed_bootstrap(machine):
    node, session = machine(lambda stdin: [(b'{"error":"There is not enough space on the disk."}\r\n', b""), 1])
    with pytest.raises(TandemError) as caught:
        session.bootstrap("C:\\x", "00", b"data", "file")
    assert "not enough space" in str(caught.value) and caught.value.code == "bootstrap_failed"
