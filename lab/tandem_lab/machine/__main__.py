# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tandem_lab.machine --dir DIR`: switch a lab machine on."""

from __future__ import annotations

import argparse
import pathlib
import sys

from .kernel import main

parser = argparse.ArgumentParser(prog="python -m tandem_lab.machine", description="Run a lab machine until SIGTERM (shutdown).")
parser.add_argument("--dir", required=True, type=pathlib.Path, help="the machine's folder, made by tandem_lab.machine.image")
sys.exit(main(parser.parse_args().dir))
