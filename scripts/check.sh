#!/usr/bin/env bash
# Everything that is known without running the code. `scripts/check.sh quick` leaves out what has to be downloaded.
# Runs all checks, then fails if one did; a check whose tool can't be had says so and is left out.
set -uo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
cd "$ROOT" || exit 1

GOLANGCI_LINT=v2.15.0
GOVULNCHECK=v1.9.0
mapfile -t MODULES < <(scripts/modules.sh)
FAILED=()

# step NAME COMMAND…
step() {
  say "== $1"
  "${@:2}" || FAILED+=("$1")
}

skip() { say "== $1: left out, $2"; }

# per_module COMMAND… runs a command in every module that has Go files.
per_module() {
  local module code=0
  for module in "${MODULES[@]}"; do
    find "$module" -name '*.go' -print -quit | grep -q . || continue
    (cd "$module" && "$@") || { say "^ in $module"; code=1; }
  done
  return "$code"
}

gofmt_check() {
  local files
  files=$(gofmt -l "${MODULES[@]}") || return 1
  [[ -z $files ]] || { say "not formatted, run 'make fmt':"; say "$files"; return 1; }
}

# imports_check: what the modules may import of each other and of the libraries that only one package may know.
imports_check() {
  local code=0
  confine github.com/redis/go-redis ./internal/store || code=1
  confine github.com/rabbitmq/amqp091-go ./internal/rabbit || code=1
  confine github.com/apache/apisix-go-plugin-runner ./plugins || code=1
  confine github.com/api7/ext-plugin-proto ./devgateway || code=1
  confine go.opentelemetry.io/otel/sdk ./internal/tracing ./internal/testkit || code=1
  confine go.opentelemetry.io/otel/exporters ./internal/tracing || code=1
  siblings || code=1
  return "$code"
}

# sources PATTERN prints FILE:LINE:TEXT of what is no test; tests may import what they like.
sources() { grep -rn --include='*.go' --exclude='*_test.go' -e "$1" "${MODULES[@]}" || true; }

# confine IMPORT FOLDER… : only these folders may import it.
confine() {
  local import=$1 folders found
  shift
  folders=$(printf '|^%s/' "$@")
  found=$(sources "\"$import" | grep -Ev "${folders#|}") || return 0
  say "only $* may import $import:"
  say "$found"
  return 1
}

# siblings: a module imports itself and internal.
siblings() {
  local module own found code=0
  own=$(sed -n 's/^module \(.*\)\/internal$/\1/p' internal/go.mod)
  for module in "${MODULES[@]}"; do
    if found=$(sources "\"$own/" | grep "^$module/" | grep -Ev "\"$own/(internal|${module#./})[/\"]"); then
      say "$module may import internal alone:"
      say "$found"
      code=1
    fi
  done
  return "$code"
}

tidy_check() { per_module go mod tidy -diff; }

install_tool() { GOBIN="$ROOT/bin" GOFLAGS=-mod=mod GOWORK=off go install "$1" >/dev/null 2>&1; }

# golangci_lint is installed once, and again when the pinned version changes.
golangci_lint() {
  [[ $(bin/golangci-lint version --short 2>/dev/null) == "${GOLANGCI_LINT#v}" ]] ||
    install_tool "github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$GOLANGCI_LINT"
}

lint() { per_module "$ROOT/bin/golangci-lint" run --config "$ROOT/.golangci.yml" ./...; }

# vulnerabilities asks the public database, or where it can't be reached the copy that the module proxy has.
vulnerabilities() {
  local output
  output=$(govulncheck) && return
  if grep -q 'fetching vulnerabilities' <<<"$output"; then
    vulnerability_database || { say "left out: neither its database nor a copy of it can be reached"; return; }
    output=$(govulncheck -db "file://$ROOT/bin/vulndb/db") && return
  fi
  say "$output"
  return 1
}

# govulncheck looks at all modules at once; it wants to stand in one of them.
govulncheck() (
  packages=("${MODULES[@]/#./..}")
  cd internal && go run "golang.org/x/vuln/cmd/govulncheck@$GOVULNCHECK" "$@" "${packages[@]/%//...}" 2>&1
)

# vulnerability_database makes bin/vulndb/db of the newest module golang.org/x/vulndb, which holds the same reports.
vulnerability_database() (
  mkdir -p bin/vulndb && cd bin/vulndb || exit 1
  export GOFLAGS=-mod=mod GOWORK=off
  version=$(go list -m -f '{{.Version}}' golang.org/x/vulndb@latest 2>/dev/null) || exit 1
  [[ $(cat version 2>/dev/null) == "$version" ]] && exit
  say "building a copy of the database from golang.org/x/vulndb@$version"
  folder=$(go mod download -json "golang.org/x/vulndb@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p') || exit 1
  rm -rf db
  go run "golang.org/x/vulndb/cmd/indexdb@$version" -vulns "$folder/data/osv" -out db >/dev/null 2>&1 || exit 1
  echo "$version" >version
)

compose_config() (
  env=$(mktemp)
  trap 'rm -f "$env"' EXIT
  scripts/env.sh "$env" 2>/dev/null && docker compose --env-file "$env" config --quiet
)

shell_syntax() {
  local file code=0
  for file in scripts/*.sh scripts/lib/*.sh .ci/run; do bash -n "$file" || code=1; done
  return "$code"
}

step gofmt gofmt_check
step "go vet" per_module go vet ./...
step imports imports_check
step "shell syntax" shell_syntax
if [[ ${1:-} != quick ]]; then
  step "go mod tidy" tidy_check
  if golangci_lint; then step golangci-lint lint; else skip golangci-lint "it could not be installed"; fi
  step govulncheck vulnerabilities
  if command -v shellcheck >/dev/null; then step shellcheck shellcheck -x scripts/*.sh .ci/run; else skip shellcheck "it is not installed"; fi
  if docker compose version >/dev/null 2>&1; then step "docker compose config" compose_config; else skip "docker compose config" "no docker compose here"; fi
fi

((${#FAILED[@]} == 0)) || die "failed: ${FAILED[*]}"
say "all checks passed"
