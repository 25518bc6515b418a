#!/usr/bin/env bash
# Install Redis, which the tests of RedisStore start: servers, Sentinels, a Cluster.
#
# Where that can't be had those tests are left out, which this says; only in CI is it a failure.
set -euo pipefail

left_out() {
  echo "LEFT OUT: the tests of RedisStore on real servers, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

installed() {
  command -v redis-server >/dev/null && command -v redis-cli >/dev/null
}

[[ $(uname -s) == Linux ]] || exit 0
installed && exit 0
command -v apt-get >/dev/null ||
  left_out "redis-server is not here; install the package redis of your system"
[[ $(id -u) == 0 ]] ||
  left_out "redis-server is not here; install it with: sudo apt-get install redis-server"
echo "redis-server is not here: installing the package redis-server"
export DEBIAN_FRONTEND=noninteractive
# RUNLEVEL=1: the package would start a server of its own, which no test uses.
export RUNLEVEL=1
install=(apt-get install -y -qq --no-install-recommends redis-server)
"${install[@]}" >/dev/null 2>&1 ||
  { apt-get update -qq && "${install[@]}" >/dev/null; } ||
  left_out "apt-get could not install the package redis-server"
installed || left_out "the package redis-server has no redis-server or no redis-cli"
