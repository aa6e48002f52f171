# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ImageServer on the media port, byte by byte where the protocol asks for it."""

from __future__ import annotations

import re
import socket
import time

import pytest
from recorder_clients import END, TOKEN, Image, ImageClient
from recorder_rig import wait_for

UNKNOWN = "00000000-1111-4222-8333-444444444444"


@pytest.fixture
def client(recorder):
    client = recorder.client(recorder.cameras[0])
    yield client
    client.close()


def raw(recorder, data: bytes, *, seconds: float = 5.0, until: bytes | None = None) -> bytes:
    """What comes back for some bytes until the recorder closes, the time is over, or the answer ends as expected."""
    received = b""
    with socket.create_connection((recorder.address, 7563), timeout=seconds) as link:
        try:
            link.sendall(data)
            while chunk := link.recv(65536):
                received += chunk
                if until and received.endswith(until):
                    break
        except OSError:
            pass
    return received


def connect_request(device, token=TOKEN, number=1):
    return (f"<?xml version='1.0' encoding='UTF-8'?><methodcall><requestid>{number}</requestid><methodname>connect</methodname>"
            f"<username>a</username><password>a</password><alwaysstdjpeg>yes</alwaysstdjpeg>"
            f"<connectparam>id={device}&amp;connectiontoken={token}</connectparam></methodcall>").encode() + END


# ---- connect


def test_the_connect_reply_word_for_word(recorder):
    answer = raw(recorder, connect_request(recorder.cameras[0]["id"], number=7), until=END)
    assert answer.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?><methodresponse><requestid>7</requestid><methodname>connect</methodname>'
        b"<connected>yes</connected><errorreason>Success</errorreason><alwaysstdjpeg>yes</alwaysstdjpeg>"
        b"<camera>Entrance &lt;1&gt;</camera>")
    assert answer.endswith(b"<servercapabilities><connectupdate>yes</connectupdate></servercapabilities></methodresponse>\r\n\r\n")


@pytest.mark.parametrize("device, token, reason", [
    (None, "TOKEN#00000000-0000-0000-0000-000000000000#lab-ms//ServerConnector#", "Security token invalid"),
    (None, "", "Security token invalid"),
    (UNKNOWN, TOKEN, "Unknown device"),
    ("no-guid", TOKEN, "Unknown device"),
])
def test_refusals_name_their_reason_and_close(recorder, device, token, reason):
    answer = raw(recorder, connect_request(device or recorder.cameras[0]["id"], token))
    assert f"<connected>no</connected><errorreason>{reason}</errorreason>".encode() in answer and answer.endswith(END)


def test_the_id_of_the_connect_parameters_decides(recorder):
    data = connect_request(recorder.cameras[0]["id"].upper()).replace(b"<alwaysstdjpeg>", b"<cameraid>a</cameraid><alwaysstdjpeg>")
    assert b"<connected>yes</connected>" in raw(recorder, data, until=END)


def test_a_percent_encoded_token_is_understood(recorder):
    encoded = TOKEN.replace("#", "%23").replace("/", "%2F")
    assert b"<connected>yes</connected>" in raw(recorder, connect_request(recorder.cameras[0]["id"], encoded), until=END)


def test_nothing_is_answered_before_connect(recorder):
    request = b'<?xml version="1.0"?><methodcall><requestid>1</requestid><methodname>goto</methodname><time>1</time></methodcall>' + END
    assert b"<connected>no</connected><errorreason>Not connected" in raw(recorder, request)


