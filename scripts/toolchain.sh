#!/usr/bin/env bash
# Prints the GOTOOLCHAIN to build with. go.work names the oldest toolchain whose standard library has no known hole; where
# the machine's own is older and told to stay as it is, this lets the go command take the other from the module proxy.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
cd "$ROOT"

choice=$(go env GOTOOLCHAIN)
if [[ $choice == local ]] && wanted=$(sed -n 's/^toolchain //p' go.work) && [[ -n $wanted ]]; then
  if GOTOOLCHAIN=auto go version >/dev/null 2>&1; then
    choice=auto
  else
    say "$wanted can't be had: building with $(go env GOVERSION)"
  fi
fi
echo "$choice"
