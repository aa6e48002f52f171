# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's WinRM service, asked by the real pywinrm."""

from __future__ import annotations

import hashlib
import time
import typing as t

import pytest
import requests
from machine_helpers import PASSWORD, PYTHON, USER, Machine, alive, wait_for
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError
from winrm.protocol import Protocol

ECHO = """
import hashlib, json, sys
data = sys.stdin.buffer.read()
print(json.dumps({"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "args": sys.argv[1:]}))
print("to the other stream", file=sys.stderr)
sys.exit(3)
"""
STREAM = """
import os, sys, time
for step in range(3):
    print("step", step, flush=True)
    while not os.path.exists(os.environ["TANDEM_LAB_ROOT"] + f"/C/Tests/go{step}"):
        time.sleep(0.01)
"""


def protocol(machine: Machine, transport: str, **values: t.Any) -> Protocol:
    settings = {"username": USER, "password": PASSWORD, "read_timeout_sec": 20, "operation_timeout_sec": 10, **values}
    return Protocol(machine.url, transport=transport, **settings)


def run(client: Protocol, shell: str, script: str, arguments: t.Sequence[str] = ()) -> str:
    program, *options = script.replace(PYTHON, "PYTHON").split(" ")
    return client.run_command(shell, program.replace("PYTHON", PYTHON), [*options, *arguments], console_mode_stdin=False,
                              skip_cmd_shell=True)


@pytest.fixture(params=["basic", "ntlm"])
def client(machine: Machine, request: pytest.FixtureRequest) -> Protocol:
    return protocol(machine, request.param)


def test_input_output_and_exit_code(machine: Machine, client: Protocol) -> None:
    data = bytes(range(256)) * 3000
    shell = client.open_shell(codepage=65001)
    command = run(client, shell, machine.script("echo", ECHO), ['"two words"', "x"])
    for start in range(0, len(data), 250_000):
        client.send_command_input(shell, command, data[start:start + 250_000], end=start + 250_000 >= len(data))
    output, errors, code = client.get_command_output(shell, command)
    assert f'"sha256": "{hashlib.sha256(data).hexdigest()}"'.encode() in output
    assert b'"args": ["two words", "x"]' in output
    assert (errors, code) == (b"to the other stream\r\n", 3)
    client.cleanup_command(shell, command)
    client.close_shell(shell)
    assert machine.control.status()["winrm_shells"] == 0


def test_ntlm_messages_are_encrypted(machine: Machine) -> None:
    client = protocol(machine, "ntlm", message_encryption="always")
    client.open_shell()
    assert client.transport.encryption is not None


def test_output_streams_while_the_program_runs(machine: Machine, client: Protocol) -> None:
    shell = client.open_shell()
    command = run(client, shell, machine.script("stream", STREAM))
    for step in range(3):
        output, _errors, _code, done = client.get_command_output_raw(shell, command)
        assert (output, done) == (f"step {step}\r\n".encode(), False)
        machine.file(f"go{step}").touch()
    assert client.get_command_output_raw(shell, command)[2:] == (0, True)


def test_long_output_arrives_whole(machine: Machine) -> None:
    client = protocol(machine, "basic")
    shell = client.open_shell()
    command = run(client, shell, machine.script("long", "import sys\nfor n in range(40000): sys.stdout.write(f'{n:099d}\\n')\n"))
    output, _errors, code = client.get_command_output(shell, command)
    assert code == 0
    assert output == b"".join(f"{n:099d}\r\n".encode() for n in range(40000))


def test_wrong_passwords_and_unknown_users_are_refused(machine: Machine) -> None:
    for transport in ("basic", "ntlm"):
        for wrong in ({"password": "wrong"}, {"username": "nobody"}):
            with pytest.raises(InvalidCredentialsError):
                protocol(machine, transport, **wrong).open_shell()
    for name in (f"machine-11\\{USER}", f".\\{USER}", USER.upper()):
        protocol(machine, "ntlm", username=name).open_shell()
        protocol(machine, "basic", username=name).open_shell()


def test_a_missing_program_is_a_fault(machine: Machine, client: Protocol) -> None:
    shell = client.open_shell()
    with pytest.raises(WSManFaultError) as caught:
        client.run_command(shell, '"C:\\Program Files\\Nothing\\no.exe"', skip_cmd_shell=True)
    assert caught.value.wsman_fault_code == 2
    command = client.run_command(shell, "no.exe")  # through cmd.exe
    _output, errors, code = client.get_command_output(shell, command)
    assert code == 1 and b"not recognized" in errors


