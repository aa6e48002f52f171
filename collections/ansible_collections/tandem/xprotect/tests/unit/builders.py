# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests of pairs are built from: options, and what a node's ``facts`` verb gives."""

from __future__ import annotations

import copy

from ansible_collections.tandem.xprotect.plugins.module_utils.operations.context import Context
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.pair import PairDefinition
from ansible_collections.tandem.xprotect.plugins.module_utils.pair.roles import NodeView

RECORDER = "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c"
OTHER = "11111111-2222-4333-8444-555555555555"


def facts(recorder_id=RECORDER, state=None, epoch=1, running=True, attach_state=None, fenced=True, **changes):
    """What the verb ``facts`` gives. `state`: of the guard, None for a node without one. Paths with ``__`` change single values."""
    attach_state = attach_state or ("Attached" if state == "attached" else "Detached")
    guard = None
    if state:
        guard = {"state": state, "epoch": epoch, "since_ms": 1, "permit": {"open": state == "attached"}, "runtime_sha256": "r" * 64,
                 "service_address": {"address": "10.0.0.10", "held": state == "attached"}, "partner": {"heard_ago": 0.3},
                 "recorder": {"devices": 8, "writing": 7}, "voting": True, "incarnation": "i", "claim": None, "busy": None,
                 "membership": {"number": 1, "voters": ["north-a", "north-b"]},
                 "lease": {"ttl": 8.0, "margin": 1.7, "deadline_in": 5.0 if state == "attached" else None, "free_in": 0},
                 "voters": {}, "fuse": {"alive": True, "restarts": 0}, "witness": None, "maintenance": None,
                 "health": {"score": 100, "causes": [], "serving_fit": True}, "promotion": "playbook",
                 "registration": {"mode": "once", "error": None}, "fence_agent": None}
    found = {
        "runtime": {"version": "0.1.0", "sha256": "r" * 64, "python": "3.11"},
        "machine": {"name": "M", "time_zone": "Romance Standard Time", "clock_ms": 1_700_000_000_000,
                    "drives": [{"letter": "C:", "free_bytes": 1, "total_bytes": 2}, {"letter": "D:", "free_bytes": 1, "total_bytes": 2}],
                    "addresses": {"10.0.0.10": None} if state == "attached" else {}},
        "recorder": {"installed": True, "service": {"state": "running" if running else "stopped", "start_type": "auto"}, "version": "25.1.0.2",
                     "device_pack": "13.5",
                     "id": recorder_id, "name": "REC", "server_address": "10.0.0.2", "media_folders": ["D:\\MediaDatabase"],
                     "config_error": None,
                     "status": {"attach_state": attach_state,
                                "connection_state": "Connected" if attach_state == "Attached" else "Disconnected"}},
        "tandem": {} if state else None,
        "guard": {"service": {"state": "running" if state else "missing"}, "status": guard},
        "fence": {"installed": fenced, "rules": None},
        "lock": None,
    }
    for path, value in changes.items():
        *way, last = path.split("__")
        part = found
        for key in way:
            part = part[key]
        part[last] = value
    return copy.deepcopy(found)


def params(**changes):
    """The common options of a module, as the argument spec leaves them."""
    found = {
        "pair": "north", "recorder_id": RECORDER, "tandem_port": 11443, "management_server": None,
        "service_address": {"address": "10.0.0.10", "prefix": 24, "interface": None},
        "nodes": [{"name": "north-a", "address": "10.0.0.11", "password": "secret"}, {"name": "north-b", "address": "10.0.0.12"}],
    }
    return {**found, **changes}


def a_pair():
    return PairDefinition.from_params(params())


def view(name, **changes):
    return NodeView(name, facts=facts(**changes), alive=True)


def silent(name, error="WinRM cannot be reached"):
    return NodeView(name, error=error)


def views(a, b):
    """Views of both nodes from `view` arguments, or from a NodeView as it is."""
    return {name: found if isinstance(found, NodeView) else view(name, **found) for name, found in (("north-a", a), ("north-b", b))}


WITNESS = {"name": "watch-1", "address": "10.0.0.20", "port": 11444, "connection": "winrm"}
THREE = {"guard__status__membership": {"number": 2, "voters": ["north-a", "north-b", "witness"]},
         "guard__status__witness": {"name": "watch-1", "heard_ago": 0.4}}


class FakeSession:
    """A node as the real `Context` sees it: answers come from the `Site`, and every call is noted there."""

    def __init__(self, site, name):
        self.site, self.node_name = site, name

    def call(self, verb, request=None, on_progress=None, timeout=None):
        return self.site.answer(self.node_name, verb, request or {}, on_progress)

    def close(self):
        pass


class Site:
    """Two nodes with scripted verbs. An answer is a value, an exception, a function of the request, or a `Once` list of these."""

    def __init__(self, a=None, b=None, **verbs):
        self.calls = []
        self.events = []
        self.answers = {"facts": {"north-a": facts(**a) if isinstance(a, dict) else a, "north-b": facts(**b) if isinstance(b, dict) else b},
                        "lock.acquire": {"changed": True}, "lock.renew": {"changed": True}, "lock.release": {"changed": True},
                        **{name.replace("__", "."): answer for name, answer in verbs.items()}}

    def answer(self, node, verb, request, on_progress):
        self.calls.append((node, verb, copy.deepcopy(request)))
        if verb not in self.answers:
            raise AssertionError(f"verb {verb} of {node} was not expected")
        answer = self.answers[verb]
        if isinstance(answer, dict) and set(answer) & {"north-a", "north-b"}:
            answer = answer[node]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer) and not isinstance(answer, Exception):
            answer = answer(request)
        if isinstance(answer, Exception):
            raise answer
        return copy.deepcopy(answer)

    def context(self, operation, check_mode=False, management_server=None, **options):
        """A context with the options of `operation` at their defaults."""
        given = {name: spec.get("default") for name, spec in operation.ARGUMENT_SPEC.items()}
        context = FakeContext(self, {**given, **params(), **options}, check_mode)
        if management_server is not None:
            context.params["management_server"] = {"url": "http://10.0.0.2:8080", "username": "u", "password": "p"}
            context.server = management_server
        return context

    def verbs(self, *, reading=("facts", "lock.acquire", "lock.renew", "lock.release")):
        """What was called, as ``node verb``, without what only reads and locks."""
        return [f"{node} {verb}" for node, verb, unused in self.calls if verb not in reading]

    def requests(self, verb):
        return [request for unused, name, request in self.calls if name == verb]


class FakeContext(Context):
    def __init__(self, site, options, check_mode):
        super().__init__(options, check_mode, diff=True, progress=lambda node, event: site.events.append((node, event)))
        self.site = site
        self.server = None

    def session(self, node_name):
        return FakeSession(self.site, self.pair.node(node_name).name)

    def witness_session(self):
        assert self.pair.witness is not None and self.pair.witness.way != "none"
        return FakeSession(self.site, "witness")

    def management_server(self):
        return self.server if self.server is not None else super().management_server()
