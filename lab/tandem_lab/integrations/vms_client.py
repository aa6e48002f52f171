# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small client of an XProtect site: identity provider, REST, SOAP, and pictures through the address that SOAP names."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import threading
import time
import typing as t
import uuid
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import requests

from .image_client import ImageSession

Site = dict[str, t.Any]
SERVER = "http://videoos.net/2/XProtectCSServerCommand"
RECORDER = "http://videoos.net/2/XProtectCSRecorderCommand"
STATUS = "http://videoos.net/2/XProtectCSRecorderStatus2"
SERVICES = {
    RECORDER: "RecorderCommandService/RecorderCommandService.asmx",
    STATUS: "RecorderStatusService/RecorderStatusService2.asmx",
}
RECORDING_SEQUENCE = "f9c62604-d0c5-4050-ae25-72de51639b14"
MOTION_SEQUENCE = "53cb5e33-2183-44bd-9491-8364d2457480"
MAX_ANSWER = 64 << 20
TIMEOUT = 10.0


class VmsError(Exception):
    """A server refused a call. `status` is the HTTP status, `text` the body or the SOAP fault."""

    def __init__(self, what: str, status: int, text: str):
        super().__init__(f"{what}: HTTP {status}: {text[:500]}")
        self.status = status
        self.text = text


@dataclasses.dataclass(frozen=True)
class Sequence:
    begin_ms: int
    trigged_ms: int
    end_ms: int


def load_site(path: Path) -> Site:
    with path.open("rb") as file:
        return json.loads(file.read(16 << 20))


def http(method: str, url: str, *, timeout: float = TIMEOUT, **arguments: t.Any) -> requests.Response:
    """One request, never through a proxy that the environment may name: lab sites live on loopback addresses."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, url, timeout=timeout, **arguments)


def lab_recorders(site: Site) -> dict[str, t.Any]:
    """The lab's own view of who is connected to the Management Server. A real site has nothing like it."""
    return http("GET", f"{site['management_server']['http_url']}/lab/recorders").json()


def parse_time(text: str) -> int:
    """Unix milliseconds of a SOAP time such as 2023-07-20T18:52:49.0530000Z."""
    match = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(?:Z|\+00:00)?", text)
    if match is None:
        raise ValueError(f"{text} is not a time")
    whole = datetime.datetime.fromisoformat(match[1]).replace(tzinfo=datetime.timezone.utc)
    return int(whole.timestamp()) * 1000 + int(((match[2] or "") + "000")[:3])


