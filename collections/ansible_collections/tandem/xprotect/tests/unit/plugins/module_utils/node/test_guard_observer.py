# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guard's looks at its recorder, one by one and by a clock of the test's own: what they see becomes the right cause."""
from __future__ import annotations

import types

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node import recorder_local, store
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import drives, observe
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.health_terms import DriveState, Policy, Standing
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import Drive, HostError
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import (
    BANK, COLUMN, DEVICE, RECORDER, FakeHost, FakeRecorder, recorder_config, wait_until)

ADDRESS = "127.20.5.11"
IDS = [DEVICE.format(number) for number in range(4)]
SILENT, REFUSED = recorder_local.Answer(), recorder_local.Answer(refused=True)
ATTACHED = recorder_local.Answer(recorder_local.RecorderState("Attached", "Connected"), True)


class Machine(FakeHost):
    """Its monotonic clock is the test's."""

    def __init__(self, root):
        super().__init__(root, "machine", [ADDRESS])
        self.now = 5000.0
        self.present = {"C:", "D:"}
        self.services[RECORDER] = {"state": "running", "start_type": "auto", "pid": 7}
        config = self.path(recorder_local.CONFIG_FILE)
        config.parent.mkdir(parents=True)
        config.write_bytes(recorder_config(7563))
        for guid in IDS:
            self.table(guid).mkdir(parents=True)

    def monotonic(self) -> float:
        return self.now

    def drives(self) -> list[Drive]:
        return [Drive(letter, 2 * 10 ** 12, self.free_bytes) for letter in sorted(self.present)]

    def table(self, guid: str):
        return self.path(f"D:\\MediaDatabase\\{BANK}\\{guid}\\{COLUMN}")


class Scene:
    """A machine, its observer without threads, and a partner that writes everything."""

    def __init__(self, root):
        self.host = Machine(root)
        self.log: list[str] = []
        self.observer = self.new()
        self.partner: dict | None = {"recorder": {"service_state": "running", "writing_devices": IDS},
                                     "health": {"score": 100, "causes": [], "serving_fit": True}}
        self.answer = ATTACHED

    def new(self, **settings) -> observe.Observer:
        store.make_folder(self.host, store.GUARD_FOLDER)
        values = {"recorder_service": RECORDER, "address": ADDRESS, "management_addresses": (), "management_ports": (), **settings}
        return observe.Observer(self.host, types.SimpleNamespace(**values), self.log.append)

    def pass_(self, seconds: int, writes: list[str] | None = None) -> dict[str, int]:
        """Looks once a second while `writes` (all of them when not said) grow. The causes at the end."""
        for _second in range(seconds):
            self.host.now += 1.0
            for guid in IDS if writes is None else writes:
                with open(self.host.table(guid) / "block0.blk", "ab") as file:
                    file.write(b"frame")
            if self.partner is not None:
                self.observer.hear_partner(self.partner)
            self.observer.look()
            self.observer.ask()
            self.observer.judge()
        return {cause.code: cause.points for cause in self.observer.health().causes}


@pytest.fixture
def scene(tmp_path, monkeypatch):
    scene = Scene(tmp_path)
    monkeypatch.setattr(recorder_local.StatusProbe, "question", lambda _probe, _timeout: scene.answer)
    assert scene.pass_(40) == {}
    return scene


def test_healthy_node_says_what_it_writes(scene):
    document = scene.observer.describe()
    assert document["health"] == {"score": 100, "causes": [], "serving_fit": True} and document["writing_devices"] == sorted(IDS)
    assert document["recording"] and document["writing"] == 4 and document["attach_state"] == "Attached"
    assert Standing.parse({"recorder": document}, 1.0).writing == frozenset(IDS)
    assert "writing_devices" not in scene.observer.describe(devices=False)
    assert scene.log == []


@pytest.mark.parametrize(("answer", "writes", "expected"), [
    (SILENT, [], {"recorder_hung": 100}), (REFUSED, [], {"recorder_hung": 100}), (ATTACHED, [], {"cameras_unreachable": 100}),
    (SILENT, None, {"recorder_not_answering": 40}), (REFUSED, None, {}), (ATTACHED, IDS[1:], {"devices_stopped": 20}),
])
def test_recorder_that_hangs_or_does_not_write(scene, answer, writes, expected):
    scene.answer = answer
    assert scene.pass_(20, writes) == expected
    scene.answer = ATTACHED
    assert scene.pass_(2) == {}
    if expected:
        assert f"health {100 - sum(expected.values())}: its recorder" in "\n".join(scene.log)
        assert scene.log[-1] == f"health 100: {[*expected][0]} is over"


def test_without_a_partner_stillness_is_shown_and_refuses_nothing(scene):
    scene.partner = None
    assert scene.pass_(20, []) == {"cameras_unreachable": 100} and scene.observer.health().serving_fit


