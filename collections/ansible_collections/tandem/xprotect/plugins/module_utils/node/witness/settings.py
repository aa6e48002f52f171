# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a witness is told about itself (``witness.json``) and about each of its pairs (``pairs\\<pair>.json``).

Checked in full when it is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import ssl
import typing as t

from ..errors import NodeError
from ..guard.protocol.terms import WITNESS, Timing
from ..host.base import Host
from ..store import ROOT, read_bytes, read_json

FOLDER = ROOT + "\\witness"
SETTINGS_FILE = FOLDER + "\\witness.json"
PAIRS_FOLDER = FOLDER + "\\pairs"
VOTES_FOLDER = FOLDER + "\\votes"
TLS_FOLDER = FOLDER + "\\tls"
CERTIFICATE = TLS_FOLDER + "\\witness.pem"
KEY = TLS_FOLDER + "\\witness.key"

SERVICE = "Tandem Witness"
DEFAULT_PORT, DEFAULT_API_PORT = 11444, 11445
MAX_PAIRS = 2000
MAX_DOCUMENT = 256 * 1024
MAX_PEM = 64 * 1024
MAX_CERTIFICATES = 2

_NAME = re.compile(r"[\w][\w .()-]{0,62}\Z")
_GUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\Z")
_PEM = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_NEXT = "Correct what the witness is given in the inventory and run the role that configures it again."


@dataclasses.dataclass(frozen=True)
class WitnessSettings:
    name: str
    address: str
    port: int = DEFAULT_PORT
    api_port: int = DEFAULT_API_PORT
    token_sha256: str | None = None  # without a token nobody can ask, so the API's port stays closed


@dataclasses.dataclass(frozen=True)
class PairNode:
    name: str
    certificates: tuple[bytes, ...]  # DER, as it is compared with what a connection shows; two while they are exchanged


@dataclasses.dataclass(frozen=True)
class PairDefinition:
    pair: str
    recorder_id: str
    nodes: tuple[PairNode, PairNode]
    voters: tuple[str, ...]
    timing: Timing

    @property
    def names(self) -> tuple[str, str]:
        return self.nodes[0].name, self.nodes[1].name


def load(host: Host) -> WitnessSettings | None:
    """The settings of this witness, None when it was never configured."""
    document = read_json(host, SETTINGS_FILE, MAX_DOCUMENT)
    return None if document is None else parse(document)


def require(host: Host) -> WitnessSettings:
    settings = load(host)
    if settings is None:
        raise NodeError("not_configured", f"This machine is no witness yet: {SETTINGS_FILE} is missing.",
                        "Run the role that configures the witness.")
    return settings


def parse(document: t.Any) -> WitnessSettings:
    """Typed settings. Everything that is wrong is named in one error."""
    fields = _object(document)
    problems = [] if isinstance(document, dict) else ["the document is not an object"]
    settings = WitnessSettings(
        name=_text(fields, "name", _NAME, problems), address=_text(fields, "address", None, problems),
        port=_port(fields, "port", DEFAULT_PORT, problems), api_port=_port(fields, "api_port", DEFAULT_API_PORT, problems),
        token_sha256=_text(fields, "token_sha256", _SHA256, problems) if fields.get("token_sha256") is not None else None)
    if settings.port == settings.api_port:
        problems.append("port and api_port are the same")
    _refuse(SETTINGS_FILE, problems)
    return settings


# -- pairs -------------------------------------------------------------------------------------------------------------

def pair_file(pair: str) -> str:
    return f"{PAIRS_FOLDER}\\{_proper(pair)}.json"


def votes_file(pair: str) -> str:
    return f"{VOTES_FOLDER}\\{_proper(pair)}.json"


