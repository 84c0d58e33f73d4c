#!/usr/bin/env bash
# `go test` over every module, over the stack that the environment names; for scripts/test.sh, which provides one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A missing server is a failure here, not a reason to skip.
export WEBHOOK_TEST_REQUIRE=1 CGO_ENABLED=1
go_test=(go test -race -count=1 -timeout 30m "$@")
mapfile -t packages < <(scripts/modules.sh ... | grep -v '^\./e2e/')

code=0
"${go_test[@]}" -p 2 "${packages[@]}" || code=1
# The end to end tests break the broker and the services on purpose: they have the stack to themselves.
"${go_test[@]}" -p 1 ./e2e/... || code=1
exit "$code"
