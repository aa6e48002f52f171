# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules do, one file a noun. Each has ``ARGUMENT_SPEC``, optionally ``CONSTRAINTS``, and ``run(context)``.

``CONSTRAINTS`` holds AnsibleModule's ``mutually_exclusive``, ``required_together``, ``required_one_of``, ``required_if`` and
``required_by``; ``CONTEXT`` the class of the context where an operation is about no pair. ``run`` returns the result of the
task: ``changed``, for changes also ``diff``, and what the noun is about.
"""
