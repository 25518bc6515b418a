#!/usr/bin/env bash
# Type check a program that uses the package where trio-typing is installed: check_consumers.sh PYTHON
#
# Its stubs take the place of trio's own types, for the package as for the program. The groups in
# pyproject.toml say which versions, and why.
set -euo pipefail

python=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m pip wheel -qq --disable-pip-version-check --no-deps --wheel-dir "$scratch" .
cp tests/typing/consumer.py "$scratch"
printf '[mypy]\n' >"$scratch/without.ini"
printf '[mypy]\nplugins = trio_typing.plugin\n' >"$scratch/with.ini"

# check ENVIRONMENT GROUP with|without
check() {
  [[ -e $1/.made ]] || scripts/make_venv.sh "$1" "$python"
  "$1/bin/python" -m pip install -qq --upgrade --group "$2" "$scratch"/*.whl
  "$1/bin/python" -m pip install -qq --force-reinstall --no-deps "$scratch"/*.whl
  echo "trio-typing, $("$1/bin/mypy" --version), $3 its plugin:"
  # From elsewhere, or mypy would read the package in the working directory instead.
  (cd "$scratch" && "$OLDPWD/$1/bin/mypy" --strict --no-incremental --config-file "$3.ini" consumer.py)
}

check .venv-consumer consumer without
check .venv-consumer-plugin consumer-plugin with
