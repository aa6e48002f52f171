# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""IP addresses with a lifetime through iphlpapi. An address added here is gone after a reboot, and after its lifetime.

See ``windows_api``: written against the SDK (netioapi.h, ws2ipdef.h), never run on Windows by its authors. That an
IPv4 address goes by itself when its valid lifetime ends is assumption `address_lifetime_enforced`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess

from . import windows_registry
from .base import HostError
from .windows_api import BYTE, DWORD, POINTER, UINT64, WORD, check, failure, function

AF_UNSPEC, AF_INET, AF_INET6 = 0, 2, 23
INFINITE = 0xFFFFFFFF
DAD_DUPLICATE, DAD_PREFERRED = 2, 4
ERROR_NOT_FOUND, ERROR_OBJECT_ALREADY_EXISTS = 1168, 5010
_INTERFACES = "SYSTEM\\CurrentControlSet\\Services\\Tcpip\\Parameters\\Interfaces"


class SOCKADDR_IN(ctypes.Structure):
    _fields_ = [("sin_family", WORD), ("sin_port", WORD), ("sin_addr", BYTE * 4), ("sin_zero", BYTE * 8)]


class SOCKADDR_IN6(ctypes.Structure):
    _fields_ = [("sin6_family", WORD), ("sin6_port", WORD), ("sin6_flowinfo", DWORD), ("sin6_addr", BYTE * 16),
                ("sin6_scope_id", DWORD)]


class SOCKADDR_INET(ctypes.Union):
    _fields_ = [("Ipv4", SOCKADDR_IN), ("Ipv6", SOCKADDR_IN6), ("si_family", WORD)]


class MIB_UNICASTIPADDRESS_ROW(ctypes.Structure):
    _fields_ = [("Address", SOCKADDR_INET), ("InterfaceLuid", UINT64), ("InterfaceIndex", DWORD), ("PrefixOrigin", ctypes.c_int32),
                ("SuffixOrigin", ctypes.c_int32), ("ValidLifetime", DWORD), ("PreferredLifetime", DWORD),
                ("OnLinkPrefixLength", BYTE), ("SkipAsSource", BYTE), ("DadState", ctypes.c_int32), ("ScopeId", DWORD),
                ("CreationTimeStamp", ctypes.c_int64)]


class MIB_UNICASTIPADDRESS_TABLE(ctypes.Structure):
    _fields_ = [("NumEntries", DWORD), ("Table", MIB_UNICASTIPADDRESS_ROW * 1)]


Row = MIB_UNICASTIPADDRESS_ROW


def addresses() -> dict[str, float | None]:
    return {_text(row.Address): None if row.ValidLifetime == INFINITE else float(row.ValidLifetime) for row in _rows()}


def hold(address: str, prefix: int, lifetime: float, interface: str | None) -> None:
    """Have the address for `lifetime` seconds. A static address gets a lifetime in place; its entry for the next boot goes."""
    row = _find(address)
    if row is None:
        row = Row()
        function("iphlpapi", "InitializeUnicastIpAddressEntry", None, POINTER(Row))(ctypes.byref(row))
        row.Address = to_sockaddr(address)
        row.InterfaceLuid = _interface(interface, address)
        row.OnLinkPrefixLength = prefix
        # Optimistic: usable at once. A second owner shows as a duplicate and is reported by the next renewal.
        row.DadState = DAD_PREFERRED
        row.SkipAsSource = 1
        _set_lifetime(row, lifetime)
        code = _call("CreateUnicastIpAddressEntry", row)
        if code != ERROR_OBJECT_ALREADY_EXISTS:
            check(code, f"address {address} could not be added")
            return
        row = _find(address)
        if row is None:
            raise failure(f"address {address} could not be added", ERROR_OBJECT_ALREADY_EXISTS)
    if row.DadState == DAD_DUPLICATE:
        raise HostError(f"address {address} is in use by another machine on the network", ERROR_OBJECT_ALREADY_EXISTS)
    static = row.ValidLifetime == INFINITE
    _set_lifetime(row, lifetime)
    check(_call("SetUnicastIpAddressEntry", row), f"the lifetime of address {address} could not be set")
    if static:
        _forget_static(row, address)


def drop(address: str) -> None:
    row = _find(address)
    if row is None:
        return
    check(_call("DeleteUnicastIpAddressEntry", row), f"address {address} could not be removed", ERROR_NOT_FOUND)
    if row.ValidLifetime == INFINITE:
        _forget_static(row, address)


