# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Assumption `local_config_cache_copyable`: what a recorder makes of a local configuration that another machine wrote."""

from __future__ import annotations

import json

import pytest
from recorder_rig import wait_for

BOUND = {"assumptions": {"local_config_cache_copyable": False}}
KEY = "C/ProgramData/Microsoft/Crypto/RSA/MachineKeys/recorder-local-configuration"


def twins(rigs, **options):
    """Two machines with the same identity, as cloning leaves them."""
    one, other = rigs(**options), rigs(**options)
    other.recorder_id, other.storage_id = one.recorder_id, one.storage_id
    other.write_recorder_config(one.address.rpartition(".")[0] + ".2")
    return one, other


def cache(rig):
    return rig.data / "ConfigurationCache.json"


@pytest.fixture
def fetched(rigs, servers, cameras):
    """Two machines of which the first was attached once; the Management Server is gone."""
    one, other = twins(rigs, settings=BOUND)
    server = servers(one.configuration([one.camera(cameras.url(1))]))
    one.start()
    wait_for("the configuration", lambda: cache(one).exists() and one.open_tables())
    server.stop()
    one.kill()
    return one, other


def test_a_copy_from_another_machine_is_not_used(fetched):
    one, other = fetched
    cache(other).write_bytes(cache(one).read_bytes())
    other.start()
    assert "The local configuration cannot be used (another machine wrote it)" in other.log()
    assert not other.bank.exists()


def test_its_own_is_used_after_a_restart_without_a_management_server(fetched):
    one, _other = fetched
    tables = len(one.open_tables())
    one.start()
    wait_for("recording", lambda: len(one.closed_tables()) > tables)
    assert "cannot be used" not in one.log()


def test_attached_once_it_has_its_own(fetched, servers):
    one, other = fetched
    document = json.loads(cache(one).read_text())
    cache(other).write_bytes(cache(one).read_bytes())
    server = servers({name: value for name, value in document.items() if name != "machine_signature"})
    other.start()
    wait_for("recording", lambda: other.bank.exists() and other.open_tables())
    server.stop()
    other.kill()
    own = json.loads(cache(other).read_text())
    assert own["cameras"] == document["cameras"] and own["machine_signature"] != document["machine_signature"]
    assert (other.root / KEY).read_bytes() != (one.root / KEY).read_bytes()
    other.start()
    wait_for("recording without a Management Server", other.closed_tables)


@pytest.mark.parametrize("change", [lambda document: document.pop("machine_signature"), lambda document: document.update(version=9),
                                    lambda document: document.update(machine_signature=7)])
def test_a_signature_that_does_not_fit(fetched, change):
    one, _other = fetched
    document = json.loads(cache(one).read_text())
    change(document)
    one.put_cache(document)
    one.start()
    assert "(another machine wrote it)" in one.log()


def test_by_default_a_copy_serves_any_machine(rigs, servers, cameras):
    one, other = twins(rigs)
    server = servers(one.configuration([one.camera(cameras.url(1))]))
    one.start()
    wait_for("the configuration", lambda: cache(one).exists() and one.open_tables())
    server.stop()
    assert "machine_signature" not in json.loads(cache(one).read_text())
    cache(other).write_bytes(cache(one).read_bytes())
    other.start()
    wait_for("recording", other.closed_tables)
    assert not (other.root / KEY).exists()
