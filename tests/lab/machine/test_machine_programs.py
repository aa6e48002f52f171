# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The programs of the machine: python.exe, powershell.exe, and the installed Recording Server."""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
import time
import typing as t
import xml.etree.ElementTree as ET
import zipfile

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils import _bootstrap
from machine_helpers import PASSWORD, USER, Machine
from winrm.exceptions import WSManFaultError
from winrm.protocol import Protocol

from tandem_lab.machine import image, powershell_stub, settings
from tandem_lab.machine.recorder_config import RecorderValues, render

ABOUT = """
import importlib, json, os, sys
def importable(name):
    try:
        importlib.import_module(name)
        return True
    except ImportError:
        return False
flags = [sys.flags.isolated, sys.flags.utf8_mode]
print(json.dumps({"argv": sys.argv[1:], "opens": os.path.isfile(sys.argv[0]), "name": __name__, "flags": flags,
    "imports": [name for name in ("tandem_lab.machine.client", "aiohttp", "winrm", "ansible", "yaml") if importable(name)],
    "environment": sorted(os.environ), "inside": importable("inside")}))
"""


class Shell:
    """One WinRM shell."""

    def __init__(self, machine: Machine):
        self._client = Protocol(machine.url, transport="ntlm", username=USER, password=PASSWORD)
        self._shell = self._client.open_shell(codepage=65001)

    def run(self, program: str, arguments: t.Sequence[str], data: bytes = b"") -> tuple[bytes, bytes, int]:
        command = self._client.run_command(self._shell, program, arguments, console_mode_stdin=False, skip_cmd_shell=True)
        try:
            for start in range(0, max(1, len(data)), 250_000):
                self._client.send_command_input(self._shell, command, data[start:start + 250_000], end=start + 250_000 >= len(data))
        except WSManFaultError as error:
            assert error.wsman_fault_code == 109, "only a program that has ended takes no input"
        try:
            return self._client.get_command_output(self._shell, command)
        finally:
            self._client.cleanup_command(self._shell, command)


def python(shell: Shell, script: str, *arguments: str) -> tuple[bytes, bytes, int]:
    return shell.run('"C:\\Program Files\\Tandem\\python\\python.exe"', ["-I", "-B", "-X", "utf8", f'"{script}"', *arguments])


def test_scripts_and_archives_run_isolated(machine: Machine) -> None:
    machine.script("about", ABOUT)
    with zipfile.ZipFile(machine.file("node.pyz"), "w") as archive:
        archive.writestr("__main__.py", ABOUT)
        archive.writestr("inside.py", "")
    shell = Shell(machine)
    for script, inside in (("C:\\Tests\\about.py", False), ("c:\\tests\\NODE.pyz", True)):
        output, errors, code = python(shell, script, "verb", '"a b"')
        assert (errors, code) == (b"", 0)
        answer = json.loads(output)
        environment = answer.pop("environment")
        assert answer == {"argv": ["verb", "a b"], "opens": True, "name": "__main__", "flags": [1, 1],
                          "imports": ["tandem_lab.machine.client"], "inside": inside}
        assert {"TANDEM_LAB_MACHINE", "TANDEM_LAB_ROOT", "TANDEM_NODE_HOST"} <= set(environment)
        assert "NTLM_USER_FILE" not in environment


def test_wrong_uses_of_python_are_errors(machine: Machine) -> None:
    shell = Shell(machine)
    assert python(shell, "C:\\Tests\\missing.py")[2] == 2
    assert python(shell, "missing.py")[2] == 2
    output, errors, code = shell.run("C:\\Program Files\\Tandem\\python\\python.exe", ["-c", "1"])
    assert code == 2 and b"runs only" in errors


def test_the_python_stub_adds_little_to_pythons_start(machine: Machine) -> None:
    machine.script("nothing", "")
    program = machine.folder / "C/Program Files/Tandem/python/python.exe"
    environment = {"TANDEM_LAB_ROOT": str(machine.folder)}

    def best(command: list[str]) -> float:
        times = []
        for _ in range(7):
            started = time.monotonic()
            subprocess.run(command, env=environment, check=True)
            times.append(time.monotonic() - started)
        return min(times)

    bare = best([sys.executable, "-I", "-S", "-c", ""])
    assert best([str(program), "-I", "-B", "-X", "utf8", "C:\\Tests\\nothing.py"]) - bare < 0.1


def bootstrap(shell: Shell, target: str, digest: str, kind: str, data: bytes) -> tuple[dict[str, t.Any], int]:
    arguments = _bootstrap.arguments(_bootstrap.script(target, digest, kind))
    output, _errors, code = shell.run(_bootstrap.POWERSHELL, arguments, _bootstrap.stdin_lines(data))
    return json.loads(output), code


