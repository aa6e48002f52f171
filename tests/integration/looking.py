# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of whole pairs look at: playbooks' output, guards, disks, machines' own logs, the Management Server, the witness's API."""

from __future__ import annotations

import json
import re
import ssl
import time
import typing as t
import urllib.request

from tandem_lab import disks

A, B, WITNESS = "pair1-a", "pair1-b", "witness-1"
API_PORT = 11445


def words(output: str) -> str:
    """The output as one line of words, however the callback folded it."""
    return re.sub(r"\s+", " ", output)


def changed(output: str) -> int:
    return sum(int(number) for number in re.findall(r"changed=(\d+)", output))


def wait(what: str, condition: t.Callable[[], t.Any], timeout: float = 60.0) -> t.Any:
    """The first true answer of `condition`."""
    deadline = time.monotonic() + timeout
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited for: {what}"
        time.sleep(0.2)
    return answer


def records(site, machine: str) -> bool:
    return disks.recording(site, machine, int(time.time() * 1000) - 3000)


def permits(site, machine: str, event: str) -> list[int]:
    """When (unix ms) the machine itself saw permits opened or closed."""
    lines = (site.machine_directory(machine) / "events.jsonl").read_text(encoding="utf-8").splitlines()
    return [entry["t_ms"] for entry in map(json.loads, lines) if entry["event"] == event]


def duplicates(site) -> int:
    """How often the Management Server had two recorders of one id at the same time."""
    url = site.describe()["management_server"]["http_url"]
    with urllib.request.urlopen(f"{url.rstrip('/')}/lab/recorders", timeout=5) as answer:
        return json.loads(answer.read(1 << 20))["duplicates"]


class WitnessApi:
    """The witness's HTTPS API as an automation reads it; its certificate is pinned."""

    def __init__(self, site, token: str) -> None:
        certificate = site.machine_directory(WITNESS) / "C/ProgramData/Tandem/witness/tls/witness.pem"
        self._context = ssl.create_default_context(cafile=str(certificate))
        self._context.check_hostname = False  # it is this very certificate or none
        self._base = f"https://{site.describe()['witness']['address']}:{API_PORT}"
        self._token = token

    def open(self, path: str, token: str | None = None) -> t.Any:
        request = urllib.request.Request(self._base + path, headers={"Authorization": f"Bearer {token or self._token}"})
        return urllib.request.urlopen(request, timeout=15, context=self._context)

    def get(self, path: str) -> dict:
        with self.open(path) as answer:
            return json.loads(answer.read(1 << 22))

    def serial(self) -> int:
        return self.get("/v1/pairs")["serial"]

    def wait_event(self, kind: str, node: str | None, after: int) -> dict:
        """The first event of this kind, about this node, after that number."""
        deadline = time.monotonic() + 60
        while True:
            answer = self.get(f"/v1/events?after={after}&wait=10")
            assert answer["gap"] is None, "an event was missed"
            for event in answer["events"]:
                if event["kind"] == kind and event["node"] == node:
                    return event
            assert time.monotonic() < deadline, f"waited for the event {kind} of {node}"
            after = answer["serial"]
