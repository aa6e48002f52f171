# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Limits for everything that is read by HTTP, and plain words for what goes wrong.

The library `requests` bounds the wait for the next byte, but neither the size of an answer nor the time of all of it.
"""

from __future__ import annotations

import time
import typing as t

from .errors import NodeUnreachable, TandemError

try:
    import requests
    from requests.adapters import HTTPAdapter
except ImportError as import_error:
    requests = None
    HTTPAdapter = object
    REQUESTS_MISSING: ImportError | None = import_error
else:
    REQUESTS_MISSING = None

MIB = 1024 * 1024


class AnswerTooLarge(Exception):
    """The answer is longer than anything that could be meant."""


class AnswerTooSlow(Exception):
    """The answer began, but its end did not come in time."""


def need(library: str, missing: ImportError | None) -> None:
    """Refuse in plain words when a library of the controller is not there."""
    if missing is not None:
        raise TandemError(f"the Python package {library} is not installed for the Python that runs Ansible ({missing})",
                          code="package_missing", next_step=f"install it there: python -m pip install {library}.")


class BoundedAdapter(HTTPAdapter):
    """One connection pool with a short connect time and bounded answers."""

    def __init__(self, connect_timeout: float, read_timeout: float, size_limit: int = 8 * MIB, **keywords: t.Any):
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.size_limit = size_limit
        super().__init__(**keywords)

    def send(self, request: t.Any, stream: bool = False, timeout: t.Any = None, **keywords: t.Any) -> t.Any:
        wait = timeout if isinstance(timeout, (int, float)) else self.read_timeout
        response = super().send(request, stream=stream, timeout=(self.connect_timeout, wait), **keywords)
        # Replaced on the object and read later: NTLM's channel binding looks at the connection before the body is read.
        response.iter_content = lambda chunk_size=None, decode_unicode=False: bounded_body(response, self.size_limit, wait + 30.0)
        return response


def bounded_body(response: t.Any, size_limit: int, seconds: float) -> t.Iterator[bytes]:
    deadline, size = time.monotonic() + seconds, 0
    read = getattr(response.raw, "read1", None) or response.raw.read  # read1: give what is there, do not wait for a full piece
    while True:
        piece = read(65536, decode_content=True)
        if not piece:
            return
        size += len(piece)
        if size > size_limit:
            response.close()
            raise AnswerTooLarge(f"more than {size_limit} bytes")
        if time.monotonic() > deadline:
            response.close()
            raise AnswerTooSlow(f"not complete after {seconds:.0f} s")
        yield piece


def explain(error: BaseException, peer: str, certificate_option: str) -> TandemError:
    """A connection's failure as a `TandemError` without place; the caller adds pair and node."""
    if isinstance(error, TandemError):
        return error
    if isinstance(error, (AnswerTooLarge, AnswerTooSlow)):
        return TandemError(f"the answer of {peer} was {error}", code="protocol",
                           next_step="check that the address and port belong to that service.")
    if isinstance(error, requests.exceptions.SSLError):
        return TandemError(f"the certificate of {peer} is not trusted: {_cause(error)}", code="certificate",
                           next_step=f"give the issuing certificate with {certificate_option}, or check the name in the URL.")
    if isinstance(error, requests.exceptions.ReadTimeout):
        return TandemError(f"{peer} accepted the connection and then did not answer in time", code="timeout",
                           next_step="look at the machine (load, hung service) and run again.")
    if isinstance(error, (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)):
        return TandemError(f"{peer} is not a usable URL", code="configuration", next_step="correct the URL.")
    if isinstance(error, requests.exceptions.ConnectionError):
        return NodeUnreachable(f"{peer} cannot be reached: {_cause(error)}", code="unreachable",
                               next_step="check that the machine is on, the service runs and no firewall is between.")
    return TandemError(f"talking to {peer} failed: {type(error).__name__}: {error}", code="protocol",
                       next_step="run again with -vvv and look at the service's log on that machine.")


def _cause(error: BaseException) -> str:
    """The innermost reason in words: requests wraps urllib3, which wraps the operating system."""
    seen: set[int] = set()
    current: BaseException = error
    while id(current) not in seen:
        seen.add(id(current))
        inner = [getattr(current, "reason", None), *current.args, current.__cause__]
        current = next((item for item in inner if isinstance(item, BaseException)), current)
    told = getattr(current, "verify_message", None) or getattr(current, "strerror", None) or str(current)
    return str(told)
