# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An ImageServer of a few lines: live pictures, and playback of a list of pictures, one thread a connection."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time

LIVE_INTERVAL = 0.02


def jpeg(serial, counter, time_ms, size=5000):
    comment = b"TANDEM1 " + json.dumps({"serial": serial, "counter": counter, "time_ms": time_ms, "motion": 0.0}).encode()
    return b"\xff\xd8\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + b"\xff\xda" + b"\r\n\r\n" * (size // 4) + b"\xff\xd9"


class FakeImageServer:
    def __init__(self, address, cameras, port=7563):
        self.cameras = cameras
        self.refuse = None  # an errorreason, or a function of the token
        self.frozen = False
        self.recorded = []  # (time_ms, counter), rising
        self.connects = []  # (camera id, token)
        self.most_in_flight = 0
        self._place = (address, port)
        self._open = []
        self._began = time.time()
        self._listener = None
        self.listen()

    def listen(self):
        self._listener = socket.create_server(self._place, reuse_port=True)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self):
        """The machine is gone: nothing listens, every connection ends."""
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for peer in list(self._open):
            try:
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    close = cut

    def _accept(self, listener):
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            self._open.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        try:
            with peer:
                self._talk(peer)
        except OSError:
            pass
        finally:
            self._open.remove(peer)

    def _requests(self, peer):
        buffer = b""
        while True:
            while b"\r\n\r\n" in buffer:
                self.most_in_flight = max(self.most_in_flight, buffer.count(b"\r\n\r\n"))
                text, _, buffer = buffer.partition(b"\r\n\r\n")
                yield dict(re.findall(r"<(\w+)>([^<]*)</\1>", text.decode()))
            data = peer.recv(65536)
            if not data:
                return
            buffer += data

    def _talk(self, peer):
        camera = position = None
        for request in self._requests(peer):
            method, number = request["methodname"], request["requestid"]
            if method == "connect":
                parameters = dict(item.split("=", 1) for item in request["connectparam"].split("&amp;"))
                camera = parameters["id"]
                self.connects.append((camera, parameters["connectiontoken"]))
                reason = self.refuse(parameters["connectiontoken"]) if callable(self.refuse) else self.refuse
                answer = "<connected>no</connected>" if reason else "<connected>yes</connected>"
                self._xml(peer, number, "connect", f"{answer}<errorreason>{reason or 'Success'}</errorreason>")
                if reason:
                    return
            elif method == "live":
                self._live(peer, number, camera)
            elif method == "goto":
                wanted = int(request["time"])
                position = max([i for i, (at, _) in enumerate(self.recorded) if at <= wanted], default=0)
                self._picture(peer, number, camera, position)
            elif method == "next":
                position = min(position + 1, len(self.recorded) - 1)
                self._picture(peer, number, camera, position)

    def _xml(self, peer, number, method, content):
        text = ('<?xml version="1.0" encoding="UTF-8"?><methodresponse><requestid>%s</requestid><methodname>%s</methodname>%s'
                "</methodresponse>\r\n\r\n")
        peer.sendall((text % (number, method, content)).encode())

    def _image(self, peer, number, at, data):
        head = (f"ImageResponse\r\nRequestId: {number}\r\nPrev: {at - 200}\r\nCurrent: {at}\r\nNext: {at + 200}\r\n"
                f"Content-length: {len(data)}\r\nContent-type: image/jpeg\r\n\r\n")
        peer.sendall(head.encode() + data + b"\r\n\r\n")

    def _picture(self, peer, number, camera, position):
        if not self.recorded:
            self._image(peer, number, 0, b"")
            return
        at, counter = self.recorded[position]
        self._image(peer, number, at, jpeg(f"cam-{self.cameras[camera]}", counter, at))

    def _live(self, peer, number, camera):
        status = ('<?xml version="1.0" encoding="utf-8"?><livepackage><status><statustime>1</statustime>'
                  '<statusitem id="1" value="1" /></status></livepackage>\r\n\r\n')
        peer.sendall(status.encode())
        counter = int((time.time() - self._began) / LIVE_INTERVAL)
        while True:
            time.sleep(LIVE_INTERVAL)
            if self.frozen:
                continue
            counter += 1
            at = int((self._began + counter * LIVE_INTERVAL) * 1000)
            self._image(peer, number, at, jpeg(f"cam-{self.cameras[camera]}", counter, at))
