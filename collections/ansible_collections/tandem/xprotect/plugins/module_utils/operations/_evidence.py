# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evidence against a failover: a recorder answers at the service address and says that it is attached.

A node that cannot be reached over WinRM may still serve. Only a positive answer counts: silence, a refusal or an error prove
nothing and stop nothing.
"""

from __future__ import annotations

import threading

from ..errors import TandemError
from ..pair.roles import NodeView
from ..xprotect.recorder_status import get_recorder_status
from .context import Context

PORT = 7563
TIMEOUT = 2.0


class ServiceAddressProbe:
    """Asked in the background while the nodes are asked for their facts."""

    def __init__(self, context: Context):
        self._context = context
        self._attached = False
        self._thread = threading.Thread(target=self._ask, name="tandem service address", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _ask(self) -> None:
        url = f"http://{self._context.pair.service_address.address}:{PORT}"
        try:
            self._attached = get_recorder_status(url, pair=self._context.pair.name, timeout=TIMEOUT).attached
        except TandemError:
            pass  # no proof

    def refuse_if_served(self, silent: NodeView, force: str | None) -> None:
        """Raise when the node that does not answer evidently serves. `force` is a person's proof against it."""
        self._thread.join(4 * TIMEOUT)
        if not self._attached or force:
            return
        pair = self._context.pair
        raise TandemError(f"it does not answer ({silent.error}), and yet a recorder answers at the service address"
                          f" {pair.service_address.address} and says that it is attached", pair=pair.name, node=silent.name,
                          code="partner_serves", next_step=f"mend the way to node {silent.name} and use a switchover; or, with proof that it"
                                                           " is off, say so in force. Nothing was changed.")