def test_a_renewed_token(recorder, client):
    new = TOKEN.replace("1111", "9999")
    client.send("connectupdate", f"<connectparam>id=%d&amp;connectiontoken={new}</connectparam>")
    assert "<methodname>connectupdate</methodname><connected>no</connected>" in client.read_xml()
    recorder.server.say({"type": "token", "token": new, "expires_ms": int(time.time() * 1000) + 60_000})
    wait_for("the token", lambda: "SequenceType" in recorder.soap(
        "SequencesGetTypes", f"<deviceId>{recorder.cameras[0]['id']}</deviceId>", token=new))
    client.send("connectupdate", f"<connectparam>id=%d&amp;connectiontoken={new}</connectparam>")
    assert "<methodname>connectupdate</methodname><connected>yes</connected>" in client.read_xml()
    assert client.goto(0).data


def test_a_token_that_has_run_out_ends_live_and_playback(recorder):
    short = TOKEN.replace("1111", "7777")
    recorder.server.say({"type": "token", "token": short, "expires_ms": int(time.time() * 1000) + 1_500})
    device = recorder.cameras[0]["id"]
    wait_for("the token", lambda: b"yes</connected>" in raw(recorder, connect_request(device, short), until=END))
    playing, watching = (ImageClient(recorder.address, device, token=short) for _ in range(2))
    assert playing.goto(0).data
    watching.send("live")
    with pytest.raises(EOFError):
        for _ in range(200):
            watching.read()
    playing.send("next")
    assert "Security token invalid" in str(playing.read())
    playing.close()
    watching.close()


# ---- playback


def test_the_image_reply_word_for_word(recorder):
    device = recorder.cameras[0]["id"]
    goto = (b'<?xml version="1.0" encoding="utf-8"?><methodcall><requestid>42</requestid><methodname>goto</methodname>'
            b"<time>0</time></methodcall>" + END)
    answer = raw(recorder, connect_request(device) + goto, until=b"\xff\xd9\r\n\r\n")
    image = answer[answer.index(END) + 4 :]
    head, _, rest = image.partition(END)
    assert re.fullmatch(
        rb"ImageResponse\r\nRequestId: 42\r\nPrev: (\d+)\r\nCurrent: \1\r\nNext: \d+\r\n"
        rb"Content-length: (\d+)\r\nContent-type: image/jpeg", head)
    length = int(re.search(rb"Content-length: (\d+)", head).group(1))
    assert rest[length:] == END and rest[:2] == b"\xff\xd8" and rest[length - 2 : length] == b"\xff\xd9"


def test_goto_next_and_previous(client):
    first = client.goto(0)
    second = client.image("next")
    assert second.current == first.next and second.previous == first.current
    assert client.goto(second.current - 1).current == first.current
    assert client.goto(second.current).current == second.current
    assert client.image("previous").current == first.current
    assert client.image("previous").current == first.current  # nothing is before the first
    assert client.image("begin").current == first.current
    newest = client.goto(int(time.time() * 1000) + 10**9)
    assert newest.current == newest.next and newest.current >= first.current + 4000


def test_next_at_the_newest_repeats_it(recorder):
    """In a camera that sends nothing more: here the gap-free end of a manual recording."""
    client = recorder.client(recorder.cameras[0])
    newest = client.image("end")
    assert newest.next == newest.current
    repeated = client.image("next")
    assert (repeated.current == newest.current and repeated.next == repeated.current) or repeated.current > newest.current
    client.close()


def test_the_first_request_may_be_next(recorder):
    client = recorder.client(recorder.cameras[0])
    first = client.image("next")
    assert first.current == client.goto(0).current
    client.close()


def test_an_empty_database(recorder):
    client = recorder.client(recorder.cameras[1])
    for method in ("goto", "next", "previous", "begin", "end", "nextsequence", "previoussequence"):
        answer = client.image(method, "<time>1</time>")
        assert (answer.previous, answer.current, answer.next, answer.data) == (0, 0, 0, b"")
    client.close()


