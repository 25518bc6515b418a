#!/usr/bin/env bash
# Install libfaketime, with which tests/interop/test_clocks.py lets the clocks of a process jump.
#
# Where that can't be had those tests are left out, which this says; only in CI is it a failure.
set -euo pipefail

left_out() {
  echo "LEFT OUT: the tests with clocks that jump, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

installed() {
  compgen -G "/usr/lib*/**/faketime/libfaketimeMT.so.1" >/dev/null ||
    compgen -G "/usr/lib*/faketime/libfaketimeMT.so.1" >/dev/null
}

[[ $(uname -s) == Linux ]] || exit 0
installed && exit 0
command -v apt-get >/dev/null ||
  left_out "libfaketime is not here; install the package faketime or libfaketime of your system"
[[ $(id -u) == 0 ]] ||
  left_out "libfaketime is not here; install it with: sudo apt-get install faketime"
echo "libfaketime is not here: installing the package faketime"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq faketime >/dev/null 2>&1 ||
  { apt-get update -qq && apt-get install -y -qq faketime >/dev/null; } ||
  left_out "apt-get could not install the package faketime"
installed || left_out "the package faketime has no libfaketimeMT.so.1"