def format_time(time_ms: int) -> str:
    moment = datetime.datetime.fromtimestamp(time_ms // 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S") + f".{time_ms % 1000:03d}0000Z"


def local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def tree(element: ElementTree.Element) -> t.Any:
    """An element as dicts, lists and texts. Elements of one name that repeat, and arrays, become lists."""
    children = list(element)
    if not children:
        return (element.text or "").strip()
    names = [local(child) for child in children]
    if len(set(names)) < len(names) or (len(names) == 1 and _is_array(local(element), names[0])):
        return [tree(child) for child in children]
    return {name: tree(child) for name, child in zip(names, children)}


def _is_array(outer: str, inner: str) -> bool:
    return inner in ("guid", "CameraInfo", "HardwareInfo", "RecorderInfo", "StreamInfo", "TrackInfo", "CameraGroupInfo", "SequenceEntry",
                     "CameraDeviceStatus", "ManualRecordingResult") or outer.endswith("Array")


class VmsClient:
    """One user of the site. Safe for several threads."""

    def __init__(self, site: Site | Path):
        self.site = load_site(site) if isinstance(site, Path) else site
        server = self.site["management_server"]
        self._url = server["http_url"]
        self._user = (server["basic_user"]["username"], server["basic_user"]["password"])
        self._instance = str(uuid.uuid4())
        self._lock = threading.RLock()
        self._access: tuple[str, float] | None = None
        self._token: tuple[str, float] | None = None
        self._addresses: dict[str, str] = {}

    # -- HTTP ----------------------------------------------------------------------------------------------------
    @staticmethod
    def _request(what: str, method: str, url: str, **arguments: t.Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            with session.request(method, url, timeout=TIMEOUT, stream=True, **arguments) as answer:
                body = answer.raw.read(MAX_ANSWER + 1, decode_content=True)
        if len(body) > MAX_ANSWER:
            raise VmsError(what, answer.status_code, f"the answer is larger than {MAX_ANSWER} bytes")
        answer._content = body  # what `stream=True` left to us to read, within a bound
        if answer.status_code >= 400:
            raise VmsError(what, answer.status_code, answer.text)
        return answer

    # -- identity provider and REST ------------------------------------------------------------------------------
    def access_token(self) -> str:
        with self._lock:
            if self._access is None or self._access[1] < time.monotonic():
                form = {"grant_type": "password", "client_id": "GrantValidatorClient", "username": self._user[0], "password": self._user[1]}
                body = self._request("access token", "POST", f"{self._url}/API/IDP/connect/token", data=form).json()
                self._access = (body["access_token"], time.monotonic() + body["expires_in"] - 60)
            return self._access[0]

    def rest(self, method: str, path: str, body: t.Any = None) -> t.Any:
        headers = {"Authorization": f"Bearer {self.access_token()}"}
        return self._request(f"{method} {path}", method, f"{self._url}/api/rest/v1/{path}", headers=headers, json=body).json()

    def get(self, path: str) -> dict[str, t.Any]:
        return self.rest("GET", path)["data"]

    def list(self, path: str) -> list[dict[str, t.Any]]:
        return self.rest("GET", path)["array"]

    def patch(self, path: str, changes: dict[str, t.Any]) -> dict[str, t.Any]:
        return self.rest("PATCH", path, changes)["data"]

    # -- SOAP ----------------------------------------------------------------------------------------------------
    def _soap(self, url: str, namespace: str, action: str, operation: str, content: str, **arguments: t.Any) -> ElementTree.Element:
        envelope = (
            '<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>'
            f'<{operation} xmlns="{namespace}">{content}</{operation}></s:Body></s:Envelope>'
        )
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{action}"'}
        answer = self._request(operation, "POST", url, data=envelope.encode(), headers=headers, **arguments)
        root = ElementTree.fromstring(answer.content)
        for element in root.iter():
            if local(element) == "Fault":
                raise VmsError(operation, answer.status_code, " ".join(element.itertext()))
        return next((element for element in root.iter() if local(element) == f"{operation}Result"), root)

    def server_soap(self, operation: str, content: str) -> ElementTree.Element:
        action = f"{SERVER}/IServerCommandService/{operation}"
        return self._soap(f"{self._url}/ManagementServer/ServerCommandService.svc", SERVER, action, operation, content, auth=self._user)

    def login(self) -> str:
        """A new VMS token, also when there is one."""
        with self._lock:
            current = escape(self._token[0]) if self._token else ""
            result = self.server_soap("Login", f"<instanceId>{self._instance}</instanceId><currentToken>{current}</currentToken>")
            values = {local(element): element.text or "" for element in result.iter()}
            self._token = (values["Token"], time.monotonic() + int(values["MicroSeconds"]) / 1e6)
            return self._token[0]

    def token(self) -> str:
        with self._lock:
            if self._token is None or self._token[1] - 60 < time.monotonic():
                return self.login()
            return self._token[0]

    def logout(self) -> None:
        with self._lock:
            if self._token:
                token = escape(self._token[0])
                self.server_soap("Logout", f"<instanceId>{self._instance}</instanceId><currentToken>{token}</currentToken>")
                self._token = None

    def configuration(self) -> dict[str, t.Any]:
        """What GetConfiguration answers, as dicts and lists by the names of the WSDL."""
        return tree(self.server_soap("GetConfiguration", f"<token>{escape(self.token())}</token>"))

    def recorder_info(self, recorder_id: str) -> dict[str, t.Any]:
        content = f"<token>{escape(self.token())}</token><recorderId>{recorder_id}</recorderId>"
        return tree(self.server_soap("QueryRecorderInfo", content))

    # -- recorders -----------------------------------------------------------------------------------------------
    def address_of(self, camera_id: str) -> str:
        """The WebServerUri of the camera's recorder. Read once and kept, as simple clients do."""
        with self._lock:
            if camera_id not in self._addresses:
                for recorder in self.configuration()["Recorders"]:
                    for camera in recorder["Cameras"]:
                        self._addresses[camera["DeviceId"]] = recorder["WebServerUri"]
            if camera_id not in self._addresses:
                raise KeyError(f"no recorder has a camera {camera_id}")
            return self._addresses[camera_id]

    def recorder_soap(self, uri: str, namespace: str, operation: str, content: str = "", *, token: bool = True) -> ElementTree.Element:
        if token:
            content = f"<token>{escape(self.token())}</token>{content}"
        return self._soap(uri.rstrip("/") + "/" + SERVICES[namespace], namespace, f"{namespace}/{operation}", operation, content)

    def image_session(self, camera_id: str, *, timeout: float = 15.0) -> ImageSession:
        session = ImageSession(self.address_of(camera_id), timeout=timeout)
        try:
            session.connect(camera_id, self.token())
        except BaseException:
            session.close()
            raise
        return session

    def sequences(self, camera_id: str, from_ms: int, to_ms: int, *, kind: str = RECORDING_SEQUENCE, most: int = 1000) -> list[Sequence]:
        content = (
            f"<deviceId>{camera_id}</deviceId><sequenceType>{kind}</sequenceType><minTime>{format_time(from_ms)}</minTime>"
            f"<maxTime>{format_time(to_ms)}</maxTime><maxCount>{most}</maxCount>"
        )
        result = self.recorder_soap(self.address_of(camera_id), RECORDER, "SequencesGet", content)
        entries = [{local(child): child.text or "" for child in entry} for entry in result]
        return [Sequence(*(parse_time(entry[name]) for name in ("TimeBegin", "TimeTrigged", "TimeEnd"))) for entry in entries]

    def device_status(self, uri: str, camera_ids: list[str]) -> dict[str, dict[str, bool]]:
        """GetCurrentDeviceStatus of cameras: Started, Recording, Error... by camera id."""
        guids = "".join(f"<guid>{camera_id}</guid>" for camera_id in camera_ids)
        result = self.recorder_soap(uri, STATUS, "GetCurrentDeviceStatus", f"<deviceIds>{guids}</deviceIds>")
        found: dict[str, dict[str, bool]] = {}
        for element in result.iter():
            if local(element) == "CameraDeviceStatus":
                values = {local(child): (child.text or "").strip() for child in element}
                found[values["DeviceId"]] = {name: value == "true" for name, value in values.items() if value in ("true", "false")}
        return found

    def start_manual_recording(self, camera_id: str) -> None:
        self._manual(camera_id, "StartManualRecording")

    def stop_manual_recording(self, camera_id: str) -> None:
        self._manual(camera_id, "StopManualRecording")

    def _manual(self, camera_id: str, operation: str) -> None:
        content = f"<deviceIds><guid>{camera_id}</guid></deviceIds>"
        result = self.recorder_soap(self.address_of(camera_id), RECORDER, operation, content)
        codes = [element.text for element in result.iter() if local(element) == "ResultCode"]
        if codes != ["0"]:
            raise VmsError(operation, 200, f"result codes {codes} for camera {camera_id}")
