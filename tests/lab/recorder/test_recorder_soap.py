# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder's SOAP services on the media port, and its web API."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request

import pytest
from recorder_clients import TOKEN, decode_picture, soap

UNKNOWN = "00000000-1111-4222-8333-444444444444"


@pytest.fixture
def client(recorder):
    client = recorder.client(recorder.cameras[0])
    yield client
    client.close()


def device_element(recorder, number=0):
    return f"<deviceId>{recorder.cameras[number]['id']}</deviceId>"


def test_recorder_status_needs_no_token(recorder):
    answer = soap(recorder.address, "GetRecorderStatus", token=None, service="status")
    assert "<GetRecorderStatusResult><AttachState>Attached</AttachState><ConnectionState>Connected</ConnectionState></" in answer
    assert re.search(r"<GetVersionResult>\d+</GetVersionResult>", soap(recorder.address, "GetVersion", token=None))


@pytest.mark.parametrize("token, text, sub", [
    (None, "No token supplied", 1), ("", "No token supplied", 1), ("TOKEN#x#", "Token invalid", 2)])
def test_faults_about_tokens(recorder, token, text, sub):
    answer = recorder.soap("SequencesGetTypes", device_element(recorder), token=token)
    assert f"<soap:Fault><faultcode>soap:Client</faultcode><faultstring>{text}</faultstring>" in answer
    assert f"<detail><ErrorNumber>20001</ErrorNumber><SubErrorNumber>{sub}</SubErrorNumber></detail>" in answer


def test_an_operation_that_is_not_there(recorder):
    answer = recorder.soap("StartRecording")
    assert "<faultcode>soap:Server</faultcode><faultstring>Method 'StartRecording' not supported</faultstring>" in answer
    assert "<ErrorNumber>40000</ErrorNumber>" in answer


def test_sequence_types(recorder):
    answer = recorder.soap("SequencesGetTypes", device_element(recorder))
    assert answer.count("<SequenceType>") == 3
    assert "<SequenceType><Id>f9c62604-d0c5-4050-ae25-72de51639b14</Id><Name>RecordingSequence</Name></SequenceType>" in answer


def test_sequences_are_whole_and_bounded(recorder):
    (begin, end) = recorder.sequences(recorder.cameras[0])[0]
    assert end - begin > 4000
    ask = (f"{device_element(recorder)}<sequenceType>F9C62604-D0C5-4050-AE25-72DE51639B14</sequenceType><minTime>%s</minTime>"
           "<maxTime>%s</maxTime><maxCount>%d</maxCount>")
    assert "<SequencesGetResult />" in recorder.soap("SequencesGet", ask % ("2000-01-01T00:00:00", "2001-01-01T00:00:00.1234567+02:00", 5))
    assert "<SequencesGetResult />" in recorder.soap("SequencesGet", ask % ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z", 0))
    assert "is not a time" in recorder.soap("SequencesGet", ask % ("yesterday", "2100-01-01T00:00:00Z", 5))
    assert "Unknown device" in recorder.soap("SequencesGetTypes", f"<deviceId>{UNKNOWN}</deviceId>")


def test_the_body_decides_and_not_the_soap_action(recorder):
    body = (f'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><SequencesGetTypes '
            f'xmlns="http://videoos.net/2/XProtectCSRecorderCommand"><token>{TOKEN}</token>{device_element(recorder)}'
            "</SequencesGetTypes></s:Body></s:Envelope>").encode()
    headers = {"Content-Type": "application/soap+xml", "SOAPAction": '"http://videoos.net/2/XProtectCSServiceRegistration/Other"'}
    url = f"http://{recorder.address}:7563/recordercommandservice/RECORDERCOMMANDSERVICE.asmx"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=5) as answer:
        text = answer.read().decode()
        assert answer.headers["Content-Type"].startswith("application/soap+xml")
    assert "http://www.w3.org/2003/05/soap-envelope" in text and "<SequencesGetTypesResult>" in text


@pytest.mark.parametrize("item", [
    "<guid>%s</guid>", '<a:guid xmlns:a="http://microsoft.com/wsdl/types/">%s</a:guid>', "<deviceId>%s</deviceId>"])
