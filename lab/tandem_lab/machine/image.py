# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Making lab machines: the disk of a Windows machine with a Recording Server, and the Python archive for the product.

    image.create(folder, settings, recorder)                 # recorder: RecorderValues, or None for a plain Windows
    image.python_archive(path)                               # "python-embed.zip" whose python.exe starts this computer's Python
"""

from __future__ import annotations

import hashlib
import io
import os
import pathlib
import sys
import zipfile

from . import launchers, recorder_config, server_configurator, settings, storage
from .recorder_config import RecorderValues

RECORDER_SERVICE = "Milestone XProtect Recording Server"
RECORDER_FOLDER = "Program Files/Milestone/XProtect Recording Server"
RECORDER_EXE = "C:\\Program Files\\Milestone\\XProtect Recording Server\\VideoOS.Recorder.Service.exe"
RECORDER_DATA = "ProgramData/Milestone/XProtect Recording Server"
DEVICE_PACK = "13.4a"
DEVICE_PACK_PATH = "C:\\Program Files (x86)\\Milestone\\XProtect Recording Server\\Drivers\\"
GIB = 1024 ** 3
DRIVES = {"C:": {"total_bytes": 120 * GIB, "free_bytes": 70 * GIB}, "D:": {"total_bytes": 500 * GIB, "free_bytes": 450 * GIB}}
INSTALLATION_KEY = "SOFTWARE\\WOW6432Node\\VideoOS\\Recorder\\Installation"
DRIVERS_KEY = "SOFTWARE\\WOW6432Node\\VideoOS\\DeviceDrivers"
UNINSTALL_KEY = "SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall\\"


def create(folder: pathlib.Path, machine: settings.MachineSettings, recorder: RecorderValues | None = None, *,
           recorder_start_type: str = "auto", static_addresses: dict[str, int] | None = None,
           fence: dict[str, object] | None = None) -> None:
    """Make a machine that is off. `static_addresses`: address to prefix, besides the machine's own. Refuses an existing machine."""
    machine.check()
    if (folder / "machine.json").exists():
        raise FileExistsError(f"{folder} holds a lab machine already")
    for drive in machine.drives:
        (folder / drive[0]).mkdir(parents=True, exist_ok=True)
    powershell = folder / "C/Windows/System32/WindowsPowerShell/v1.0/powershell.exe"
    launchers.write(powershell, launchers.bare("tandem_lab.machine.powershell_stub"))
    services, registry = _install_recorder(folder, recorder, recorder_start_type) if recorder else ({}, {})
    for path in ("C/Users/Administrator", "C/Windows/Temp", "C/ProgramData", "C/Program Files"):
        (folder / path).mkdir(parents=True, exist_ok=True)
    storage.write_json(folder / "services.json", services)
    storage.write_json(folder / "registry.json", registry)
    addresses = [{"address": address, "prefix": prefix} for address, prefix in (static_addresses or {}).items()]
    storage.write_json(folder / "addresses.json", {"static": addresses})
    if fence is not None:
        storage.write_json(folder / "fence.json", fence)
    storage.write_json(folder / "machine.json", settings.to_document(machine), 0o600)  # last: a machine is there when this is
    launchers.precompile()


def _install_recorder(folder: pathlib.Path, values: RecorderValues, start_type: str) -> tuple[dict[str, object], dict[str, object]]:
    """The Recording Server on disk. Its services and registry values."""
    launchers.write(folder / "C" / RECORDER_FOLDER / "VideoOS.Recorder.Service.exe", launchers.module("tandem_lab.recorder"))
    server_configurator.install(folder)
    (folder / "C" / RECORDER_DATA / "Logs").mkdir(parents=True, exist_ok=True)
    (folder / "C" / RECORDER_DATA / "RecorderConfig.xml").write_bytes(recorder_config.render(values))
    services: dict[str, object] = {RECORDER_SERVICE: {
        "display": RECORDER_SERVICE, "command": f'"{RECORDER_EXE}"', "start_type": start_type, "restart_after": 5.0}}
    registry: dict[str, object] = {
        INSTALLATION_KEY: {"MediaDBFolder": values.database_path, "RecorderIDOnMachine": values.recorder_id},
        DRIVERS_KEY: {"VersionC": DEVICE_PACK, "InstallPath": DEVICE_PACK_PATH},
        UNINSTALL_KEY + "{6B4D2F0C-2E5C-4E0C-9D3F-5B0E5C1B7A11}": {
            "DisplayName": "Milestone XProtect Recording Server (64-bit)", "DisplayVersion": values.version},
        UNINSTALL_KEY + "{0E4B2B1C-7C55-4B35-8C0B-6E0B5E8A9D22}": {
            "DisplayName": "Milestone XProtect Device Pack", "DisplayVersion": DEVICE_PACK},
    }
    return services, registry


def python_archive(path: pathlib.Path) -> str:
    """Write the archive that stands for Python's embeddable package. Its SHA-256; the same for the same installation."""
    name = f"python{sys.version_info.major}{sys.version_info.minor}"
    files = {
        f"{name}._pth": f"{name}.zip\n.\n",
        "LICENSE.txt": "This archive is part of the lab of Tandem for XProtect. python.exe starts the Python of the computer on which\n"
                       "the lab runs. On a real machine, use the embeddable package from python.org instead.\n",
        "python.exe": launchers.bare("tandem_lab.machine.python_stub"),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, text in sorted(files.items()):
            info = zipfile.ZipInfo(member, (1980, 1, 1, 0, 0, 0))
            info.external_attr = (0o755 if member.endswith(".exe") else 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    data = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    beside.write_bytes(data)
    os.replace(beside, path)
    launchers.precompile()
    return hashlib.sha256(data).hexdigest()
