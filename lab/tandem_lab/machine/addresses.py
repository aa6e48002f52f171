# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The addresses of a machine: its own, further static ones, and held ones that expire by themselves.

No two machines have the same address: each has a claim in the name space of abstract Unix sockets, which the operating system
frees when the machine loses power. An address that another machine has is a *duplicate*, as Windows' own detection reports it.

A machine that nobody hears (it is about to stand still) defends no address but its own: it still believes that it has the others, and
nothing keeps another machine from taking them. When it is heard again it takes back what is still its own and free.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ipaddress
import socket
import typing as t

from .channel import MachineError
from .settings import MachineSettings
from .storage import Document, EventLog

ERROR_DUPLICATE = 5010
ERROR_NOT_FOUND = 1168
_RETRY_SECONDS = 0.5


@dataclasses.dataclass
class Address:
    address: str
    prefix: int
    claim: socket.socket | None = None  # None: not on the network, because the machine is silent
    expires: float | None = None  # by the loop's monotonic clock; None: static
    timer: asyncio.TimerHandle | None = None

    def release(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        self.give_up()

    def give_up(self) -> None:
        claim, self.claim = self.claim, None
        if claim is not None:
            claim.close()


class Addresses:
    """`added` and `removed` are called for each address that appears or goes, `silenced` for one that is off the network for now."""

    def __init__(self, settings: MachineSettings, document: Document, events: EventLog):
        self._settings = settings
        self._document = document
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._silent = False
        self.present: dict[str, Address] = {}
        self.duplicates: set[str] = set()
        self.added: t.Callable[[str], None] = lambda address: None
        self.silenced: t.Callable[[str], None] = lambda address: None
        self.removed: t.Callable[[str], None] = lambda address: None

    def boot(self) -> None:
        """Take the machine's own address (or fail) and the persistent ones (a duplicate is tried again and again)."""
        main = self._settings.address
        try:
            self._add(main, ipaddress.ip_network(self._settings.subnet).prefixlen)
        except MachineError as error:
            raise MachineError(f"machine {self._settings.name} cannot boot: {error}", error.code) from error
        self._static()

    def _static(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        for item in self._document.value["static"]:
            address = item["address"]
            if address in self.present:
                continue
            try:
                self._add(address, item["prefix"])
            except MachineError:
                if address not in self.duplicates:
                    self._events.add("address_duplicate", address=address)
                self.duplicates.add(address)
        if self.duplicates:
            self._retry = self._loop.call_later(_RETRY_SECONDS, self._static)

    def _add(self, address: str, prefix: int) -> Address:
        entry = Address(address, prefix)
        if not self._silent or address == self._settings.address:
            entry.claim = _claim(address)
        self.present[address] = entry
        self.duplicates.discard(address)
        if entry.claim is not None:
            self._appeared(address)
        return entry

    def _appeared(self, address: str) -> None:
        self._events.add("address_added", address=address)
        self.added(address)

    # -- on the network and off it -----------------------------------------------------------------------------------
    def on_network(self) -> list[str]:
        return [entry.address for entry in self.present.values() if entry.claim is not None]

    def silence(self) -> None:
        """Nobody hears the machine any more, so that it cannot say that an address is its own."""
        self._silent = True
        for entry in self.present.values():
            if entry.claim is not None and entry.address != self._settings.address:
                self.silenced(entry.address)
                self._events.add("address_silenced", address=entry.address)
                entry.give_up()  # last, as in `_remove`

    def speak(self) -> None:
        """It is heard again: take back what has not expired by its own clock, and what nobody took meanwhile."""
        if self._silent:
            self._silent = False
            for entry in list(self.present.values()):
                if entry.claim is None:
                    self._take_back(entry)
            self._static()

    def _take_back(self, entry: Address) -> None:
        if entry.expires is not None and entry.expires <= self._loop.time():
            self._expire(entry)
            return
        try:
            entry.claim = _claim(entry.address)
        except MachineError:
            self._events.add("address_duplicate", address=entry.address)
            self._remove(entry)
            if entry.expires is None:
                self.duplicates.add(entry.address)  # tried again and again, as after a boot
            return
        self._appeared(entry.address)

    def owns(self, address: str) -> bool:
        return address in self.present

    def lifetimes(self) -> dict[str, float | None]:
        now = self._loop.time()
        return {entry.address: None if entry.expires is None else max(0.0, entry.expires - now) for entry in self.present.values()}

    async def add_static(self, address: str, prefix: int) -> None:
        """Have an address for ever, also after a reboot."""
        address = self._check(address)
        entry = self.present.get(address) or self._add(address, prefix)
        entry.expires = None
        if entry.timer is not None:
            entry.timer.cancel()
        if all(item["address"] != address for item in self._document.value["static"]) and address != self._settings.address:
            self._document.value["static"].append({"address": address, "prefix": prefix})
            await self._document.save()

    async def hold(self, address: str, prefix: int, lifetime: float) -> None:
        """Have an address for `lifetime` seconds from now. A static one becomes a held one; nothing is cut."""
        address = self._check(address)
        if not 0 < lifetime <= 86400:
            raise MachineError(f"the lifetime of {address} must be more than 0 and at most 86400 seconds, not {lifetime}", 87)
        entry = self.present.get(address) or self._add(address, prefix)
        if entry.timer is not None:
            entry.timer.cancel()
        entry.expires = self._loop.time() + lifetime
        entry.timer = self._loop.call_at(entry.expires, self._expire, entry)
        await self._forget(address)

    def _expire(self, entry: Address) -> None:
        if self.present.get(entry.address) is entry:
            self._events.add("address_expired", address=entry.address)
            self._remove(entry)

    async def drop(self, address: str) -> None:
        """Give an address up for good. No error when the machine does not have it."""
        address = self._check(address)
        entry = self.present.get(address)
        if entry is not None:
            self._events.add("address_dropped", address=address)
            self._remove(entry)
        await self._forget(address)

    def _remove(self, entry: Address) -> None:
        del self.present[entry.address]
        self.removed(entry.address)
        entry.release()  # last: nobody else may have the address while something here still listens on it

    async def _forget(self, address: str) -> None:
        self.duplicates.discard(address)
        kept = [item for item in self._document.value["static"] if item["address"] != address]
        if len(kept) != len(self._document.value["static"]):
            self._document.value["static"] = kept
            await self._document.save()

    def _check(self, address: str) -> str:
        try:
            parsed = ipaddress.IPv4Address(address)
        except ValueError as error:
            raise MachineError(f"{address!r} is not an IPv4 address", 87) from error
        if parsed not in ipaddress.ip_network(self._settings.subnet):
            raise MachineError(f"{address} does not belong to the network {self._settings.subnet} of {self._settings.name}", 87)
        if str(parsed) == self._settings.address:
            raise MachineError(f"{address} is the machine's own address; it can be neither held nor dropped", 87)
        return str(parsed)


def _claim(address: str) -> socket.socket:
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0tandem-lab-address-{address}")
    except OSError as error:
        claim.close()
        raise MachineError(f"another machine on the network has the address {address} (duplicate address)", ERROR_DUPLICATE) from error
    return claim
