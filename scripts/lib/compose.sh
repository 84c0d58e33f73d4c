# shellcheck shell=bash
# The stack with the real APISIX, on Docker. Needs lib/common.sh, ROOT and RUN_DIR.

compose() { docker compose --project-directory "$ROOT" --file "$ROOT/docker-compose.yml" "$@"; }

need_docker() {
  docker info >/dev/null 2>&1 ||
    die "STACK=compose needs a Docker engine, and none answers here ('docker info' fails); 'make up' runs without one"
  docker compose version >/dev/null 2>&1 ||
    die "STACK=compose needs Docker Compose v2 ('docker compose version' fails)"
}

compose_up() {
  need_docker
  "$ROOT/scripts/env.sh"
  forget_own_urls
  local first=true
  [[ ! -f $RUN_DIR/kind ]] || first=false
  echo compose >"$RUN_DIR/kind"
  compose up -d --build --wait || compose_failed "$first"
  compose_env | write_file "$RUN_DIR/env"
  print_urls
}

# compose_failed FIRST: a stack that was up before is left as it is.
compose_failed() {
  compose logs --tail 20 >&2 || true
  if "$1"; then
    compose down || true
    rm -f "$RUN_DIR/kind"
  fi
  die "the compose stack did not become healthy; its last words are above"
}

# forget_own_urls: a shell that has sourced our own env file does not mean a foreign server.
forget_own_urls() {
  [[ ${REDIS_URL:-} != "$(compose_redis_url)" ]] || unset REDIS_URL
  [[ ${AMQP_URL:-} != "$(compose_amqp_url)" ]] || unset AMQP_URL
}

# dotenv NAME DEFAULT: what docker compose takes for a variable; the environment wins over the file.
dotenv() {
  local value=${!1:-}
  [[ -n $value ]] || value=$(sed -n "s/^$1=//p" "$ROOT/.env" | tail -n 1)
  printf '%s' "${value:-$2}"
}

compose_redis_url() { printf 'redis://:%s@127.0.0.1:%s/0' "$(dotenv REDIS_PASSWORD '')" "$(dotenv REDIS_PORT 6379)"; }
compose_amqp_url() { printf 'amqp://webhook:%s@127.0.0.1:%s/' "$(dotenv RABBITMQ_PASSWORD '')" "$(dotenv AMQP_PORT 5672)"; }

compose_down() {
  need_docker
  compose down --remove-orphans
  rm -f "$RUN_DIR/kind" "$RUN_DIR/env"
}

# compose_env: as seen from this machine. Given URLs hold here as they do inside the containers.
compose_env() {
  local admin
  admin=http://127.0.0.1:$(dotenv ADMIN_PORT 8082)
  env_line GATEWAY_URL "http://127.0.0.1:$(dotenv GATEWAY_PORT 9080)"
  env_line ADMIN_URL "$admin"
  env_line ADMIN_TOKEN "$(dotenv WEBHOOK_ADMIN_TOKEN '')"
  env_line AMQP_URL "${AMQP_URL:-$(compose_amqp_url)}"
  env_line REDIS_URL "${REDIS_URL:-$(compose_redis_url)}"
  env_line CALLBACK_METRICS_URL "http://127.0.0.1:$(dotenv CALLBACK_METRICS_PORT 8084)/metrics"
  env_line LISTENER_METRICS_URL "http://127.0.0.1:$(dotenv LISTENER_METRICS_PORT 8083)/metrics"
  env_line SUBSCRIPTION_METRICS_URL "$admin/metrics"
  env_line RUNNER_METRICS_URL "http://127.0.0.1:$(dotenv RUNNER_METRICS_PORT 8085)/metrics"
}
