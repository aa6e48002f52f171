#!/usr/bin/env python3
# Copyright: (c) 2026, the Tandem for XProtect authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory of the simulated site: what `make lab` (or a demo, or a test) wrote into its site.json.

``TANDEM_LAB_SITE`` names another site.json. Without a raised site the inventory is empty and says so on stderr.
"""

from __future__ import annotations

import json
import os
import pathlib
import sys

PROJECT = pathlib.Path(__file__).resolve().parents[2]
DEFAULT = PROJECT / "build" / "lab" / "site.json"


def pair_variables(site: dict, pair: dict) -> dict:
    user = site["management_server"]["basic_user"]
    return {
        "tandem_pair": {
            "pair": pair["name"],
            "recorder_id": pair["recorder_id"],
            "service_address": {"address": pair["service_address"], "prefix": 24},
            "nodes": [
                {
                    "name": node["name"],
                    "address": node["address"],
                    "winrm_url": node["winrm_url"],
                    "winrm_transport": "ntlm",
                    "username": node["username"],
                    "password": node["password"],
                }
                for node in pair["nodes"]
            ],
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
    shared = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "tandem_python_archive": site["python_archive"],
        # The lab keeps tables of a few seconds and loses machines every minute: everything is scaled down with it.
        "tandem_permit_ttl": 4.0,
        "tandem_item_paths": {"local_configuration_cache": r"C:\ProgramData\Milestone\XProtect Recording Server\ConfigurationCache.json"},
        "tandem_variance": "long",
        "tandem_variance_min_ms": 3000,
    }
    return {"tandem_pairs": {"hosts": sorted(pairs), "vars": shared}, "_meta": {"hostvars": pairs}}


def main() -> None:
    path = pathlib.Path(os.environ.get("TANDEM_LAB_SITE") or DEFAULT)
    if not path.exists():
        print(f"No simulated site at {path}: raise one with `make lab`.", file=sys.stderr)
        print(json.dumps({"tandem_pairs": {"hosts": []}, "_meta": {"hostvars": {}}}))
        return
    print(json.dumps(inventory(json.loads(path.read_text(encoding="utf-8"))), indent=1))


if __name__ == "__main__":
    main()
