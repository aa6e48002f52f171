# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The witness as the nodes have to know it: its certificate, and whether it has a vote in the pair."""

from __future__ import annotations

import pathlib
import typing as t

from .. import certificates
from ..errors import TandemError
from ..pair.pair import WITNESS
from ..pair.roles import NodeView
from .context import Context

MAX_PEM = 64 * 1024


def certificate(context: Context) -> str | None:
    """The PEM that both nodes pin, None for a pair without a witness. Given, or read from the witness itself."""
    witness = context.pair.witness
    if witness is None:
        return None
    given = _given(context)
    if given is None and witness.way == "none":
        raise TandemError(f"the certificate of witness {witness.name} is not known, and this controller does not reach it",
                          pair=context.pair.name, code="configuration",
                          next_step="give witness.certificate or witness.certificate_file.")
    if given is None:
        given = context.witness_session().call("witness.status", {}, timeout=60.0).get("certificate")
    if not given:
        raise TandemError(f"witness {witness.name} has no certificate yet", pair=context.pair.name, code="no_certificate",
                          next_step="set the witness up first (role witness), then run again.")
    for block in certificates.split(str(given)) or [str(given)]:
        certificates.read(block)  # a broken one is told here and not by two guards
    return str(given)


def _given(context: Context) -> str | None:
    options = context.pair.witness.connection if context.pair.witness else {}
    if options.get("certificate"):
        return str(options["certificate"])
    if not options.get("certificate_file"):
        return None
    path = pathlib.Path(str(options["certificate_file"]))
    try:
        with path.open("rb") as file:
            return file.read(MAX_PEM).decode("ascii", "replace")
    except OSError as error:
        raise TandemError(f"witness.certificate_file {path} cannot be read: {error.strerror}", pair=context.pair.name, code="configuration",
                          next_step="correct the option.") from None


# -- membership --------------------------------------------------------------------------------------------------------
def wanted_change(context: Context, view: NodeView) -> str | None:
    """``joins`` or ``leaves`` when the witness has to, by what the attached node knows; None when all is as defined or unknown."""
    if not view.voters:
        return None
    if context.pair.witness is not None and WITNESS not in view.voters:
        return "joins"
    if context.pair.witness is None and WITNESS in view.voters:
        return "leaves"
    return None


def bring_membership(context: Context, attached: str, call: t.Callable[..., dict[str, t.Any]]) -> str | None:
    """Have the witness join or leave, as the attached node's settings say. Why not, when it was refused for now."""
    try:
        answer = call(attached, "attachment.witness", {}, timeout=60.0)
    except TandemError as error:
        if error.code in ("unreachable", "timeout"):
            raise
        return error.message
    voters = (answer.get("membership") or {}).get("voters")
    if isinstance(voters, list) and (WITNESS in voters) is not (context.pair.witness is not None):
        return f"the guard of node {attached} still runs with older settings, which are replaced while that node is headless"
    return None
