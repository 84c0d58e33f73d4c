#!/usr/bin/env bash
# Runs a command over a stack of its own and takes the stack down afterwards, whatever happened. The command sees
# everything in the stack's env file, and E2E_ENV_FILE, E2E_STACK (this project's stack.sh) and RUN_DIR.
# Exits with the command's code; after a failure the logs stay in RUN_DIR/log.
#   scripts/with-stack.sh infra|up RUN_DIR COMMAND…
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"

(($# >= 3)) || die "usage: with-stack.sh infra|up RUN_DIR COMMAND…"
verb=$1
mkdir -p "$2"
RUN_DIR=$(cd "$2" && pwd -P)
shift 2
export RUN_DIR
unset STACK # the tools work on processes of their own

# One at a time per RUN_DIR. The lock lies beside the folder, which comes and goes.
exec 8>"$RUN_DIR.lock"
flock -n 8 || die "something else is at work in $RUN_DIR; wait for it, or choose another folder (TEST_RUN_DIR, DEMO_RUN_DIR, BENCH_RUN_DIR, CHAOS_RUN_DIR)"

stack() { "$ROOT/scripts/stack.sh" "$@" 8>&-; }

finish() {
  local code=$?
  trap '' INT TERM
  if ((code == 0)); then
    stack wipe || code=1
  else
    stack down || true
    say "the logs are in $RUN_DIR/log"
  fi
  rm -f "$RUN_DIR.lock"
  exit "$code"
}

# run waits for the command even when a signal comes, and hands on the one that a terminal does not send to it.
run() {
  local code=0
  (
    trap - INT
    exec "$@" 8>&-
  ) &
  trap 'kill -TERM $! 2>/dev/null || true' TERM
  trap ':' INT
  wait $! || code=$?
  while kill -0 $! 2>/dev/null; do
    code=0
    wait $! || code=$?
  done
  return "$code"
}

stack wipe # of an earlier run that failed or was cut off
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
stack "$verb" >&2
set -a
# shellcheck source=/dev/null
source "$RUN_DIR/env"
set +a
export E2E_ENV_FILE=$RUN_DIR/env E2E_STACK=$ROOT/scripts/stack.sh
run "$@"