def test_nothing_is_wrong_when_the_partner_is_still_too(scene):
    scene.partner["recorder"]["writing_devices"] = []
    assert scene.pass_(100, []) == {}


def test_dead_service_and_its_return(scene):
    scene.host.service_stop(RECORDER)
    assert scene.pass_(1, []) == {"recorder_stopped": 100}
    assert scene.observer.state() is None
    scene.host.service_start(RECORDER)
    scene.answer = REFUSED  # it is starting up
    assert scene.pass_(4, []) == {}
    scene.answer = ATTACHED
    assert scene.pass_(60) == {}


def test_drives(scene):
    assert scene.observer.observation().drives == (DriveState("D:", "ok", 10 ** 12),)
    scene.host.free_bytes = 10 << 20
    assert scene.pass_(4) == {"disk_full": 40}
    scene.host.free_bytes = 10 ** 12
    scene.host.present.remove("D:")
    assert scene.pass_(4) == {"disk_gone": 60}
    scene.host.present.add("D:")
    assert scene.pass_(4) == {}


def test_drive_that_takes_no_writes_is_found_only_when_something_is_wrong(scene):
    scene.host.fail["replace_file"] = HostError("the media is write protected", 19)
    assert scene.pass_(30) == {}
    assert scene.pass_(20, []) == {"not_recording": 100, "disk_read_only": 60}
    del scene.host.fail["replace_file"]
    assert scene.pass_(15) == {}
    assert not scene.host.path(f"D:\\{drives.FOLDER}").exists()


def test_disk_that_hangs_makes_an_old_observation(scene):
    scene.host.now += 16.0
    assert [cause.code for cause in scene.observer.health().causes] == ["storage_hangs"]
    assert scene.observer.describe()["health"]["serving_fit"] is False


def test_yield_and_its_memory_over_a_restart_of_the_guard(scene):
    assert scene.pass_(60, []) == {"cameras_unreachable": 100}
    assert scene.observer.should_yield().ok and scene.observer.should_yield(maintenance=True).code == "maintenance"
    scene.observer.handed_over()
    assert scene.observer.should_yield().code == "too_soon"
    scene.observer = scene.new()
    assert scene.host.now - 60 < scene.observer.history.handed_over_at <= scene.host.now
    store.write_bytes(scene.host, observe.HANDOVER_FILE, b'{"at_ms": "x"}')
    assert scene.new().history.handed_over_at is None


def test_wrong_figures_do_not_keep_the_guard_from_guarding(scene):
    assert scene.new(health={"stand": "long"}).policy == Policy() and "health.stand" in scene.log[-1]
    assert scene.new(health={"stand": 3}).policy == Policy(stand=3.0)


def test_partner_clock(scene):
    scene.partner["recorder"]["clock"] = {"wall_ms": 1_000_000, "management_offset": 0.0}
    scene.observer.hear_partner(scene.partner, 1010.0, 1010.2)
    assert [cause.code for cause in scene.observer.health().causes] == ["clock_off"]
    scene.observer.hear_partner(scene.partner, 1000.0, 1000.2)
    assert scene.observer.health().causes == ()


def test_trouble_with_drives_is_logged_once_and_stops_no_look(scene, monkeypatch):
    def fail():
        raise HostError("no answer")
    monkeypatch.setattr(scene.host, "drives", fail)
    assert scene.pass_(20) == {}
    assert [line for line in scene.log if "drives" in line] == ["the drives could not be looked at: HostError: no answer"]


def test_threads_look_ask_and_end(tmp_path):
    """Everything together in real time, with a recorder that answers and writes."""
    host = FakeHost(tmp_path, "machine", [ADDRESS])
    host.services[RECORDER] = {"state": "running", "start_type": "auto", "pid": 1}
    recorder = FakeRecorder(host, ADDRESS, 0)
    config = host.path(recorder_local.CONFIG_FILE)
    config.parent.mkdir(parents=True)
    config.write_bytes(recorder_config(recorder._listener.getsockname()[1]))
    wait_until(host.path(f"D:\\MediaDatabase\\{BANK}").is_dir, "the recorder writes")
    store.make_folder(host, store.GUARD_FOLDER)
    log: list[str] = []
    settings = types.SimpleNamespace(recorder_service=RECORDER, address=ADDRESS, management_addresses=(ADDRESS,), management_ports=(1,))
    observer = observe.Observer(host, settings, log.append)
    observer.start()
    try:
        wait_until(lambda: observer.recorder().writing == 2 and observer.state() is not None, "two devices are written")
        assert observer.state().attached and observer.health().score == 100 and len(observer.describe()["writing_devices"]) == 2
        host.service_stop(RECORDER)
        wait_until(lambda: log, "the dead service is in the log")
        assert log == ["health 0: its recorder service is stopped"] and not observer.health().serving_fit
    finally:
        observer.stop()
        recorder.stop()
    assert not any(thread.is_alive() for thread in observer._threads)
