# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the ImageServer protocol: requests read, replies built (vendor's protocol page, vendor samples, public captures)."""

from __future__ import annotations

import typing as t
import urllib.parse
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ..media import layout

END = b"\r\n\r\n"
BOUNDARY = "b0"
GENERIC = "application/x-genericbytedata-octet-stream"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


class Malformed(Exception):
    """The request is no methodcall."""


class Request:
    def __init__(self, element: ElementTree.Element) -> None:
        self._element = element
        self.id = element.findtext("requestid", "0").strip()
        self.method = element.findtext("methodname", "").strip().lower()

    def text(self, name: str, default: str = "") -> str:
        return (self._element.findtext(f".//{name}") or default).strip()

    def flag(self, name: str) -> bool:
        return self.text(name).lower() in ("yes", "true", "1")

    def number(self, name: str) -> int | None:
        try:
            return int(float(self.text(name)))
        except (ValueError, OverflowError):
            return None

    def connect_parameters(self) -> dict[str, str]:
        """``id=..&streamid=..&connectiontoken=..``; a token may be percent-encoded."""
        found = {}
        for part in self.text("connectparam").split("&"):
            name, _, value = part.partition("=")
            found[name.strip().lower()] = urllib.parse.unquote(value) if "%" in value else value
        return found


def parse(data: bytes) -> Request:
    if b"<!" in data:
        raise Malformed("a document type or comment is not allowed")
    try:
        element = ElementTree.fromstring(data.strip())
    except (ElementTree.ParseError, ValueError) as error:
        raise Malformed(str(error)) from error
    request = Request(element)
    if element.tag != "methodcall" or not request.method or not request.id.isdigit():
        raise Malformed("a methodcall with requestid and methodname is expected")
    return request


def response(request_id: str, method: str, inner: str) -> bytes:
    return (
        f"{_HEAD}<methodresponse><requestid>{request_id}</requestid><methodname>{escape(method)}</methodname>{inner}</methodresponse>"
    ).encode() + END


def connected(request: Request, error: str | None, details: str = "") -> bytes:
    answer = "no" if error else "yes"
    return response(
        request.id, request.method, f"<connected>{answer}</connected><errorreason>{escape(error or 'Success')}</errorreason>{details}"
    )


def capabilities(request: Request, jpeg: bool, camera: str, multipart: bool) -> str:
    return (
        f"<alwaysstdjpeg>{'yes' if jpeg else 'no'}</alwaysstdjpeg><camera>{escape(camera)}</camera>"
        f"<clientcapabilities><privacymask>no</privacymask><multipartdata>{'yes' if multipart else 'no'}</multipartdata>"
        "<datarestriction>no</datarestriction></clientcapabilities>"
        "<servercapabilities><connectupdate>yes</connectupdate></servercapabilities>"
    )


def live_status(now_ms: int, items: dict[int, int]) -> bytes:
    values = "".join(f'<statusitem id="{key}" value="{value}" />' for key, value in sorted(items.items()))
    text = f'<?xml version="1.0" encoding="utf-8"?><livepackage><status><statustime>{now_ms}</statustime>{values}</status></livepackage>'
    return text.encode() + END


def alarms(request: Request, spans: t.Iterable[tuple[int, int]]) -> bytes:
    """The wrapper around the alarm elements is assumed (assumption `alarms_reply_wrapper`)."""
    inner = "".join(f'<alarm starttime="{begin}" endtime="{end}" alarmtime="{begin}" />' for begin, end in spans)
    return response(request.id, "alarms", f"<alarms>{inner}</alarms>")


class ImageFormat(t.NamedTuple):
    """How a client wants its pictures."""

    jpeg: bool
    multipart: bool

    def image(self, request_id: str, times: tuple[int, int, int], frame: bytes, number: int, live: bool = False) -> bytes:
        """One whole reply. `times` are those of the previous, this and the next picture."""
        previous, current, following = times
        head = f"ImageResponse\r\nRequestId: {request_id}\r\nPrev: {previous}\r\nCurrent: {current}\r\nNext: {following}\r\n"
        if self.jpeg:
            return f"{head}Content-length: {len(frame)}\r\nContent-type: image/jpeg\r\n\r\n".encode() + frame + END
        if not live and not self.multipart:
            data = legacy_block(frame, number)
        else:
            data = layout.pack_frame_head(current, number, len(frame)) + frame
        part = f"Content-length: {len(data)}\r\nContent-type: {GENERIC}\r\n\r\n"
        if live or not self.multipart:
            return (head + part).encode() + data + END
        whole = f'{head}Content-type: multipart/related; boundary={BOUNDARY}; type="{GENERIC}"\r\n\r\n--{BOUNDARY}\r\n{part}'
        return whole.encode() + data + f"\r\n--{BOUNDARY}--\r\n\r\n".encode()


def legacy_block(frame: bytes, number: int) -> bytes:
    """A legacy video block: only its type, its length at 8 and its 36-byte header are known (assumption `legacy_video_block_header`)."""
    head = layout.CODEC_JPEG.to_bytes(2, "big") + b"\0\0" + (number & 0xFFFFFFFF).to_bytes(4, "big") + (36 + len(frame)).to_bytes(4, "big")
    return head.ljust(36, b"\0") + frame


def empty_image(request_id: str) -> bytes:
    """The answer of an empty database."""
    return f"ImageResponse\r\nRequestId: {request_id}\r\nPrev: 0\r\nCurrent: 0\r\nNext: 0\r\nContent-length: 0\r\n\r\n".encode() + END
