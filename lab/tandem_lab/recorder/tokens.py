# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose requests are answered: VMS tokens that the Management Server announced, as long as it can be asked.

A detached recorder knows nobody (assumption `client_tokens_need_management_server`).
"""

from __future__ import annotations

import typing as t

from . import clock

MAX_TOKENS = 10_000


class Tokens:
    def __init__(self, need_management_server: bool = True) -> None:
        self.attached = False
        self._need_management_server = need_management_server
        self._expires: dict[str, int] = {}

    def replace(self, tokens: t.Iterable[tuple[str, int]]) -> None:
        self._expires = dict(tokens)

    def add(self, token: str, expires_ms: int) -> None:
        now = clock.now_ms()
        if len(self._expires) >= MAX_TOKENS:
            self._expires = {known: end for known, end in self._expires.items() if end > now}
        if len(self._expires) < MAX_TOKENS:
            self._expires[token] = expires_ms

    def known(self, token: str) -> bool:
        """The token was announced and has not run out; it need not be possible to ask about it now."""
        return self._expires.get(token, 0) > clock.now_ms()

    def accepts(self, token: str) -> bool:
        return self.known(token) and (self.attached or not self._need_management_server)
