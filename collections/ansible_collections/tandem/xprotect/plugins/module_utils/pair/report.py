# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of a pair as text, for people: at most 80 columns, plain characters."""

from __future__ import annotations

import datetime
import textwrap
import typing as t

WIDTH = 80


def status_text(info: t.Mapping[str, t.Any]) -> str:
    """The result of `pair_info` as text."""
    lines = [_fit(f"Pair {info['pair']}   service address {info['service_address']}"), _fit(f"recorder id {info['recorder_id']}"), ""]
    lines.append(_row("node", "state", "epoch", "recorder", "writing", "guard", "fence"))
    for node in info["nodes"]:
        lines.append(_node_row(node))
    lines.append("")
    lines += _voting_lines(info.get("voting"), info["nodes"])
    lines += _maintenance_lines(info["nodes"])
    lines += _coverage_lines(info.get("coverage"))
    lines += _config_lines(info.get("configuration"))
    lines += _fingerprint_lines(info.get("fingerprint"))
    lines += _work_lines(info["nodes"])
    lines += _problem_lines(info.get("problems") or [])
    return "\n".join(lines) + "\n"


def duration(seconds: float) -> str:
    """``4.2 s``, ``3 min 20 s``, ``5 h 12 min``, ``3 d 4 h``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(int(round(seconds)), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def size(count: float) -> str:
    """Bytes with a unit that keeps the number short."""
    for unit in ("B", "KB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def clock(milliseconds: float) -> str:
    """A time of the recorders in UTC."""
    moment = datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _row(*cells: str) -> str:
    widths = (16, 12, 8, 14, 9, 10, 8)
    return "  ".join(_cut(cell, width).ljust(width) for cell, width in zip(cells, (width - 2 for width in widths))).rstrip()


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[:width - 1] + "~"


def _fit(text: str) -> str:
    return _cut(text, WIDTH)


def _node_row(node: t.Mapping[str, t.Any]) -> str:
    if not node["reachable"]:
        return _row(node["name"], "unreachable", "-", "-", "-", "-", "-")
    writing = f"{node['writing']}/{node['devices']}" if node["guard_answers"] else "-"
    return _row(node["name"], node["state"], "-" if node["epoch"] is None else str(node["epoch"]),
                _recorder_word(node), writing, "answers" if node["guard_answers"] else node["guard_service"],
                "open" if node["permit_open"] else "closed" if node["fence_installed"] else "none")


def _recorder_word(node: t.Mapping[str, t.Any]) -> str:
    if node["config_error"]:
        return "config bad"
    if node["recorder_service"] != "running":
        return str(node["recorder_service"] or "missing")
    return str(node["connection_state"] or "running").lower()


def _voting_lines(voting: t.Mapping[str, t.Any] | None, nodes: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    """Who votes, for how long the lease is sure, and how well each node is."""
    if not voting or not voting["voters"]:
        return []
    words = [f"Votes: {', '.join(voting['voters'])}"]
    if voting["witness"] and voting["witness"]["heard_ago"] is not None:
        words.append(f"witness heard {duration(voting['witness']['heard_ago'])} ago")
    lines = _wrapped("   ".join(words), "  ")
    for node in nodes:
        lease, health = node.get("lease") or {}, node.get("health") or {}
        told = [f"health {health['score']:g}"] if isinstance(health.get("score"), (int, float)) else []
        if node.get("state") == "attached" and isinstance(lease.get("deadline_in"), (int, float)):
            told.append(f"lease for {duration(lease['deadline_in'])} more")
        elif isinstance(lease.get("free_in"), (int, float)) and lease["free_in"] > 0:
            told.append(f"its vote is promised for {duration(lease['free_in'])} more")
        if told:
            lines.append(_fit(f"  node {node['name']}: {', '.join(told)}"))
    return [*lines, ""]


def _maintenance_lines(nodes: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    lines = []
    for node in nodes:
        found = node.get("maintenance")
        if found and isinstance(found.get("until_ms"), (int, float)):
            reason = found.get("reason") or "no reason given"
            lines += _wrapped(f"Maintenance on node {node['name']} until {clock(found['until_ms'])}: {reason}", "  ")
    return [*lines, ""] if lines else []


def _coverage_lines(coverage: t.Mapping[str, t.Any] | None) -> list[str]:
    if not coverage:
        return []
    lines = [_fit(f"Media: {coverage['devices']} devices, together {duration(coverage['union_seconds'])}")]
    for name, own in coverage["nodes"].items():
        if own["lacks_seconds"]:
            lines.append(_fit(f"  node {name} lacks {duration(own['lacks_seconds'])} on {own['lacks_devices']} devices"))
        else:
            lines.append(_fit(f"  node {name} lacks nothing"))
    return [*lines, ""]


def _config_lines(configuration: t.Mapping[str, t.Any] | None) -> list[str]:
    if not configuration:
        return []
    if not configuration["compared"]:
        return _wrapped(f"Configuration: not compared ({configuration['reason']})", "  ") + [""]
    left_out = [item for item in configuration["items"] if item.get("note")]
    compared = [item for item in configuration["items"] if not item.get("note")]
    differing = [item["id"] for item in compared if item["equal"] is False]
    unknown = [item["id"] for item in compared if item["equal"] is None]
    words = [f"cannot be compared in {', '.join(unknown)}"] if unknown else []
    words += [f"differs in {', '.join(differing)}"] if differing else []
    lines = _wrapped(f"Configuration: {', '.join(words) or _equal(len(compared))}", "  ")
    for item in left_out:
        lines += _wrapped(f"  {item['id']} {item['note']}", "    ")
    return [*lines, ""]


def _equal(count: int) -> str:
    return "1 item equal" if count == 1 else f"{count} items equal"


def _fingerprint_lines(fingerprint: t.Mapping[str, t.Any] | None) -> list[str]:
    if not fingerprint:
        return []
    if fingerprint.get("error"):
        return _wrapped(f"Fingerprint: {fingerprint['error']}", "  ") + [""]
    return [_fit(f"Fingerprint: {fingerprint['sha256'][:16]}"), ""]


def _work_lines(nodes: t.Iterable[t.Mapping[str, t.Any]]) -> list[str]:
    lines = []
    for node in nodes:
        lock = node.get("lock")
        if lock:
            lines += _wrapped(f"Work on node {node['name']}: {lock.get('purpose')} by {lock.get('owner')}", "  ")
    return [*lines, ""] if lines else []


def _problem_lines(problems: t.Sequence[str]) -> list[str]:
    if not problems:
        return ["No problem found."]
    lines = ["Problems:"]
    for problem in problems:
        lines += _wrapped(f"- {problem}", "  ")
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False)
