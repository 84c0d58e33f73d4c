#!/usr/bin/env bash
# Prints the modules of go.work, one per line, as paths for the go command; with an argument, each followed by /ARGUMENT.
#   scripts/modules.sh [...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
sed -n 's|^[[:space:]]*\(\./[^ ]*\).*|\1|p' go.work | sed "s|\$|${1:+/$1}|"
