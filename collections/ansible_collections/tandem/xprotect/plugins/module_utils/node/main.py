# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The program: one verb a call. A JSON object on stdin, JSON lines on stdout, diagnostics on stderr, exit code 0 or 1.

Only the module of the wanted verb is imported, because a verb's start time is part of every hand-over.
"""

from __future__ import annotations

from . import precompiled

precompiled.use(__package__ or "")  # before the other imports: they are to come from there

import importlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import typing as t  # noqa: E402

from . import host as host_package  # noqa: E402
from .errors import NodeError  # noqa: E402
from .host.base import Host, HostError  # noqa: E402

MAX_REQUEST = 32 * 1024 * 1024

#: First part of a verb's name -> module under `verbs`.
FAMILIES = {"facts": "facts", "selftest": "selftest", "lock": "lock", "service": "service", "storage": "storage",
            "guard": "guard", "fence": "guard", "attachment": "attachment", "identity": "identity", "config": "config",
            "media": "media", "fuse": "fuse", "witness": "witness"}

#: Verbs that are processes of their own for long. Their stdin is not a request: it does not exist, or is theirs to read.
RESIDENT = frozenset({"guard", "fuse", "witness"})

Progress = t.Callable[..., None]
Verb = t.Callable[[Host, dict, Progress], dict]


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        result = _run(arguments)
    except NodeError as error:
        return _fail(error)
    except HostError as error:
        details = {} if error.code is None else {"windows_error": error.code}
        return _fail(NodeError("machine", f"The machine refused: {error}.", "Look at the message; correct it and run again.", details))
    except Exception as error:  # noqa: BLE001 - the boundary: the caller must get an answer whatever happened
        import traceback
        traceback.print_exc()
        return _fail(NodeError("internal", f"The node runtime failed unexpectedly: {type(error).__name__}: {error}.",
                               "Report this with the diagnostics of the call."))
    _emit({"event": "result", "ok": True, "result": result})
    return 0


def find(name: str) -> Verb:
    """The function of a verb."""
    module_name = FAMILIES.get(name.partition(".")[0])
    verbs = importlib.import_module(f".verbs.{module_name}", __package__).VERBS if module_name else {}
    if name not in verbs:
        raise NodeError("unknown_verb", f"This node runtime has no verb {name!r}.",
                        "Deploy the runtime that belongs to this version of the collection.")
    return verbs[name]


def progress(step: str, **fields: t.Any) -> None:
    """Tell the caller how far a verb is."""
    _emit({"event": "progress", "step": step, **fields})


def _run(arguments: list[str]) -> dict:
    if len(arguments) != 1:
        raise NodeError("bad_request", "Exactly one argument is expected: the verb.")
    verb = find(arguments[0])
    request = {} if arguments[0] in RESIDENT else _request()
    return verb(host_package.load(arguments[0]), request, progress)


def _request() -> dict:
    data = sys.stdin.buffer.read(MAX_REQUEST + 1)
    if len(data) > MAX_REQUEST:
        raise NodeError("bad_request", f"The request is larger than {MAX_REQUEST} bytes.")
    try:
        request = json.loads(data or b"{}")
    except (ValueError, RecursionError) as error:
        raise NodeError("bad_request", f"The request is not JSON: {error}.") from None
    if not isinstance(request, dict):
        raise NodeError("bad_request", "The request is not a JSON object.")
    return request


def _fail(error: NodeError) -> int:
    _emit({"event": "result", "ok": False, "error": error.as_dict()})
    return 1


def _emit(line: dict) -> None:
    if sys.stdout is None:  # a service has no standard output
        return
    data = json.dumps(line, separators=(",", ":"), ensure_ascii=False, default=str).encode("utf-8", "replace") + b"\n"
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # Nobody reads any more; the verb goes on to its end. stdout must not be flushed again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
