# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusing a machine that cannot be a twin before anything is changed on it: each step of provisioning asks this first."""

from __future__ import annotations

import typing as t

from ..pair import identity
from ..pair.identity import ClockSample
from ..pair.roles import NodeView, require_reachable, source_and_twin
from ._nodes import both_samples
from .context import Context


def refuse_unfit_twin(context: Context, views: t.Mapping[str, NodeView], samples: t.Mapping[str, ClockSample], purpose: str,
                      folders: t.Iterable[str] = ()) -> None:
    """Both nodes answer, one has the pair's recorder id, and the other one can become its twin.

    Nodes that are a pair already are not judged: they may well differ for a while, when XProtect is updated on one first.
    """
    require_reachable(context.pair, views, purpose)
    if all(view.recorder_id == context.pair.recorder_id for view in views.values()):
        return
    source, twin = source_and_twin(context.pair, views)
    clocks = both_samples(samples, source, twin)
    identity.refuse(context.pair, twin, identity.differences(views[source], views[twin], clocks, folders))
