# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of media, identity and configuration share: machines in folders, media that obeys the documented size
laws, a recorder that treats its banks as the product's assumptions say, and a wire that is a function call."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shutil
import struct
import time

from ansible_collections.tandem.xprotect.plugins.module_utils.node import settings as node_settings
from ansible_collections.tandem.xprotect.plugins.module_utils.node.errors import NodeError
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import wire
from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import remote
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.folder_host import RECORDER, FakeHost

MEDIA = "7ea9b53b-749e-420b-891b-43b238f6144e"
SEQUENCES = "8b742df9-5ba1-49df-ace1-66e54f5dc295"
MOTION = "908d3e34-3510-4372-9e3f-20c53b92490a"
BANK = "0F15508E-7EB8-48B1-BFC6-D1CCB07CFBEB"
RECORDER_ID = "f9dc2bcd-faea-4138-bf5a-32cd15c91f2c"
CONFIG = "C:\\ProgramData\\Milestone\\XProtect Recording Server\\RecorderConfig.xml"
INSTALLATION = "SOFTWARE\\WOW6432Node\\VideoOS\\Recorder\\Installation"


def device(number: int) -> str:
    return f"e227d322-9fba-426a-92bc-{number:012x}"


def now_ms() -> int:
    return time.time_ns() // 1_000_000


# -- media -------------------------------------------------------------------------------------------------------------