def to_sockaddr(address: str) -> SOCKADDR_INET:
    result = SOCKADDR_INET()
    if ":" in address:
        result.Ipv6.sin6_family = AF_INET6
        result.Ipv6.sin6_addr[:] = socket.inet_pton(socket.AF_INET6, address)
    else:
        result.Ipv4.sin_family = AF_INET
        result.Ipv4.sin_addr[:] = socket.inet_pton(socket.AF_INET, address)
    return result


# -- inside ------------------------------------------------------------------------------------------------------------

def _text(address: SOCKADDR_INET) -> str:
    if address.si_family == AF_INET:
        return socket.inet_ntop(socket.AF_INET, bytes(address.Ipv4.sin_addr))
    return socket.inet_ntop(socket.AF_INET6, bytes(address.Ipv6.sin6_addr))


def _set_lifetime(row: Row, lifetime: float) -> None:
    row.ValidLifetime = row.PreferredLifetime = max(1, int(lifetime))


def _call(name: str, row: Row) -> int:
    return function("iphlpapi", name, DWORD, POINTER(Row))(ctypes.byref(row))


def _rows() -> list[Row]:
    table = POINTER(MIB_UNICASTIPADDRESS_TABLE)()
    read = function("iphlpapi", "GetUnicastIpAddressTable", DWORD, WORD, POINTER(POINTER(MIB_UNICASTIPADDRESS_TABLE)))
    check(read(AF_UNSPEC, ctypes.byref(table)), "the machine's addresses could not be read", ERROR_NOT_FOUND)
    if not table:
        return []
    try:
        first = ctypes.addressof(table.contents) + MIB_UNICASTIPADDRESS_TABLE.Table.offset
        rows = (Row * table.contents.NumEntries).from_address(first)
        return [Row.from_buffer_copy(row) for row in rows]
    finally:
        function("iphlpapi", "FreeMibTable", None, ctypes.c_void_p)(table)


def _find(address: str) -> Row | None:
    return next((row for row in _rows() if _text(row.Address) == address), None)


def _interface(alias: str | None, address: str) -> int:
    """The LUID of the named interface; without a name, of the one that has another address in the same network."""
    if alias:
        luid = UINT64()
        convert = function("iphlpapi", "ConvertInterfaceAliasToLuid", DWORD, ctypes.c_wchar_p, POINTER(UINT64))
        check(convert(alias, ctypes.byref(luid)), f"there is no network interface {alias!r}")
        return luid.value
    import ipaddress
    wanted = ipaddress.ip_address(address)
    for row in _rows():
        network = ipaddress.ip_network(f"{_text(row.Address)}/{row.OnLinkPrefixLength}", strict=False)
        if wanted.version == network.version and wanted in network:
            return row.InterfaceLuid
    raise HostError(f"no network interface of this machine is in the network of {address}: name the interface")


def _forget_static(row: Row, address: str) -> None:
    """Take the address out of the settings for the next boot, where Windows keeps static addresses. The live one stays."""
    guid, alias = _guid_and_alias(row)
    listed = windows_registry.read_multi(f"{_INTERFACES}\\{guid}", "IPAddress")
    if address not in listed:
        return
    netsh = os.path.join(os.environ.get("SystemRoot", "C:\\Windows"), "System32", "netsh.exe")
    family = "ipv6" if ":" in address else "ipv4"
    try:
        done = subprocess.run([netsh, "interface", family, "delete", "address", alias, address, "store=persistent"],
                              capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        raise HostError(f"netsh could not be run: {error}") from None
    if done.returncode != 0:
        raise HostError(f"address {address} could not be taken out of the static settings of {alias!r} "
                        f"(netsh ended with {done.returncode})")


def _guid_and_alias(row: Row) -> tuple[str, str]:
    from .windows_api import GUID
    luid, guid = UINT64(row.InterfaceLuid), GUID()
    to_guid = function("iphlpapi", "ConvertInterfaceLuidToGuid", DWORD, POINTER(UINT64), POINTER(GUID))
    check(to_guid(ctypes.byref(luid), ctypes.byref(guid)), "a network interface has no GUID")
    alias = ctypes.create_unicode_buffer(257)  # NDIS_IF_MAX_STRING_SIZE + 1
    to_alias = function("iphlpapi", "ConvertInterfaceLuidToAlias", DWORD, POINTER(UINT64), ctypes.c_wchar_p, ctypes.c_size_t)
    check(to_alias(ctypes.byref(luid), alias, len(alias)), "a network interface has no name")
    import uuid
    return "{" + str(uuid.UUID(bytes_le=bytes(guid))).upper() + "}", alias.value
