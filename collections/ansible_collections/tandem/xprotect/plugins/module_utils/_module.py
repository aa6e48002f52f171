# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main() of every module.

All modules of this collection have an action plugin of the same name, so a task runs in the controller's process and
this is reached only when a module file is run by itself. It does the same work with the same operation.
"""

from __future__ import annotations

import types
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .errors import TandemError


def run_module(argument_spec: dict[str, t.Any], operation: types.ModuleType | t.Callable[..., dict[str, t.Any]],
               **constraints: t.Any) -> None:
    """Parse the arguments, run the operation (a module with ``run``, or the function itself), exit."""
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **constraints)
    from .operations.context import Context  # after the arguments: a wrong argument is told without loading the rest

    run = operation if callable(operation) else operation.run
    kind = getattr(operation, "CONTEXT", Context)
    try:
        with kind(module.params, module.check_mode, module._diff) as context:
            result = dict(run(context))
            for text in context.warnings:
                module.warn(text)
    except TandemError as error:
        module.fail_json(msg=str(error), **error.as_result())
    if not module._diff:
        result.pop("diff", None)
    result.setdefault("changed", False)
    module.exit_json(**result)
