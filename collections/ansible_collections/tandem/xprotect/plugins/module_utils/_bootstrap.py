# Copyright: (c) 2026, the Tandem for XProtect authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The only PowerShell of the product: it brings Python and the node runtime onto a machine that has neither.

Everything after that is done by the runtime. The script reads base64 lines from its standard input, checks the SHA-256 of
what they hold, puts it in place in one step and prints one JSON line. Without input it only tells what is there.

It was written against the documentation of Windows PowerShell 5.1 and has never been executed on Windows: the lab recognises its
text and does in Python what it says. Try it on a test machine first.
"""

from __future__ import annotations

import base64

# Kept to the letter: the lab recognises exactly this text.
REMAINDER = r"""# Tandem for XProtect: brings one file or one archive onto this machine. Windows PowerShell 5.1.
# Input: base64 text, one piece a line (CR LF); no input at all only asks what is there. Output: one JSON line.
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$temp = $null
$code = 0
function Read-Present {
  $mark = $Target
  if ($Kind -eq 'zip') { $mark = Join-Path $Target 'tandem.sha256' }
  if (-not (Test-Path -LiteralPath $mark -PathType Leaf)) { return '' }
  if ($Kind -eq 'zip') { return [IO.File]::ReadAllText($mark).Trim() }
  return (Get-FileHash -LiteralPath $mark -Algorithm SHA256).Hash.ToLower()
}
function Move-Slowly([scriptblock]$action) {
  for ($try = 1; $true; $try++) {
    try { & $action; return } catch { if ($try -ge 10) { throw } }
    Start-Sleep -Milliseconds 500
  }
}
try {
  if ($Kind -ne 'zip' -and $Kind -ne 'file') { throw "Unknown kind $Kind." }
  $installed = $false
  $present = Read-Present
  if ($present -ne $Sha256 -and -not ($Kind -eq 'zip' -and (Test-Path -LiteralPath $Target))) {
    $parent = [IO.Path]::GetDirectoryName($Target)
    [void][IO.Directory]::CreateDirectory($parent)
    $temp = Join-Path $parent ('tandem-' + [Guid]::NewGuid().ToString('N'))
    [void][IO.Directory]::CreateDirectory($temp)
    $pack = Join-Path $temp 'pack.zip'
    $size = 0
    $file = [IO.File]::Create($pack)
    try {
      foreach ($line in $input) {
        $bytes = [Convert]::FromBase64String([string]$line)
        $file.Write($bytes, 0, $bytes.Length)
        $size += $bytes.Length
      }
      $file.Flush($true)
    } finally { $file.Dispose() }
    if ($size -gt 0) {
      $hash = (Get-FileHash -LiteralPath $pack -Algorithm SHA256).Hash.ToLower()
      if ($hash -ne $Sha256) { throw "The data that arrived ($size bytes) has the SHA-256 $hash, not $Sha256." }
      if ($Kind -eq 'zip') {
        $new = Join-Path $temp 'new'
        Expand-Archive -LiteralPath $pack -DestinationPath $new
        [IO.File]::WriteAllText((Join-Path $new 'tandem.sha256'), $Sha256)
        Move-Slowly { [IO.Directory]::Move($new, $Target) }
      } else {
        if ($present) { Move-Slowly { [IO.File]::Delete($Target) } }
        Move-Slowly { [IO.File]::Move($pack, $Target) }
      }
      $installed = $true
      $present = Read-Present
    }
  }
  $answer = @{ installed = $installed; present = $present }
} catch {
  $code = 1
  $answer = @{ error = [string]$_.Exception.Message }
}
if ($temp) { Remove-Item -LiteralPath $temp -Recurse -Force -ErrorAction SilentlyContinue }
[Console]::Out.WriteLine(($answer | ConvertTo-Json -Compress))
exit $code
"""

POWERSHELL = r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"


def script(target_windows_path: str, sha256: str, kind: str) -> str:
    """`kind` "zip" unpacks an archive as the folder `target_windows_path`, "file" writes it as that file."""
    if kind not in ("zip", "file"):
        raise ValueError(f"unknown kind {kind!r}")
    values = {"Target": target_windows_path, "Sha256": sha256, "Kind": kind}
    return "".join(f"${name} = {_quote(value)}\n" for name, value in values.items()) + REMAINDER


def arguments(text: str) -> list[str]:
    """The arguments of powershell.exe that run `text`; -EncodedCommand wants UTF-16."""
    encoded = base64.b64encode(text.encode("utf-16-le")).decode("ascii")
    return ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass", "-EncodedCommand", encoded]


def stdin_lines(data: bytes) -> bytes:
    """`data` in the form that the script reads: base64, one piece a line."""
    pieces = (data[start:start + 49152] for start in range(0, len(data), 49152))
    return b"".join(base64.b64encode(piece) + b"\r\n" for piece in pieces)


def _quote(value: str) -> str:
    if any(ord(character) < 32 for character in value):
        raise ValueError("control characters in a PowerShell value")
    return "'" + value.replace("'", "''") + "'"
