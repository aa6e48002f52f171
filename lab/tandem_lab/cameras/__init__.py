# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated cameras of a site: MJPEG over HTTP, every frame carries its camera's serial and a counter.

One process serves all cameras (``python -m tandem_lab.cameras --config FILE``). A counter grows by exactly one per frame on a
fixed grid of time, so "nothing was lost" is a matter of counting.
"""
