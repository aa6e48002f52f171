# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole simulated site: created once, then raised, taken down, and its machines' power switched."""

from .processes import ProcessError
from .site import Site, SiteError

__all__ = ["ProcessError", "Site", "SiteError"]
