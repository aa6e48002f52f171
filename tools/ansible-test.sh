#!/usr/bin/env bash
# Run ansible-test inside the collection, with everything it keeps below build/ and nothing fetched except Python packages.
#
# ansible-test makes its own virtual environments and seeds pip with a script from its project's download site. A machine
# that reaches only a package registry cannot get that, so a stand-in lies where ansible-test looks first: it installs
# the same pip release through Python's own ensurepip and the configured package index.
set -euo pipefail

top=$(cd "$(dirname "$0")/.." && pwd)
home=$top/build/ansible-test/home
cache=$home/.ansible/test/cache
mkdir -p "$cache" "$home/.config"
if [ -d "${XDG_CONFIG_HOME:-$HOME/.config}/pip" ]; then ln -sfn "${XDG_CONFIG_HOME:-$HOME/.config}/pip" "$home/.config/pip"; fi
if [ -d "$HOME/.pip" ]; then ln -sfn "$HOME/.pip" "$home/.pip"; fi

# The file carries the pip release that this ansible-core asks for: read it from there instead of guessing.
version=$("$top/.venv/bin/python" - <<'PY'
import pathlib, re, ansible_test
text = (pathlib.Path(ansible_test.__file__).parent / "_internal/python_requirements.py").read_text()
print(re.search(r"pip='([\d.]+)'", text).group(1))
PY
)
cat > "$cache/get_pip_${version//./_}.py" <<'PY'
"""Stand-in for get-pip: ensurepip, then the wanted pip from the configured index."""
import os
import subprocess
import sys

BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
arguments = [a for a in sys.argv[1:] if a not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
certificates = ["--cert", BUNDLE] if os.path.exists(BUNDLE) else []
sys.exit(subprocess.run([sys.executable, "-m", "pip", "install", *certificates, *arguments]).returncode)
PY

export HOME=$home PATH="$top/.venv/bin:$PATH" ANSIBLE_COLLECTIONS_PATH="$top/collections"
unset ANSIBLE_CONFIG
cd "$top/collections/ansible_collections/tandem/xprotect"
exec ansible-test "$@"