def test_a_silent_program_times_out_and_goes_on(machine: Machine, client: Protocol) -> None:
    client.operation_timeout_sec = 1
    shell = client.open_shell()
    command = run(client, shell, machine.script("stream", "import sys\nsys.stdin.read()\nprint('end')\n"))
    started = time.monotonic()
    with pytest.raises(WinRMOperationTimeoutError):
        client.get_command_output_raw(shell, command)
    assert 0.9 < time.monotonic() - started < 5
    client.send_command_input(shell, command, b"", end=True)
    assert client.get_command_output(shell, command) == (b"end\r\n", b"", 0)


@pytest.mark.parametrize("end", ["signal", "delete"])
def test_the_process_tree_ends_with_command_and_shell(machine: Machine, end: str) -> None:
    client = protocol(machine, "basic")
    shell = client.open_shell()
    script = "import os, time\nchild = os.fork()\nif child: print(os.getpid(), child, flush=True)\ntime.sleep(1000)\n"
    command = run(client, shell, machine.script("tree", script))
    pids = [int(text) for text in client.get_command_output_raw(shell, command)[0].split()]
    assert len(pids) == 2 and all(alive(pid) for pid in pids)
    if end == "signal":
        client.cleanup_command(shell, command)
    else:
        client.close_shell(shell)
    wait_for(lambda: not any(alive(pid) for pid in pids), "the processes end")


def test_unknown_shells_and_too_many_shells(make_machine: t.Callable[..., Machine]) -> None:
    machine = make_machine(python=False, winrm={"max_shells_per_user": 3, "idle_seconds": 7200})
    machine.power_on()
    client = protocol(machine, "ntlm")
    with pytest.raises(WSManFaultError) as caught:
        client.run_command("00000000-0000-0000-0000-000000000000", "x")
    assert (caught.value.wsman_fault_code, caught.value.fault_subcode) == (2150858843, "w:InvalidSelectors")
    shells = [client.open_shell() for _ in range(3)]
    with pytest.raises(WSManFaultError) as caught:
        client.open_shell()
    assert caught.value.fault_subcode == "w:QuotaLimit"
    client.close_shell(shells[0])
    client.open_shell()


def test_idle_shells_are_removed(machine: Machine) -> None:
    client = protocol(machine, "basic")
    client.open_shell(idle_timeout="PT0.1S")
    kept = client.open_shell()
    wait_for(lambda: machine.control.status()["winrm_shells"] == 1, "the idle shell is removed")
    client.close_shell(kept)


def test_large_requests_are_refused(machine: Machine) -> None:
    client = protocol(machine, "basic")
    shell = client.open_shell()
    command = run(client, shell, machine.script("echo", ECHO))
    client.send_command_input(shell, command, bytes(380_000))
    with pytest.raises(WinRMTransportError) as caught:
        client.send_command_input(shell, command, bytes(400_000))
    assert caught.value.code == 413


def test_an_encrypted_message_on_another_connection_is_refused(machine: Machine) -> None:
    client = protocol(machine, "ntlm")
    client.open_shell()
    sealed = client.transport.encryption.prepare_encrypted_request(client.transport.session, machine.url, b"<x/>")
    answer = requests.post(machine.url, data=sealed.body, headers={"Content-Type": sealed.headers["Content-Type"]}, timeout=5)
    assert answer.status_code == 401


def test_nonsense_gets_faults_and_the_service_lives(machine: Machine) -> None:
    def post(body: bytes) -> requests.Response:
        return requests.post(machine.url, data=body, auth=(USER, PASSWORD), timeout=5)
    assert post(b"not xml").status_code == 500
    empty = b'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Header/><s:Body/></s:Envelope>'
    assert b"ActionNotSupported" in post(empty).content
    assert requests.get(machine.url, timeout=5).status_code == 405
    protocol(machine, "basic").open_shell()


def test_many_commands_are_quick(machine: Machine) -> None:
    """A guard against something that waits: a command on an open shell takes some ten milliseconds besides Python's start."""
    client = protocol(machine, "ntlm")
    shell = client.open_shell()
    line = machine.script("nothing", "print('x')\n")
    times = []
    for _ in range(10):
        started = time.monotonic()
        command = run(client, shell, line)
        assert client.get_command_output(shell, command) == (b"x\r\n", b"", 0)
        client.cleanup_command(shell, command)
        times.append(time.monotonic() - started)
    assert sorted(times)[5] < 0.5, times
