# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps in touch: with the partner and the witness once a second, and, while attached, with the Management Server.

One thread a peer. What is said is the agent's business (`Agent.next_request`); here is only the saying.
"""

from __future__ import annotations

import threading
import typing as t

from ..errors import NodeError
from ..host.base import HostError
from ..settings import WITNESS
from .client import TandemClient
from .core import Guard
from .decisions import ATTACHED
from .protocol.terms import BadMessage
from .tls import Pinned

CALL_TIMEOUT = 2.0
CONNECT_TIMEOUT = 1.0
#: Seconds between two looks at a Management Server that there is no doubt about.
CALM_PAUSE = 10.0


class Conversation:
    """This node's requests to one of the other voters."""

    def __init__(self, guard: Guard, peer: str, client: TandemClient, report: t.Callable[[], dict]):
        self._guard = guard
        self._peer = peer
        self._client = client
        self._report = report
        self._silent = False
        self._ended = threading.Event()
        self._wake = threading.Event()
        guard.wakers.append(self._wake)
        self._thread = threading.Thread(target=self._run, name=peer, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join(CALL_TIMEOUT + 2.0)
        self._client.close()

    def _run(self) -> None:
        guard = self._guard
        while not self._ended.is_set():
            self._wake.wait(guard.interval)
            self._wake.clear()
            if self._ended.is_set():
                return
            try:
                self._talk()
            except (NodeError, HostError, OSError, BadMessage) as error:
                guard.log.seldom(f"talk {self._peer} {type(error).__name__}", f"talking to {self._peer}: {error}")
                self._ended.wait(0.05)
            except Exception as error:  # noqa: BLE001 - the guard goes on without this word
                guard.log(f"talking to {self._peer} failed: {type(error).__name__}: {error}")
                self._client.close()
                self._ended.wait(guard.interval)

    def _talk(self) -> None:
        guard = self._guard
        with guard.lock:
            sent_at, sent_wall = guard.host.monotonic(), guard.host.wall()
            request = guard.agent.next_request(self._peer, sent_at)
        fields = {name: value for name, value in request.items() if name != "op"}
        if self._peer == WITNESS:
            fields["report"] = self._report()
        try:
            answer = self._client.call(request["op"], CALL_TIMEOUT, **fields)
        except NodeError as error:
            self._failed(request, error)
            return
        with guard.lock:
            guard.agent.answered(self._peer, request, answer, sent_at, guard.host.monotonic())
            if self._peer != WITNESS:
                report = answer.get("report")
                guard.partner_report = report if isinstance(report, dict) else {}
            guard.news.notify_all()
        if self._peer != WITNESS:
            guard.observer.hear_partner(answer.get("report"), sent_wall, guard.host.wall())
        if self._silent:
            self._silent = False
            guard.log(f"{self._peer} answers again")

    def _failed(self, request: dict, error: NodeError) -> None:
        guard = self._guard
        with guard.lock:
            guard.agent.failed(self._peer, request, guard.host.monotonic())
            guard.news.notify_all()
        if error.details.get("answered_by"):
            guard.log.seldom(f"refused {self._peer}", f"{self._peer} refused: {error.message}")
        elif not self._silent:
            self._silent = True
            guard.log(error.message)


class Link:
    """All conversations of a guard, and its look at the Management Server."""

    def __init__(self, guard: Guard, pinned: Pinned, report: t.Callable[[bool], dict]):
        self._guard = guard
        self._ended = threading.Event()
        settings = guard.settings
        peers = [(settings.partner.name, "partner")] + ([(WITNESS, "witness")] if settings.witness else [])
        self._conversations = [
            Conversation(guard, voter, TandemClient(guard.host, settings, kind, pinned, CONNECT_TIMEOUT), lambda: report(False))
            for voter, kind in peers]
        targets = [(address, port) for address in settings.management_addresses for port in settings.management_ports]
        self._threads = [threading.Thread(target=self._probe, args=target, name="management", daemon=True) for target in targets[:8]]

    def start(self) -> None:
        for conversation in self._conversations:
            conversation.start()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._ended.set()
        for conversation in self._conversations:
            conversation.stop()
        for thread in self._threads:
            thread.join(CALL_TIMEOUT + 2.0)

    def _probe(self, address: str, port: int) -> None:
        """While attached, see whether the Management Server can be reached. Shown, and needed before a recorder is restarted."""
        guard, last = self._guard, None
        while not self._ended.wait(guard.interval):
            if guard.state != ATTACHED:
                last = None
                continue
            now, recorder = guard.host.monotonic(), guard.observer.state()
            if last is not None and recorder is not None and recorder.attached and 0 <= now - last < CALM_PAUSE:
                continue
            last = now
            try:
                guard.host.connect(address, port, CONNECT_TIMEOUT).close()
            except (OSError, HostError):
                continue
            guard.reached_management(now)
