# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

from ansible_collections.tandem.xprotect.plugins.module_utils.errors import TandemError
from ansible_collections.tandem.xprotect.plugins.module_utils.xprotect.recorder_status import RecorderStatus, get_recorder_status

SOAP = '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>{}</s:Body></s:Envelope>'
STATUS = ('<GetRecorderStatusResponse xmlns="http://videoos.net/2/XProtectCSRecorderStatus2"><GetRecorderStatusResult><AttachState>{}</AttachState>'
          '<ConnectionState>{}</ConnectionState></GetRecorderStatusResult></GetRecorderStatusResponse>')
NO_TOKEN = "<s:Fault><faultcode>s:Client</faultcode><faultstring>No token supplied</faultstring></s:Fault>"


@pytest.mark.parametrize("attach, connection, attached", [
    ("Attached", "Connected", True), ("attached", "CONNECTED", True), ("Detached", "Disconnected", False), ("NotAttached", "Connected", False),
    ("Attached", "Disconnected", False), ("Attached", "", False)])
def test_whole_words(http_fake, attach, connection, attached):
    fake = http_fake(lambda request: (200, {}, SOAP.format(STATUS.format(attach, connection)).encode()))
    status = get_recorder_status(fake.url)
    assert status == RecorderStatus(attach, connection) and status.attached is attached


def test_without_a_token_first_and_then_with_one(http_fake):
    def answer(request):
        good = b"<token>t</token>" in request.body
        return (200, {}, SOAP.format(STATUS.format("Attached", "Connected")).encode()) if good else (500, {}, SOAP.format(NO_TOKEN).encode())

    fake = http_fake(answer)
    assert get_recorder_status(fake.url, "t").attached and len(fake.requests) == 2
    with pytest.raises(TandemError) as caught:
        get_recorder_status(fake.url, pair="north", node="a")
    assert caught.value.code == "unknown_state" and "No token supplied" in str(caught.value)


@pytest.mark.parametrize("reply", [(200, {}, b"hello"), (404, {}, b""), (200, {}, SOAP.format("<GetRecorderStatusResult/>").encode())])
def test_anything_else_is_unknown(http_fake, reply):
    with pytest.raises(TandemError) as caught:
        get_recorder_status(http_fake(lambda request: reply).url)
    assert caught.value.code == "unknown_state"
