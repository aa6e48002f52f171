# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything an operation gets: the options, the pair, and kept connections to its nodes and its Management Server.

An operation is a function ``run(context) -> result``. It runs on the controller, opens nothing itself and closes nothing:
the caller (action plugin or module) does `Context.close`.
"""

from __future__ import annotations

import concurrent.futures
import functools
import threading
import typing as t

from ..errors import SeveralErrors, TandemError
from ..local_runtime import LocalSession
from ..pair.pair import WITNESS, PairDefinition
from ..winrm import NodeSession
from ..xprotect.management_server import ManagementServer

Progress = t.Callable[[t.Optional[str], dict[str, t.Any]], None]
T = t.TypeVar("T")


class Context:
    def __init__(self, params: dict[str, t.Any], check_mode: bool = False, diff: bool = False,
                 progress: Progress | None = None):
        self.params = params
        self.check_mode = check_mode
        self.diff = diff
        self.warnings: list[str] = []
        self._progress = progress
        self._sessions: dict[str, t.Any] = {}
        self._management_server: ManagementServer | None = None
        self._lock = threading.RLock()
        self.pair: PairDefinition = PairDefinition.from_params(params)

    # -- what is told while it runs --------------------------------------------------------------------------------
    def report(self, node: str | None, event: dict[str, t.Any]) -> None:
        """Show one progress event. Events of the nodes come here by themselves."""
        with self._lock:
            if self._progress:
                self._progress(node, event)

    def warn(self, text: str) -> None:
        with self._lock:
            if text not in self.warnings:
                self.warnings.append(text)

    # -- the nodes -------------------------------------------------------------------------------------------------
    @property
    def node_names(self) -> list[str]:
        return list(self.pair.names)

    def session(self, node_name: str) -> NodeSession:
        """The kept connections to a node. Nothing is sent before their first use."""
        node = self.pair.node(node_name)
        with self._lock:
            if node.name not in self._sessions:
                self._sessions[node.name] = NodeSession(node.connection, self.pair.name,
                                                        on_progress=lambda event: self.report(node.name, event),
                                                        brings_runtime=not self.check_mode)
            return self._sessions[node.name]

    def witness_session(self) -> NodeSession | LocalSession:
        """The kept connection to the machine of the witness, to manage it. Voting needs none: the nodes ask the witness themselves."""
        witness = self.pair.witness
        if witness is None or witness.way == "none":
            what = "the pair has no witness" if witness is None else f"witness {witness.name} is not managed from this controller"
            raise TandemError(what, pair=self.pair.name, code="no_witness",
                              next_step="give witness with connection winrm or local, or have it done where the witness is managed.")
        with self._lock:
            if WITNESS not in self._sessions:
                listener = functools.partial(self.report, witness.name)
                self._sessions[WITNESS] = (
                    LocalSession(witness.name, self.pair.name, on_progress=listener) if witness.way == "local" else
                    NodeSession(witness.connection, self.pair.name, on_progress=listener, brings_runtime=not self.check_mode))
            return self._sessions[WITNESS]

    def call(self, node_name: str, verb: str, request: dict[str, t.Any] | None = None, **keywords: t.Any) -> dict[str, t.Any]:
        """Run one verb of the node runtime on one node."""
        return self.session(node_name).call(verb, request or {}, **keywords)

    def on_nodes(self, work: t.Callable[[NodeSession], T], nodes: t.Iterable[str] | None = None) -> dict[str, T]:
        """Do `work(session)` on both nodes (or those named) at the same time; the answers by node name.

        Waits for all of them. One failure is raised as it is, several together as `SeveralErrors`.
        """
        outcomes = self.try_on_nodes(work, nodes)
        errors = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, TandemError)}
        if len(errors) > 1:
            raise SeveralErrors(errors, self.pair.name)
        for error in errors.values():
            raise error
        return t.cast("dict[str, T]", outcomes)

    def try_on_nodes(self, work: t.Callable[[NodeSession], T],
                     nodes: t.Iterable[str] | None = None) -> dict[str, T | TandemError]:
        """Like `on_nodes`, but a node's `TandemError` is its answer: for reports about a pair that is not whole."""
        names = list(nodes) if nodes is not None else self.node_names

        def one(name: str) -> T | TandemError:
            try:
                return work(self.session(name))
            except TandemError as error:
                return error.at(self.pair.name, name)

        with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            futures = {name: pool.submit(one, name) for name in names}
            return {name: future.result() for name, future in futures.items()}

    # -- the Management Server -------------------------------------------------------------------------------------
    def management_server(self) -> ManagementServer:
        with self._lock:
            if self._management_server is None:
                options = self.pair.management_server
                if not options:
                    raise TandemError("this needs the Management Server, and none is given", pair=self.pair.name,
                                      next_step="set management_server (url, username, password) for the pair.")
                self._management_server = ManagementServer(options, self.pair.name)
            return self._management_server

    def close(self) -> None:
        """Close all connections. Never raises: what was done is done."""
        with self._lock:
            sessions, self._sessions = list(self._sessions.values()), {}
            server, self._management_server = self._management_server, None
        for session in sessions:
            session.close()
        if server is not None:
            server.close()

    def __enter__(self) -> t.Self:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()
