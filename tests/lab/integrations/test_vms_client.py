# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client against the lab's Management Server and a small ImageServer."""

from __future__ import annotations

import time

import pytest

from tandem_lab.integrations import exporter, psim, vms_client
from tandem_lab.integrations.image_client import ConnectRefused, ImageServerError, Picture, Reply
from tandem_lab.integrations.vms_client import VmsClient, VmsError


def test_rest_and_soap_tell_the_same(server, site):
    client = VmsClient(site)
    recorder = client.get(f"recordingServers/{server.pair.recorder_id}")
    configuration = client.configuration()
    assert configuration["Recorders"][0]["WebServerUri"] == recorder["webServerUri"] == server.pair.service_url
    cameras = configuration["Recorders"][0]["Cameras"]
    assert [camera["DeviceId"] for camera in cameras] == [item["id"] for item in client.list("cameras")]
    assert cameras[0]["Streams"] == [{"StreamId": server.pair.cameras[0].stream_id, "Name": "Video stream 1", "Default": "true"}]
    assert client.address_of(server.pair.cameras[0].camera_id) == server.pair.service_url
    with pytest.raises(KeyError, match="no recorder has a camera"):
        client.address_of("0")


def test_a_site_with_one_camera_is_read_the_same_way(server, site):
    for camera in server.pair.cameras[1:]:
        VmsClient(site).patch(f"cameras/{camera.camera_id}", {"enabled": False})
    recorder = VmsClient(site).configuration()["Recorders"][0]
    assert [camera["DeviceId"] for camera in recorder["Cameras"]] == [server.pair.cameras[0].camera_id]


def test_refused_calls_say_why(site):
    client = VmsClient(site)
    with pytest.raises(VmsError, match="OutOfRange|out of range") as caught:
        client.patch(f"cameras/{site['cameras'][0]['id']}", {"prebufferSeconds": -1})
    assert caught.value.status == 400
    site["management_server"]["basic_user"]["password"] = "wrong"
    with pytest.raises(VmsError, match="invalid_grant"):
        VmsClient(site).access_token()


def test_tokens_are_kept_renewed_and_ended(server, site):
    client = VmsClient(site)
    token = client.token()
    assert client.token() == token
    renewed = client.login()
    assert renewed != token == server.server.tokens.find(token).text
    client.logout()
    assert server.server.tokens.find(renewed) is None


def test_times():
    assert vms_client.parse_time("2023-07-20T18:52:49.0530000Z") == 1689879169053
    assert vms_client.format_time(1689879169053) == "2023-07-20T18:52:49.0530000Z"
    assert vms_client.parse_time("2023-07-20T18:52:49Z") == 1689879169000


def test_lab_recorders(site):
    assert vms_client.lab_recorders(site)["duplicates"] == 0


def test_live_and_stop(site, image_server):
    camera = site["cameras"][1]["id"]
    with VmsClient(site).image_session(camera) as session:
        session.start_live()
        answers = [session.read() for _ in range(5)]
    assert isinstance(answers[0], Reply) and answers[0].name == "livepackage"
    assert all(isinstance(answer, Picture) for answer in answers[1:])
    assert image_server.connects[0][0] == camera


def test_refusals_carry_the_recorders_reason(site, image_server):
    image_server.refuse = "Unknown device"
    with pytest.raises(ConnectRefused) as caught:
        VmsClient(site).image_session(site["cameras"][0]["id"])
    assert caught.value.reason == "Unknown device"


@pytest.fixture
def recorded(image_server):
    """Counters 100..399, five a second, with a gap."""
    image_server.recorded = [(1_000_000 + 200 * n, 100 + n) for n in range(300) if not 150 <= n < 170]
    return image_server


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 299), (10, 20), (140, 180), (155, 160), (290, 2000)])
def test_export_of_a_span(site, recorded, first, last):
    result = exporter.play(site, site["cameras"][0]["id"], 1_000_000 + 200 * first, 1_000_000 + 200 * last)
    expected = [100 + n for n in range(first, min(last, 299) + 1) if not 150 <= n < 170]
    assert sorted(result["counters"]) == expected
    assert result["frames"] == len(expected)
    assert result["first_ms"] == (1_000_000 + 200 * (expected[0] - 100) if expected else None)


def test_export_keeps_requests_in_flight(site, recorded):
    exporter.play(site, site["cameras"][0]["id"], 0, 2_000_000)
    assert recorded.most_in_flight > 5


def test_export_before_the_first_recording_starts_at_it(site, recorded):
    assert min(exporter.play(site, site["cameras"][0]["id"], 0, 1_001_000)["counters"]) == 100


def test_export_of_an_empty_database(site, image_server):
    assert exporter.play(site, site["cameras"][0]["id"], 0, 10)["frames"] == 0


def test_a_recorder_that_closes_or_talks_nonsense(site, image_server):
    with VmsClient(site).image_session(site["cameras"][0]["id"]) as session:
        image_server.cut()
        with pytest.raises((EOFError, ConnectionError)):
            session.goto(0)
    with pytest.raises(ImageServerError, match="HTTP"):
        session._read_picture(b"HTTP/1.1 400 Bad Request")
    with pytest.raises(ImageServerError, match="bytes is refused"):
        session._read_picture(b"ImageResponse\r\nRequestId: 1\r\nPrev: 1\r\nCurrent: 1\r\nNext: 1\r\nContent-length: 999999999")


def test_psim_notices_references_and_nothing_else(server, site):
    client = VmsClient(site)
    before = psim.snapshot(site)
    assert psim.compare(before, psim.snapshot(site)) == []
    camera = site["cameras"][0]["id"]
    client.patch(f"cameras/{camera}", {"prebufferSeconds": 7})
    assert psim.compare(before, psim.snapshot(site)) == []
    assert psim.fingerprint(before) == psim.fingerprint(psim.snapshot(site))
    client.patch(f"cameras/{camera}", {"name": "Other"})
    after = psim.snapshot(site)
    fields = {difference["field"] for difference in psim.compare(before, after)}
    recorder = server.pair.recorder_id
    assert fields == {
        f"rest/cameras/{camera}/name", f"rest/cameras/{camera}/displayName",
        f"soap/GetConfiguration/{recorder}/cameras/{camera}/Name", f"soap/QueryRecorderInfo/{recorder}/cameras/{camera}/Name",
    }
    assert psim.fingerprint(before) != psim.fingerprint(after)


def test_psim_notices_another_recorder_address(server, site):
    before = psim.snapshot(site)
    server.server.model.change("recordingServers", server.pair.recorder_id, {"webServerUri": "http://other:7563/"}, configuration=False)
    fields = [difference["field"] for difference in psim.compare(before, psim.snapshot(site))]
    assert f"image_server/{server.pair.recorder_id}" in fields
    assert f"rest/recordingServers/{server.pair.recorder_id}/webServerUri" in fields


def test_calls_end_when_nobody_answers(site, image_server):
    image_server.frozen = True
    with VmsClient(site).image_session(site["cameras"][0]["id"], timeout=0.3) as session:
        session.start_live()
        session.read()
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            session.read()
        assert time.monotonic() - begin < 2
