# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is nothing but folders and one service, for tests of media, identity and configuration."""
from __future__ import annotations

import os
import pathlib
import re
import typing as t

from ansible_collections.tandem.xprotect.plugins.module_utils.node.host.base import Drive, FenceRules, Host, HostError, ServiceStatus

RECORDER = "Milestone XProtect Recording Server"


class FakeHost(Host):
    """A machine: its drives are folders, its registry a dict, its one service the fake recorder."""

    def __init__(self, root: pathlib.Path, name: str):
        self.root, self.name = root, name
        self.registry: dict[tuple[str, str], str] = {}
        self.free = {"C:": 1 << 40, "D:": 1 << 40}
        self.zone = "Romance Standard Time"
        self.recorder: t.Any = None  # the fake that is the service
        self.fence: FenceRules | None = None
        self.permit = False
        self.start_type = "auto"
        self.calls: list[str] = []
        self.inherited: list[pathlib.Path] = []
        self.fail: dict[str, str] = {}
        for drive in self.free:
            (root / drive[0]).mkdir(parents=True)

    def machine_name(self):
        return self.name

    def os_name(self):
        return "Windows Server 2022"

    def time_zone(self):
        return self.zone

    def drives(self):
        return [Drive(letter, 1 << 41, free) for letter, free in self.free.items()]

    def path(self, windows_path):
        drive, *parts = windows_path.split("\\")
        if not re.fullmatch("[A-Z]:", drive) or ".." in parts or drive not in self.free:
            raise HostError(f"not a path on this machine: {windows_path}")
        return self.root.joinpath(drive[0], *[part for part in parts if part])

    def replace_file(self, new, target):
        os.replace(new, target)

    def restrict_to_administrators(self, path):
        pass

    def inherit_permissions(self, path):
        self.inherited.append(path)

    def registry_read(self, key, name):
        return self.registry.get((key, name))

    def registry_write(self, key, name, value):
        self.registry[key, name] = value

    def service(self, name):
        state = self.recorder.state if self.recorder and name == RECORDER else "missing"
        return ServiceStatus(name, state, self.start_type)

    def service_start(self, name, timeout=90.0):
        self._service("start", name)

    def service_stop(self, name, timeout=90.0):
        self._service("stop", name)

    def _service(self, verb, name):
        self.calls.append(verb)
        if self.fail.get(verb):
            raise HostError(self.fail[verb])
        assert name == RECORDER
        getattr(self.recorder, verb)()

    def service_configure(self, name, *, start_type):
        assert name == RECORDER
        self.calls.append(f"start type {start_type}")
        self.start_type = start_type

    def service_install(self, name, display, command, *, start_type="auto", restart_after=5.0):
        raise NotImplementedError

    def service_remove(self, name):
        raise NotImplementedError

    def run_service(self, name, body):
        raise NotImplementedError

    def addresses(self):
        return {"127.0.0.1": None}

    def hold_address(self, address, prefix, lifetime, interface=None):
        raise NotImplementedError

    def drop_address(self, address):
        raise NotImplementedError

    def listen(self, address, port):
        raise NotImplementedError

    def accept(self, listener, timeout):
        raise NotImplementedError

    def connect(self, address, port, timeout):
        raise OSError("no network here")

    def fence_rules(self):
        return self.fence

    def fence_install(self, rules):
        self.fence = rules

    def fence_remove(self):
        self.fence = None

    def open_permit(self, rules):
        raise NotImplementedError

    def permit_open(self):
        return self.permit
