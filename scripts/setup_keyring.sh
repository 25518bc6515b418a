#!/usr/bin/env bash
# Install a keyring, gnome-keyring, with a D-Bus of its own, for tests/test_secret_service.py.
#
# Where that can't be had those tests are left out, which this says; only in CI is it a failure.
set -euo pipefail

left_out() {
  echo "LEFT OUT: the tests with a real keyring, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

installed() {
  command -v gnome-keyring-daemon >/dev/null && command -v dbus-run-session >/dev/null
}

[[ $(uname -s) == Linux ]] || exit 0
installed && exit 0
command -v apt-get >/dev/null ||
  left_out "gnome-keyring is not here; install the packages gnome-keyring and dbus of your system"
[[ $(id -u) == 0 ]] ||
  left_out "gnome-keyring is not here; install it with: sudo apt-get install gnome-keyring dbus"
echo "gnome-keyring is not here: installing the packages gnome-keyring and dbus"
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -qq --no-install-recommends gnome-keyring dbus)
"${install[@]}" >/dev/null 2>&1 ||
  { apt-get update -qq && "${install[@]}" >/dev/null; } ||
  left_out "apt-get could not install the packages gnome-keyring and dbus"
installed || left_out "the packages gnome-keyring and dbus have no programs of these names"
