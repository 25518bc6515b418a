#!/usr/bin/env bash
# Install Chromium, with which people log in in tests/interop/test_log_ins.py.
#
# Where that can't be had those tests are left out, which this says; only in CI is it a failure.
set -euo pipefail

left_out() {
  echo "LEFT OUT: the tests with a browser, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

# As tests/interop/chromium.py looks for it.
installed() {
  command -v chromium >/dev/null || command -v chromium-browser >/dev/null ||
    command -v google-chrome >/dev/null
}

[[ $(uname -s) == Linux ]] || exit 0
installed && exit 0
command -v apt-get >/dev/null ||
  left_out "chromium is not here; install the package chromium of your system"
[[ $(id -u) == 0 ]] ||
  left_out "chromium is not here; install it with: sudo apt-get install chromium"
echo "chromium is not here: installing the package chromium"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -qq --no-install-recommends chromium)
"${install[@]}" >/dev/null 2>&1 ||
  { apt-get update -qq && "${install[@]}" >/dev/null; } ||
  left_out "apt-get could not install the package chromium"
installed || left_out "the package chromium has no chromium"
