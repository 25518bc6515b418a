#!/usr/bin/env bash
# Build the sdist, the wheel from it, and use the wheel with its run-time dependencies alone.
#
# Usage: check_build.sh PYTHON
set -euo pipefail

python=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m build --outdir "$scratch/dist" .
"$python" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install -qq --disable-pip-version-check "$scratch"/dist/*.whl
"$scratch/venv/bin/python" -m pip check

# From elsewhere, or the package in the working directory would be imported instead.
cd "$scratch"
"$scratch/venv/bin/python" -W error - <<'PYTHON'
import importlib.metadata
import importlib.util
from pathlib import Path

import trioauth
import trioauth.events
import trioauth.grants
import trioauth.stores
import trioauth.testing

package = Path(trioauth.__file__).parent
assert "site-packages" in package.parts, package
assert (package / "py.typed").is_file(), "py.typed is not in the wheel"
for extra in ("httpx2", "hypercorn", "rich", "pytest"):
    assert importlib.util.find_spec(extra) is None, f"{extra} is required at run time"
print("the wheel works:", package.name, importlib.metadata.version("trioauth"))
PYTHON
