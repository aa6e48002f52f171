# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts of the Windows structures for 64 bit, computed by hand from the SDK headers; and the fence as data."""
from __future__ import annotations

import ctypes
import pathlib
import socket
import subprocess
import sys

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host import (
    paths, windows, windows_addresses, windows_api, windows_clock, windows_dispatch, windows_fence, windows_files, windows_filters,
    windows_processes, windows_services)
from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import FenceRules, Host, HostError

pytestmark = pytest.mark.skipif(sys.maxsize < 2 ** 32, reason="the layouts are those of 64 bit")

LAYOUTS = [
    (windows_api.GUID, 16, {"Data1": 0, "Data2": 4, "Data3": 6, "Data4": 8}),
    # winsvc.h
    (windows_services.SERVICE_STATUS, 28, {"dwCurrentState": 4, "dwWin32ExitCode": 12, "dwWaitHint": 24}),
    (windows_services.SERVICE_STATUS_PROCESS, 36, {"dwCurrentState": 4, "dwProcessId": 28, "dwServiceFlags": 32}),
    (windows_services.QUERY_SERVICE_CONFIGW, 64, {"dwStartType": 4, "lpBinaryPathName": 16, "dwTagId": 32, "lpDisplayName": 56}),
    (windows_services.SC_ACTION, 8, {"Type": 0, "Delay": 4}),
    (windows_services.SERVICE_FAILURE_ACTIONSW, 40, {"lpRebootMsg": 8, "lpCommand": 16, "cActions": 24, "lpsaActions": 32}),
    (windows_services.SERVICE_DELAYED_AUTO_START_INFO, 4, {}),
    (windows_services.SERVICE_FAILURE_ACTIONS_FLAG, 4, {}),
    (windows_dispatch.SERVICE_TABLE_ENTRYW, 16, {"lpServiceName": 0, "lpServiceProc": 8}),
    # winnt.h
    (windows_processes.JOBOBJECT_BASIC_LIMIT_INFORMATION, 64, {
        "PerJobUserTimeLimit": 8, "LimitFlags": 16, "MinimumWorkingSetSize": 24, "ActiveProcessLimit": 40, "Affinity": 48,
        "PriorityClass": 56, "SchedulingClass": 60}),
    (windows_processes.IO_COUNTERS, 48, {"OtherTransferCount": 40}),
    (windows_processes.JOBOBJECT_EXTENDED_LIMIT_INFORMATION, 144, {"IoInfo": 64, "ProcessMemoryLimit": 112, "PeakJobMemoryUsed": 136}),
    # vmgenerationcounter.h
    (windows_clock.VM_GENCOUNTER, 16, {"GenerationCountHigh": 8}),
    # ws2ipdef.h, netioapi.h
    (windows_addresses.SOCKADDR_IN, 16, {"sin_port": 2, "sin_addr": 4}),
    (windows_addresses.SOCKADDR_IN6, 28, {"sin6_flowinfo": 4, "sin6_addr": 8, "sin6_scope_id": 24}),
    (windows_addresses.SOCKADDR_INET, 28, {"Ipv4": 0, "Ipv6": 0, "si_family": 0}),
    (windows_addresses.MIB_UNICASTIPADDRESS_ROW, 80, {
        "Address": 0, "InterfaceLuid": 32, "InterfaceIndex": 40, "PrefixOrigin": 44, "SuffixOrigin": 48, "ValidLifetime": 52,
        "PreferredLifetime": 56, "OnLinkPrefixLength": 60, "SkipAsSource": 61, "DadState": 64, "ScopeId": 68, "CreationTimeStamp": 72}),
    (windows_addresses.MIB_UNICASTIPADDRESS_TABLE, 88, {"NumEntries": 0, "Table": 8}),
    # fwptypes.h, fwpmtypes.h
    (windows_fence.FWP_BYTE_BLOB, 16, {"size": 0, "data": 8}),
    (windows_fence.FWP_VALUE0, 16, {"type": 0, "value": 8}),
    (windows_fence.FWP_V4_ADDR_AND_MASK, 8, {"addr": 0, "mask": 4}),
    (windows_fence.FWP_V6_ADDR_AND_MASK, 17, {"addr": 0, "prefixLength": 16}),
    (windows_fence.FWPM_DISPLAY_DATA0, 16, {"description": 8}),
    (windows_fence.FWPM_SESSION0, 72, {"displayData": 16, "flags": 32, "txnWaitTimeoutInMSec": 36, "processId": 40, "sid": 48,
                                       "username": 56, "kernelMode": 64}),
    (windows_fence.FWPM_SUBLAYER0, 72, {"displayData": 16, "flags": 32, "providerKey": 40, "providerData": 48, "weight": 64}),
    (windows_fence.FWPM_FILTER_CONDITION0, 40, {"fieldKey": 0, "matchType": 16, "conditionValue": 24}),
    (windows_fence.FWPM_ACTION0, 20, {"type": 0, "filterType": 4}),
    (windows_fence.FWPM_FILTER0, 200, {
        "filterKey": 0, "displayData": 16, "flags": 32, "providerKey": 40, "providerData": 48, "layerKey": 64, "subLayerKey": 80,
        "weight": 96, "numFilterConditions": 112, "filterCondition": 120, "action": 128, "context": 152, "reserved": 168,
        "filterId": 176, "effectiveWeight": 184}),
]


