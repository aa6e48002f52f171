# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import pathlib

import pytest
import yaml

from ansible_collections.tandem.xprotect.plugins.doc_fragments.pair import ModuleDocFragment

ROOT = pathlib.Path(__file__).resolve().parents[4]
PACKAGE = "ansible_collections.tandem.xprotect.plugins"
NAMES = sorted(path.stem for path in (ROOT / "plugins" / "modules").glob("[a-z]*.py"))
FRAGMENT = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
PAIRLESS = {"witness"}  # one serves many pairs


def documented(name):
    module = importlib.import_module(f"{PACKAGE}.modules.{name}")
    text = yaml.safe_load(module.DOCUMENTATION)
    return module, text, {**({} if name in PAIRLESS else FRAGMENT), **text.get("options", {})}


def shape(options, key):
    """Type, elements, default, choices and whether it is required, of each option, also of those inside."""
    found = {}
    for name, entry in options.items():
        inside = entry.get(key)
        # An empty list or dictionary as default is written down; an absent default and None are the same.
        found[name] = (entry.get("type", "str"), entry.get("elements"), entry.get("default"), tuple(entry.get("choices") or ()),
                       bool(entry.get("required")), shape(inside, key) if inside else None)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_documentation_says_what_the_module_takes(name):
    operation = importlib.import_module(f"{PACKAGE}.module_utils.operations.{name}")
    unused, unused2, options = documented(name)
    assert shape(options, "suboptions") == shape(operation.ARGUMENT_SPEC, "options")


@pytest.mark.parametrize("name", NAMES)
def test_it_is_complete(name):
    module, text, unused = documented(name)
    assert text["module"] == name and text.get("extends_documentation_fragment", []) == ([] if name in PAIRLESS else ["tandem.xprotect.pair"])
    assert set(text["attributes"]) == {"check_mode", "diff_mode", "platform"}
    returned = yaml.safe_load(module.RETURN)
    assert returned and all(entry.get("description") and entry.get("type") and entry.get("returned") for entry in returned.values())


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_use_options_that_exist(name):
    module, unused, options = documented(name)
    tasks = yaml.safe_load(module.EXAMPLES)
    own = [task[f"tandem.xprotect.{name}"] or {} for task in tasks if f"tandem.xprotect.{name}" in task]
    assert own and all(task.get("name") for task in tasks)
    for given in own:
        assert set(given) <= set(options)
        for key, value in given.items():
            choices = options[key].get("choices")
            assert not choices or set(value if isinstance(value, list) else [value]) <= set(choices)


@pytest.mark.parametrize("name", NAMES)
def test_its_action_plugin_runs_the_same_operation(name):
    action = importlib.import_module(f"{PACKAGE}.action.{name}")
    operation = importlib.import_module(f"{PACKAGE}.module_utils.operations.{name}")
    assert action.ActionModule.OPERATION is operation


def test_the_action_group_has_all_modules():
    runtime = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))
    assert runtime["action_groups"]["pair"] == [name for name in NAMES if name not in PAIRLESS]
