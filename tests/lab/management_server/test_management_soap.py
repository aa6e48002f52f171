# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ServerCommandService at its three paths."""

from __future__ import annotations

import re
import uuid
from xml.etree import ElementTree

import pytest
import requests
import requests_ntlm
from management_server_helpers import NS, login_body, token_of

ASMX = "/ServerAPI/ServerCommandService.asmx"
OAUTH = "/ManagementServer/ServerCommandServiceOAuth.svc"
TOKEN = re.compile(r"TOKEN#[0-9a-f-]{36}#lab-ms//ServerConnector#")


def names(xml):
    """Local names of the children of the first element with a Result name."""
    for element in ElementTree.fromstring(xml).iter():
        if element.tag.endswith("Result"):
            return [child.tag.rpartition("}")[2] for child in element]
    raise AssertionError("no result")


def call(server, operation, token, extra="", **arguments):
    return server.soap(f'<{operation} xmlns="{NS}"><token>{token}</token>{extra}</{operation}>', **arguments)


def test_login_reply_of_the_wcf_service(server):
    answer = server.soap(login_body())
    assert answer.headers["Content-Type"] == "text/xml; charset=utf-8"
    assert names(answer.content) == ["RegistrationTime", "TimeToLive", "TimeToLiveLimited", "Token"]
    assert TOKEN.fullmatch(token_of(answer))
    assert ElementTree.fromstring(answer.content).find(f".//{{{NS}}}MicroSeconds").text == "14400000000"


def test_login_reply_of_the_older_service_over_ntlm(server):
    auth = requests_ntlm.HttpNtlmAuth(server.plan.windows_user, server.plan.windows_password)
    answer = server.soap(login_body(), path=ASMX, auth=auth)
    assert names(answer.content) == ["Token", "RegistrationTime", "TimeToLive", "TimeToLiveLimited"]


def test_login_with_a_bearer_token(server):
    headers = {"Authorization": f"Bearer {server.access_token()}"}
    assert TOKEN.fullmatch(token_of(server.soap(login_body(), path=OAUTH, auth=False, headers=headers)))


@pytest.mark.parametrize(("path", "scheme"), [
    ("/ManagementServer/ServerCommandService.svc", "Basic"), (OAUTH, "Bearer"), (ASMX, "Negotiate"),
])
def test_without_credentials_there_is_a_challenge(server, path, scheme):
    answer = server.soap(login_body(), path=path, auth=False)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith(scheme)


def test_wrong_password_is_refused(server):
    assert server.soap(login_body(), auth=(server.plan.basic_user, "wrong")).status_code == 401


def test_user_name_with_the_basic_prefix(server):
    assert token_of(server.soap(login_body(), auth=(f"[BASIC]\\{server.plan.basic_user}", server.plan.basic_password)))


def test_renewal_gives_a_new_token_and_keeps_the_old_one(server):
    instance = uuid.uuid4()
    old = token_of(server.soap(login_body(instance)))
    new = token_of(server.soap(login_body(instance, old)))
    assert new != old
    assert call(server, "GetConfiguration", old).status_code == 200


def test_logout_ends_a_token(server):
    token = token_of(server.soap(login_body()))
    body = f'<Logout xmlns="{NS}"><instanceId>{uuid.uuid4()}</instanceId><currentToken>{token}</currentToken></Logout>'
    assert server.soap(body).status_code == 200
    answer = call(server, "GetConfiguration", token)
    assert answer.status_code == 500
    assert "VMO61008" in answer.text


@pytest.mark.parametrize(("path", "ordered"), [("/ManagementServer/ServerCommandService.svc", True), (ASMX, False)])
def test_member_order_of_get_configuration(server, path, ordered):
    token = token_of(server.soap(login_body()))
    listed = names(call(server, "GetConfiguration", token, path=path).content)
    assert (listed == sorted(listed)) is ordered
    assert set(listed) >= {"ServerId", "ServerName", "Recorders", "FailoverCheckInterval", "CameraGroups"}
    if not ordered:
        assert listed[:5] == ["ServerId", "ServerName", "ServerDescription", "ServerOptions", "Recorders"]


def test_configuration_tells_clients_where_the_recorder_is(server):
    root = ElementTree.fromstring(call(server, "GetConfiguration", token_of(server.soap(login_body()))).content)
    recorder = root.find(f".//{{{NS}}}RecorderInfo")
    value = lambda name: recorder.find(f"{{{NS}}}{name}").text  # noqa: E731
    assert value("RecorderId") == value("ServiceId") == server.pair.recorder_id
    assert value("WebServerUri") == server.pair.service_url
    assert value("HostName") == server.pair.service_address
    cameras = recorder.findall(f"{{{NS}}}Cameras/{{{NS}}}CameraInfo")
    assert [camera.find(f"{{{NS}}}DeviceId").text for camera in cameras] == [camera.camera_id for camera in server.pair.cameras]
    # Members of the base type come first, each part in alphabetical order.
    tags = [child.tag.rpartition("}")[2] for child in cameras[0]]
    split = tags.index("BrowsableStream")
    assert tags[:split] == sorted(tags[:split]) and "DeviceId" in tags[:split]
    assert tags[split:] == sorted(tags[split:]) and "Streams" in tags[split:]
    devices = recorder.findall(f"{{{NS}}}Hardware/{{{NS}}}HardwareInfo/{{{NS}}}DeviceIds/*")
    assert {device.tag for device in devices} == {"{http://schemas.microsoft.com/2003/10/Serialization/Arrays}guid"}


def test_query_recorder_info(server):
    token = token_of(server.soap(login_body()))
    answer = call(server, "QueryRecorderInfo", token, f"<recorderId>{server.pair.recorder_id}</recorderId>")
    assert ElementTree.fromstring(answer.content).find(f".//{{{NS}}}WebServerUri").text == server.pair.service_url
    assert call(server, "QueryRecorderInfo", token, f"<recorderId>{uuid.uuid4()}</recorderId>").status_code == 500


def test_get_version_is_a_number(server):
    answer = server.soap(f'<GetVersion xmlns="{NS}" />')
    assert int(ElementTree.fromstring(answer.content).find(f".//{{{NS}}}GetVersionResult").text) > 0


@pytest.mark.parametrize("body", ["<Unknown />", "", "<", login_body("not-a-guid")])
def test_bad_requests_are_faults(server, body):
    answer = server.soap(body)
    assert answer.status_code == 500
    assert "<faultstring" in answer.text


def test_document_types_are_refused(server):
    answer = server.soap(f'<GetVersion xmlns="{NS}">&x;</GetVersion><!DOCTYPE x>')
    assert "A document type is not allowed" in answer.text


def test_soap_12(server):
    envelope = f'<e:Envelope xmlns:e="http://www.w3.org/2003/05/soap-envelope"><e:Body>{login_body()}</e:Body></e:Envelope>'
    answer = requests.post(server.url + "/managementserver/servercommandservice.SVC", data=envelope, timeout=5,
                           auth=(server.plan.basic_user, server.plan.basic_password))
    assert answer.headers["Content-Type"].startswith("application/soap+xml")
    assert TOKEN.search(answer.text)
