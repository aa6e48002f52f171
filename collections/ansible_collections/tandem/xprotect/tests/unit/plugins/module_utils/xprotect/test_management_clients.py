# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""REST, SOAP and the identity provider against a small fake of the documented shapes."""

from __future__ import annotations

import json
import re
import urllib.parse

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect import rest as rest_module
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.management_server import ManagementServer

SOAP = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
LOGIN = ('<LoginResponse xmlns="http://videoos.net/2/XProtectCSServerCommand"><LoginResult>'
         '<RegistrationTime>2025-10-27T19:30:05.9Z</RegistrationTime>'
         '<TimeToLive><MicroSeconds>{life}</MicroSeconds></TimeToLive><TimeToLiveLimited>false</TimeToLiveLimited>'
         '<Token>TOKEN#{number}#ms//ServerConnector#</Token></LoginResult></LoginResponse>')


class Site:
    """The Management Server of the tests."""

    def __init__(self, http_fake):
        self.valid, self.issued, self.logins = set(), 0, []
        self.collections = {"cameras": [{"id": str(number), "name": f"Cam {number}"} for number in range(5)]}
        self.pages_honoured = True
        self.life = 14400000000
        self.expires_in = 3600
        self.soap_reply = None
        self.fake = http_fake(self.answer)
        self.server = ManagementServer({"url": self.fake.url + "/", "username": "tandem", "password": "geheim"}, "north")

    def answer(self, request):
        path, _mark, query = request.path.partition("?")
        if path == "/API/IDP/connect/token":
            return self.token(dict(urllib.parse.parse_qsl(request.body.decode())))
        if path == "/api/.well-known/uris":
            return self.json(200, {"ProductVersion": "25.1.1804.1"})
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return self.json(401, {"error": {"httpCode": 401, "details": [{"errorText": "Unauthorized"}]}})
        if path.startswith("/ManagementServer/"):
            return self.soap(request)
        return self.rest(request.method, path.removeprefix("/api/rest/v1/"), query, request.body)

    def token(self, form):
        if form != {"grant_type": "password", "username": "tandem", "password": "geheim", "client_id": "GrantValidatorClient"}:
            return self.json(400, {"error": "invalid_grant", "error_description": "InvalidCredential"})
        self.issued += 1
        self.valid.add(f"jwt-{self.issued}")
        return self.json(200, {"access_token": f"jwt-{self.issued}", "expires_in": self.expires_in, "token_type": "Bearer"})

    def rest(self, method, path, query, body):
        name, _slash, item_id = path.partition("/")
        if name not in self.collections:
            return self.json(404, {"error": {"httpCode": 404, "details": [{"errorText": f"Unknown resource: {name}"}]}})
        if not item_id:
            wanted = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
            page, size = (int(wanted["page"]), int(wanted["size"])) if self.pages_honoured else (0, 10**6)
            return self.json(200, {"array": self.collections[name][page * size:(page + 1) * size]})
        item = next(item for item in self.collections[name] if item["id"] == item_id)
        if method == "PATCH":
            changes = json.loads(body)
            if "id" in changes:
                return self.json(400, {"error": {"httpCode": 400, "details": [{"errorText": "Read only", "property": "id"}]}})
            item.update(changes)
        return self.json(200, {"data": item})

    def soap(self, request):
        operation = request.headers["soapaction"].strip('"').rpartition("/")[2]
        self.logins.append((operation, request.body.decode()))
        if self.soap_reply:
            return self.soap_reply
        body = LOGIN.format(life=self.life, number=len(self.logins)) if operation == "Login" else (
            f'<{operation}Response xmlns="u"><{operation}Result><RecorderId>r</RecorderId>'
            '<WebServerUri>http://10.0.0.10:7563/</WebServerUri>'
            f'<Cameras><CameraInfo><DeviceId>c1</DeviceId></CameraInfo></Cameras></{operation}Result></{operation}Response>')
        return 200, {"Content-Type": "text/xml"}, SOAP.format(body).encode()

    @staticmethod
    def json(status, document):
        return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


@pytest.fixture
def site(http_fake):
    return Site(http_fake)


def test_version_needs_no_login(site):
    assert site.server.version() == "25.1.1804.1" and site.issued == 0


@pytest.mark.parametrize("size", [2, 5, 6])
@pytest.mark.parametrize("honoured", [True, False])
def test_lists_are_whole(site, monkeypatch, size, honoured):
    monkeypatch.setattr(rest_module, "PAGE", size)
    site.pages_honoured = honoured
    assert [item["id"] for item in site.server.rest.list("cameras")] == ["0", "1", "2", "3", "4"]
    assert "disabled&page=0" in site.fake.requests[1].path


def test_get_and_patch(site):
    assert site.server.rest.patch("cameras/3", {"name": "Döck"})["name"] == "Döck"
    assert site.server.rest.get("cameras/3") == {"id": "3", "name": "Döck"}


