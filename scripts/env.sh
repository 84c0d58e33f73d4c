#!/usr/bin/env bash
# Writes .env for docker-compose.yml: fresh random secrets, mode 0600, ignored by git. What is there already stays.
#   scripts/env.sh [FILE]
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck source=scripts/lib/common.sh
source "$ROOT/scripts/lib/common.sh"
umask 077

FILE=${1:-$ROOT/.env}

# add NAME SECRET appends a secret unless the file has one.
add() {
  grep -q "^$1=." "$FILE" && return
  env_line "$1" "$2" >>"$FILE"
  say "$FILE: new $1"
}

touch "$FILE"
chmod 600 "$FILE"
add WEBHOOK_GATEWAY_KEY "$(random_hex 32)"
add WEBHOOK_CALLBACK_KEY "$(random_hex 32)"
add WEBHOOK_ADMIN_TOKEN "$(random_hex 24)"
add WEBHOOK_KEYRING "$(random_key k1)"
add REDIS_PASSWORD "$(random_hex 24)"
add RABBITMQ_PASSWORD "$(random_hex 24)"
add GRAFANA_PASSWORD "$(random_hex 12)"
