#!/usr/bin/env bash
# Run a test command and keep its output in FOLDER/pytest.log: run_tests.sh FOLDER COMMAND...
set -euo pipefail

folder=$1
shift

# A node that setup_interop.sh had to fetch comes before one that is too old.
PATH="$PWD/.venv-node/path:$PATH" "$@" 2>&1 | tee "$folder/pytest.log"
