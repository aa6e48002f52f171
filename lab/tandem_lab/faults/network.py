# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is on a site's network, and which rules of which party make "what A sends does not reach B". Pure.

Parties are the machines, `management-server`, `cameras`, `controller` and `clients`. The last two are programs of this computer whose
own sockets nobody filters: what they send can be dropped, what they get cannot. Both come from 127.0.0.1. At a node, traffic to
the recorder's ports is the clients' and all other the controller's; elsewhere they cannot be told apart, and cutting one cuts both.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..machine.packets import Rule
from .journal import FaultError

SERVER, CAMERAS, CONTROLLER, CLIENTS = "management-server", "cameras", "controller", "clients"
UNFILTERED = (CONTROLLER, CLIENTS)
DIRECTIONS = ("both", "to", "from")
COMPUTER = "127.0.0.1"
SERVING_PORTS = (7563, 9001, 11000)
Rules = dict[str, list[Rule]]  # by the party that obeys them


@dataclasses.dataclass(frozen=True)
class Parties:
    """`machines`: address of each; `service`: the service address of those that are nodes; `cameras`: first and last address."""

    machines: dict[str, str]
    service: dict[str, str]
    server: str
    cameras: tuple[str, str]

    @classmethod
    def of(cls, site: dict[str, t.Any]) -> Parties:
        nodes = [(pair, node) for pair in site["pairs"] for node in pair["nodes"]]
        witness = site.get("witness")
        machines = {node["name"]: node["address"] for _pair, node in nodes} | ({witness["name"]: witness["address"]} if witness else {})
        service = {node["name"]: pair["service_address"] for pair, node in nodes}
        return cls(machines, service, f"{site['subnet']}.2", (f"{site['subnet']}.101", f"{site['subnet']}.254"))

    @property
    def filtered(self) -> list[str]:
        """Who obeys rules."""
        return [*self.machines, SERVER, CAMERAS]

    def check(self, *names: str) -> None:
        for name in names:
            if name not in (*self.filtered, *UNFILTERED):
                raise FaultError(f"{name!r} is not on this site's network; there are {', '.join((*self.filtered, *UNFILTERED))}")

    def partition(self, one: str, two: str, direction: str = "both", share: float = 1.0) -> Rules:
        """`to`: what `one` sends does not reach `two`; `from`: the other way round. `share`: how much of it is lost."""
        self.check(one, two)
        if one == two:
            raise FaultError(f"{one} cannot be cut off from itself")
        if direction not in DIRECTIONS:
            raise FaultError(f"{direction!r} is not a direction; there are {', '.join(DIRECTIONS)}")
        ways = [(one, two)] if direction == "to" else [(two, one)] if direction == "from" else [(one, two), (two, one)]
        ways = [way for way in ways if direction != "both" or way[1] not in UNFILTERED]  # the other way cuts enough then
        if not ways:
            raise FaultError(f"{one} and {two} are both programs of this computer")
        found: Rules = {}
        for sender, receiver in ways:
            for party, rules in self._way(sender, receiver, share).items():
                found.setdefault(party, []).extend(rules)
        return found

    def _way(self, sender: str, receiver: str, share: float) -> Rules:
        if receiver in UNFILTERED:
            raise FaultError(f"what {sender} sends to {receiver} cannot be dropped: nobody filters its sockets. Cut both ways or the other")
        found = {receiver: [self._from(sender, receiver, share)]}
        if sender in self.service:
            # A connection to the sender's service address has that as its other end, and the address moves: so it is the sender that
            # hears nothing of it.
            found[sender] = [dataclasses.replace(self._from(receiver, sender, share), to=self.service[sender])]
        return found

    def _from(self, sender: str, receiver: str, share: float) -> Rule:
        """What comes from the sender, as the receiver sees it."""
        if sender in UNFILTERED:
            ports = SERVING_PORTS if receiver in self.service else ()
            return Rule(COMPUTER, COMPUTER, ports=ports, other_ports=sender == CONTROLLER, share=share)
        if sender == CAMERAS:
            return Rule(*self.cameras, share=share)
        address = self.server if sender == SERVER else self.machines[sender]
        return Rule(address, address, share=share)

    def silence(self, machine: str) -> Rules:
        """Nothing of a machine reaches anybody: not even that its connections have ended."""
        others = [party for party in self.filtered if party != machine]
        return {party: [self._from(machine, party, 1.0)] for party in others}
