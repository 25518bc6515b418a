#!/usr/bin/env bash
# Run the tests with the Python of an environment: run_tests.sh FOLDER [--covered] [ARGUMENT-OF-PYTEST...]
#
# With --covered, every branch of the package must be covered. What pytest writes is kept in
# FOLDER/pytest.log, and the last line says how long all of it took.
set -euo pipefail

folder=$1
python=$folder/bin/python
shift
run=("$python" -m pytest)
covered=false
if [[ ${1:-} == --covered ]]; then
  covered=true
  run=("$python" -m coverage run -m pytest)
  shift
  "$python" -m coverage erase
fi
trap 'echo "tests in $folder: $SECONDS s"' EXIT

# A node that setup_interop.sh had to fetch comes before one that is too old.
PATH="$PWD/.venv-node/path:$PATH" "${run[@]}" "$@" 2>&1 | tee "$folder/pytest.log"

if $covered; then
  "$python" -m coverage combine --quiet
  "$python" -m coverage report --fail-under=100
fi