@pytest.mark.parametrize(("structure", "size", "offsets"), LAYOUTS, ids=lambda value: getattr(value, "__name__", ""))
def test_layout(structure, size, offsets):
    assert ctypes.sizeof(structure) == size
    assert {name: getattr(structure, name).offset for name in offsets} == offsets


def test_guid_is_stored_as_windows_stores_it():
    guid = windows_api.GUID.parse("c38d57d1-05a7-4c33-904f-7fbceee60e82")
    assert (guid.Data1, guid.Data2, guid.Data3, bytes(guid.Data4)) == (0xc38d57d1, 0x05a7, 0x4c33, bytes.fromhex("904f7fbceee60e82"))


@pytest.mark.parametrize(("address", "family", "octets"), [
    ("10.1.2.3", 2, {4: 10, 5: 1, 6: 2, 7: 3}), ("fd00::5", 23, {8: 0xfd, 23: 5})])
def test_socket_address_bytes(address, family, octets):
    raw = bytes(windows_addresses.to_sockaddr(address))
    assert int.from_bytes(raw[:2], sys.byteorder) == family and raw[2:4] == b"\0\0"
    assert {place: raw[place] for place in octets} == octets
    assert windows_addresses._text(windows_addresses.to_sockaddr(address)) == address


RULES = FenceRules(("10.0.0.2", "fd00::2"), (7563, 9001, 11000))


def test_fence_blocks_each_direction_twice_and_never_local_traffic():
    found = windows_filters.fence(RULES)
    blocks = [f for f in found if f.action == windows_filters.ACTION_BLOCK]
    assert all(windows_filters.NOT_LOCAL in f.conditions for f in blocks)
    for flag in (windows_filters.FILTER_PERSISTENT, windows_filters.FILTER_BOOTTIME):
        layers = sorted(f.layer for f in blocks if f.flags & flag)
        accepts = [windows_filters.ACCEPT_V4, windows_filters.ACCEPT_V6]
        assert layers == sorted([windows_filters.CONNECT_V4, windows_filters.CONNECT_V6, *accepts, *accepts])
    assert not any(f.flags & windows_filters.FILTER_PERSISTENT and f.flags & windows_filters.FILTER_BOOTTIME for f in found)
    assert len({f.key for f in found}) == len(found)


def test_every_permit_outweighs_every_block_of_its_layer_and_is_not_permanent():
    permits = windows_filters.permit()
    assert {f.layer for f in permits} == set(windows_filters.LAYERS) == {f.layer for f in windows_filters.fence(RULES)}
    assert all(f.conditions == () and f.flags == 0 and f.action == windows_filters.ACTION_PERMIT for f in permits)
    assert min(f.weight for f in permits) > max(f.weight for f in windows_filters.fence(RULES))
    exempt = [f for f in windows_filters.fence(RULES) if f.action == windows_filters.ACTION_PERMIT]
    assert exempt and min(f.weight for f in exempt) > windows_filters.WEIGHT_BLOCK


def test_other_rules_have_other_keys_and_the_same_rules_the_same():
    keys = {f.key for f in windows_filters.fence(RULES)}
    assert keys == {f.key for f in windows_filters.fence(FenceRules(tuple(reversed(RULES.management_addresses)), RULES.inbound_ports))}
    assert not keys & {f.key for f in windows_filters.fence(FenceRules(("10.0.0.3",)))}


