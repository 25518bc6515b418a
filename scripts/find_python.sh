#!/usr/bin/env bash
# Print the path of a working Python: find_python.sh any [INTERPRETER] | 3.12
#
# Found is not enough: pyenv puts a python3.12 on the PATH that only explains that it is
# switched off, and Debian's python3 may come without what venv needs. So each is tried.
set -euo pipefail

oldest=11
wanted=$1
given=${2:-}

# Print where the interpreter is, if it runs, is a wanted version and can make environments.
try() {
  "$1" - "$wanted" "$oldest" 2>/dev/null <<'PYTHON'
import sys
wanted, oldest = sys.argv[1:]
minor = sys.version_info[1]
if sys.version_info[0] != 3 or (minor < int(oldest) if wanted == "any" else wanted != "3.%d" % minor):
    sys.exit(1)
import ensurepip, venv
print(sys.executable)
PYTHON
}

if [[ -n $given ]]; then
  try "$given" && exit
  echo "PYTHON=$given is not a Python 3.$oldest or newer with venv." >&2
  exit 1
fi

if [[ $wanted == any ]]; then
  names=(python3 python3.13 python3.12 python3.11)
else
  names=("python$wanted" python3)
fi

for name in "${names[@]}"; do
  while read -r candidate; do
    try "$candidate" && exit
  done < <(type -aP "$name"; compgen -G "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.*/bin/$name" || true)
done

if [[ $wanted == any ]]; then
  echo "No Python 3.$oldest or newer with venv was found." >&2
  echo "Install one (on Debian: python3 and python3-venv), or name it: make PYTHON=/path/to/python3" >&2
else
  echo "No Python $wanted with venv was found." >&2
fi
exit 1
