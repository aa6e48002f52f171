# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulated Windows machine: one kernel process and its children.

The kernel (`tandem_lab.machine.kernel`) owns the network, the firewall, the addresses, the services, the registry and
the WinRM server of one machine. Programs "on" the machine are ordinary child processes that reach the network only
through the kernel (`aio`, `client`, `host`), so that a closed fence also cuts a process that is frozen, and killing the
kernel is the same as pulling the power plug. This file imports nothing: programs on the machine must start fast.
"""
