# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorders' side of the Management Server, TCP 9000: who is connected, what they are sent.

Two recorders with one id at the same time are both kept connected, counted and logged: a site must never have them
(assumption `duplicate_recorder_id_tolerated`, default false; when it is true they are logged only).
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import logging
import time
import typing as t

from .config import ServerConfig
from .connection_log import ConnectionLog
from .model import Model
from .registrations import Registrations
from .uplink_link import MAX_LINE, Hello, Link, read_message
from .vms_tokens import VmsTokens

log = logging.getLogger(__name__)
PING_SECONDS = 1.0
SILENCE_SECONDS = 3.0
SETTLE_SECONDS = 1.0
MAX_LINKS = 1000


class Uplink:
    def __init__(self, config: ServerConfig, model: Model, tokens: VmsTokens):
        self._config = config
        self._model = model
        self._tokens = tokens
        self._links: list[Link] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._registrations: dict[tuple[str, str], dict[str, t.Any]] = {}
        self._machines = Registrations(config.state, str(config.settings.get("registration", "once")))
        self._record = ConnectionLog(config.state)
        self._last_refusal: dict[str, str] = {}
        self.duplicates = 0
        self.duplicate_events: collections.deque[dict[str, t.Any]] = collections.deque(maxlen=100)

    async def start(self) -> None:
        self._record.open()
        self._record("started")
        self._server = await asyncio.start_server(self._accepted, self._config.address, self._config.uplink_port, limit=MAX_LINE)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._record("stopped")
        self._record.close()

    # -- connections ---------------------------------------------------------------------------------------------
    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, ValueError, TimeoutError) as error:
            log.info("connection from %s dropped: %s", writer.get_extra_info("peername"), error or type(error).__name__)
        except asyncio.CancelledError:
            pass  # the server stops: the connection is closed below
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await read_message(reader, SILENCE_SECONDS)
        if first is None:
            return
        hello = Hello.parse(first)
        reason = self._refusal(hello, writer.get_extra_info("peername")[0])
        if reason:
            await self._refuse(hello, writer, reason)
            return
        link = Link(hello, writer)
        self._connect(link)
        pinger = asyncio.create_task(self._ping(link))
        reason = "the recorder closed the connection"
        try:
            await self._read(link, reader)
        except BaseException as error:
            reason = str(error) or type(error).__name__
            raise
        finally:
            pinger.cancel()
            self._disconnected(link, reason)
            await link.closed()

    def _disconnected(self, link: Link, reason: str) -> None:
        self._links.remove(link)
        self._record(
            "disconnected", link.hello.recorder_id, link.source, instance=link.hello.instance, since_ms=link.since_ms,
            heard_ms=link.heard_ms, reason=link.ended or reason,
        )
        log.info("recorder %s disconnected: instance %s from %s", link.hello.recorder_id, link.hello.instance, link.source)

    def _refusal(self, hello: Hello, source: str) -> str | None:
        if self._model.find("recordingServers", hello.recorder_id) is None:
            return f"The recorder id {hello.recorder_id} is not registered on this Management Server"
        if len(self._links) >= MAX_LINKS:
            return "Too many recorders are connected"
        return self._machines.refusal(hello.recorder_id, source)

    async def _refuse(self, hello: Hello, writer: asyncio.StreamWriter, reason: str) -> None:
        source = writer.get_extra_info("peername")[0]
        if self._last_refusal.get(source) != reason:  # a refused recorder comes back several times a second
            self._last_refusal[source] = reason
            self._record("refused", hello.recorder_id, source, reason=reason)
            log.warning("recorder from %s refused: %s", source, reason)
        Link(hello, writer).send({"type": "refused", "reason": reason})
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), SILENCE_SECONDS)

    def _connect(self, link: Link) -> None:
        hello = link.hello
        others = [other for other in self._links if other.hello.recorder_id == hello.recorder_id and other.alive]
        rivals = [other for other in others if other.hello.instance != hello.instance]
        self._record(
            "connected", hello.recorder_id, link.source, instance=hello.instance, host=hello.host,
            client_registration_id=hello.client_registration_id,
        )
        if rivals:
            self._note_duplicate(link, rivals)
        self._links.append(link)
        self._last_refusal.pop(link.source, None)
        if not self._machines.known(hello.recorder_id):
            self._machines.register(hello.recorder_id, link.source, hello.client_registration_id)
        self._register(link)
        self._write_address(hello)
        link.send(
            {
                "type": "welcome",
                "configuration": self._model.configuration(hello.recorder_id),
                "tokens": [{"token": token.text, "expires_ms": token.expires_ms} for token in self._tokens.all_live()],
            }
        )
        log.info("recorder %s connected: instance %s from %s", hello.recorder_id, hello.instance, link.source)

    def _note_duplicate(self, link: Link, rivals: list[Link]) -> None:
        if not self._config.assumption("duplicate_recorder_id_tolerated", False):
            self.duplicates += 1
        sources = [other.source for other in rivals]
        silences = [
            {"from": other.source, "instance": other.hello.instance, "silent_ms": link.since_ms - other.heard_ms} for other in rivals
        ]
        self._record("duplicate", link.hello.recorder_id, link.source, instance=link.hello.instance, rivals=silences)
        self.duplicate_events.append(
            {"recorder_id": link.hello.recorder_id, "at_ms": int(time.time() * 1000), "new": link.source, "connected": sources}
        )
        log.error("DUPLICATE: recorder %s connects from %s while connected from %s", link.hello.recorder_id, link.source, sources)

    def _register(self, link: Link) -> None:
        key = (link.hello.recorder_id, link.hello.client_registration_id)
        entry = self._registrations.setdefault(key, {"first_seen_ms": link.since_ms})
        entry.update(
            {"recorder_id": key[0], "client_registration_id": key[1], "source": link.source, "last_seen_ms": link.since_ms}
        )

    def _write_address(self, hello: Hello) -> None:
        """What the recorder says about itself becomes what clients are told (assumption `web_server_uri_written_by_recorder`)."""
        values: dict[str, t.Any] = {"version": hello.version, "timeZoneName": hello.time_zone}
        if self._config.assumption("web_server_uri_written_by_recorder", True):
            uri = f"http://{hello.host}:{hello.port}/"
            values |= {"hostName": hello.host, "portNumber": hello.port, "webServerUri": uri}
        self._model.change("recordingServers", hello.recorder_id, values, configuration=False)

    async def _read(self, link: Link, reader: asyncio.StreamReader) -> None:
        while True:
            message = await read_message(reader, SILENCE_SECONDS)
            if message is None:
                return
            link.heard_ms = int(time.time() * 1000)
            if message.get("type") == "pong":
                await link.pong()
            elif message.get("type") == "status":
                link.status = {name: value for name, value in message.items() if name != "type"}

    async def _ping(self, link: Link) -> None:
        while True:
            link.ping()
            await asyncio.sleep(PING_SECONDS)

    def register(self, recorder_id: str, machine: str, client_registration_id: str) -> None:
        """A machine registered the recorder. Where registrations are not shared, that is the end of all others' connections."""
        self._machines.register(recorder_id, machine, client_registration_id)
        self._record("registered", recorder_id, machine, client_registration_id=client_registration_id)
        for link in [link for link in self._links if link.hello.recorder_id == recorder_id]:
            reason = self._machines.refusal(recorder_id, link.source)
            if reason:
                link.dismiss(reason)

    # -- what others ask -----------------------------------------------------------------------------------------
    async def push_token(self, text: str, expires_ms: int) -> None:
        """All recorders that answer have this token when this returns; a silent one is waited for a short time only."""
        links = list(self._links)
        for link in links:
            link.send({"type": "token", "token": text, "expires_ms": expires_ms})
        await asyncio.gather(*(link.settled(SETTLE_SECONDS) for link in links))

    async def push_configuration(self, recorder_id: str) -> None:
        for link in self._links:
            if link.hello.recorder_id == recorder_id:
                link.send({"type": "configuration", "configuration": self._model.configuration(recorder_id)})

    def describe(self) -> dict[str, t.Any]:
        return {
            "connected": [
                {"recorder_id": link.hello.recorder_id, "instance": link.hello.instance, "source": link.source, "since_ms": link.since_ms}
                for link in self._links if link.alive
            ],
            "duplicates": self.duplicates,
            "duplicate_events": list(self.duplicate_events),
            "registrations": [dict(entry) for entry in self._registrations.values()],
            "registration": self._machines.describe(),
            "statuses": [{"recorder_id": link.hello.recorder_id, **dataclasses.asdict(link.hello), **link.status} for link in self._links],
        }