def table_files(spans, *, blocks=1, block_bytes=4000, seed=0) -> dict[str, bytes]:
    """The files of a closed table that obeys every documented size law. Media bytes are random, indexes marked as lab format."""
    chance = random.Random(f"{spans}{seed}")
    files = {"config.xml": b'<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<bank version="1.2">\n'
                           b"    <description>Door</description>\n</bank>\n"}
    records = b"".join(struct.pack("<QQQQ", *(moment * 10_000 + 116_444_736_000_000_000 for moment in span), span[0], 0) for span in spans)
    seconds = max(1, sum(end - begin for begin, end in spans) // 1000)
    content = {MEDIA: ([chance.randbytes(block_bytes) for unused in range(blocks)] if spans else [], seconds),
               SEQUENCES: ([records] if spans else [], len(spans)),
               MOTION: ([], 0)}
    for column, (column_blocks, groups) in content.items():
        for number, block in enumerate(column_blocks):
            files[f"{column}/block{number}.blk"] = block
        files[f"{column}/cindex.idx"] = b"LABC".ljust(12, b"\0") + bytes(24 * len(column_blocks))
        files[f"{column}/pindex.idx"] = b"LABP".ljust(12, b"\0") + bytes(20 if column_blocks else 0)
        if column_blocks:
            files[f"{column}/sindex0.idx"] = b"LABS".ljust(8, b"\0") + bytes(40 * groups)
    return files


def cache_table(name: str, files: dict[str, int], times: tuple[int, int] | None, description="Door", extra="") -> str:
    columns = ""
    for column in (MEDIA, SEQUENCES, MOTION):
        size = sum(size for path, size in files.items() if path.startswith(column) and path.endswith((".blk", ".idx")))
        filled = times and f"{column}/block0.blk" in files
        moments = f"<begin_time>{times[0]}</begin_time><end_time>{times[1]}</end_time>" if filled else ""
        columns += f"<column><name>{column}</name>{moments}<size>{size}</size></column>"
    return (f"<table><name>{name}</name><size>{sum(files.values())}</size><description>{description}</description>{extra}"
            f"<meta_data><entry key=\"device_type\">Camera</entry></meta_data>{columns}</table>")


def cache_document(tables) -> bytes:
    return ('<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<bank version="1.2">' + "".join(tables) + "</bank>\n").encode()


def stamp(moment_ms: int) -> str:
    return time.strftime("%Y-%m-%d_%H-%M-%S", time.gmtime(moment_ms / 1000))


class Recorder:
    """The recorder of a machine: one bank, open and closed tables. A closed table that no cache lists it does not know."""

    def __init__(self, host: FakeHost, bank: str = BANK):
        self.host, self.state = host, "running"
        self.bank = host.path(f"D:\\MediaDatabase\\{bank}")
        self.bank.mkdir(parents=True, exist_ok=True)
        self.max_minutes, self.max_size_mb = 10080, 100000
        self.write_bank_config()
        self.recording: list[str] = []  # devices that get an open table at start
        self.accepts = lambda name: True
        self.rebuilds = True
        self._closed: dict[str, str] = {}
        self._open: dict[str, list] = {}
        self.save()
        host.recorder = self

    def write_bank_config(self, version="1.2"):
        (self.bank / "config.xml").write_text(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<bank id="{self.bank.name}" version="{version}"><description>Recording</description>'
            f"<max_size_in_mb>{self.max_size_mb}</max_size_in_mb><max_minutes>{self.max_minutes}</max_minutes><archive></archive></bank>")

    # -- tables
    def close_table(self, guid, spans, *, closed_ms=None, tag="LOCAL", name=None, extra="", **content) -> str:
        """A closed table with the given spans, on disk and in the cache. Its name is free: seconds are added."""
        moment = closed_ms or (spans[-1][1] if spans else now_ms())
        while name is None or (self.bank / name).exists():
            name, moment = f"{guid}_{tag}_{stamp(moment)}", moment + 1000
        files = table_files(spans, **content)
        write_files(self.bank / name, files)
        self._closed[name] = self.entry(name, extra)
        self.save()
        return name

    def open_table(self, guid, spans, fresh=True):
        folder = self.bank / guid
        if folder.exists():
            shutil.rmtree(folder)
        write_files(folder, table_files(spans, seed="open"))
        if not fresh:
            for file in folder.rglob("*"):
                os.utime(file, (spans[-1][1] / 1000, spans[-1][1] / 1000))
        self._open[guid] = spans
        self.save()

    def entry(self, name, extra="") -> str:
        folder = self.bank / name
        files = {file.relative_to(folder).as_posix(): file.stat().st_size for file in folder.rglob("*") if file.is_file()}
        data = (folder / SEQUENCES / "block0.blk").read_bytes() if f"{SEQUENCES}/block0.blk" in files else b""
        records = list(struct.iter_unpack("<QQQQ", data))
        times = (records[0][2], (records[-1][1] - 116_444_736_000_000_000) // 10_000) if records else None
        return cache_table(name, files, times, extra=extra)

    def save(self):
        self._write("archives_cache.xml", self._closed.values())
        self._write("cache.xml", [cache_table(name, {}, (spans[0][0], spans[-1][1])) for name, spans in self._open.items()])

    def _write(self, name, entries):
        new = self.bank / f"{name}.new"
        new.write_bytes(cache_document(entries))
        os.replace(new, self.bank / name)

    def listed(self) -> set[str]:
        cache = self.bank / "archives_cache.xml"
        return set(re.findall(r"<table><name>([^<]+)", cache.read_text())) if cache.exists() else set()

    # -- the service
    def stop(self):
        if self.state == "stopped":
            return
        self.state = "stopped"
        for guid, spans in list(self._open.items()):
            moment = now_ms()
            while (self.bank / f"{guid}_LOCAL_{stamp(moment)}").exists():
                moment += 1000
            name = f"{guid}_LOCAL_{stamp(moment)}"
            os.rename(self.bank / guid, self.bank / name)
            self._closed[name] = self.entry(name)
        self._open.clear()
        self.save()

    def start(self):
        if self.state == "running":
            return
        self.state = "running"
        there = {folder.name for folder in self.bank.iterdir() if folder.is_dir() and len(folder.name) > 36}
        if (self.bank / "archives_cache.xml").exists():
            self._closed = {name: self.entry(name) for name in self.listed() & there}
        elif self.rebuilds:
            self._closed = {name: self.entry(name) for name in there if self.accepts(name)}
        for guid in self.recording:
            moment = now_ms()
            self.open_table(guid, [(moment, moment + 200)])
        if self.rebuilds or (self.bank / "archives_cache.xml").exists():
            self.save()
        else:
            (self.bank / "archives_cache.xml").unlink(missing_ok=True)


def write_files(folder: pathlib.Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def tree(folder: pathlib.Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


# -- the pair ----------------------------------------------------------------------------------------------------------

class Node:
    def __init__(self, root: pathlib.Path, name: str, partner: str):
        self.name, self.state, self.up = name, "headless", True
        self.host = FakeHost(root / name, name)
        self.recorder = Recorder(self.host)
        number = {"a": 11, "b": 12}
        document = {"pair": "pair1", "recorder_id": RECORDER_ID, "node": name, "address": f"127.9.0.{number[name]}",
                    "partner": {"name": partner, "address": f"127.9.0.{number[partner]}"}, "tandem_port": 11443,
                    "service_address": {"address": "127.9.0.10", "prefix": 24, "interface": "x"},
                    "management_addresses": ["127.9.0.2"], "lease_ttl": 8.0, "services": {"recorder": RECORDER}}
        self.host.path("C:\\ProgramData\\Tandem").mkdir(parents=True)
        self.host.path("C:\\ProgramData\\Tandem\\node.json").write_text(json.dumps(document))
        self.settings = node_settings.require(self.host)
        self.host.registry[INSTALLATION, "MediaDBFolder"] = "D:\\MediaDatabase"
        self.host.registry[INSTALLATION, "RecorderIDOnMachine"] = RECORDER_ID
        self.write_config(recorder_config(name))

    def write_config(self, data: bytes) -> None:
        place = self.host.path(CONFIG)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)

    @property
    def config(self) -> bytes:
        return self.host.path(CONFIG).read_bytes()


def recorder_config(name: str, identifier: str = RECORDER_ID) -> bytes:
    return ("\ufeff" + f"""<?xml version="1.0" encoding="utf-8"?>
<recorderconfig>
  <version>25.1.0.2</version>
  <recorder>
    <id>{identifier}</id>
    <displayname>REC-{name.upper()}</displayname>
    <ClientRegistrationId>64fb052a-45a2-4ed9-9467-00000000000{name}</ClientRegistrationId>
    <serverEncryption enabled="false" certificateHash="{name * 4}" />
  </recorder>
  <!-- the Management Server -->
  <server><address>ms-{name}</address><webapiport>9000</webapiport>
    <authorizationserveraddress>http://ms-{name}/IDP</authorizationserveraddress></server>
  <webapi><port>9001</port><publicUri>rec-{name}:9001</publicUri></webapi>
  <database>
    <database_client><authentication><basic><passphrase>secret-{name}</passphrase></basic></authentication></database_client>
    <database_default><name>Local default</name><path>D:\\MediaDatabase</path></database_default>
  </database>
  <webserver><host>rec-{name}</host><port>7563</port></webserver>
</recorderconfig>
""").replace("\n", "\r\n").encode()


class Pair:
    """Two nodes and the wire between them. `cut` takes the wire away; `on_read` sees each file that is asked for."""

    def __init__(self, root: pathlib.Path):
        self.a, self.b = Node(root, "a", "b"), Node(root, "b", "a")
        self.cut = False
        self.on_read = lambda message, data: data
        self.asked: list[dict] = []

    def client(self, host, settings, peer="partner", **unused):
        name = settings.node if peer == "local" else settings.partner.name
        return Client(self, self.a if name == "a" else self.b, peer)


class Client:
    """TandemClient's calls without sockets: the messages become JSON in frames and back, as on the wire."""

    def __init__(self, pair: Pair, node: Node, peer: str):
        self.pair, self.node, self.peer = pair, node, peer

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        pass

    def call(self, op, timeout=5.0, **fields):
        self._reach()
        message = json.loads(wire.encode({"op": op, **fields})[4:])
        self.pair.asked.append(message)
        if op == "status":
            return {"state": self.node.state}
        return json.loads(wire.encode(remote.OPS[op](self.node.host, self.node.settings, message))[4:])

    def read(self, op, timeout=30.0, **fields):
        self._reach()
        message = json.loads(wire.encode({"op": op, **fields})[4:])
        self.pair.asked.append(message)
        length, pieces = remote.read_stream(self.node.host, self.node.settings, message)
        data = b"".join(pieces)
        digest = hashlib.sha256(data).hexdigest()
        data = self.pair.on_read(message, data)

        def stream():
            for at in range(0, length, 1000):
                self._reach()
                yield data[at:at + 1000]

        return {"ok": True, "length": length}, stream(), lambda: {"sha256": digest}

    def _reach(self):
        if not self.node.up or (self.pair.cut and self.peer == "partner"):
            raise NodeError("partner_unreachable" if self.peer == "partner" else "guard_down", f"{self.node.name} did not answer")


@contextlib.contextmanager
def refused(code: str, text: str = ""):
    """The body must raise a NodeError with this code that tells what to do next."""
    try:
        yield
    except NodeError as error:
        assert error.code == code, f"{error.code}: {error.message}"
        assert text in error.message, error.message
        return
    raise AssertionError(f"nothing was refused, {code} was expected")


def quiet(step, **fields):
    json.dumps(fields)


def make_pair(tmp_path, monkeypatch) -> Pair:
    from ansible_collections.tandem.xprotect.plugins.module_utils.node import gates
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.media import coverage, transfer
    from ansible_collections.tandem.xprotect.plugins.module_utils.node.verbs import media
    pair = Pair(tmp_path)
    for module in (gates, transfer, media):
        monkeypatch.setattr(module, "TandemClient", pair.client)
    monkeypatch.setattr(gates, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(coverage, "FRESH_MS", 20_000)  # a busy machine must not make media look old
    return pair


def available(node: Node, spans) -> None:
    """What the guard's journal says about when this node could record."""
    folder = node.host.path("C:\\ProgramData\\Tandem\\guard")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "availability.jsonl").write_text("".join(json.dumps({"from_ms": begin, "to_ms": end}) + "\n" for begin, end in spans))
