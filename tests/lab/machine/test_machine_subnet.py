# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Claiming networks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tandem_lab import subnet


def test_a_claimed_network_is_not_given_again_until_it_is_free() -> None:
    with subnet.claim() as first:
        assert first.address(2).startswith("127.") and first.address(2).endswith(".2")
        with pytest.raises(subnet.SubnetError, match="not free"):
            subnet.claim(first.network)
    with subnet.claim(first.network) as again:
        assert again.network == first.network


def test_a_process_can_hold_a_network() -> None:
    holder = subprocess.Popen([sys.executable, "-m", "tandem_lab.subnet"], stdout=subprocess.PIPE)
    try:
        network = json.loads(holder.stdout.readline())["network"]
        with pytest.raises(subnet.SubnetError):
            subnet.claim(network)
        holder.send_signal(signal.SIGTERM)
        assert holder.wait(10) == 0
        subnet.claim(network).close()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
