# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The camera's truth in a picture."""

from __future__ import annotations

import struct

import pytest
from fake_image_server import jpeg

from tandem_lab.integrations.frames import Truth, truth


def test_truth_right_after_the_start():
    assert truth(jpeg("cam-1", 12, 1700000000000)) == Truth("cam-1", 12, 1700000000000, 0.0)


def test_truth_behind_other_segments():
    picture = jpeg("cam-1", 12, 5)
    other = b"\xff\xe0" + struct.pack(">H", 8) + b"JFIF\0\0" + b"\xff\xfe" + struct.pack(">H", 6) + b"note"
    assert truth(picture[:2] + other + picture[2:]).counter == 12


@pytest.mark.parametrize("spoil", [
    lambda picture: b"GIF89a" + picture,
    lambda picture: picture[:40],
    lambda picture: picture.replace(b"TANDEM1", b"TANDEM9"),
    lambda picture: picture.replace(b'"counter"', b'"kounter"'),
    lambda picture: b"\xff\xd8\xff\xda" + picture[2:],
    lambda picture: b"\xff\xd8\xff\xfe\x00\x00" + picture[2:],
    lambda picture: b"",
])
def test_no_truth_in_other_bytes(spoil):
    assert truth(spoil(jpeg("cam-1", 12, 5))) is None
