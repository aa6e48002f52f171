# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated XProtect Recording Server: records cameras into a media database and serves it (``python -m tandem_lab.recorder``).

It runs inside a lab machine, uses the machine's network for everything, and needs the Python standard library only.
"""
