# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What integrations see of an attachment: the fingerprint before and after it, and how soon a client is served again.

All of it is asked of the Management Server and through the service address, as an integration does. It proves an
attachment and takes no part in it: a failover goes on when nothing of it can be read.
"""

from __future__ import annotations

import ssl
import threading
import time
import typing as t
import urllib.parse

from ..errors import TandemError
from ..xprotect import fingerprint
from ..xprotect.image_server import ImageServerClient
from ..xprotect.recorder_status import get_recorder_status
from .context import Context

POLL_SECONDS = 0.1
FINGERPRINT_WAIT = 20.0
FINGERPRINT_POLL = 1.0


class Integrations:
    """Use: `start`, then (after some other work) `ready`, then attach, `watch` and `compare`."""

    def __init__(self, context: Context):
        self._context = context
        self._thread: threading.Thread | None = None
        self._error: TandemError | None = None
        self._found: fingerprint.Fingerprint | None = None
        self.before: fingerprint.Fingerprint | None = None  # set by `ready`: a reading that came too late is not from before
        self._token = ""
        self._uri = ""
        self._last = ""  # why the last look was in vain

    @property
    def wanted(self) -> bool:
        return bool(self._context.params.get("management_server"))

    def start(self) -> None:
        """Begin to read the fingerprint and to log in; `ready` waits for it."""
        if self.wanted and self._thread is None:
            self._thread = threading.Thread(target=self._read_before, name="tandem fingerprint", daemon=True)
            self._thread.start()

    def _read_before(self) -> None:
        try:
            server = self._context.management_server()
            self._uri = server.recorder_uri(self._context.pair.recorder_id)
            self._token = server.soap.token()
            self._found = fingerprint.read(server, self._context.pair.recorder_id)
        except TandemError as error:
            self._error = error

    def ready(self, timeout: float) -> TandemError | None:
        """Wait for what `start` began. None when all was read (or nothing was wanted), else why not."""
        if self._thread is None:
            return None
        self._thread.join(timeout)
        if self._thread.is_alive():
            return TandemError(f"the Management Server did not give the fingerprint within {timeout:.0f} s", pair=self._context.pair.name,
                               code="timeout", next_step="look at the Management Server's load.")
        self.before = self._found
        return self._error

    # -- after attaching -------------------------------------------------------------------------------------------
    def watch(self, timeout: float) -> list[dict[str, t.Any]]:
        """Two steps and how long each took: the recorder says it is connected, and a client gets a live picture."""
        began = time.monotonic()
        deadline = began + timeout
        steps = []
        for step, look in (("connection_seen", self._connected), ("first_client_served", self._served)):
            if not self._until(look, deadline):
                self._context.warn(f"{step.replace('_', ' ')} was not reached within {timeout:.0f} s: {self._last}")
                break
            now = time.monotonic()
            event = {"step": step, "seconds": round(now - began, 4)}
            began = now
            self._context.report(None, event)
            steps.append(event)
        return steps

    def _until(self, look: t.Callable[[], bool], deadline: float) -> bool:
        self._last = "nothing was asked"
        while True:
            try:
                if look():
                    return True
            except TandemError as error:
                self._last = error.message
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)

    def _connected(self) -> bool:
        url = f"{self._scheme}://{self._context.pair.service_address.address}:{self._port}"
        status = get_recorder_status(url, self._token, pair=self._context.pair.name, **self._tls_options())
        self._last = f"the recorder says {status.attach_state}, {status.connection_state}"
        return status.attached

    def _served(self) -> bool:
        """One client for one camera after the other; a camera that is switched off serves nobody."""
        cameras = self._cameras()
        if not cameras:
            self._last = "the recorder has no enabled camera"
            return False
        for camera in cameras[:4]:
            try:
                client = ImageServerClient(self._context.pair.service_address.address, camera, self._token, port=self._port,
                                           tls=self._tls(), timeout=3.0, connect_timeout=2.0, pair=self._context.pair.name)
                with client:
                    return not client.live_frame().empty
            except TandemError as error:
                self._last = error.message
                if error.code == "refused" and "token" in str(error.details.get("reason", "")).casefold():
                    self._renew_token()
        return False

    def _renew_token(self) -> None:
        server = self._context.management_server()
        server.soap.forget_token()
        self._token = server.soap.token()

    def _cameras(self) -> list[str]:
        cameras = self.before.identity.get("rest", {}).get("cameras", {}) if self.before else {}
        return [camera for camera, found in cameras.items() if found.get("enabled", True)] if isinstance(cameras, dict) else []

    # -- the recorder's address ------------------------------------------------------------------------------------
    @property
    def _scheme(self) -> str:
        return urllib.parse.urlsplit(self._uri).scheme or "http"

    @property
    def _port(self) -> int:
        return urllib.parse.urlsplit(self._uri).port or 7563

    def _tls_options(self) -> dict[str, t.Any]:
        options = self._context.params["management_server"]
        return {"ca_file": options.get("ca_file"), "validate_certificate": options.get("validate_certificate") is not False}

    def _tls(self) -> ssl.SSLContext | None:
        if self._scheme != "https":
            return None
        options = self._tls_options()
        context = ssl.create_default_context(cafile=options["ca_file"])
        if not options["validate_certificate"]:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    # -- the promise -----------------------------------------------------------------------------------------------
    def compare(self) -> dict[str, t.Any] | None:
        """The fingerprint before and after. Raises when they differ; None when there is none to compare."""
        if self.before is None:
            return None
        after = self._read_after()
        if after is None:
            return {"before": self.before.sha256, "after": None, "equal": None}
        if after.sha256 == self.before.sha256:
            return {"before": self.before.sha256, "after": after.sha256, "equal": True}
        changes = fingerprint.differences(self.before, after)
        shown = "; ".join(f"{change['field']}: {change['before']!r} became {change['after']!r}"[:160] for change in changes[:10])
        more = f"; and {len(changes) - 10} more" if len(changes) > 10 else ""
        raise TandemError(f"the identity that integrations see is not the same as before in {len(changes)} fields: {shown}{more}",
                          pair=self._context.pair.name, code="fingerprint_changed", details={"differences": changes[:100]},
                          next_step="find out what changed these fields at the Management Server; if it was the attachment, compare"
                                    " RecorderConfig.xml of both nodes (module recorder_identity in check mode shows the difference).")

    def _read_after(self) -> fingerprint.Fingerprint | None:
        """The Management Server may take a moment to store what the newly attached recorder tells it."""
        deadline = time.monotonic() + FINGERPRINT_WAIT
        found = None
        while True:
            try:
                found = fingerprint.read(self._context.management_server(), self._context.pair.recorder_id)
                if self.before is None or found.sha256 == self.before.sha256:
                    return found
            except TandemError as error:
                if found is None and time.monotonic() >= deadline:
                    self._context.warn(f"the fingerprint could not be read afterwards: {error.message}")
                    return None
            if time.monotonic() >= deadline:
                return found
            time.sleep(FINGERPRINT_POLL)
