# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""VMS tokens: what SOAP Login gives out and what recorders ask of their clients."""

from __future__ import annotations

import dataclasses
import json
import time
import typing as t
import uuid
from pathlib import Path

from . import files

MAX_TOKENS = 10_000


@dataclasses.dataclass(frozen=True)
class VmsToken:
    text: str
    expires_ms: int
    user: str
    instance_id: str

    @property
    def live(self) -> bool:
        return self.expires_ms > time.time() * 1000


class VmsTokens:
    """Tokens survive a restart of the Management Server, as recorders keep accepting them."""

    def __init__(self, path: Path, host_name: str, seconds: float):
        self._path = path
        self._host_name = host_name.lower()
        self.seconds = seconds
        self._tokens: dict[str, VmsToken] = {}
        if path.exists():
            for entry in json.loads(path.read_bytes()):
                token = VmsToken(**entry)
                if token.live:
                    self._tokens[token.text] = token

    def issue(self, user: str, instance_id: str) -> VmsToken:
        """A new token. One that is renewed stays valid until its own time is over."""
        text = f"TOKEN#{uuid.uuid4()}#{self._host_name}//ServerConnector#"
        token = VmsToken(text, int((time.time() + self.seconds) * 1000), user, instance_id)
        self._drop_old()
        self._tokens[text] = token
        self._save()
        return token

    def find(self, text: str | None) -> VmsToken | None:
        token = self._tokens.get(text or "")
        return token if token and token.live else None

    def revoke(self, text: str) -> VmsToken | None:
        token = self._tokens.pop(text, None)
        if token is None:
            return None
        self._save()
        return dataclasses.replace(token, expires_ms=int(time.time() * 1000) - 1)

    def all_live(self) -> list[VmsToken]:
        return [token for token in self._tokens.values() if token.live]

    def _drop_old(self) -> None:
        for text in [text for text, token in self._tokens.items() if not token.live]:
            del self._tokens[text]
        while len(self._tokens) >= MAX_TOKENS:
            del self._tokens[next(iter(self._tokens))]

    def _save(self) -> None:
        entries: list[dict[str, t.Any]] = [dataclasses.asdict(token) for token in self._tokens.values()]
        files.write_durable(self._path, json.dumps(entries).encode())