def test_the_bootstrap_brings_files_and_archives(make_machine: t.Callable[..., Machine], tmp_path: pathlib.Path) -> None:
    machine = make_machine(python=False)
    machine.power_on()
    shell = Shell(machine)
    image.python_archive(tmp_path / "p.zip")
    data = (tmp_path / "p.zip").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    target = "C:\\Program Files\\Tandem\\python"
    assert bootstrap(shell, target, digest, "zip", b"") == ({"installed": False, "present": ""}, 0)
    answer, code = bootstrap(shell, target, "0" * 64, "zip", data)
    assert code == 1 and "SHA-256" in answer["error"]
    assert bootstrap(shell, target, digest, "zip", data) == ({"installed": True, "present": digest}, 0)
    assert bootstrap(shell, target, "0" * 64, "zip", data) == ({"installed": False, "present": digest}, 0)

    script = "import sys; print('it runs', sys.argv[1])\n".encode() + b"#" * 700_000
    path = "C:\\Program Files\\Tandem\\it's here\\script.py"
    digest = hashlib.sha256(script).hexdigest()
    assert bootstrap(shell, path, digest, "file", script) == ({"installed": True, "present": digest}, 0)
    assert bootstrap(shell, path, digest, "file", script) == ({"installed": False, "present": digest}, 0)
    assert python(shell, path, "here") == (b"it runs here\r\n", b"", 0)
    (machine.folder / "C/Program Files/Tandem/it's here/script.py").write_text("damaged")
    assert bootstrap(shell, path, digest, "file", script) == ({"installed": True, "present": digest}, 0)
    assert not list((machine.folder / "C/Program Files/Tandem").glob("tandem-*")), "temporary folders are left"


def test_the_machine_has_no_other_powershell(machine: Machine) -> None:
    script = _bootstrap.script("C:\\x", "0" * 64, "file")
    assert powershell_stub.recognise(script) == {"target": "C:\\x", "sha256": "0" * 64, "kind": "file"}
    for other in ("Get-Date", script + "Remove-Item C:\\", script.replace("$code = 1", "$code = 0"), script.split("\n", 1)[1]):
        with pytest.raises(ValueError, match="not Tandem's bootstrap"):
            powershell_stub.recognise(other)
    _output, errors, code = Shell(machine).run("powershell.exe", ["-Command", "Get-Date"])
    assert code == 1 and b"no other PowerShell" in errors


VALUES = RecorderValues("8dee7541-0000-4000-8000-000000000001", "Hall & Yard", "127.16.0.10", "127.16.0.2", "http://127.16.0.2:8080",
                        "64fb052a-45a2-4ed9-9467-2241cb4b638e")


def test_the_recorder_configuration_is_complete() -> None:
    data = render(VALUES)
    assert data.startswith(b'<?xml version="1.0" encoding="utf-8"?>\r\n') and b"\n" not in data.replace(b"\r\n", b"")
    root = ET.fromstring(data)
    expected = {
        "version": "25.1.0.2", "recorder/id": VALUES.recorder_id, "recorder/displayname": "Hall & Yard",
        "recorder/ClientRegistrationId": VALUES.client_registration_id, "server/address": "127.16.0.2", "server/webapiport": "9000",
        "server/authorizationserveraddress": "http://127.16.0.2:8080/IDP", "webapi/port": "9001", "webapi/publicUri": "127.16.0.10:9001",
        "webserver/host": "127.16.0.10", "webserver/port": "7563", "database/database_default/path": "D:\\MediaDatabase",
    }
    assert {path: root.findtext(path) for path in expected} == expected


def test_an_installed_recorder(tmp_path: pathlib.Path) -> None:
    machine = settings.MachineSettings("pair1-a", "127.16.0.11", "127.16.0.0/24", {USER: PASSWORD}, image.DRIVES)
    image.create(tmp_path / "m", machine, VALUES, static_addresses={"127.16.0.10": 24})
    program = tmp_path / "m/C/Program Files/Milestone/XProtect Recording Server/VideoOS.Recorder.Service.exe"
    assert program.stat().st_mode & 0o111 and "tandem_lab.recorder" in program.read_text()
    services = json.loads((tmp_path / "m/services.json").read_text())
    assert services["Milestone XProtect Recording Server"]["start_type"] == "auto"
    registry = json.loads((tmp_path / "m/registry.json").read_text())
    assert registry["SOFTWARE\\WOW6432Node\\VideoOS\\Recorder\\Installation"]["RecorderIDOnMachine"] == VALUES.recorder_id
    assert not list((tmp_path / "m/C").glob("**/python.exe")) and not list((tmp_path / "m/C").glob("**/*andem*"))
    assert (tmp_path / "m/machine.json").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        image.create(tmp_path / "m", machine)
    with pytest.raises(ValueError, match="time zone"):
        settings.from_document({**settings.to_document(machine), "time_zone": "Nowhere"}).check()


def test_the_python_archive_is_always_the_same(tmp_path: pathlib.Path) -> None:
    assert image.python_archive(tmp_path / "a.zip") == image.python_archive(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
