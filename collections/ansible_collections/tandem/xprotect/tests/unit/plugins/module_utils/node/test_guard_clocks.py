# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How far a clock is off, out of answers that took a while."""
from __future__ import annotations

import contextlib
import threading

import pytest
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard import clocks
from ansible_collections.tandem.xprotect.plugins.module_utils.node.guard.health_terms import ClockView, Standing
from ansible_collections.tandem.xprotect.tests.unit.plugins.module_utils.node.fake_host import FakeHost

DATE = b"Date: Sun, 01 Mar 2026 10:00:00 GMT\r\n"
AT = 1772359200.0


@pytest.mark.parametrize(("sent", "received", "theirs", "expected"), [
    (100.0, 100.2, 100.1, (0.0, 0.2)), (100.0, 100.2, 90.1, (10.0, 0.2)), (100.0, 104.0, 112.0, (-10.0, 2.1)),
    (100.0, 99.0, 100.0, None), (100.0, 106.0, 100.0, None),
])
def test_measure(sent, received, theirs, expected):
    found = clocks.measure(sent, received, theirs, 0.1)
    assert found == (None if expected is None else pytest.approx(expected))


def test_what_the_error_may_explain_is_no_difference():
    both = clocks.Clocks()
    both.partner_answered(100.0, 102.0, 102.0, 1.0)
    both.management_answered(100.0, 100.0, 99.0, 1.0)
    assert both.view(None, 1.0) == ClockView(0.0, 0.0)
    both.management_answered(100.0, 100.2, 90.0, 1.0)
    assert both.view(None, 1.0).management == pytest.approx(9.0)
    both.management_answered(100.0, 90.0, 90.0, 2.0)  # set while it was asked: the last good one stays
    assert both.view(None, 2.0).management == pytest.approx(9.0)


def test_old_measurements_do_not_count():
    both = clocks.Clocks()
    both.partner_answered(100.0, 100.0, 50.0, 1.0)
    both.management_answered(100.0, 100.0, 50.0, 1.0)
    assert both.view(None, 7.0).partner is None and both.view(None, 7.0).management is not None
    assert both.view(None, 200.0) == ClockView()


def test_clock_that_was_set_is_noticed_and_one_that_drifts_is_not():
    steps = clocks.StepWatch()
    assert [steps.stepped(difference) for difference in (100.0, 100.1, 130.1, 130.2, 100.0)] == [False, False, True, False, True]
    both = clocks.Clocks()
    both.partner_answered(100.0, 100.0, 50.0, 1.0)
    both.management_answered(100.0, 100.0, 50.0, 1.0)
    both.forget()
    assert both.view(None, 1.0) == ClockView()


def test_fenced_node_learns_from_its_partner_whose_clock_is_off():
    both = clocks.Clocks()
    both.partner_answered(100.0, 100.0, 50.0, 1.0)
    assert both.view(Standing(1.0, clock_offset=0.0), 1.0) == ClockView(pytest.approx(49.9), pytest.approx(49.9), True)
    assert both.view(Standing(1.0, clock_offset=-49.9), 1.0).management == pytest.approx(0.0)
    assert both.view(Standing(1.0), 1.0) == ClockView(None, pytest.approx(49.9))


@pytest.mark.parametrize(("head", "expected"), [
    (b"HTTP/1.1 200 OK\r\n" + DATE + b"\r\n", AT), (b"HTTP/1.1 404 Not Found\r\nX: y\r\n" + DATE.replace(b"Date", b"date") + b"\r\n", AT),
    (b"HTTP/1.1 200 OK\r\n\r\n", None), (DATE, None), (b"", None), (b"HTTP/1.1 200\r\nDate: yesterday at noon\r\n\r\n", None),
    (b"HTTP/1.1 200\r\nDate: Sun, 99 Mar 99999 10:00:00 GMT\r\n\r\n", None),
    (b"HTTP/1.1 200\r\nDate: " + b"\xff" * 20 + b"\r\n\r\n", None),
])
def test_dates(head, expected):
    assert clocks.parse_date(head) == expected


@pytest.mark.parametrize(("answer", "expected"), [
    (b"HTTP/1.1 401 Unauthorized\r\n" + DATE + b"\r\n", AT), (b"", None), (b"nonsense", None)])
def test_asking_a_web_server(tmp_path, answer, expected):
    host = FakeHost(tmp_path, "machine", ["127.20.3.11"])
    listener = host.listen("127.20.3.11", 0)

    def serve() -> None:
        with host.accept(listener, 30.0)[0] as connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    found = clocks.ask_date(host, "127.20.3.11", listener.getsockname()[1], 30.0)
    thread.join(30.0)
    listener.close()
    assert (found and found[2]) == expected and (found is None or found[0] <= found[1])
    assert clocks.ask_date(host, "127.20.3.11", 1, 2.0) is None
