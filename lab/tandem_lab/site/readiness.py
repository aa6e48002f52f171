# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until a site works: always for a condition, never for a time, and with an error that names the log."""

from __future__ import annotations

import time
import typing as t

import requests

from ..integrations.image_client import ImageServerError
from ..integrations.vms_client import Site as Description
from ..integrations.vms_client import VmsClient, VmsError, http, lab_recorders
from .processes import Processes

POLL_SECONDS = 0.05
NOT_YET = (OSError, requests.RequestException, VmsError, ImageServerError)


class NotReady(Exception):
    """What is still missing, and the process to blame."""

    def __init__(self, text: str, process: str):
        super().__init__(text)
        self.process = process


def wait(processes: Processes, watched: list[str], checks: t.Iterable[t.Callable[[], None]], timeout: float) -> None:
    """Until no check raises NotReady. Raises TimeoutError, or ProcessError as soon as a watched process ends."""
    deadline = time.monotonic() + timeout
    for check in checks:
        while True:
            processes.check(watched)
            try:
                check()
                break
            except NotReady as missing:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not ready after {timeout:g} s: {missing}. See {_logs(processes, missing.process)}") from missing
            time.sleep(POLL_SECONDS)


def _logs(processes: Processes, name: str) -> str:
    machine = processes.directory / "machines" / name / "logs"
    own = processes.records()[name].log
    return f"the log {own} and those of its services in {machine}" if machine.is_dir() else f"the log {own}"


def management_server_answers(site: Description) -> None:
    url = f"{site['management_server']['http_url']}/api/.well-known/uris"
    try:
        if http("GET", url, timeout=2).status_code == 200:
            return
    except requests.RequestException:
        pass
    raise NotReady(f"the Management Server does not answer at {url}", "management-server")


def winrm_answers(node: dict[str, t.Any]) -> None:
    try:
        if http("POST", node["winrm_url"], timeout=2).status_code == 401:
            return
    except requests.RequestException:
        pass
    raise NotReady(f"WinRM of {node['name']} does not answer at {node['winrm_url']}", node["name"])


def cameras_answer(site: Description) -> None:
    for camera in site["cameras"]:
        url = camera["url"].rpartition("/")[0] + "/status"
        try:
            if http("GET", url, timeout=2).status_code == 200:
                continue
        except requests.RequestException:
            pass
        raise NotReady(f"camera {camera['name']} does not answer at {url}", "cameras")


def recorder_connected(site: Description, pair: dict[str, t.Any]) -> None:
    try:
        if any(entry["recorder_id"] == pair["recorder_id"] for entry in lab_recorders(site)["connected"]):
            return
    except requests.RequestException:
        pass
    raise NotReady(f"the recorder of {pair['name']} is not connected to the Management Server", pair["nodes"][0]["name"])


class Recording:
    """All cameras of a pair that always record do so, as the recorder itself tells a client."""

    def __init__(self, site: Description, pair: dict[str, t.Any]):
        self._client = VmsClient(site)
        self._pair = pair
        self._cameras = [
            camera["id"] for camera in site["cameras"] if camera["pair"] == pair["name"] and camera["recording_mode"] == "always"
        ]

    def __call__(self) -> None:
        try:
            status = self._client.device_status(self._pair["service_url"], self._cameras)
        except NOT_YET as error:
            text = f"the recorder of {self._pair['name']} does not tell its state: {error}"
            raise NotReady(text, self._pair["nodes"][0]["name"]) from error
        silent = [camera for camera in self._cameras if not status.get(camera, {}).get("Recording")]
        if silent:
            raise NotReady(f"{len(silent)} cameras of {self._pair['name']} are not recorded yet", self._pair["nodes"][0]["name"])
