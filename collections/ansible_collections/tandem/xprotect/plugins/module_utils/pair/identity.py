# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What forbids that a machine becomes the twin of another, and which fields make up the identity that it gets.

All differences are found at once, so that a machine is made fit in one go.
"""

from __future__ import annotations

import dataclasses
import ntpath
import typing as t

from ..errors import TandemError
from .pair import PairDefinition
from .roles import NodeView

MAX_CLOCK_OFFSET = 2.0  # seconds; tokens and media carry the recorder's clock
# Elements of RecorderConfig.xml (below /recorderconfig) that a twin takes over. Element names are seen in public code and vendor
# tools. Not among them are the certificate hashes, which name a certificate in this machine's own store, and the client
# registration (assumption `client_registration_shareable`).
IDENTITY_FIELDS = (
    "recorder/id", "recorder/displayname",
    "server/address", "server/webapiport", "server/authorizationserveraddress",
    "webapi/port", "webapi/publicUri", "webserver/host", "webserver/port",
    "driverservices/alert/enabled", "driverservices/alert/port", "driverservices/smtp/enabled", "driverservices/smtp/port",
    "database/database_default/name", "database/database_default/path",
)


@dataclasses.dataclass(frozen=True)
class Difference:
    """One reason why the twin cannot stand for the source."""

    code: str
    text: str


@dataclasses.dataclass(frozen=True)
class ClockSample:
    """A node's clock as read by a call that began and ended at these times of the controller (seconds)."""

    clock_ms: float
    began: float
    ended: float


def clock_offset(source: ClockSample, twin: ClockSample) -> tuple[float, float]:
    """How far the twin's clock is ahead of the source's, and how wrong that may be at most (both in seconds)."""
    def ahead(sample: ClockSample) -> float:
        return sample.clock_ms / 1000 - (sample.began + sample.ended) / 2
    uncertainty = (source.ended - source.began + twin.ended - twin.began) / 2
    return ahead(twin) - ahead(source), uncertainty


def drive_letters(paths: t.Iterable[str | None]) -> list[str]:
    """The drive letters of Windows paths, in order, each once (UNC paths have none)."""
    letters = {ntpath.splitdrive(path)[0].upper() for path in paths if path}
    return sorted(letter for letter in letters if len(letter) == 2 and letter[1] == ":")


def differences(source: NodeView, twin: NodeView, clocks: tuple[ClockSample, ClockSample] | None = None,
                folders: t.Iterable[str] = ()) -> list[Difference]:
    """Everything that forbids `twin` to be a twin of `source`. `folders`: storage folders beyond those of the source's own facts."""
    found = [*_missing_service(source), *_missing_service(twin)]
    if not found:
        found += _unequal(source, twin, "version", "XProtect version", ("recorder", "version"))
        found += _unequal(source, twin, "device_pack", "device pack", ("recorder", "device_pack"))
    found += _unequal(source, twin, "time_zone", "time zone", ("machine", "time_zone"))
    found += _missing_drives(source, twin, folders)
    found += _clock(source, twin, clocks)
    return found


def _missing_service(view: NodeView) -> list[Difference]:
    if view.part("recorder", "installed") and view.part("recorder", "service", "state") not in (None, "missing"):
        return []
    return [Difference("service_missing", f"the Recording Server service is missing on node {view.name}")]


def _unequal(source: NodeView, twin: NodeView, code: str, what: str, path: tuple[str, str]) -> list[Difference]:
    ours, theirs = source.part(*path), twin.part(*path)
    if ours == theirs and ours is not None:
        return []
    if ours is None and theirs is None:
        return [Difference(code, f"the {what} cannot be read on either node")]
    return [Difference(code,
                       f"the {what} is {theirs or 'not readable'} on node {twin.name} and {ours or 'not readable'} on node {source.name}")]


def _missing_drives(source: NodeView, twin: NodeView, folders: t.Iterable[str]) -> list[Difference]:
    wanted = drive_letters([*(source.part("recorder", "media_folders") or []), *folders])
    present = {str(drive.get("letter", "")).upper() for drive in twin.part("machine", "drives") or []}
    missing = [letter for letter in wanted if letter not in present]
    if not missing:
        return []
    word = "drive" if len(missing) == 1 else "drives"
    return [Difference("drive_missing", f"{word} {', '.join(missing)} of the storages of node {source.name} missing on node {twin.name}"
                                        f" (it has {', '.join(sorted(present)) or 'none'})")]


def _clock(source: NodeView, twin: NodeView, clocks: tuple[ClockSample, ClockSample] | None) -> list[Difference]:
    if clocks is None:
        return []
    offset, uncertainty = clock_offset(*clocks)
    if abs(offset) - uncertainty <= MAX_CLOCK_OFFSET:
        return []
    side = "ahead of" if offset > 0 else "behind"
    return [Difference("clock", f"the clock of node {twin.name} is {abs(offset):.1f} s {side} that of node {source.name}"
                                f" (more than {MAX_CLOCK_OFFSET:g} s)")]


def refuse(pair: PairDefinition, twin: str, found: t.Sequence[Difference]) -> None:
    """Raise one error with all differences; nothing happens when there are none."""
    if not found:
        return
    listed = " ".join(f"({number}) {difference.text};" for number, difference in enumerate(found, 1)).rstrip(";")
    reasons = "1 reason" if len(found) == 1 else f"{len(found)} reasons"
    raise TandemError(f"it cannot be the twin of its partner for {reasons}: {listed}", pair=pair.name, node=twin, code="not_a_twin",
                      next_step=f"make the machine of node {twin} equal in these points and run again; nothing was changed.",
                      details={"differences": [dataclasses.asdict(difference) for difference in found]})


def short(xpath: str) -> str:
    """An XPath below the document's root: ``/recorderconfig/recorder/id`` and ``recorder/id`` are the same field."""
    trimmed = xpath.strip("/")
    return trimmed.removeprefix("recorderconfig/")


def wanted_fields(source_fields: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """The fields that the twin takes from the source, under the names that the source gave them."""
    return {xpath: value for xpath, value in source_fields.items() if short(xpath) in IDENTITY_FIELDS and value is not None}


def wanted_registry(source: t.Mapping[str, t.Any], twin: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Registry values that the twin takes over. A value that the twin does not have is never created
    (assumption `recorder_id_registry_value_present`)."""
    return {name: value for name, value in source.items() if value is not None and twin.get(name) is not None}