def test_many_requests_in_one_write_are_answered_in_order(recorder, client):
    client.goto(0)
    wait_for("frames", lambda: client.image("end").counter - client.goto(0).counter > 50)
    first = client.goto(0)
    requests = [f'<?xml version="1.0"?><methodcall><requestid>{100 + n}</requestid><methodname>next</methodname></methodcall>\r\n\r\n'
                for n in range(50)]
    client.socket.sendall("".join(requests).encode())
    answers = [client.read() for _ in requests]
    assert [answer.request_id for answer in answers] == list(range(100, 150))
    assert [answer.counter for answer in answers] == list(range(first.counter + 1, first.counter + 51))


def test_a_request_that_comes_byte_by_byte(recorder):
    with socket.create_connection((recorder.address, 7563), timeout=5) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in connect_request(recorder.cameras[0]["id"]):
            link.sendall(bytes([byte]))
        assert b"<connected>yes</connected>" in link.recv(65536)


def test_generic_byte_data_in_parts(recorder):
    client = recorder.client(recorder.cameras[0], jpeg=False, multipart=True)
    assert "<multipartdata>yes</multipartdata>" in client.welcome
    answers = [client.goto(0), client.image("next"), client.image("next")]
    assert [a.counter for a in answers] == list(range(answers[0].counter, answers[0].counter + 3))
    for answer in answers:
        assert answer.kind == 'multipart/related; boundary=b0; type="application/x-genericbytedata-octet-stream"'
        check_packet(answer)
    client.close()


def check_packet(answer: Image) -> None:
    """The 32-byte big-endian header as the vendor documents it."""
    data = answer.data
    assert data[0:2] == b"\x00\x10" and int.from_bytes(data[2:6], "big") == len(data) and data[6:8] == b"\x00\x01"
    assert data[10:12] == b"\x00\x01" and data[28:32] == bytes(4)
    assert int.from_bytes(data[12:20], "big") == int.from_bytes(data[20:28], "big") == answer.current
    assert data[32:34] == b"\xff\xd8" and data[-2:] == b"\xff\xd9"


def test_a_legacy_block_without_parts(recorder):
    client = recorder.client(recorder.cameras[0], jpeg=False)
    answer = client.goto(0)
    assert answer.data[:2] == b"\x00\x01" and answer.data[36:38] == b"\xff\xd8"
    assert int.from_bytes(answer.data[8:12], "big") == len(answer.data)
    client.close()


def test_unknown_methods_and_strange_values_are_answered(client):
    client.send("dance")
    assert "<errorreason>Unknown method</errorreason>" in client.read_xml()
    for value in ("", "x", "-5", "1e400", "99999999999999999999"):
        assert client.image("goto", f"<time>{value}</time>").data


def test_sequences_are_stepped_over(recorder, client):
    first = client.goto(0)
    assert client.image("nextsequence").current == first.current  # there is only one
    assert client.image("previoussequence").current == first.current


def test_alarms_list_the_recording_sequences(recorder, client):
    now = int(time.time() * 1000)
    client.send("alarms", f"<centertime>{now}</centertime><timespan>86400000</timespan><numalarms>5</numalarms>")
    by_centre = client.read_xml()
    client.send("alarms", f"<starttime>0</starttime><endtime>{now}</endtime>")
    by_ends = client.read_xml()
    for answer in (by_centre, by_ends):
        assert answer.count("<alarm ") == 1 and "<methodname>alarms</methodname>" in answer
    begin = int(re.search(r'starttime="(\d+)"', by_centre).group(1))
    assert begin == client.goto(0).current


# ---- live


