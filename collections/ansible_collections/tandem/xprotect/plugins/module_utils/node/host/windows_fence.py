# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fence and the permit through the Windows Filtering Platform (fwpuclnt).

The fence: persistent and boot-time filters, installed in one transaction. The permit: filters of a *dynamic* session,
which the filtering engine removes when the process that opened the session ends, however it ends (documented). That they
win over the blocks of the same sublayer on every supported version is assumption `dynamic_filter_permits_over_block`.

See ``windows_api``: written against the SDK (fwpmtypes.h, fwptypes.h, fwpmu.h), never run on Windows by its authors.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import typing as t

from . import windows_filters as filters
from . import windows_registry
from .base import FenceRules, HostError
from .windows_api import BOOL, BYTE, DWORD, GUID, HANDLE, LPWSTR, POINTER, UINT64, WORD, check, failure, function

RPC_C_AUTHN_WINNT = 10
SESSION_DYNAMIC = 0x1
SUBLAYER_PERSISTENT = 0x1
FWP_UINT8 = 1
E_FILTER_NOT_FOUND, E_SUBLAYER_NOT_FOUND, E_ALREADY_EXISTS = 0x80320003, 0x80320007, 0x80320009

RULES_KEY, RULES_NAME = "SOFTWARE\\Tandem\\Fence", "Rules"
_TXN_WAIT_MS = 5000
_SUBLAYER_WEIGHT = 0xFFF0


class FWPM_DISPLAY_DATA0(ctypes.Structure):
    _fields_ = [("name", LPWSTR), ("description", LPWSTR)]


class FWP_BYTE_BLOB(ctypes.Structure):
    _fields_ = [("size", DWORD), ("data", POINTER(BYTE))]


class FWPM_SESSION0(ctypes.Structure):
    _fields_ = [("sessionKey", GUID), ("displayData", FWPM_DISPLAY_DATA0), ("flags", DWORD), ("txnWaitTimeoutInMSec", DWORD),
                ("processId", DWORD), ("sid", ctypes.c_void_p), ("username", LPWSTR), ("kernelMode", BOOL)]


class FWPM_SUBLAYER0(ctypes.Structure):
    _fields_ = [("subLayerKey", GUID), ("displayData", FWPM_DISPLAY_DATA0), ("flags", DWORD), ("providerKey", POINTER(GUID)),
                ("providerData", FWP_BYTE_BLOB), ("weight", WORD)]


class FWP_V4_ADDR_AND_MASK(ctypes.Structure):
    _fields_ = [("addr", DWORD), ("mask", DWORD)]


class FWP_V6_ADDR_AND_MASK(ctypes.Structure):
    _fields_ = [("addr", BYTE * 16), ("prefixLength", BYTE)]


class _VALUE(ctypes.Union):
    _fields_ = [("uint8", BYTE), ("uint16", WORD), ("uint32", DWORD), ("uint64", POINTER(UINT64)),
                ("v4AddrMask", POINTER(FWP_V4_ADDR_AND_MASK)), ("v6AddrMask", POINTER(FWP_V6_ADDR_AND_MASK))]


class FWP_VALUE0(ctypes.Structure):
    """FWP_CONDITION_VALUE0 has the same form."""

    _anonymous_ = ("value",)
    _fields_ = [("type", ctypes.c_int32), ("value", _VALUE)]


class FWPM_FILTER_CONDITION0(ctypes.Structure):
    _fields_ = [("fieldKey", GUID), ("matchType", ctypes.c_int32), ("conditionValue", FWP_VALUE0)]


class FWPM_ACTION0(ctypes.Structure):
    _fields_ = [("type", DWORD), ("filterType", GUID)]


class _CONTEXT(ctypes.Union):
    _fields_ = [("rawContext", UINT64), ("providerContextKey", GUID)]


class FWPM_FILTER0(ctypes.Structure):
    _fields_ = [("filterKey", GUID), ("displayData", FWPM_DISPLAY_DATA0), ("flags", DWORD), ("providerKey", POINTER(GUID)),
                ("providerData", FWP_BYTE_BLOB), ("layerKey", GUID), ("subLayerKey", GUID), ("weight", FWP_VALUE0),
                ("numFilterConditions", DWORD), ("filterCondition", POINTER(FWPM_FILTER_CONDITION0)), ("action", FWPM_ACTION0),
                ("context", _CONTEXT), ("reserved", POINTER(GUID)), ("filterId", UINT64), ("effectiveWeight", FWP_VALUE0)]


