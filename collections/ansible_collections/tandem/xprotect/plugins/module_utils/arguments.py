# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that describe a pair. `plugins/doc_fragments/pair.py` documents exactly these.

Every module of the collection takes them, so that one ``module_defaults`` entry for the action group
``tandem.xprotect.pair`` carries them for a whole play.
"""

from __future__ import annotations

import copy
import typing as t

from ansible.module_utils.basic import env_fallback

# How a machine is reached by WinRM: the same for a node and for a witness on Windows.
WINRM_SPEC: dict[str, t.Any] = {
    "winrm_url": {"type": "str"},
    "winrm_transport": {"type": "str", "choices": ["ntlm", "kerberos", "certificate", "basic"], "default": "ntlm"},
    "username": {"type": "str"},
    "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["TANDEM_NODE_PASSWORD"])},
    "certificate_pem": {"type": "path"},
    "certificate_key_pem": {"type": "path", "no_log": False},
    "ca_file": {"type": "path"},
    "validate_certificate": {"type": "bool", "default": True},
    "connect_timeout": {"type": "int", "default": 5},
}

NODE_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    **WINRM_SPEC,
}

WITNESS_SPEC: dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "address": {"type": "str", "required": True},
    "port": {"type": "int", "default": 11444},
    "connection": {"type": "str", "choices": ["winrm", "local", "none"], "default": "winrm"},
    "certificate": {"type": "str"},
    "certificate_file": {"type": "path"},
    **WINRM_SPEC,
}

SERVICE_ADDRESS_SPEC: dict[str, t.Any] = {
    "address": {"type": "str", "required": True},
    "prefix": {"type": "int", "default": 24},
    "interface": {"type": "str"},
}

MANAGEMENT_SERVER_SPEC: dict[str, t.Any] = {
    "url": {"type": "str", "required": True},
    "username": {"type": "str", "required": True},
    "password": {"type": "str", "no_log": True, "fallback": (env_fallback, ["TANDEM_MANAGEMENT_PASSWORD"])},
    "auth": {"type": "str", "choices": ["basic", "windows"], "default": "basic"},
    "ca_file": {"type": "path"},
    "validate_certificate": {"type": "bool", "default": True},
}

PAIR_SPEC: dict[str, t.Any] = {
    "pair": {"type": "str", "required": True},
    "recorder_id": {"type": "str", "required": True},
    "service_address": {"type": "dict", "required": True, "options": SERVICE_ADDRESS_SPEC},
    "nodes": {"type": "list", "elements": "dict", "required": True, "options": NODE_SPEC},
    "management_server": {"type": "dict", "options": MANAGEMENT_SERVER_SPEC},
    "tandem_port": {"type": "int", "default": 11443},
    "witness": {"type": "dict", "options": WITNESS_SPEC},
}


def with_pair(**options: t.Any) -> dict[str, t.Any]:
    """The argument spec of a module: the pair, and the options of its own."""
    return {**copy.deepcopy(PAIR_SPEC), **options}
