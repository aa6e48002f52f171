#!/usr/bin/python
# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: witness
short_description: Make a machine a witness
version_added: 0.1.0
author:
  - Tandem for XProtect authors (@tandem-xprotect)
description:
  - A witness is the third voter of a pair. It is small, runs on neither of the two recorders, and one serves hundreds of pairs.
  - This module brings the node runtime onto a Windows machine, makes a certificate, and installs the service. On Linux the role
    V(witness) does the same with systemd.
  - A witness also judges how its pairs stand and offers that over HTTPS, if a token is given.
  - Run it once for each witness and not for each pair. M(tandem.xprotect.witness_pair) has it know a pair.
options:
  witness:
    description:
      - The machine. The same dictionary goes into the definition of each pair that it serves.
    type: dict
    required: true
    suboptions:
      name:
        description: Name of the machine, for messages.
        type: str
        required: true
      address:
        description: The IPv4 address at which the nodes reach the witness.
        type: str
        required: true
      port:
        description: TCP port of the witness.
        type: int
        default: 11444
      connection:
        description:
          - How the controller itself reaches the witness, to read its certificate and to register the pair there.
          - V(winrm) is for a witness on Windows, V(local) for one that runs on the controller.
          - With V(none) the controller never talks to it. Then O(witness.certificate) or O(witness.certificate_file) has to be given, and the
            pair is registered by whoever manages the witness.
        type: str
        choices: [winrm, local, none]
        default: winrm
      certificate:
        description: The certificate (PEM) of the witness, which both nodes pin. Left out, it is read from the witness.
        type: str
      certificate_file:
        description: The same as a file on the controller.
        type: path
      winrm_url:
        description:
          - URL of the WinRM listener of a witness on Windows.
          - The default is C(https://ADDRESS:5986/wsman).
        type: str
      winrm_transport:
        description:
          - How to log in to WinRM.
          - With V(ntlm) and V(kerberos) the messages are encrypted over plain HTTP too. V(basic) over plain HTTP sends the
            password in clear text and is only for laboratories.
          - V(certificate) needs O(witness.certificate_pem) and O(witness.certificate_key_pem).
          - V(kerberos) needs the Python package pykerberos and a ticket, or a keytab, of the user.
        type: str
        choices: [ntlm, kerberos, certificate, basic]
        default: ntlm
      username:
        description: User on that machine, a member of its Administrators group.
        type: str
      password:
        description:
          - Password of O(witness.username).
          - If the option is left out, the environment variable E(TANDEM_NODE_PASSWORD) of the controller is used.
        type: str
      certificate_pem:
        description: File on the controller with the client certificate (PEM) for O(witness.winrm_transport=certificate).
        type: path
      certificate_key_pem:
        description: File on the controller with the private key (PEM) of O(witness.certificate_pem).
        type: path
      ca_file:
        description:
          - File on the controller with the certificates (PEM) that the WinRM listener's certificate is checked against.
          - Without it the certificates that the Python package requests brings are used.
        type: path
      validate_certificate:
        description: Whether the certificate of an HTTPS listener is checked.
        type: bool
        default: true
      connect_timeout:
        description: Seconds after which a machine that does not answer counts as unreachable.
        type: int
        default: 5
  python_archive:
    description:
      - File on the controller with the Windows embeddable package (64-bit) of Python 3.11 or later.
      - Needed on machines that have no Python of Tandem yet.
    type: path
  listen_address:
    description: Address on which the witness listens, if it is another one than O(witness.address).
    type: str
  api_port:
    description: TCP port of the HTTPS interface. It is open only when O(api_token) is given.
    type: int
    default: 11445
  api_token:
    description:
      - What a reader of the HTTPS interface has to show as bearer token, at least 16 characters. The machine keeps its SHA-256 only.
      - Left out, the interface is closed.
    type: str
attributes:
  check_mode:
    description: Tells what would be brought or changed. What comes after a missing runtime cannot be looked at and counts as changed.
    support: full
  diff_mode:
    description: Lists what is changed. Keys and tokens are not shown.
    support: full
  platform:
    description: Runs on the controller (any POSIX system) and works on Windows machines by WinRM.
    platforms: posix
    support: full
requirements:
  - pywinrm
  - cryptography
seealso:
  - module: tandem.xprotect.witness_pair
"""

EXAMPLES = r"""
- name: Make a Windows machine a witness
  tandem.xprotect.witness:
    witness:
      name: watch-1
      address: 10.0.0.20
      username: tandem@example.com
      password: "{{ vault_node_password }}"
    python_archive: files/python-3.13.1-embed-amd64.zip
    api_token: "{{ vault_witness_token }}"
"""

RETURN = r"""
items:
  description: What was changed, for example V(runtime), V(witness.json), V(witness.pem) or V(service).
  returned: success
  type: list
  elements: str
certificate:
  description: Certificate (PEM) of the witness, which the nodes of its pairs pin. Null in check mode when there is none yet.
  returned: success
  type: str
"""

from ansible_collections.tandem.xprotect.plugins.module_utils._module import run_module
from ansible_collections.tandem.xprotect.plugins.module_utils.operations import witness


def main() -> None:
    run_module(witness.ARGUMENT_SPEC, witness)


if __name__ == "__main__":
    main()
