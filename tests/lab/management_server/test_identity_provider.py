# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""OAuth grants, discovery and NTLM."""

from __future__ import annotations

import base64
import json

import pytest
import requests
import requests_ntlm

PASSWORD_GRANT = {"grant_type": "password", "client_id": "GrantValidatorClient"}
WINDOWS_GRANT = {"grant_type": "windows_credentials", "client_id": "GrantValidatorClient"}


def part(token, index):
    text = token.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


@pytest.mark.parametrize("path", ["/API/IDP/connect/token", "/api/idp/connect/token", "/IDP/connect/token"])
def test_basic_user_gets_a_signed_token(server, path):
    form = PASSWORD_GRANT | {"username": server.plan.basic_user, "password": server.plan.basic_password}
    answer = requests.post(server.url + path, data=form, timeout=5)
    body = answer.json()
    assert answer.status_code == 200
    assert (body["expires_in"], body["token_type"], body["scope"]) == (3600, "Bearer", "managementserver")
    assert "refresh_token" not in body
    keys = requests.get(f"{server.url}/IDP/.well-known/openid-configuration/jwks", timeout=5).json()["keys"]
    assert part(body["access_token"], 0)["alg"] == "RS256"
    assert part(body["access_token"], 0)["kid"] == keys[0]["kid"]
    assert part(body["access_token"], 1)["name"] == server.plan.basic_user


@pytest.mark.parametrize(("change", "error"), [
    ({"password": "wrong"}, "invalid_grant"),
    ({"username": "nobody"}, "invalid_grant"),
    ({"client_id": "other"}, "invalid_client"),
    ({"grant_type": "magic"}, "unsupported_grant_type"),
])
def test_refused_token_requests(server, change, error):
    form = PASSWORD_GRANT | {"username": server.plan.basic_user, "password": server.plan.basic_password} | change
    answer = requests.post(f"{server.url}/IDP/connect/token", data=form, timeout=5)
    assert answer.status_code == 400
    assert answer.json()["error"] == error


def test_windows_user_logs_in_with_ntlm(server):
    auth = requests_ntlm.HttpNtlmAuth(server.plan.windows_user, server.plan.windows_password)
    answer = requests.post(f"{server.url}/IDP/connect/token", data=WINDOWS_GRANT, auth=auth, timeout=5)
    assert answer.status_code == 200, answer.text
    assert server.rest("GET", "sites", answer.json()["access_token"]).status_code == 200


def test_wrong_windows_password_is_refused(server):
    auth = requests_ntlm.HttpNtlmAuth(server.plan.windows_user, "wrong")
    answer = requests.post(f"{server.url}/IDP/connect/token", data=WINDOWS_GRANT, auth=auth, timeout=5)
    assert answer.status_code == 401


def test_gateway_does_not_pass_ntlm_through(server):
    auth = requests_ntlm.HttpNtlmAuth(server.plan.windows_user, server.plan.windows_password)
    answer = requests.post(f"{server.url}/API/IDP/connect/token", data=WINDOWS_GRANT, auth=auth, timeout=5)
    assert answer.status_code == 401
    assert "WWW-Authenticate" not in answer.headers


def test_discovery_and_uris_need_no_login(server):
    discovery = requests.get(f"{server.url}/idp/.well-known/openid-configuration", timeout=5).json()
    assert discovery["token_endpoint"].lower() == f"{server.url}/idp/connect/token"
    assert int(discovery["server_version"].split(".")[0]) >= 21
    uris = requests.get(f"{server.url}/api/.well-known/uris", timeout=5).json()
    assert uris["ProductVersion"] == server.config.version
    assert uris["ApiGateways"] == [f"{server.url}/API/"]


@pytest.mark.parametrize("spoil", [
    lambda token: token[:-6] + "AAAAAA",
    lambda token: "",
    lambda token: "a.b.c",
    lambda token: ".".join([base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("="), token.split(".")[1], ""]),
])
def test_spoilt_tokens_are_unauthorized(server, spoil):
    answer = server.rest("GET", "sites", spoil(server.access_token()) or "x")
    assert answer.status_code == 401
    assert answer.json() == {"error": {"httpCode": 401, "details": [{"errorText": "Unauthorized"}]}}
