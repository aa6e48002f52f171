# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action plugins' base: one operation, in the controller's own process.

No module is packed, copied or started, which saves most of a second per task on the way to a failover, and the
connections to the nodes are made from where the credentials are.
"""

from __future__ import annotations

import os
import sys
import types
import typing as t

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ..module_utils.errors import TandemError
from ..module_utils.operations.context import Context

display = Display()
# Asked while the plugin is loaded, which happens in the main process: a worker has no terminal of its own.
# Where there is none (AWX, a log file) TANDEM_PROGRESS=1 shows the progress all the same, else it takes -v.
TERMINAL = bool(sys.stdout and sys.stdout.isatty()) or os.environ.get("TANDEM_PROGRESS") == "1"


def progress_text(pair: str | None, node: str | None, event: dict[str, t.Any]) -> str:
    """One line of progress, for people: ``pair north, node a: stage, done 12.0 MB of 48.0 MB``."""
    event = dict(event)
    event.pop("event", None)
    parts = [str(event.pop("step", "working"))]
    done, total = event.pop("done_bytes", None), event.pop("total_bytes", None)
    if done is not None:
        parts.append(f"done {_megabytes(done)}" + (f" of {_megabytes(total)}" if total is not None else ""))
    parts += [f"{key} {_value(value)}" for key, value in event.items()]
    where = [text for text in (f"pair {pair}" if pair else "", f"node {node}" if pair and node else node or "") if text]
    return f"{', '.join(where)}: {', '.join(parts)}"[:500]


def _megabytes(count: t.Any) -> str:
    return f"{count / 1e6:.1f} MB" if isinstance(count, (int, float)) else str(count)


def _value(value: t.Any) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


class OperationAction(ActionBase):
    """`OPERATION` is a module of ``module_utils.operations``: ``ARGUMENT_SPEC``, optional ``CONSTRAINTS`` and ``CONTEXT``, ``run(context)``."""

    OPERATION: t.ClassVar[types.ModuleType]

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    TRANSFERS_FILES = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        result = super().run(tmp, task_vars)
        validator = ArgumentSpecValidator(self.OPERATION.ARGUMENT_SPEC, **getattr(self.OPERATION, "CONSTRAINTS", {}))
        validation = validator.validate(self._task.args)
        secrets = validation._no_log_values
        params = validation.validated_parameters
        if validation.error_messages:
            outcome: dict[str, t.Any] = {"failed": True, "msg": "; ".join(validation.error_messages)}
        else:
            outcome = self._operate(params, secrets)
        outcome["invocation"] = {"module_args": params}
        result.update(remove_values(outcome, secrets))
        return result

    def _operate(self, params: dict[str, t.Any], secrets: t.Iterable[str]) -> dict[str, t.Any]:
        def progress(node: str | None, event: dict[str, t.Any]) -> None:
            text = remove_values(progress_text(params.get("pair"), node, event), secrets)
            if TERMINAL:
                display.display(text)
            else:
                display.v(text)

        try:
            with getattr(self.OPERATION, "CONTEXT", Context)(params, bool(self._task.check_mode), bool(self._task.diff), progress) as context:
                outcome = dict(self.OPERATION.run(context))
        except TandemError as error:
            return {"failed": True, "msg": str(error), **error.as_result()}
        for text in context.warnings:
            display.warning(remove_values(text, secrets))
        if not self._task.diff:
            outcome.pop("diff", None)
        outcome.setdefault("changed", False)
        return outcome