def test_filter_structure_holds_what_the_data_says():
    wanted = next(f for f in windows_filters.fence(RULES) if "to the Management Server (IPv4)" in f.name)
    structure, keep = windows_fence.to_structure(wanted)
    assert structure.numFilterConditions == 2 and structure.action.type == 0x1001
    assert (structure.weight.type, structure.weight.uint8) == (1, windows_filters.WEIGHT_BLOCK)
    address, flags = structure.filterCondition[0], structure.filterCondition[1]
    mask = address.conditionValue.v4AddrMask.contents
    assert (address.conditionValue.type, mask.addr, mask.mask) == (0x100, int.from_bytes(socket.inet_aton("10.0.0.2"), "big"), 0xFFFFFFFF)
    assert (flags.matchType, flags.conditionValue.type, flags.conditionValue.uint32) == (8, 3, 1)
    ports = next(f for f in windows_filters.fence(RULES) if "serving ports (IPv6)" in f.name)
    structure, keep_ports = windows_fence.to_structure(ports)
    assert [structure.filterCondition[n].conditionValue.uint16 for n in range(3)] == [7563, 9001, 11000]
    remote = next(f for f in windows_filters.fence(RULES) if "from the Management Server (IPv6)" in f.name and f.action == 0x1001)
    structure, keep_remote = windows_fence.to_structure(remote)
    value = structure.filterCondition[0].conditionValue.v6AddrMask.contents
    assert (bytes(value.addr), value.prefixLength) == (socket.inet_pton(socket.AF_INET6, "fd00::2"), 128)
    assert keep and keep_ports and keep_remote


class Calls:
    """Stands for the system's libraries: answers by function name, and what was called with what."""

    def __init__(self, monkeypatch, module, **answers):
        self.answers = answers
        self.made = []
        monkeypatch.setattr(module, "function", self.function)
        monkeypatch.setattr(windows_api, "last_error", lambda: self.answers.get("error", 0))
        if hasattr(module, "last_error"):
            monkeypatch.setattr(module, "last_error", windows_api.last_error)

    def function(self, _library, name, _result, *_arguments):
        def call(*given):
            self.made.append((name, given))
            answer = self.answers[name]
            return answer(*given) if callable(answer) else answer
        return call

    def names(self):
        return [name for name, _given in self.made]


def test_clock_is_the_tick_count(monkeypatch):
    Calls(monkeypatch, windows_clock, GetTickCount64=86_400_123)
    assert windows.WindowsHost().monotonic() == 86_400.123


def test_generation_is_read_from_the_device_and_the_handle_closed(monkeypatch):
    def ask(_device, code, _input, input_size, output, size, *_rest):
        assert (code, input_size, size) == (0x32C004, 0, 16)  # without input it answers at once
        output._obj.GenerationCount, output._obj.GenerationCountHigh = 0x0123456789ABCDEF, 0xFE
        return 1

    calls = Calls(monkeypatch, windows_clock, CreateFileW=77, DeviceIoControl=ask, CloseHandle=1)
    assert windows.WindowsHost().vm_generation() == "00000000000000fe0123456789abcdef"
    assert calls.made[0][1][:2] == ("\\\\.\\VmGenerationCounter", 0xC0000000) and calls.made[-1] == ("CloseHandle", (77,))


@pytest.mark.parametrize(("device", "error", "generation"), [
    (windows_clock.INVALID_HANDLE, 2, ""), (windows_clock.INVALID_HANDLE, 5, None), (77, 50, ""), (77, 31, None)])
def test_no_generation_is_no_error_and_a_refusal_is_one(monkeypatch, device, error, generation):
    calls = Calls(monkeypatch, windows_clock, CreateFileW=device, DeviceIoControl=0, CloseHandle=1, error=error)
    if generation is None:
        with pytest.raises(HostError) as caught:
            windows_clock.vm_generation()
        assert caught.value.code == error
    else:
        assert windows_clock.vm_generation() == generation
    assert ("CloseHandle" in calls.names()) == (device == 77)


def test_process_handle(monkeypatch):
    calls = Calls(monkeypatch, windows_processes, OpenProcess=99, WaitForSingleObject=258, TerminateProcess=1, CloseHandle=1)
    process = windows.WindowsHost().process(4711)
    assert calls.made == [("OpenProcess", (0x100001, False, 4711))]
    assert process.alive()
    process.kill()
    calls.answers.update(WaitForSingleObject=0, TerminateProcess=0, error=5)
    assert not process.alive()
    process.kill()  # it has ended: no error
    calls.answers.update(WaitForSingleObject=258)
    with pytest.raises(HostError):
        process.kill()
    del process
    assert calls.made[-1] == ("CloseHandle", (99,))
    calls.answers.update(OpenProcess=None, error=87)
    with pytest.raises(HostError):
        windows_processes.WindowsProcess(4712)


