# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options in `module_utils/arguments.py`."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  pair:
    description:
      - Name of the pair, as it appears in messages and in the state that is kept on both nodes.
    type: str
    required: true
  recorder_id:
    description:
      - Id (GUID) of the one logical recording server that both nodes stand for.
      - It stands in C(RecorderConfig.xml) of the recorder that serves now, and the Management Client shows it.
    type: str
    required: true
  service_address:
    description:
      - The address that the clients and the Management Server know. It moves with the attachment.
    type: dict
    required: true
    suboptions:
      address:
        description: The IPv4 address. Clients may know it by a name, which has to resolve to this address.
        type: str
        required: true
      prefix:
        description: Length of the network prefix of the address.
        type: int
        default: 24
      interface:
        description:
          - Name of the network interface that gets the address on a node.
          - Without it the node takes the interface that is in the same network.
        type: str
  nodes:
    description:
      - The two machines of the pair. Their order has no meaning, either may be attached.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the node, unique in the pair.
        type: str
        required: true
      address:
        description: The node's own IPv4 address, which never moves. A DNS name belongs into O(nodes[].winrm_url).
        type: str
        required: true
      winrm_url:
        description:
          - URL of the node's WinRM listener.
          - The default is C(https://ADDRESS:5986/wsman).
        type: str
      winrm_transport:
        description:
          - How to log in to WinRM.
          - With V(ntlm) and V(kerberos) the messages are encrypted over plain HTTP too. V(basic) over plain HTTP sends the
            password in clear text and is only for laboratories.
          - V(certificate) needs O(nodes[].certificate_pem) and O(nodes[].certificate_key_pem).
          - V(kerberos) needs the Python package pykerberos and a ticket, or a keytab, of the user.
        type: str
        choices: [ntlm, kerberos, certificate, basic]
        default: ntlm
      username:
        description: User on the node, a member of its Administrators group.
        type: str
      password:
        description:
          - Password of O(nodes[].username).
          - If the option is left out, the environment variable E(TANDEM_NODE_PASSWORD) of the controller is used.
        type: str
      certificate_pem:
        description: File on the controller with the client certificate (PEM) for O(nodes[].winrm_transport=certificate).
        type: path
      certificate_key_pem:
        description: File on the controller with the private key (PEM) of O(nodes[].certificate_pem).
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
  management_server:
    description:
      - The XProtect Management Server (and its API Gateway).
      - Needed by all modules that compare or change what the Management Server knows.
    type: dict
    suboptions:
      url:
        description: Base URL, for example C(https://ms.example.com).
        type: str
        required: true
      username:
        description: An XProtect basic user or a Windows user, see O(management_server.auth).
        type: str
        required: true
      password:
        description:
          - Password of O(management_server.username).
          - If the option is left out, the environment variable E(TANDEM_MANAGEMENT_PASSWORD) of the controller is used.
        type: str
      auth:
        description: Kind of the user. V(windows) logs in by NTLM.
        type: str
        choices: [basic, windows]
        default: basic
      ca_file:
        description: File on the controller with the certificates (PEM) that the server's certificate is checked against.
        type: path
      validate_certificate:
        description: Whether the certificate of an HTTPS server is checked.
        type: bool
        default: true
  tandem_port:
    description: TCP port on which the guards of the two nodes talk to each other.
    type: int
    default: 11443
  witness:
    description:
      - The third voter of the pair. It runs on neither node, is small, and serves many pairs.
      - With it, two of the three voters decide who may be attached, so that a node that dies without a word is replaced safely.
      - Without it nobody takes over from a silent node without proof that it is off.
    type: dict
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
          - With V(none) the controller never talks to it. Then O(witness.certificate) or O(witness.certificate_file) has to be given, and
            the pair is registered by whoever manages the witness.
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
"""
