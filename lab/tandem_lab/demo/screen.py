# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo shows in the terminal: chapters, what happens, and tables. Plain text when it is not a terminal."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table


class Screen:
    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = 110
        self.began = time.monotonic()

    def title(self, text: str, lines: list[str]) -> None:
        self.console.print(Panel("\n".join(lines), title=f"[bold]{text}[/]", border_style="blue", width=min(self.console.width, 110)))

    def chapter(self, number: int, text: str) -> None:
        clock = f"{time.monotonic() - self.began:5.0f} s"
        self.console.print(f"\n[bold blue]{number}. {escape(text)}[/]  [dim]{clock}[/]")

    def say(self, text: str) -> None:
        self.console.print(f"   {escape(text)}")

    def good(self, text: str) -> None:
        self.console.print(f"   [green]ok[/]  {escape(text)}")

    def bad(self, text: str) -> None:
        self.console.print(f"   [bold red]BROKEN[/]  {escape(text)}")

    def drama(self, text: str) -> None:
        self.console.print(f"   [bold red]{escape(text)}[/]")

    def command(self, text: str) -> None:
        self.console.print(f"   [bold]$ {escape(text)}[/]")

    def output(self, line: str) -> None:
        style = "dim"
        if line.startswith("+"):
            style = "green"
        elif line.startswith("-"):
            style = "red"
        self.console.print(f"     [{style}]{escape(line)}[/]", soft_wrap=True)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold", header_style="bold", pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, justify="left" if index == 0 else "right")
        for row in rows:
            table.add_row(*[escape(cell) for cell in row])
        self.console.print()
        self.console.print(table)