# -- fence -------------------------------------------------------------------------------------------------------------

def rules() -> FenceRules | None:
    """The rules whose filters all exist. A fence with a missing filter counts as none: it is to be installed again."""
    stored = _stored_rules()
    if stored is None:
        return None
    with _engine() as engine:
        return stored if all(_exists(engine, wanted.key) for wanted in filters.fence(stored)) else None


def install(new: FenceRules) -> None:
    old = _stored_rules()
    with _engine() as engine, _transaction(engine):
        _add_sublayer(engine)
        for gone in filters.fence(old) if old else []:
            _delete(engine, gone.key)
        for wanted in filters.fence(new):
            _delete(engine, wanted.key)
            _add(engine, wanted)
    windows_registry.write(RULES_KEY, RULES_NAME, json.dumps(
        {"management_addresses": list(new.management_addresses), "inbound_ports": list(new.inbound_ports)}))


def remove() -> None:
    old = _stored_rules()
    if old is None:
        return
    with _engine() as engine, _transaction(engine):
        for gone in filters.fence(old):
            _delete(engine, gone.key)
    windows_registry.delete(RULES_KEY, RULES_NAME)


# -- permit ------------------------------------------------------------------------------------------------------------

class WindowsPermit:
    """An open dynamic session. Closing it, or the end of the process, removes its filters."""

    def __init__(self) -> None:
        with _engine() as engine:
            _add_sublayer(engine)  # outside the dynamic session, or it would go with it
        self._engine: int | None = _open_engine(dynamic=True)
        try:
            with _transaction(self._engine):
                for wanted in filters.permit():
                    _add(self._engine, wanted)
        except HostError as error:
            self.close()
            if error.code == E_ALREADY_EXISTS:
                raise HostError("another process of this machine holds a permit", error.code) from None
            raise

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            _close_engine(engine)


def permit_open() -> bool:
    with _engine() as engine:
        return any(_exists(engine, wanted.key) for wanted in filters.permit())


# -- structures --------------------------------------------------------------------------------------------------------

def to_structure(wanted: filters.Filter) -> tuple[FWPM_FILTER0, list]:
    """The C form of a filter, and the objects that it points to and that must live as long."""
    keep: list = []
    conditions = (FWPM_FILTER_CONDITION0 * max(1, len(wanted.conditions)))()
    for target, condition in zip(conditions, wanted.conditions):
        target.fieldKey = GUID.parse(condition.field)
        target.matchType = condition.match
        _set_value(target.conditionValue, condition, keep)
    keep.append(conditions)
    result = FWPM_FILTER0()
    result.filterKey = GUID.parse(wanted.key)
    result.displayData.name = wanted.name
    result.flags = wanted.flags
    result.layerKey = GUID.parse(wanted.layer)
    result.subLayerKey = GUID.parse(filters.SUBLAYER)
    result.weight.type, result.weight.uint8 = FWP_UINT8, wanted.weight
    result.numFilterConditions = len(wanted.conditions)
    if wanted.conditions:
        result.filterCondition = ctypes.cast(conditions, POINTER(FWPM_FILTER_CONDITION0))
    result.action.type = wanted.action
    return result, keep


def _set_value(target: FWP_VALUE0, condition: filters.Condition, keep: list) -> None:
    target.type = condition.type
    value: t.Any = condition.value
    if condition.type == filters.TYPE_V4_ADDR_MASK:
        # Addresses are numbers in the machine's own order here.
        keep.append(FWP_V4_ADDR_AND_MASK(int.from_bytes(value, "big"), 0xFFFFFFFF))
        target.v4AddrMask = ctypes.pointer(keep[-1])
    elif condition.type == filters.TYPE_V6_ADDR_MASK:
        keep.append(FWP_V6_ADDR_AND_MASK((BYTE * 16)(*value), 128))
        target.v6AddrMask = ctypes.pointer(keep[-1])
    elif condition.type == filters.TYPE_UINT8:
        target.uint8 = value
    elif condition.type == filters.TYPE_UINT16:
        target.uint16 = value
    else:
        target.uint32 = value


