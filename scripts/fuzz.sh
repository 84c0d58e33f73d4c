#!/usr/bin/env bash
# Every fuzz target for a short while each: scripts/fuzz.sh [TIME], 10s by default.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/modules.sh ... | while read -r pattern; do
  go list -f '{{.ImportPath}}' "$pattern"
done | while read -r package; do
  for target in $(go test -list '^Fuzz' "$package" </dev/null | grep '^Fuzz' || true); do
    echo "== $package $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-10s}" "$package" </dev/null
  done
done
