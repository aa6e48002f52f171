# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Registering a recorder each time it is attached; and running a program to its end."""
from __future__ import annotations

import sys

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import registration
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.registration import Registration
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host import programs
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import HostError
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import RECORDER, FakeHost

EACH = Registration.parse("each_time")


class Machine(FakeHost):
    """`codes`: how the program ends, one after the other; an exception is raised."""

    def __init__(self, root, codes):
        super().__init__(root, "machine", ["127.20.4.11"])
        self.codes = list(codes)
        self.commands: list[list[str]] = []
        self.stops_recorder = False
        self.services[RECORDER] = {"state": "running", "start_type": "auto", "pid": 1}

    def run_program(self, command, timeout):
        assert 1.0 <= timeout <= 60.0
        self.commands.append(command)
        if self.stops_recorder:
            self.service_stop(RECORDER)
        code = self.codes.pop(0)
        if isinstance(code, Exception):
            raise code
        return code, "Registration\r\n done"


def register(host: Machine, wanted: Registration = EACH, **options) -> tuple[dict, list[str]]:
    log: list[str] = []
    return registration.register(host, RECORDER, wanted, log.append, sleep=lambda _seconds: None, **options), log


@pytest.mark.parametrize(("codes", "attempts"), [([0], 1), ([200000], 1), ([-4, -1, 0], 3)])
def test_success_and_what_passes(tmp_path, codes, attempts):
    host = Machine(tmp_path, codes)
    step, log = register(host)
    assert (step["step"], step["attempts"], step["recorder_started"]) == ("registration", attempts, False)
    assert step["exit_code"] == codes[-1] and step["seconds"] >= 0 and log == []
    assert host.commands[0] == [registration.PROGRAM, "/register", "/quiet"]


@pytest.mark.parametrize(("code", "text"), [
    (100, "not authorised"), (-2, "invalid arguments"), (300000, "identity provider"), (17, "ended with 17"),
    (HostError("it did not end within 60 s"), "did not end"),
])
def test_failure_is_told_with_its_meaning(tmp_path, code, text):
    with pytest.raises(NodeError) as caught:
        register(Machine(tmp_path, [code]))
    assert caught.value.code == "cannot_register" and text in caught.value.message and caught.value.next
    assert caught.value.details["exit_code"] == (code if isinstance(code, int) else None)


def test_nothing_is_tried_again_when_the_node_is_not_attached_any_more(tmp_path):
    host = Machine(tmp_path, [-1, 0])
    with pytest.raises(NodeError):
        register(host, still_wanted=lambda: False)
    assert len(host.commands) == 1


@pytest.mark.parametrize("codes", [[0], [100]])
def test_recorder_that_the_program_stopped_runs_again(tmp_path, codes):
    host = Machine(tmp_path, codes)
    host.stops_recorder = True
    if codes == [0]:
        step, log = register(host)
        assert step["recorder_started"] and len(log) == 1
    else:
        with pytest.raises(NodeError):
            register(host)
    assert host.service(RECORDER).state == "running"


def test_recorder_that_did_not_run_is_left_alone(tmp_path):
    host = Machine(tmp_path, [0])
    host.service_stop(RECORDER)
    assert register(host)[0]["recorder_started"] is False and host.service(RECORDER).state == "stopped"


def test_missing_program_or_task_cannot_register(tmp_path):
    host = Machine(tmp_path, [])
    task = Registration.parse("each_time", {"task": "Tandem\\Register"})
    assert registration.can_register(host, Registration()).ok
    for wanted, name in ((EACH, "ServerConfigurator.exe"), (task, "Tandem\\Register")):
        verdict = registration.can_register(host, wanted)
        assert (verdict.ok, verdict.code) == (False, "cannot_register") and name in verdict.message
        file = host.path(wanted.file)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        assert registration.can_register(host, wanted).ok


def test_task_is_started_by_its_name_and_may_be_unattended(tmp_path):
    wanted = Registration.parse("each_time", {"task": "Tandem\\Register", "timeout": 30})
    host = Machine(tmp_path, [0])
    register(host, wanted)
    program, *_options, script = host.commands[0]
    assert program.endswith("powershell.exe") and "-TaskPath '\\Tandem\\' -TaskName 'Register'" in script
    assert wanted.unattended and Registration().unattended and not EACH.unattended


@pytest.mark.parametrize(("mode", "document"), [
    ("sometimes", None), (None, None), ("once", []), ("once", {"other": 1}), ("each_time", {"command": []}),
    ("each_time", {"command": "x"}),
    ("each_time", {"command": ["ServerConfigurator.exe"]}), ("each_time", {"task": "a'; calc"}), ("each_time", {"task": "..\\" * 9}),
    ("each_time", {"task": "x", "command": ["C:\\x.exe"]}), ("each_time", {"timeout": 0}), ("each_time", {"timeout": True}),
])
def test_unusable_definitions_are_refused(mode, document):
    with pytest.raises(NodeError) as caught:
        Registration.parse(mode, document)
    assert caught.value.code == "node_config_invalid"


# -- running a program -------------------------------------------------------------------------------------------------

def test_program_gives_its_code_and_the_end_of_its_output():
    script = "import sys; print('x' * 200000, flush=True); print('last', file=sys.stderr); sys.exit(3)"
    code, output = programs.run([sys.executable, "-c", script], 60.0)
    assert code == 3 and output.endswith("last") and len(output) <= programs.KEPT


def test_program_that_does_not_end_is_ended(tmp_path):
    with pytest.raises(HostError, match="did not end within"):
        programs.run([sys.executable, "-c", "import time; time.sleep(600)"], 0.5)
    with pytest.raises(HostError, match="could not be started"):
        programs.run([str(tmp_path / "missing")], 5.0)


def test_codes_are_signed():
    assert [programs.signed(code) for code in (0, 100, 4294967295, 4294967292, 300000)] == [0, 100, -1, -4, 300000]
