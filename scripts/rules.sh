#!/usr/bin/env bash
# Prometheus's own tool on deploy/observability: the configuration, the rules, and a test of each alert.
# promtool is taken from the PATH, else from bin/, into which Debian's package is unpacked: nothing is installed or started.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
cd "$ROOT"

FOLDER=deploy/observability/prometheus

# find_promtool prints where it is, or fails where it can't be had.
find_promtool() {
  type -P promtool && return
  [[ -x bin/promtool ]] || unpack_promtool || return 1
  echo "$ROOT/bin/promtool"
}

unpack_promtool() (
  command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || exit 1
  say "promtool: unpacking Debian's package prometheus into bin/"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  cd "$folder"
  apt-get download prometheus >&2 && dpkg-deb -x prometheus_*.deb . || exit 1
  mkdir -p "$ROOT/bin"
  mv usr/bin/promtool "$ROOT/bin/promtool"
)

# of_old leaves out what Prometheus 2 does not know.
of_old() {
  if [[ $("$tool" --version 2>&1) == *'version 2.'* ]]; then
    grep -v '^  always_scrape_classic_histograms:\|^  scrape_native_histograms:' "$1"
  else
    cat "$1"
  fi
}

if ! tool=$(find_promtool); then
  say "the alert rules are not tested: promtool is not here, and could not be unpacked from Debian's package prometheus"
  exit 0
fi
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r "$FOLDER/rules" "$copy/rules"
of_old "$FOLDER/prometheus.yml" >"$copy/prometheus.yml"
"$tool" check config "$copy/prometheus.yml"
"$tool" test rules "$FOLDER"/tests/*.yml
