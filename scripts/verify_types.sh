#!/usr/bin/env bash
# Let pyright verify that the types of all that is public are known, and said: verify_types.sh PYTHON
set -euo pipefail

python=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# pyright wants to find the package where packages are installed.
ln -s "$PWD/trioauth" "$scratch/trioauth"
verify=("${python%/*}/pyright" --pythonpath "$python" --verifytypes trioauth --ignoreexternal)
if ! PYTHONPATH=$scratch "${verify[@]}" >"$scratch/report"; then
  cat "$scratch/report"
  exit 1
fi
grep 'completeness' "$scratch/report"
