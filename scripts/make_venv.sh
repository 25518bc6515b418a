#!/usr/bin/env bash
# Make a virtual environment: make_venv.sh FOLDER INTERPRETER
set -euo pipefail

folder=$1
interpreter=$2

[[ -n $interpreter ]] || exit 1  # find_python.sh has said why.
echo "$folder: $("$interpreter" --version) ($interpreter)"
"$interpreter" -m venv --clear "$folder"
# The first that knows dependency groups.
"$folder/bin/python" -m pip install -qq --disable-pip-version-check 'pip>=25.1'
touch "$folder/.made"
