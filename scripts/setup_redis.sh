#!/usr/bin/env bash
# Install Redis, which the tests of RedisStore start (servers, Sentinels, a Cluster), and iproute2,
# with which they put two hosts around one server.
#
# Where that can't be had those tests are left out, which this says; only in CI is it a failure.
set -euo pipefail

left_out() {
  echo "LEFT OUT: the tests of RedisStore on real servers, because $1." >&2
  [[ ${CI:-} != true ]]
  exit
}

installed() {
  command -v redis-server >/dev/null && command -v redis-cli >/dev/null && command -v ip >/dev/null
}

[[ $(uname -s) == Linux ]] || exit 0
installed && exit 0
command -v apt-get >/dev/null ||
  left_out "redis-server or ip is not here; install the packages redis and iproute2 of your system"
[[ $(id -u) == 0 ]] ||
  left_out "redis-server or ip is not here: sudo apt-get install redis-server iproute2"
echo "redis-server or ip is not here: installing the packages redis-server and iproute2"
export DEBIAN_FRONTEND=noninteractive
# RUNLEVEL=1: the package would start a server of its own, which no test uses.
export RUNLEVEL=1
install=(apt-get install -y -qq --no-install-recommends redis-server iproute2)
"${install[@]}" >/dev/null 2>&1 ||
  { apt-get update -qq && "${install[@]}" >/dev/null; } ||
  left_out "apt-get could not install the packages redis-server and iproute2"
installed || left_out "the packages have no redis-server, no redis-cli or no ip"