def test_child_is_in_a_job_that_ends_it(monkeypatch):
    class Child:
        ended = False

        def __init__(self, command, release, **options):
            self.command, self.release, self.options = command, release, options
            self.process = type("Popen", (), {"_handle": 55})

        def end(self):
            self.ended = True
            self.release()

    def put(_job, kind, information, size):
        assert (kind, size, information._obj.BasicLimitInformation.LimitFlags) == (9, 144, 0x2000)
        return 1

    calls = Calls(monkeypatch, windows_processes, CreateJobObjectW=44, SetInformationJobObject=put, AssignProcessToJobObject=1,
                  CloseHandle=1)
    monkeypatch.setattr(windows_processes, "PipeChild", Child)
    with pytest.raises(HostError, match="runtime archive"):
        windows_processes.start_runtime(["fuse"])
    monkeypatch.setattr(windows_processes, "_archive", lambda: "C:\\x\\node.pyz")
    child = windows.WindowsHost().start_runtime(["fuse"])
    assert child.command == [sys.executable, "-I", "-B", "-X", "utf8", "C:\\x\\node.pyz", "fuse"]
    assert child.options["creationflags"] == 0x08000080 and calls.made[-1] == ("AssignProcessToJobObject", (44, 55))
    child.end()
    assert calls.made[-1] == ("CloseHandle", (44,))
    calls.answers.update(AssignProcessToJobObject=0, error=5)
    with pytest.raises(HostError):
        windows_processes.start_runtime(["fuse"])
    assert calls.made[-1] == ("CloseHandle", (44,)), "the child was ended"


@pytest.mark.parametrize("name", ["Tandem Guard", "Tandem Witness"])
def test_one_process_is_one_service_of_any_name(monkeypatch, name):
    states, registered = [], []

    def register(service, _handler, _context):
        registered.append(service)
        return 12

    Calls(monkeypatch, windows_dispatch, RegisterServiceCtrlHandlerExW=register,
          SetServiceStatus=lambda _handle, status: states.append((status._obj.dwCurrentState, status._obj.dwServiceSpecificExitCode)))

    def body(wait):
        assert not wait(0)
        assert dispatcher._control(1, 0, None, None) == 0 and wait(0)

    dispatcher = windows_dispatch.Dispatcher(name, body)
    dispatcher._service_main(0, None)
    assert registered == [name] and [state for state, _code in states] == [4, 3, 1] and dispatcher.failed is None
    failing = windows_dispatch.Dispatcher(name, lambda wait: 1 // 0)
    failing._service_main(0, None)
    assert states[-1] == (1, 1) and isinstance(failing.failed, ZeroDivisionError)


def test_windows_host_is_complete_and_importable_here():
    assert isinstance(windows.WindowsHost(), Host)


def test_the_rights_of_a_folder_are_reset_to_what_it_inherits(tmp_path, monkeypatch):
    calls = []

    def run(command, **options):
        calls.append((command, options["timeout"]))
        return subprocess.CompletedProcess(command, 0 if tmp_path.name in command[1] else 5, b"", b"Access is denied.\r\n")

    monkeypatch.setattr(windows_files.subprocess, "run", run)
    (tmp_path / "file").write_bytes(b"")
    windows.WindowsHost().inherit_permissions(tmp_path)
    windows.WindowsHost().inherit_permissions(tmp_path / "file")
    assert calls[0][0][0].endswith("icacls.exe")
    assert [(command[1:], timeout) for command, timeout in calls] == [
        ([str(tmp_path), "/reset", "/t", "/q"], 300), ([str(tmp_path / "file"), "/reset", "/q"], 300)]
    with pytest.raises(HostError, match="could not be set to those of its folder .icacls ended with 5: Access is denied"):
        windows.WindowsHost().inherit_permissions(pathlib.Path("/other"))
    windows.WindowsHost().restrict_to_administrators(tmp_path)
    assert calls[-1][0][2:] == ["/inheritance:r", "/grant:r", "*S-1-5-18:(OI)(CI)F", "*S-1-5-32-544:(OI)(CI)F", "/q"]


@pytest.mark.parametrize(("text", "parts"), [
    ("C:\\ProgramData\\Tandem", ("C:", ["ProgramData", "Tandem"])), ("d:/Media", ("D:", ["Media"])), ("C:\\", ("C:", []))])
def test_paths(text, parts):
    assert paths.split(text) == parts


@pytest.mark.parametrize("text", ["relative\\path", "\\rooted", "\\\\server\\share", "C:relative", "C:\\a\\..\\b", "C:\\a\\.\\b",
                                  "C:\\a:stream",
                                  "C:\\a\\nul", "C:\\com1.txt", "C:\\a\x00b", "C:\\trailing. ", "C:\\a*", "", "/etc/passwd", "C:\\NUL\\x"])
def test_paths_that_could_lead_elsewhere_are_refused(text):
    with pytest.raises(HostError):
        paths.split(text)
