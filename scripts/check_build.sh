#!/usr/bin/env bash
# Build the sdist, the wheel from it, and use the wheel: with its run-time dependencies alone, and
# with the quicker tests of the sdist.
#
# Usage: check_build.sh PYTHON
set -euo pipefail

python=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# pip of the newer kind, for dependency groups.
pip=("$python" -m pip --python "$scratch/venv/bin/python")

"$python" -m build --outdir "$scratch/dist" .
"$python" scripts/check_dist.py "$scratch/dist"
wheel=$(echo "$scratch"/dist/*.whl)

"$python" -m venv --without-pip "$scratch/venv"
"${pip[@]}" install -qq --disable-pip-version-check "$wheel"
"${pip[@]}" check

# From elsewhere, or the package in the working directory would be imported instead.
(cd "$scratch" && venv/bin/python -W error -) <<'PYTHON'
import importlib.metadata
import importlib.util
from pathlib import Path

import trioauth
import trioauth.events
import trioauth.grants
import trioauth.providers
import trioauth.stores
import trioauth.testing
import trioauth.timeline

package = Path(trioauth.__file__).parent
assert "site-packages" in package.parts, package
plugins = importlib.metadata.entry_points(group="pytest11")
assert "pytest_trioauth" in [plugin.module for plugin in plugins], plugins
assert importlib.util.find_spec("pytest_trioauth") is not None, "the plugin is not in the wheel"
# Found by its name, and made without an extra.
trioauth.OAuthClient("notes", issuer="https://id.test").browser()
for extra in ("httpx2", "hypercorn", "joserfc", "platformdirs", "pytest", "rich", "segno"):
    assert importlib.util.find_spec(extra) is None, f"{extra} is required at run time"
print("the wheel works:", package.name, importlib.metadata.version("trioauth"))
PYTHON
(cd "$scratch" && venv/bin/trioauth --version)

# With the package gone from the unpacked sdist, its tests find the installed one.
mkdir "$scratch/sdist"
tar -xzf "$scratch"/dist/*.tar.gz -C "$scratch/sdist" --strip-components=1
rm -r "$scratch/sdist/trioauth" "$scratch/sdist/pytest_trioauth.py"
"${pip[@]}" install -qq --disable-pip-version-check "$wheel[testing]" --group "$scratch/sdist/pyproject.toml:test"
cd "$scratch/sdist"
"$scratch/venv/bin/python" -m pytest -q tests/test_import.py tests/test_readme.py tests/test_demo.py \
  tests/test_session_api.py tests/test_session_logins.py tests/test_session_store.py tests/test_stores.py \
  tests/test_auth_server.py tests/test_every_checkpoint.py tests/test_timeline.py tests/test_typing.py \
  tests/test_pytest_plugin.py tests/test_check_store.py tests/test_check_grant.py
