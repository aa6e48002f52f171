# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The client side of the Tandem port: one verb or one guard talks to the partner's guard, to its own machine's, or to the witness.

``with TandemClient(host, settings) as partner: partner.call("report")``. A client keeps its connection; it is for one
thread at a time. Answers of the other side that refuse become `NodeError` with the code that the other side gave;
a side that cannot be reached becomes ``partner_unreachable``, ``witness_unreachable`` or ``guard_down``.
"""

from __future__ import annotations

import ssl
import time
import typing as t

from ..errors import NodeError
from ..host.base import Host
from ..settings import NodeSettings
from . import wire
from .tls import Pinned

#: Operations that may be asked a second time when a kept connection turns out to be dead.
REPEATABLE = frozenset({"status", "report", "vote.renew", "vote.grant", "vote.release", "writing", "coverage", "tables", "manifest",
                        "media.read"})


class TandemClient:
    def __init__(self, host: Host, settings: NodeSettings, peer: str = "partner", pinned: Pinned | None = None,
                 connect_timeout: float = 3.0):
        self._host = host
        self._settings = settings
        self._peer = peer
        self._name, self._address, self._port = _place(settings, peer)
        self._pinned = pinned
        self._context: ssl.SSLContext | None = None
        self._connect_timeout = connect_timeout
        self._sock: ssl.SSLSocket | None = None

    def __enter__(self) -> TandemClient:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        sock, self._sock = self._sock, None
        if sock is not None:
            sock.close()

    def connect(self, timeout: float | None = None) -> None:
        """Have a connection, so that the next call does not pay for it."""
        if self._sock is not None:
            return
        timeout = self._connect_timeout if timeout is None else timeout
        self._pinned = self._pinned or Pinned(self._host)
        self._context = self._context or self._pinned.client()
        try:
            try:
                sock = self._open(timeout)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                sock = self._open(timeout)  # cut in the middle of the handshake: nothing was asked yet, so once more is harmless
        except OSError as error:
            raise self._unreachable(error) from None
        self._sock = sock

    def _open(self, timeout: float) -> ssl.SSLSocket:
        raw = self._host.connect(self._address, self._port, timeout)
        try:
            raw.settimeout(timeout)
            sock = t.cast(ssl.SSLContext, self._context).wrap_socket(raw)
        except OSError:
            raw.close()
            raise
        if t.cast(Pinned, self._pinned).role(sock) != self._peer:
            sock.close()
            raise ssl.SSLError("the certificate is not the pinned one")
        return sock

    def call(self, op: str, timeout: float = 5.0, **fields: t.Any) -> dict:
        """Ask for `op`, wait for at most `timeout` seconds and return the result object."""
        result = self._ask(op, timeout, fields).get("result")
        return result if isinstance(result, dict) else {}

    def read(self, op: str, timeout: float = 30.0, **fields: t.Any) -> tuple[dict, t.Iterator[bytes], t.Callable[[], dict]]:
        """Ask for a stream: its header, an iterator over the bytes, and a function that gives the trailer afterwards.

        `timeout` limits the wait for the header and for each further piece. The trailer's SHA-256 is compared here
        with what arrived; a difference raises. A stream that is not read to its end costs the connection.
        """
        header = self._ask(op, timeout, fields)
        length = header.get("length")
        if not isinstance(length, int) or length < 0:
            self.close()
            raise NodeError("protocol", f"The guard of {self._name} announced a stream without a length.")
        import hashlib
        digest = hashlib.sha256()
        state = {"left": length}

        def pieces() -> t.Iterator[bytes]:
            try:
                while state["left"]:
                    piece = wire.receive_some(self._connected(), state["left"], time.monotonic() + timeout)
                    if not piece:
                        raise OSError(f"the stream ended {state['left']} bytes early")
                    state["left"] -= len(piece)
                    digest.update(piece)
                    yield piece
            except (OSError, wire.WireError) as error:
                self.close()
                raise self._unreachable(error) from None
            finally:
                if state["left"]:
                    self.close()

        def trailer() -> dict:
            if state["left"]:
                raise NodeError("protocol", "The stream was not read to its end, so there is no trailer.")
            try:
                answer = wire.receive(self._connected(), timeout)
            except (OSError, wire.WireError) as error:
                self.close()
                raise self._unreachable(error) from None
            if answer.get("sha256") != digest.hexdigest():
                self.close()
                raise NodeError("damaged", f"What arrived from the guard of {self._name} is not what was sent (SHA-256 differs).",
                                "Run the same operation again; it goes on where it stopped.")
            return answer

        return header, pieces(), trailer

    # -- inside --------------------------------------------------------------------------------------------------------
    def _ask(self, op: str, timeout: float, fields: dict) -> dict:
        kept = self._sock is not None
        message = {**fields, "op": op, "pair": self._settings.pair, "node": self._settings.node}
        try:
            answer = self._exchange(message, timeout)
        except (OSError, wire.WireError) as error:
            self.close()
            if not kept or op not in REPEATABLE or isinstance(error, TimeoutError):
                raise self._unreachable(error) from None
            try:
                answer = self._exchange(message, timeout)
            except (OSError, wire.WireError) as second:
                self.close()
                raise self._unreachable(second) from None
        if answer.get("ok") is True:
            return answer
        error = NodeError.from_dict(answer.get("error"))
        error.details["answered_by"] = self._name
        raise error

    def _exchange(self, message: dict, timeout: float) -> dict:
        deadline = time.monotonic() + timeout
        self.connect(min(self._connect_timeout, timeout))
        sock = self._connected()
        wire.send(sock, message, max(0.05, deadline - time.monotonic()))
        return wire.receive(sock, max(0.05, deadline - time.monotonic()))

    def _connected(self) -> ssl.SSLSocket:
        if self._sock is None:
            raise OSError("the connection is closed")
        return self._sock

    def _unreachable(self, error: Exception) -> NodeError:
        place = f"{self._address}:{self._port}"
        reason = str(error) or type(error).__name__
        if self._peer == "partner":
            return NodeError("partner_unreachable", f"The guard of {self._name} at {place} did not answer: {reason}.",
                             f"Check that {self._name} is on, that its service 'Tandem Guard' runs and that port "
                             f"{self._port} is open between the two nodes.")
        if self._peer == "witness":
            return NodeError("witness_unreachable", f"The witness {self._name} at {place} did not answer: {reason}.",
                             f"Check that {self._name} is on, that the witness service runs there, that this pair is registered with it and "
                             f"that port {self._port} is open from this node.")
        return NodeError("guard_down", f"The guard of this node ({self._name}, {place}) did not answer: {reason}.",
                         "Start the service 'Tandem Guard' and look at C:\\ProgramData\\Tandem\\guard\\guard.log.")


def _place(settings: NodeSettings, peer: str) -> tuple[str, str, int]:
    """Name, address and port of whom to talk to."""
    if peer == "partner":
        return settings.partner.name, settings.partner.address, settings.tandem_port
    if peer == "local":
        return settings.node, settings.address, settings.tandem_port
    if peer == "witness" and settings.witness is not None:
        return settings.witness.name, settings.witness.address, settings.witness.port
    raise ValueError(f"unknown peer {peer!r}")
