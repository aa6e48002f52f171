# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claiming a free network 127.X.Y.0/24 for one site, so that parallel sites never meet.

Whoever listens on 127.X.Y.1:4000 owns the network. The claim ends with the process that holds it; a site that outlives its
starter keeps it in a process of its own: `python -m tandem_lab.subnet [--network 127.X.Y.0/24]` prints the network as a JSON line
and holds it until SIGTERM.
"""

from __future__ import annotations

import argparse
import errno
import ipaddress
import json
import random
import signal
import socket
import sys
import typing as t

CLAIM_PORT = 4000
_FIRST, _LAST = 16, 250
_ATTEMPTS = 200


class SubnetError(OSError):
    """No network, or not the wanted one, is free."""


class Subnet:
    """A claimed network. Usable with `with`; `close` frees it."""

    def __init__(self, network: str, claim: socket.socket):
        self.network = network
        self._base = int(ipaddress.ip_network(network).network_address)
        self._claim = claim

    def address(self, last: int) -> str:
        """The address whose last part is `last`."""
        if not 0 < last < 255:
            raise ValueError(f"{last} is not the last part of a host's address")
        return str(ipaddress.IPv4Address(self._base + last))

    def close(self) -> None:
        self._claim.close()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def claim(network: str | None = None) -> Subnet:
    """Claim `network`, or any free one."""
    if network is not None:
        return _claim(str(ipaddress.ip_network(network)))
    for _ in range(_ATTEMPTS):
        candidate = f"127.{random.randint(_FIRST, _LAST)}.{random.randint(0, 255)}.0/24"
        try:
            return _claim(candidate)
        except SubnetError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise SubnetError(errno.EADDRINUSE, f"no free network found in {_ATTEMPTS} attempts; does something listen on 0.0.0.0:{CLAIM_PORT}?")


def _claim(network: str) -> Subnet:
    first = str(ipaddress.ip_network(network).network_address + 1)
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.bind((first, CLAIM_PORT))
        sock.listen(1)
    except OSError as error:
        sock.close()
        raise SubnetError(error.errno, f"the network {network} is not free ({first}:{CLAIM_PORT}: {error.strerror})") from error
    return Subnet(network, sock)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tandem_lab.subnet", description="Hold a network 127.X.Y.0/24 until SIGTERM.")
    parser.add_argument("--network", help="this one; by default any free one")
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    try:
        with claim(parser.parse_args(arguments).network) as subnet:
            print(json.dumps({"network": subnet.network}), flush=True)
            signal.sigwait((signal.SIGTERM, signal.SIGINT))
    except SubnetError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
