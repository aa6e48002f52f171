# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WinRM messages to one node: pywinrm's Protocol with limits, and every failure in plain words.

pywinrm makes its own `requests` session. It is opened here without encryption first, so that time and size limits are in
place before the first byte is sent, and the encryption that NTLM and Kerberos bring is set up afterwards.
"""

from __future__ import annotations

import os
import typing as t
import urllib.parse

from ._http import BoundedAdapter, explain, need
from .errors import RuntimeMissing, TandemError

try:
    from winrm.exceptions import InvalidCredentialsError, WinRMError, WinRMOperationTimeoutError, WinRMTransportError, WSManFaultError
    from winrm.protocol import Protocol
except ImportError as import_error:
    WINRM_MISSING: ImportError | None = import_error
else:
    WINRM_MISSING = None

MESSAGE_LIMIT = 4 * 1024 * 1024  # an answer of Windows is at most 500 kB by default
UNKNOWN_SHELL = 2150858843
# Windows error numbers as a WSManFault carries them: plain, or as an HRESULT.
NOT_FOUND = {2, 3, 0x80070002, 0x80070003}
DENIED = {5, 0x80070005}
BUSY = {170}
QUOTA = {0x803381A4, 0x803381A5, 0x803381A6, 0x803381AC}
OPERATIONS_QUOTA = 0x803381A6


class OperationTimeout(Exception):
    """WinRM's "nothing to tell yet": asked again by whoever waits for output."""


