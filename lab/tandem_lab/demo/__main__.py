# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tandem_lab.demo [--story main|turn] --directory DIR``: tell a story, exit non-zero when a promise broke."""

from __future__ import annotations

import argparse
import pathlib
import sys

from . import main_story, turn_story
from .screen import Screen

STORIES = {"main": main_story.tell, "turn": turn_story.tell}


def main() -> int:
    parser = argparse.ArgumentParser(prog="tandem_lab.demo", description=__doc__)
    parser.add_argument("--story", choices=sorted(STORIES), default="main")
    parser.add_argument("--directory", type=pathlib.Path, required=True, help="where the site and summary.json go; emptied first")
    arguments = parser.parse_args()
    return STORIES[arguments.story](arguments.directory.resolve(), Screen())


if __name__ == "__main__":
    sys.exit(main())
