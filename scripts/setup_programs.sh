#!/usr/bin/env bash
# Install Debian packages for the tests: setup_programs.sh WHAT PACKAGES PROGRAM...
#
#   WHAT      the tests that need them, in words
#   PACKAGES  the names of the packages, in one word
#   PROGRAM   what must be there afterwards; "a|b": one of them
#
# Where that can't be had those tests are left out, which this says; only in CI is it a failure.
set -euo pipefail
what=$1 packages=$2
shift 2

left_out() {
  echo "LEFT OUT: $what, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

missing() {
  local program found
  for program; do
    found=
    for name in ${program//|/ }; do
      command -v "$name" >/dev/null && found=yes
    done
    [[ $found ]] || echo "${program%%|*}"
  done
}

[[ $(uname -s) == Linux ]] || exit 0
[[ $(missing "$@") ]] || exit 0
lacking="there is no $(missing "$@" | paste -sd ' ')"
command -v apt-get >/dev/null || left_out "$lacking; install what your system has of: $packages"
[[ $(id -u) == 0 ]] || left_out "$lacking; install it with: sudo apt-get install $packages"
echo "$lacking: installing $packages"
export DEBIAN_FRONTEND=noninteractive
# RUNLEVEL=1: no package starts a server of its own, which no test uses.
export RUNLEVEL=1
# shellcheck disable=SC2086  # they are several words
install() { apt-get install -y -qq --no-install-recommends $packages >/dev/null; }
install 2>/dev/null || { apt-get update -qq && install; } ||
  left_out "apt-get could not install $packages"
[[ ! $(missing "$@") ]] || left_out "after installing $packages $lacking"
