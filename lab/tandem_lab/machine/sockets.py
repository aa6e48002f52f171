# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TCP sockets of a lab machine.

The kernel keeps a duplicate of every connection to be able to cut it, so closing the process's own descriptor would not end
the connection. These sockets shut the connection down when they are closed; the kernel sees that and lets its duplicate go.
"""

from __future__ import annotations

import socket


class MachineSocket(socket.socket):
    """A connected socket that was handed over by the kernel. Usable wherever a socket is, also with `ssl`."""

    __slots__ = ()

    def _real_close(self) -> None:
        _shut_down(self)
        super()._real_close()

    def __del__(self) -> None:
        if self.fileno() >= 0:
            self.close()


def _shut_down(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass  # not connected any more


def from_descriptor(fd: int) -> MachineSocket:
    sock = MachineSocket(fileno=fd)
    sock.setblocking(True)  # the kernel connected and accepted without blocking, and that flag is shared
    return sock


def teach_tls() -> None:
    """Make TLS sockets of this process close in the same way: wrapping detaches the descriptor from `MachineSocket`."""
    import ssl

    if ssl.SSLContext.sslsocket_class is not ssl.SSLSocket:
        return

    class MachineTLSSocket(ssl.SSLSocket):
        def _real_close(self) -> None:
            _shut_down(self)
            super()._real_close()

        def __del__(self) -> None:
            if self.fileno() >= 0:
                self.close()

    ssl.SSLContext.sslsocket_class = MachineTLSSocket