def pair_names(host: Host) -> list[str]:
    """The pairs that have a file, whether it is usable or not."""
    try:
        return sorted(path.name[:-5] for path in host.path(PAIRS_FOLDER).iterdir()
                      if path.name.endswith(".json") and not path.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise NodeError("file_unreadable", f"{PAIRS_FOLDER} cannot be read: {error.strerror or error}.") from None


def load_pair(host: Host, pair: str) -> PairDefinition | None:
    path = pair_file(pair)
    document = read_json(host, path, MAX_DOCUMENT)
    if document is None:
        return None
    definition = parse_pair(document)
    if definition.pair != pair:
        raise NodeError("witness_config_invalid", f"{path} describes the pair {definition.pair!r}.", _NEXT)
    return definition


def parse_pair(document: t.Any) -> PairDefinition:
    fields = _object(document)
    problems = [] if isinstance(document, dict) else ["the document is not an object"]
    pair = _text(fields, "pair", _NAME, problems)
    nodes = [_node(entry, number, problems) for number, entry in enumerate(_list(fields, "nodes", 2, problems), 1)]
    names = sorted(node.name for node in nodes)
    if len(nodes) == 2 and (names[0].casefold() == names[1].casefold() or {*nodes[0].certificates} & {*nodes[1].certificates}):
        problems.append("the two nodes must have different names and certificates")
    if WITNESS in names:
        problems.append(f"no node may be called {WITNESS!r}")
    voters = fields.get("voters", [*names, WITNESS])
    if not isinstance(voters, list) or sorted(map(str, voters)) != sorted([*names, WITNESS]):
        problems.append(f"voters must be the two nodes and {WITNESS!r}")
    timing = Timing(_number(fields, "lease_ttl", 8.0, problems), _number(fields, "lease_drift", 0.01, problems))
    problems += [timing.problem()] if timing.problem() else []
    recorder_id = _text(fields, "recorder_id", _GUID, problems).lower()
    if problems:  # also where nodes are missing, which no tuple could be made of
        _refuse(f"The definition of pair {pair or '(unnamed)'}", problems)
    return PairDefinition(pair, recorder_id, (nodes[0], nodes[1]), (*names, WITNESS), timing)


def fingerprint(host: Host, pair: str) -> bytes | None:
    """What tells whether a pair's file is another one than before."""
    data = read_bytes(host, pair_file(pair), MAX_DOCUMENT)
    return None if data is None else hashlib.sha256(data).digest()


def _proper(pair: str) -> str:
    if not _NAME.match(pair):
        raise NodeError("bad_request", f"{pair[:80]!r} is not a pair's name.")
    return pair


def _node(entry: t.Any, number: int, problems: list[str]) -> PairNode:
    fields = _object(entry)
    name = _text(fields, "name", _NAME, problems, f"nodes[{number}].")
    pem = fields.get("certificate")
    try:
        if not isinstance(pem, str) or len(pem) > MAX_PEM:
            raise ValueError("it is missing or too long")
        certificates = read_pem(pem)
    except (ValueError, ssl.SSLError) as error:
        problems.append(f"nodes[{number}].certificate is not a certificate in PEM: {error}")
        certificates = ()
    return PairNode(name, certificates)


def read_pem(pem: str) -> tuple[bytes, ...]:
    """The certificates in a text: one, or a second one for as long as they are exchanged. Raises ValueError or SSLError."""
    blocks = _PEM.findall(pem)
    if not 1 <= len(blocks) <= MAX_CERTIFICATES:
        raise ValueError(f"{len(blocks)} certificates were found where 1 to {MAX_CERTIFICATES} are expected")
    certificates = tuple(ssl.PEM_cert_to_DER_cert(block) for block in blocks)
    ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=b"".join(certificates))  # base64 of anything would have done above
    return certificates


# -- fields ------------------------------------------------------------------------------------------------------------

def _object(value: t.Any) -> dict:
    return value if isinstance(value, dict) else {}


def _text(fields: dict, name: str, pattern: re.Pattern[str] | None, problems: list[str], where: str = "") -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value or len(value) > 256 or (pattern and not pattern.match(value)):
        problems.append(f"{where}{name} must be a proper text ({'missing' if value is None else repr(value)[:80]})")
        return ""
    return value


def _port(fields: dict, name: str, default: int, problems: list[str]) -> int:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        problems.append(f"{name} must be a port ({value!r:.80})")
        return default
    return value


def _number(fields: dict, name: str, default: float, problems: list[str]) -> float:
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        problems.append(f"{name} must be a number ({value!r:.80})")
        return default
    return float(value)


def _list(fields: dict, name: str, count: int, problems: list[str]) -> list:
    value = fields.get(name)
    if not isinstance(value, list) or len(value) != count:
        problems.append(f"{name} must be a list of {count}")
        return []
    return value


def _refuse(what: str, problems: list[str]) -> None:
    if problems:
        raise NodeError("witness_config_invalid", f"{what} is not usable: {'; '.join(problems)}.", _NEXT, {"problems": problems})


def own_certificate(host: Host) -> bytes:
    """This witness's certificate (DER). Raises ``tls_missing`` or ``tls_invalid``."""
    data = read_bytes(host, CERTIFICATE, MAX_PEM)
    if data is None:
        raise NodeError("tls_missing", f"The witness has no certificate: {CERTIFICATE} is missing.",
                        "Run the role that configures the witness.")
    try:
        return ssl.PEM_cert_to_DER_cert(data.decode("ascii", "replace").strip())
    except ValueError as error:
        raise NodeError("tls_invalid", f"{CERTIFICATE} cannot be read: {error}.", "Run the role that configures the witness.") from None


def configuration_sha256(host: Host) -> str:
    """One hash over what a witness reads at its start only: tells whether a running one knows the files of now."""
    digest = hashlib.sha256()
    for path in (SETTINGS_FILE, CERTIFICATE, KEY):
        data = read_bytes(host, path, MAX_DOCUMENT)
        digest.update(b"-" if data is None else hashlib.sha256(data).digest())
    return digest.hexdigest()