@pytest.mark.parametrize("call, code, text", [
    (lambda rest: rest.list("nothing"), "not_found", "Unknown resource: nothing"),
    (lambda rest: rest.patch("cameras/3", {"id": "4"}), "refused", "id: Read only"),
])
def test_refusals(site, call, code, text):
    with pytest.raises(TandemError) as caught:
        call(site.server.rest)
    assert caught.value.code == code and text in str(caught.value) and str(caught.value).startswith("pair north: ")


def test_a_token_is_kept_and_replaced_when_refused(site):
    site.server.rest.list("cameras")
    site.server.rest.list("cameras")
    assert site.issued == 1
    site.valid.clear()
    site.server.rest.list("cameras")
    assert site.issued == 2


def test_a_token_is_replaced_before_its_end(site):
    site.expires_in = 30
    site.server.rest.get("cameras/1")
    site.server.rest.get("cameras/1")
    assert site.issued == 2


def test_a_user_without_rights_is_asked_twice_and_then_told(site):
    site.server.rest.get("cameras/1")
    issue = site.token
    site.token = lambda form: (issue(form), site.valid.clear())[0]
    site.valid.clear()
    with pytest.raises(TandemError) as caught:
        site.server.rest.get("cameras/1")
    assert caught.value.code == "unauthorised" and site.issued == 2


def test_a_wrong_password(site):
    server = ManagementServer({"url": site.fake.url, "username": "tandem", "password": "wrong-one"}, "north")
    with pytest.raises(TandemError) as caught:
        server.rest.list("cameras")
    assert caught.value.code == "wrong_password" and "InvalidCredential" in str(caught.value) and "wrong-one" not in str(caught.value)


def test_no_password(site):
    with pytest.raises(TandemError) as caught:
        ManagementServer({"url": site.fake.url, "username": "tandem", "password": None})
    assert "TANDEM_MANAGEMENT_PASSWORD" in str(caught.value)


def test_a_recorder_that_is_not_there(site):
    site.collections["recordingServers"] = [{"id": "r", "webServerUri": "http://10.0.0.10:7563/", "activeWebServerUri": ""}]
    assert site.server.recorder_uri("r") == "http://10.0.0.10:7563/"
    site.collections["recordingServers"][0]["activeWebServerUri"] = "http://10.0.0.9:7563/"
    assert site.server.recorder_uri("r") == "http://10.0.0.9:7563/"
    del site.collections["recordingServers"]
    with pytest.raises(TandemError) as caught:
        site.server.recorder("r")
    assert "knows no recording server r" in str(caught.value)


def test_the_vms_token_is_kept_and_renewed_with_the_old_one(site):
    first = site.server.soap.token()
    assert first == "TOKEN#1#ms//ServerConnector#" == site.server.soap.token() and len(site.logins) == 1
    assert re.search(r"<currentToken></currentToken><instanceId>[0-9a-f-]{36}</instanceId>", site.logins[0][1])
    site.server.soap._renew_at = 0.0
    assert site.server.soap.token() == "TOKEN#2#ms//ServerConnector#"
    assert f"<currentToken>{first}</currentToken>" in site.logins[1][1]
    site.server.soap.forget_token()
    site.server.soap.token()
    assert "<currentToken></currentToken>" in site.logins[2][1]
    assert len({re.search(r"<instanceId>(.*)</instanceId>", body)[1] for _operation, body in site.logins}) == 1


def test_soap_results_and_element_order(site):
    info = site.server.soap.recorder_info("r")
    assert info["WebServerUri"] == "http://10.0.0.10:7563/" and info["Cameras"] == {"CameraInfo": {"DeviceId": "c1"}}
    assert re.search("<recorderId>r</recorderId><token>TOKEN#1", site.logins[1][1])
    assert site.server.soap.configuration()["RecorderId"] == "r"


@pytest.mark.parametrize("reply, code, text", [
    ((500, {}, SOAP.format("<s:Fault><faultcode>s:51000</faultcode><faultstring>VMO61008: no permission</faultstring></s:Fault>").encode()),
     "fault", "VMO61008"),
    ((200, {}, SOAP.format("<s:Fault><faultstring>Token invalid</faultstring><detail><ErrorNumber>20001</ErrorNumber></detail>"
                           "</s:Fault>").encode()),
     "fault", "Token invalid (20001)"),
    ((200, {}, b"<html>"), "http", "HTTP 200 without a result"),
    ((200, {}, SOAP.format("<LoginResult><Token>x</Token></LoginResult>").encode()), "protocol", "gave no token"),
])
def test_soap_refusals(site, reply, code, text):
    site.soap_reply = reply
    with pytest.raises(TandemError) as caught:
        site.server.soap.token()
    assert caught.value.code == code and text in str(caught.value)


def test_a_refused_bearer_is_replaced_for_soap_too(site):
    site.server.soap.token()
    site.valid.clear()
    assert site.server.soap.recorder_info("r")["RecorderId"] == "r" and site.issued == 2