# -- calls -------------------------------------------------------------------------------------------------------------

def _open_engine(dynamic: bool = False) -> int:
    session = FWPM_SESSION0()
    session.displayData.name = "Tandem"
    session.flags = SESSION_DYNAMIC if dynamic else 0
    session.txnWaitTimeoutInMSec = _TXN_WAIT_MS
    engine = HANDLE()
    begin = function("fwpuclnt", "FwpmEngineOpen0", DWORD, LPWSTR, DWORD, ctypes.c_void_p, POINTER(FWPM_SESSION0), POINTER(HANDLE))
    check(begin(None, RPC_C_AUTHN_WINNT, None, ctypes.byref(session), ctypes.byref(engine)),
          "the Windows filtering engine could not be opened (service BFE)")
    if engine.value is None:
        raise failure("the Windows filtering engine gave no handle", 6)
    return engine.value


def _close_engine(engine: int) -> None:
    check(function("fwpuclnt", "FwpmEngineClose0", DWORD, HANDLE)(engine), "the Windows filtering engine could not be closed")


@contextlib.contextmanager
def _engine() -> t.Iterator[int]:
    engine = _open_engine()
    try:
        yield engine
    finally:
        _close_engine(engine)


@contextlib.contextmanager
def _transaction(engine: int) -> t.Iterator[None]:
    check(function("fwpuclnt", "FwpmTransactionBegin0", DWORD, HANDLE, DWORD)(engine, 0), "the filter transaction could not begin")
    try:
        yield
    except BaseException:
        function("fwpuclnt", "FwpmTransactionAbort0", DWORD, HANDLE)(engine)
        raise
    check(function("fwpuclnt", "FwpmTransactionCommit0", DWORD, HANDLE)(engine), "the filters could not be committed")


def _add_sublayer(engine: int) -> None:
    sublayer = FWPM_SUBLAYER0()
    sublayer.subLayerKey = GUID.parse(filters.SUBLAYER)
    sublayer.displayData.name = "Tandem"
    sublayer.flags = SUBLAYER_PERSISTENT
    sublayer.weight = _SUBLAYER_WEIGHT
    add = function("fwpuclnt", "FwpmSubLayerAdd0", DWORD, HANDLE, POINTER(FWPM_SUBLAYER0), ctypes.c_void_p)
    check(add(engine, ctypes.byref(sublayer), None), "Tandem's filter sublayer could not be added", E_ALREADY_EXISTS)


def _add(engine: int, wanted: filters.Filter) -> None:
    structure, keep = to_structure(wanted)
    add = function("fwpuclnt", "FwpmFilterAdd0", DWORD, HANDLE, POINTER(FWPM_FILTER0), ctypes.c_void_p, POINTER(UINT64))
    check(add(engine, ctypes.byref(structure), None, None), f"the filter '{wanted.name}' could not be added")
    del keep  # until here the structure pointed into it


def _delete(engine: int, key: str) -> None:
    delete = function("fwpuclnt", "FwpmFilterDeleteByKey0", DWORD, HANDLE, POINTER(GUID))
    check(delete(engine, ctypes.byref(GUID.parse(key))), "a filter could not be removed", E_FILTER_NOT_FOUND)


def _exists(engine: int, key: str) -> bool:
    found = ctypes.c_void_p()
    get = function("fwpuclnt", "FwpmFilterGetByKey0", DWORD, HANDLE, POINTER(GUID), POINTER(ctypes.c_void_p))
    code = get(engine, ctypes.byref(GUID.parse(key)), ctypes.byref(found))
    if found.value is not None:
        function("fwpuclnt", "FwpmFreeMemory0", None, POINTER(ctypes.c_void_p))(ctypes.byref(found))
    return check(code, "a filter could not be looked up", E_FILTER_NOT_FOUND) == 0


def _stored_rules() -> FenceRules | None:
    text = windows_registry.read(RULES_KEY, RULES_NAME)
    if text is None:
        return None
    try:
        stored = json.loads(text)
        return FenceRules(tuple(map(str, stored["management_addresses"])), tuple(map(int, stored["inbound_ports"])))
    except (ValueError, TypeError, KeyError):
        raise HostError(f"HKLM\\{RULES_KEY}, {RULES_NAME} does not hold fence rules") from None
