#!/usr/bin/env python3
# Copyright: (c) 2026, the Tandem for XProtect authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of the simulated site: what `make lab` (or a demo, or a test) wrote into its site.json.

``TANDEM_LAB_SITE`` names another site.json. Without a raised site the inventory is empty and says so on stderr. The group
`tandem_witnesses` holds the witness's machine; with ``TANDEM_LAB_WITNESS=off`` the pairs do without a third voter.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT = PROJECT / "build" / "lab" / "site.json"
WITNESS = os.environ.get("TANDEM_LAB_WITNESS", "on") != "off"


def machine(description: dict) -> dict:
    return {
        "name": description["name"],
        "address": description["address"],
        "winrm_url": description["winrm_url"],
        "winrm_transport": "ntlm",
        "username": description["username"],
        "password": description["password"],
    }


def witness(site: dict) -> dict:
    return {**machine(site["witness"]), "port": site["witness"]["port"]}


def pair_variables(site: dict, pair: dict) -> dict:
    user = site["management_server"]["basic_user"]
    voter = {"witness": witness(site)} if WITNESS and "witness" in site else {}
    return {
        "tandem_pair": {
            "pair": pair["name"],
            "recorder_id": pair["recorder_id"],
            "service_address": {"address": pair["service_address"], "prefix": 24},
            "nodes": [machine(node) for node in pair["nodes"]],
            **voter,
            "management_server": {
                "url": site["management_server"]["http_url"],
                "auth": "basic",
                "username": user["username"],
                "password": user["password"],
            },
        }
    }


def inventory(site: dict) -> dict:
    pairs = {pair["name"]: pair_variables(site, pair) for pair in site["pairs"]}
    witnesses = {site["witness"]["name"]: {"tandem_witness": witness(site)}} if "witness" in site else {}
    local = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "tandem_python_archive": site["python_archive"],
    }
    shared = {
        **local,
        # The lab keeps tables of a few seconds and loses machines every minute: everything is scaled down with it.
        "tandem_lease_ttl": 4.0,
        "tandem_item_paths": {"local_configuration_cache": r"C:\ProgramData\Milestone\XProtect Recording Server\ConfigurationCache.json"},
        "tandem_variance": "long",
        "tandem_variance_min_ms": 3000,
    }
    return {
        "tandem_pairs": {"hosts": sorted(pairs), "vars": shared},
        "tandem_witnesses": {"hosts": sorted(witnesses), "vars": local},
        "_meta": {"hostvars": pairs | witnesses},
    }


def main() -> None:
    path = pathlib.Path(os.environ.get("TANDEM_LAB_SITE") or DEFAULT)
    if not path.exists():
        print(f"No simulated site at {path}: raise one with `make lab`.", file=sys.stderr)
        print(json.dumps({"tandem_pairs": {"hosts": []}, "_meta": {"hostvars": {}}}))
        return
    print(json.dumps(inventory(json.loads(path.read_text(encoding="utf-8"))), indent=1))


if __name__ == "__main__":
    main()