class Wire:
    """One authenticated connection, made when it is needed. A shell is not bound to it: it outlives its connections."""

    def __init__(self, node: dict[str, t.Any], pair: str):
        need("pywinrm", WINRM_MISSING)
        self.pair, self.name = pair, node["name"]
        self.url = node.get("winrm_url") or f"https://{node['address']}:5986/wsman"
        self._node = node
        self._secret = node.get("password") or ""
        self._transport = node.get("winrm_transport") or "ntlm"
        self._protocol: t.Any = None
        self._check()

    # -- the connection --------------------------------------------------------------------------------------------
    def _check(self) -> None:
        node, wanted = self._node, self._transport
        url = urllib.parse.urlsplit(self.url)
        missing = ""
        if url.scheme not in ("http", "https") or not url.hostname:
            missing = f"winrm_url {self.url!r} is not an http or https URL"
        elif wanted in ("ntlm", "basic") and not node.get("username"):
            missing = f"WinRM transport {wanted} needs a username"
        elif wanted in ("ntlm", "basic") and not node.get("password"):
            missing = f"WinRM transport {wanted} needs the password of {node['username']}"
        elif wanted == "certificate" and not (node.get("certificate_pem") and node.get("certificate_key_pem")):
            missing = "WinRM transport certificate needs certificate_pem and certificate_key_pem"
        elif wanted == "certificate" and url.scheme != "https":
            missing = "WinRM transport certificate works over https only"
        for option in ("ca_file", "certificate_pem", "certificate_key_pem"):
            if not missing and node.get(option) and not os.path.isfile(node[option]):
                missing = f"{option} names {node[option]}, which is no file on the controller"
        if missing:
            raise self._error(missing, "configuration", "complete the node's entry in the pair's variables"
                              " (the password may come from the environment variable TANDEM_NODE_PASSWORD).")

    def _open(self) -> t.Any:
        node = self._node
        encrypt = self._transport in ("ntlm", "kerberos") and self.url.lower().startswith("http:")
        protocol = Protocol(
            endpoint=self.url, transport=self._transport, username=node.get("username"), password=node.get("password"),
            cert_pem=node.get("certificate_pem"), cert_key_pem=node.get("certificate_key_pem"),
            ca_trust_path=node.get("ca_file") or None, message_encryption="never", proxy=None,
            server_cert_validation="ignore" if node.get("validate_certificate") is False else "validate")
        session = protocol.transport.build_session()
        session.trust_env = False  # the machines are named by address: no proxy, no .netrc
        adapter = BoundedAdapter(float(node.get("connect_timeout") or 5), 30.0, MESSAGE_LIMIT)
        session.mount("http://", adapter)
        session.mount("https://", adapter)
        if encrypt:
            self._encrypt(protocol, session)
        return protocol

    def _encrypt(self, protocol: t.Any, session: t.Any) -> None:
        able = hasattr(session.auth, "session_security") or getattr(session.auth, "winrm_encryption_available", False)
        if not able:
            raise self._error(f"the installed Python package for {self._transport} cannot encrypt WinRM messages", "package_missing",
                              "use an https listener, or install the package's current version.")
        protocol.transport.setup_encryption(session)

    def disconnect(self) -> None:
        """Forget the TCP connection, its authentication and its encryption. The next message makes new ones."""
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.transport.close_session()

    # -- messages --------------------------------------------------------------------------------------------------
    def message(self, what: str, send: t.Callable[[t.Any], t.Any], seconds: float = 20.0) -> t.Any:
        """One request and its answer; `send(protocol)` does it. The node may take `seconds` for it."""
        limit = max(1, min(60, int(seconds)))
        try:
            if self._protocol is None:
                self._protocol = self._open()
            self._protocol.operation_timeout_sec = limit
            self._protocol.transport.read_timeout_sec = limit + 10
            return send(self._protocol)
        except WinRMOperationTimeoutError:
            raise OperationTimeout() from None
        except TandemError as error:
            raise error.at(self.pair, self.name) from error.__cause__
        except Exception as error:  # pywinrm, requests, requests_ntlm, spnego, XML: one place turns all into words
            if not isinstance(error, WSManFaultError):
                self.disconnect()
            raise self._explain(what, error) from None

    # -- failures --------------------------------------------------------------------------------------------------
    def _error(self, message: str, code: str, next_step: str, kind: type[TandemError] = TandemError) -> TandemError:
        return kind(self._clean(message), self.pair, self.name, next_step, code=code)

    def _clean(self, text: str) -> str:
        return text.replace(self._secret, "********") if self._secret else text

    def _explain(self, what: str, error: Exception) -> TandemError:
        if isinstance(error, InvalidCredentialsError) or isinstance(error, PermissionError):
            return self._error(
                f"WinRM at {self.url} refused the login of {self._node.get('username') or 'the certificate'} ({self._transport})",
                "wrong_password", "check user name and password, that the account is not locked, and that the listener allows"
                f" {self._transport} (winrm get winrm/config/service/auth).")
        if isinstance(error, WSManFaultError):
            return self._explain_fault(what, error)
        if isinstance(error, WinRMTransportError):
            return self._explain_status(what, error)
        if isinstance(error, WinRMError):
            return self._error(f"WinRM transport {self._transport}: {error}", "configuration",
                               "install what that transport needs on the controller, or choose another winrm_transport.")
        told = explain(error, f"WinRM at {self.url}", "the node's ca_file")
        told.message = self._clean(told.message)
        return told.at(self.pair, self.name)

    def _explain_fault(self, what: str, error: t.Any) -> TandemError:
        codes = {error.wsman_fault_code, error.wmierror_code}
        reason = " ".join((error.reason or "").split())[:400]
        if codes & NOT_FOUND:
            return self._error(f"{what}: the program is not on the machine, Tandem was not brought there yet", "program_missing",
                               "provision the pair (playbooks/provision.yml; module node_runtime brings it) and run again.", RuntimeMissing)
        if codes & QUOTA or (error.fault_subcode or "").endswith("QuotaLimit"):
            found = self._error(f"{what}: a WinRM quota of the user is used up ({reason})", "quota",
                                "close other WinRM sessions of this user or wait until idle ones end"
                                " (winrm get winrm/config/winrs shows MaxShellsPerUser).")
        elif codes & DENIED:
            found = self._error(f"{what}: Windows denied access", "access_denied",
                                f"make {self._node.get('username') or 'the user of the certificate'} a member of the node's group"
                                " Administrators.")
        else:
            found = self._error(f"{what} failed: {reason} (fault {error.wsman_fault_code or error.fault_subcode})", "fault",
                                "look at the Windows event log Microsoft-Windows-WinRM/Operational of the node.")
        found.details["fault"] = error.wsman_fault_code
        found.details["wmi"] = error.wmierror_code
        return found

    def _explain_status(self, what: str, error: t.Any) -> TandemError:
        steps = {404: "correct winrm_url, it ends in /wsman.", 413: "raise MaxEnvelopeSizekb of the listener to 500.",
                 503: "WinRM is starting or overloaded: wait and run again.",
                 400: "run again; if it persists, check that no proxy is between controller and node."}
        return self._error(f"{what}: WinRM at {self.url} answered HTTP {error.code}", "http",
                           steps.get(error.code, "check that winrm_url is a WinRM listener."))
