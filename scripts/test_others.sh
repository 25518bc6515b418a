#!/usr/bin/env bash
# Run the tests on each Python but the one of .venv: test_others.sh 3.11 3.12 3.13
set -euo pipefail

main=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
for version in "$@"; do
  if [[ $version == "$main" ]]; then
    continue
  elif scripts/find_python.sh "$version" >/dev/null; then
    make --no-print-directory "test-$version"
  else
    echo "LEFT OUT: the tests on Python $version."
  fi
done