def test_live_shows_every_frame_and_status_in_between(recorder, client):
    number = client.send("live")
    images, statuses = [], []
    while len(images) < 35:
        answer = client.read()
        if isinstance(answer, Image):
            images.append(answer)
        else:
            statuses.append(answer)
    counters = [image.counter for image in images]
    assert counters == list(range(counters[0], counters[0] + 35))
    assert {image.request_id for image in images} == {number} and {image.kind for image in images} == {"image/jpeg"}
    assert abs(images[-1].current - time.time() * 1000) < 1500
    assert len(statuses) >= 2
    assert re.fullmatch(
        r'<\?xml version="1.0" encoding="utf-8"\?><livepackage><status><statustime>\d+</statustime><statusitem id="1" value="1" />'
        r'<statusitem id="2" value="0" /><statusitem id="3" value="1" /><statusitem id="5" value="0" /><statusitem id="6" value="0" />'
        r"</status></livepackage>", statuses[-1])
    stop = client.send("stop")
    while isinstance(answer := client.read(), Image) or "livepackage" in answer:
        pass
    assert f"<requestid>{stop}</requestid><methodname>stop</methodname>" in answer
    assert client.goto(images[5].current).counter == counters[5]  # the connection is still good for playback


def test_live_as_generic_byte_data(recorder):
    client = recorder.client(recorder.cameras[0], jpeg=False, multipart=True)
    client.send("live", "<sendinitialimage>no</sendinitialimage>")
    images = [answer for answer in (client.read() for _ in range(8)) if isinstance(answer, Image)]
    for image in images:
        assert image.kind == "application/x-genericbytedata-octet-stream"
        check_packet(image)
    client.close()


def test_token_renewal_while_live(recorder, client):
    client.send("live")
    client.read()
    client.send("connectupdate", f"<connectparam>id=x&amp;connectiontoken={TOKEN}</connectparam>")
    seen = [client.read() for _ in range(20)]
    assert sum("connectupdate" in answer for answer in seen if isinstance(answer, str)) == 1
    assert sum(isinstance(answer, Image) for answer in seen) > 10


def test_a_viewer_that_stops_reading_does_not_hold_up_others(recorder, client):
    sleeper = recorder.client(recorder.cameras[0])
    sleeper.send("live")
    client.send("live")
    counters = [answer.counter for answer in (client.read() for _ in range(30)) if isinstance(answer, Image)]
    assert counters == list(range(counters[0], counters[-1] + 1))
    sleeper.close()


# ---- garbage


@pytest.mark.parametrize("garbage", [
    b"", b"\0" * 100, b"<" * 100 + END, b"<a/>" + END, b"<methodcall>" + END, b"<methodcall><requestid>1</requestid></methodcall>" + END,
    b'<!DOCTYPE a [<!ENTITY b "c">]><methodcall><requestid>1</requestid><methodname>&b;</methodname></methodcall>' + END,
    b"<" + b"a" * 200_000, b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 100_000, b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 9999999999\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"\xff\xfe<\0m\0" + END,
])
def test_garbage_ends_its_own_connection_only(recorder, garbage):
    raw(recorder, garbage, seconds=2.0 if garbage else 0.2)
    assert recorder.client(recorder.cameras[0]).connected


def test_half_a_request_and_a_goodbye(recorder):
    for _ in range(20):
        link = socket.create_connection((recorder.address, 7563), timeout=5)
        link.sendall(connect_request(recorder.cameras[0]["id"])[:-2])
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset instead of an end
        link.close()
    assert recorder.client(recorder.cameras[0]).connected


def test_a_detached_recorder_serves_nobody(attached):
    watching = attached.client(attached.cameras[0])
    watching.send("live")
    attached.server.stop()
    wait_for("the loss", lambda: attached.attach_state() == "Detached")
    answer = raw(attached, connect_request(attached.cameras[0]["id"]))
    assert b"<connected>no</connected><errorreason>Security token invalid</errorreason>" in answer
    assert "Token invalid" in attached.soap("SequencesGetTypes", f"<deviceId>{attached.cameras[0]['id']}</deviceId>")
    assert "<ConnectionState>Disconnected</ConnectionState>" in attached.soap("GetRecorderStatus", token=None, service="status")
    before = max(answer.counter for answer in (watching.read() for _ in range(5)) if isinstance(answer, Image))
    assert wait_for("live pictures to go on", lambda: isinstance(a := watching.read(), Image) and a.counter > before + 5)
    watching.close()
