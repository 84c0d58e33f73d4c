#!/usr/bin/env bash
# Every test of every module, with the race detector: unit, integration on real Redis and RabbitMQ, end to end.
# Arguments go to `go test`, before the packages: scripts/test.sh -run Subscribe
# With E2E_ENV_FILE the tests run over the stack that wrote that file; otherwise over one of their own.
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
# shellcheck source=scripts/lib/packages.sh
source "$ROOT/scripts/lib/packages.sh"
cd "$ROOT"

need_c_compiler
need_snippet_tools
need_chromium
mapfile -t packages < <(scripts/modules.sh ...)

code=0
go vet "${packages[@]}" || code=1 # the tests run all the same
scripts/rules.sh || code=1

if [[ -n ${E2E_ENV_FILE:-} ]]; then
  say "testing over the stack of $E2E_ENV_FILE"
  E2E_ENV_FILE=$(realpath "$E2E_ENV_FILE")
  # A stack of this machine can be handled by the tests as well.
  if [[ -f ${E2E_ENV_FILE%/*}/settings && -z ${E2E_STACK:-} ]]; then
    export E2E_STACK=$ROOT/scripts/stack.sh RUN_DIR=${E2E_ENV_FILE%/*}
  fi
  set -a
  # shellcheck source=/dev/null
  source "$E2E_ENV_FILE"
  set +a
  scripts/go-test.sh "$@" || code=1
else
  # Short, so that a test sees several attempts.
  export WEBHOOK_RETRY_SCHEDULE=${WEBHOOK_RETRY_SCHEDULE-250ms,1s,2s,5s} WEBHOOK_VERIFICATION_SCHEDULE=${WEBHOOK_VERIFICATION_SCHEDULE-250ms,500ms}
  scripts/with-stack.sh up "${TEST_RUN_DIR:-.run/test}" scripts/go-test.sh "$@" || code=1
fi
exit "$code"