def test_device_status_for_every_spelling_of_a_guid_array(recorder, item):
    answer = recorder.soap("GetCurrentDeviceStatus", f"<deviceIds>{item % recorder.cameras[0]['id']}</deviceIds>", service="status")
    names = re.findall(r"<(\w+)>[^<]+</", re.search("<CameraDeviceStatus>.*?</CameraDeviceStatus>", answer).group(0))
    assert names == ["Time", "DeviceId", "IsChange", "Enabled", "Started", "Error", "ErrorNotLicensed", "ErrorNoConnection", "Recording",
                     "DbMoveInProgress", "ErrorOverflow", "ErrorWritingGop", "DbRepairInProgress", "Motion"]
    assert answer.count("<CameraDeviceStatus>") == 1 and "<Recording>true</Recording>" in answer and "<Error>false</Error>" in answer


def test_a_status_session(recorder):
    session = re.search("<StartStatusSessionResult>(.*?)</", recorder.soap("StartStatusSession", service="status")).group(1)
    element = f"<statusSessionId>{session}</statusSessionId>"
    ids = "".join(f"<guid>{camera['id']}</guid>" for camera in recorder.cameras)
    subscribed = recorder.soap("SubscribeDeviceStatus", f"{element}<deviceIds>{ids}</deviceIds>", service="status")
    assert "SubscribeDeviceStatusResponse" in subscribed
    status = lambda milliseconds: recorder.soap(  # noqa: E731
        "GetStatus", f"{element}<millisecondsTimeout>{milliseconds}</millisecondsTimeout>", service="status")
    assert status(5000).count("<IsChange>false</IsChange>") == 2
    began = time.monotonic()
    assert "<CameraDeviceStatusArray />" in status(300) and time.monotonic() - began > 0.25
    devices = f"<deviceIds><guid>{recorder.cameras[1]['id']}</guid></deviceIds>"
    recorder.soap("StartManualRecording", devices)
    changed = status(5000)
    assert "<IsChange>true</IsChange>" in changed and "<Recording>true</Recording>" in changed
    recorder.soap("StopManualRecording", devices)
    assert "<GetStatusResponse" in status(5000)
    assert "StopStatusSessionResponse" in recorder.soap("StopStatusSession", element, service="status")
    assert "Unknown status session" in status(1)


def test_storage_status(recorder):
    answer = recorder.soap("GetRecordingStorageStatus", service="status")
    assert f"<StorageId>{recorder.storage_id}</StorageId><Name>Local default</Name>" in answer
    assert "<Path>D:\\MediaDatabase</Path><Available>true</Available>" in answer
    assert int(re.search("<UsedSpaceInBytes>(.*?)<", answer).group(1)) > 100_000


def test_pictures_by_soap(recorder, client, cameras):
    first = client.goto(0)
    at = "<time>%s</time>"
    device = device_element(recorder)
    assert decode_picture(recorder.soap("JPEGGetAt", device + at % "2000-01-01T00:00:00Z"))["counter"] == first.counter
    assert decode_picture(recorder.soap("JPEGGetAtOrAfter", device + at % "2000-01-01T00:00:00Z"))["counter"] == first.counter
    newest = decode_picture(recorder.soap("JPEGGetAtOrBefore", device + at % "2100-01-01T00:00:00Z"))["counter"]
    live = decode_picture(recorder.soap("JPEGGetLive", device + "<maxWidth>320</maxWidth><maxHeight>240</maxHeight>"))["counter"]
    assert newest <= live <= cameras.status(1)["last_counter"]
    assert decode_picture(recorder.soap("JPEGGetAtOrAfter", device + at % "2100-01-01T00:00:00Z")) is None


@pytest.mark.parametrize("body", [
    b"", b"<a", b"<a/>", b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body/></s:Envelope>',
    b'<!DOCTYPE a><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"/>'])
def test_a_body_that_is_no_call_gets_a_fault(recorder, body):
    url = f"http://{recorder.address}:7563/RecorderStatusService/RecorderStatusService2.asmx"
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(urllib.request.Request(url, body, method="POST"), timeout=5)
    assert refusal.value.code == 500 and b"<soap:Fault>" in refusal.value.read()


def test_paths_that_are_not_there(recorder):
    for path, code in (("/nothing", 404), ("/RecorderStatusService/RecorderStatusService2.asmx?wsdl", 405)):
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(f"http://{recorder.address}:7563{path}", timeout=5)
        assert refusal.value.code == code


def test_the_web_api_says_who_is_there(recorder):
    with urllib.request.urlopen(f"http://{recorder.address}:9001/", timeout=5) as answer:
        assert json.loads(answer.read())["recorderId"] == recorder.recorder_id
