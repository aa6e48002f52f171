# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Tandem port: mutual TLS, one thread a connection, every request bounded. Who asks decides what may be asked."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
import traceback
import typing as t

from ..errors import NodeError
from ..host.base import HostError
from . import maintenance, wire
from .core import Guard
from .handover import Handover
from .tls import Pinned

HANDSHAKE_TIMEOUT = 5.0
IDLE_TIMEOUT = 60.0
STREAM_TIMEOUT = 30.0
MAX_CONNECTIONS = 32
ACCEPT_PAUSE = 0.5

Operation = t.Callable[[dict], dict]


class Server:
    def __init__(self, guard: Guard, handover: Handover, pinned: Pinned, report: t.Callable[[bool], dict]):
        self._guard = guard
        self._handover = handover
        self._pinned = pinned
        self._context = pinned.server()
        self._report = report
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._open_lock = threading.Lock()
        self.listening = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="tandem-port", daemon=True)
        self._operations: dict[str, dict[str, Operation]] = {
            "partner": {"status": self._vote, "vote.renew": self._vote, "vote.grant": self._vote, "vote.release": self._vote,
                        "report": lambda _m: self._report(True)},
            "local": {"status": lambda _m: self._fresh_report(), "adopt": lambda m: handover.adopt(_text(m, "force")),
                      "take": lambda m: handover.take(_text(m, "force"), m.get("without_witness") is True, _names(m, "accept"),
                                                      _text(m, "evidence")),
                      "release": lambda m: handover.release(_text(m, "successor") or "", m.get("fetches") is True, _names(m, "accept")),
                      "detach": lambda _m: handover.detach(), "rejoin": lambda m: handover.rejoin(_text(m, "partner") or ""),
                      "witness": lambda _m: handover.follow_witness(),
                      "maintenance": lambda m: handover.set_maintenance(_seconds(m), _text(m, "reason") or "no reason given")},
        }

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        with self._open_lock:
            connections = list(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(5.0)

    def _fresh_report(self) -> dict:
        """For people and playbooks, who may have changed the fence a moment ago."""
        self._guard.look_at_fence()
        return self._report(True)

    def _vote(self, message: dict) -> dict:
        """The partner asks for this node's vote, or how it is: both are told with each answer."""
        answer = self._guard.asked(self._guard.settings.partner.name, message)
        return {**answer, "report": self._report(True)}

    # -- connections ---------------------------------------------------------------------------------------------------
    def _accept(self) -> None:
        guard, settings = self._guard, self._guard.settings
        while not self._ended.is_set():
            try:
                listener = guard.host.listen(settings.address, settings.tandem_port)
            except (OSError, HostError) as error:
                guard.log.seldom("listen", f"{settings.address}:{settings.tandem_port} cannot be listened on: {error}")
                self._ended.wait(ACCEPT_PAUSE)
                continue
            self.listening.set()
            try:
                while not self._ended.is_set():
                    accepted = guard.host.accept(listener, ACCEPT_PAUSE)
                    if accepted is not None:
                        self._welcome(*accepted)
            except (OSError, HostError) as error:
                guard.log.seldom("accept", f"the Tandem port failed and is opened again: {error}")
            finally:
                self.listening.clear()
                listener.close()

    def _welcome(self, connection: socket.socket, peer: str) -> None:
        with self._open_lock:
            full = len(self._open) >= MAX_CONNECTIONS
            if not full:
                self._open.add(connection)
        if full:
            self._guard.log.seldom("full", f"{peer} was turned away: {MAX_CONNECTIONS} connections are open")
            connection.close()
            return
        threading.Thread(target=self._serve, args=(connection, peer), name=f"from-{peer}", daemon=True).start()

    def _serve(self, connection: socket.socket, peer: str) -> None:
        sock: socket.socket = connection
        try:
            connection.settimeout(HANDSHAKE_TIMEOUT)
            sock = self._context.wrap_socket(connection, server_side=True)
            with self._open_lock:
                self._open.discard(connection)
                self._open.add(sock)
            role = self._pinned.role(sock)
            if role not in self._operations:
                self._guard.log.seldom(f"certificate {peer}", f"{peer} was refused: its certificate is not one of this pair")
                return
            while not self._ended.is_set() and self._answer(sock, role, peer):
                pass
        except ssl.SSLError as error:
            self._guard.log.seldom(f"tls {peer}", f"{peer} was refused at the TLS handshake: {error.reason or error}")
        except (NodeError, HostError, wire.WireError) as error:
            self._guard.log.seldom(f"stream {peer}", f"a transfer to {peer} broke off: {error}")
        except OSError:
            pass  # the peer went away
        finally:
            with self._open_lock:
                self._open.discard(connection)
                self._open.discard(sock)
            sock.close()

    # -- one request ---------------------------------------------------------------------------------------------------
    def _answer(self, sock: ssl.SSLSocket, role: str, peer: str) -> bool:
        """Read one request and answer it; false when the connection is of no more use."""
        try:
            message = wire.receive(sock, IDLE_TIMEOUT)
        except TimeoutError:
            return False
        except wire.Closed:
            return False
        except wire.WireError as error:
            self._guard.log.seldom(f"frame {peer}", f"{peer} ({role}) was refused: {error}")
            wire.send(sock, {"ok": False, "error": NodeError(error.code, str(error)).as_dict()})
            return False
        refusal = self._stranger(message, role)
        if refusal is not None:
            self._guard.log.seldom(f"{refusal.code} {peer}", f"{peer} ({role}) was refused: {refusal.message}")
            wire.send(sock, {"ok": False, "error": refusal.as_dict()})
            return False
        if message.get("op") == "media.read":
            return self._stream(sock, message)
        wire.send(sock, self._reply(message, role))
        return True

    def _stranger(self, message: dict, role: str) -> NodeError | None:
        settings = self._guard.settings
        if message.get("pair") != settings.pair:
            return NodeError("wrong_pair", f"This is pair {settings.pair}, not {str(message.get('pair'))[:64]!r}.",
                             "Look at the pair's name in the inventory and at node.json on both nodes.")
        expected = settings.partner.name if role == "partner" else settings.node
        if message.get("node") != expected:
            return NodeError("wrong_node", f"{expected} is expected here, not {str(message.get('node'))[:64]!r}.",
                             "Look at node.json on both nodes.")
        return None

    def _reply(self, message: dict, role: str) -> dict:
        op = str(message.get("op"))
        reply: dict
        try:
            reply = {"ok": True, "result": self._operation(op, role)(message)}
        except NodeError as error:
            reply = {"ok": False, "error": error.as_dict()}
        except HostError as error:
            reply = {"ok": False, "error": NodeError("machine", f"The machine refused: {error}.").as_dict()}
        except Exception as error:  # noqa: BLE001 - the boundary: the peer gets an answer, the log gets the details
            self._guard.log(f"{op} failed: {traceback.format_exc()}")
            reply = {"ok": False, "error": NodeError("internal", f"{op} failed: {type(error).__name__}: {error}.",
                                                     "Look at guard.log on that node.").as_dict()}
        try:
            wire.encode(reply)
        except wire.WireError as error:
            return {"ok": False, "error": NodeError("oversized", f"The answer to {op} does not fit: {error}.").as_dict()}
        return reply

    def _operation(self, op: str, role: str) -> Operation:
        operation = self._operations[role].get(op)
        if operation is not None:
            return operation
        from ..media import remote
        if op in remote.OPS:
            return lambda message: remote.OPS[op](self._guard.host, self._guard.settings, message)
        raise NodeError("unknown_op", f"{op[:64]!r} cannot be asked here by the {role} side.",
                        "Bring both nodes to the same version of the node runtime.")

    def _stream(self, sock: ssl.SSLSocket, message: dict) -> bool:
        """Header, raw bytes, trailer with their SHA-256. Once bytes flow, a failure can only end the connection."""
        from ..media import remote
        try:
            length, pieces = remote.read_stream(self._guard.host, self._guard.settings, message)
        except (NodeError, HostError) as error:
            described = error if isinstance(error, NodeError) else NodeError("machine", f"The machine refused: {error}.")
            wire.send(sock, {"ok": False, "error": described.as_dict()})
            return True
        wire.send(sock, {"ok": True, "length": length})
        digest, sent = hashlib.sha256(), 0
        for piece in pieces:
            sent += len(piece)
            if sent > length:
                break
            digest.update(piece)
            sock.settimeout(STREAM_TIMEOUT)
            sock.sendall(piece)
        if sent != length:
            self._guard.log(f"media.read gave {sent} bytes instead of {length}: the connection is cut")
            return False
        wire.send(sock, {"sha256": digest.hexdigest(), "sent_at_ms": time.time_ns() // 1_000_000})
        return True


def _text(message: dict, name: str) -> str | None:
    text = message.get(name)
    return text.strip()[:1000] or None if isinstance(text, str) else None


def _names(message: dict, name: str) -> frozenset[str]:
    names = message.get(name)
    return frozenset(str(item)[:64] for item in names[:16]) if isinstance(names, list) else frozenset()


def _seconds(message: dict) -> float:
    seconds = message.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= maintenance.LONGEST:
        raise NodeError("bad_request", f"'seconds' must be from 0 to {maintenance.LONGEST}.")
    return float(seconds)
