# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service address on this machine: held with a lifetime that the operating system enforces, renewed with the lease."""

from __future__ import annotations

from ..host.base import Host, HostError
from ..settings import NodeSettings
from .log import GuardLog


class AddressKeeper:
    def __init__(self, host: Host, settings: NodeSettings, log: GuardLog):
        self._host = host
        self._place = settings.service_address
        self._log = log
        self._renewed_at = 0.0
        self.held = False
        self.error: str | None = None

    def hold(self, lifetime: float, now: float) -> None:
        """Have the address for whole seconds that end before the lease does. A failure is shown and tried again, it stops nothing."""
        self._renewed_at = now
        place = self._place
        try:
            self._host.hold_address(place.address, place.prefix, max(1.0, float(int(lifetime))), place.interface)
            if self.error:
                self._log(f"the service address {place.address} is held again")
            self.held, self.error = True, None
        except (HostError, OSError) as error:
            self.held = False
            if str(error) != self.error:
                self._log(f"the service address {place.address} could not be held: {error}")
            self.error = str(error)

    def renew(self, lifetime: float, now: float, interval: float) -> None:
        if now - self._renewed_at >= interval or not 0 <= now - self._renewed_at:
            self.hold(lifetime, now)

    def drop(self) -> None:
        address = self._place.address
        try:
            if address in self._host.addresses():
                self._host.drop_address(address)
        except (HostError, OSError) as error:
            self._log(f"the service address {address} could not be dropped, it ends with its lifetime: {error}")
        self.held = False

    def drop_stray(self, after_restart: bool) -> None:
        """A headless node must not have the address; one with a lifetime may end by itself shortly after a restart of the guard."""
        address = self._place.address
        try:
            lifetime = self._host.addresses().get(address, 0.0)
        except (HostError, OSError) as error:
            self._log.seldom("addresses", f"the addresses could not be read: {error}")
            return
        if lifetime is None or (lifetime and after_restart):
            self._log(f"this node is headless: dropping the service address {address} that is left on it")
            self.drop()
